//! Joining directly: one admission exchange with a member through a provisional tunnel (`docs/PROTOCOL.md`,
//! Admission). With an invite, through tor: [`guest`].

use core::time::Duration;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;

use async_io::Async;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::x25519::PublicKey;
use rustbalance_core::join::{Admitted, JoinError as Refusal, Joiner};
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::passphrase::Passphrase;
use rustbalance_core::time::Mono;
use rustbalance_core::{NodeId, WgPublicKey};
use smol::future::FutureExt as _;

use crate::entropy;
use crate::keys::{MasterKey, Token, WireguardKey};
use crate::mesh::contact;
use crate::mesh::packet::Port;
use crate::mesh::tunnel::{Tunnel, TunnelKeys, WIRE_MAX};
use crate::signals::OurSignals;
use crate::store::{ClusterFile, Initial, JoinedThrough, Lock, NewKeys, Secrets, Store};
use crate::{clock, mesh};

mod error;
pub mod guest;

pub use error::JoinError;

/// The whole exchange must end within this time; tests are less patient.
const LIMIT: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 20 });
/// An unanswered request is repeated this often.
const REPEAT: Duration = Duration::from_secs(1);

/// What is needed to join a cluster.
pub struct JoinParams {
    /// The state directory: missing, or without a node.
    pub dir: PathBuf,
    /// The address the cluster serves, as the operator knows it.
    pub address: OnionAddress,
    /// Where a member's mesh listens, `HOST:PORT`.
    pub endpoint: String,
    /// That member's WireGuard key.
    pub peer: WgPublicKey,
    /// The cluster token.
    pub token: Token,
    /// The address' key.
    pub master: MasterKey,
    /// To encrypt this node's keys with.
    pub passphrase: Option<Passphrase>,
}

/// A node that was admitted; its state directory is written.
#[derive(Clone, Copy)]
pub struct Joined {
    /// The address it will serve.
    pub address: OnionAddress,
    /// Its name in the mesh.
    pub node: NodeId,
    /// Its WireGuard key.
    pub wireguard: WgPublicKey,
    /// The member that admitted it.
    pub by: NodeId,
}

/// Asks a member for admission and writes the state directory once it was given. Takes 20 s at most.
///
/// # Errors
/// See [`JoinError`]. There is no node then, but its keys are kept: the next attempt is the same node, so that one that was
/// admitted and died before it knew leaves no member behind that nobody is.
pub fn join(params: JoinParams) -> Result<Joined, JoinError> {
    let (given, of_key) = (params.address, params.master.address());
    if given != of_key {
        return Err(JoinError::AddressOfKey { given, of_key });
    }
    let store = Store::new(&params.dir).encrypting(params.passphrase.as_ref())?;
    let lock = store.claim()?;
    let keys = store.new_keys(&lock)?;
    until_stopped(join_claimed(&store, &lock, keys, params))
}

/// Joins unless a signal comes first, so that who gives up waiting finds nothing half done.
fn until_stopped(joining: impl Future<Output = Result<Joined, JoinError>>) -> Result<Joined, JoinError> {
    let mut signals = OurSignals::new().map_err(JoinError::Signals)?;
    let stopped = async {
        match signals.next().await {
            Ok(_) => Err(JoinError::Stopped),
            Err(error) => Err(JoinError::Signals(error)),
        }
    };
    smol::block_on(joining.or(stopped))
}

async fn join_claimed(store: &Store, lock: &Lock, keys: NewKeys, params: JoinParams) -> Result<Joined, JoinError> {
    let JoinParams { address, endpoint, peer, token, master, .. } = params;
    let resolved = contact::resolve(endpoint.clone()).await;
    let addresses = resolved.map_err(|source| JoinError::Resolve { endpoint: endpoint.clone(), source })?;
    let socket = bind(&addresses).map_err(|source| JoinError::Socket { endpoint: endpoint.clone(), source })?;

    let secrets = Secrets { master, token, node: keys.node, wireguard: keys.wireguard };
    let (node, wireguard) = (secrets.node.keypair(), secrets.wireguard.public());
    let mut rng = entropy::rng()?;
    let joiner = Joiner::new(&node, wireguard, peer, &secrets.token.token(), address.id(), &mut rng);
    let exchange = Exchange { socket, tunnel: tunnel(&secrets.wireguard, peer), joiner };
    let admitted = exchange.run(addresses, &endpoint).await?;

    let joined_through = Some(JoinedThrough { wireguard: peer, endpoint });
    let cluster = ClusterFile { cluster: admitted.cluster, genesis: admitted.genesis, joined_through };
    store.found(lock, &Initial { secrets: &secrets, cluster, roster: &admitted.roster })?;
    Ok(Joined { address, node: node.id(), wireguard, by: admitted.by })
}

fn tunnel(ours: &WireguardKey, peer: WgPublicKey) -> Tunnel {
    let secret = ours.secret();
    let limiter = Arc::new(RateLimiter::new(&PublicKey::from(&secret), u64::MAX));
    Tunnel::new(TunnelKeys { secret, peer, index: 0, limiter }, clock::mono())
}

/// A socket of the family of the first address.
fn bind(addresses: &[SocketAddr]) -> io::Result<Async<UdpSocket>> {
    let any: SocketAddr = match addresses.first() {
        Some(SocketAddr::V4(_)) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        Some(SocketAddr::V6(_)) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        None => return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
    };
    Async::<UdpSocket>::bind(any)
}

/// The admission exchange under way.
struct Exchange {
    socket: Async<UdpSocket>,
    tunnel: Tunnel,
    joiner: Joiner,
}

impl Exchange {
    async fn run(mut self, mut addresses: Vec<SocketAddr>, endpoint: &str) -> Result<Admitted, JoinError> {
        let local = self.socket.get_ref().local_addr();
        let local = local.map_err(|source| JoinError::Socket { endpoint: endpoint.to_owned(), source })?;
        addresses.retain(|address| contact::reachable_from(local, *address).is_some());
        let started = clock::mono();
        let mut repeat_at = started;
        let mut buffer = [0; 2048];
        loop {
            let now = clock::mono();
            if now.since(started) >= LIMIT {
                let endpoint = endpoint.to_owned();
                let known = self.tunnel.has_session();
                return Err(if known { JoinError::NoAnswer { endpoint } } else { JoinError::Unreachable { endpoint } });
            }
            if self.step(now, &addresses, repeat_at) {
                repeat_at = now.plus(REPEAT);
            }
            let Some((from, datagram)) = self.wait(&mut buffer).await else { continue };
            match self.receive(from, datagram) {
                Ok(Some(admitted)) => return Ok(admitted),
                Ok(None) => {}
                Err(why) => return Err(JoinError::Refused { endpoint: endpoint.to_owned(), why }),
            }
        }
    }

    /// Knocks while there is no session, else asks (true) if it is time to.
    fn step(&mut self, now: Mono, addresses: &[SocketAddr], repeat_at: Mono) -> bool {
        let mut net = Vec::new();
        self.tunnel.want(now);
        self.tunnel.tick(now, &mut net);
        self.tunnel.resolved(now, addresses, &mut net);
        let ask = self.tunnel.has_session() && now >= repeat_at;
        if ask {
            self.tunnel.send(now, Port::Admission, &self.joiner.request(), &mut net);
        }
        self.transmit(net);
        ask
    }

    /// A datagram; `None` when the tunnel's timers want to be looked at.
    async fn wait<'a>(&self, buffer: &'a mut [u8]) -> Option<(SocketAddr, &'a [u8])> {
        let received = async { self.socket.recv_from(buffer).await.ok() };
        let tick = async {
            clock::sleep(mesh::TICK).await;
            None
        };
        let (length, from) = received.or(tick).await?;
        buffer.get(..length).map(|datagram| (from, datagram))
    }

    fn receive(&mut self, from: SocketAddr, datagram: &[u8]) -> Result<Option<Admitted>, Refusal> {
        if datagram.len() > WIRE_MAX {
            return Ok(None);
        }
        let mut net = Vec::new();
        let inner = self.tunnel.receive(clock::mono(), from, datagram, &mut net);
        self.transmit(net);
        match inner {
            Ok(Some((Port::Admission, bytes))) => self.joiner.handle(&bytes),
            Ok(Some((Port::Cluster, _)) | None) | Err(_) => Ok(None),
        }
    }

    /// What cannot be sent now will be repeated.
    fn transmit(&self, net: Vec<(SocketAddr, Vec<u8>)>) {
        for (to, datagram) in net {
            if let Err(error) = self.socket.get_ref().send_to(&datagram, to) {
                tracing::debug!(%error, "join: datagram not sent");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn params(dir: &Path, endpoint: &str) -> JoinParams {
        let master = MasterKey::generate().expect("randomness");
        JoinParams {
            dir: dir.to_owned(),
            address: master.address(),
            endpoint: endpoint.to_owned(),
            peer: WireguardKey::generate().expect("randomness").public(),
            token: Token::generate().expect("randomness"),
            master,
            passphrase: None,
        }
    }

    /// The message, and whether the directory still holds no node.
    fn refused(params: JoinParams) -> String {
        let store = Store::new(&params.dir);
        let error = join(params).err().expect("nobody is there to admit us");
        assert!(!store.is_occupied());
        error.to_string()
    }

    #[test]
    fn a_key_of_another_address_is_refused_with_both_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let mut params = params(dir.path(), "127.0.0.1:1");
        let of_key = params.master.address();
        params.address = MasterKey::generate().unwrap().address();
        let given = params.address;
        let message = refused(params);
        assert!(message.contains(&given.to_string()) && message.contains(&of_key.to_string()), "{message}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_endpoint_without_port_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let message = refused(params(&dir.path().join("node"), "localhost"));
        assert!(message.starts_with("localhost: cannot be resolved"), "{message}");
    }

    #[test]
    fn a_peer_that_does_not_answer_is_unreachable() {
        let dir = tempfile::tempdir().unwrap();
        let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
        let endpoint = deaf.local_addr().unwrap().to_string();
        let message = refused(params(&dir.path().join("node"), &endpoint));
        assert!(message.starts_with(&format!("{endpoint}: no answer within {} s; ", LIMIT.as_secs())), "{message}");
    }

    #[test]
    fn a_peer_that_only_shakes_hands_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let silent = WireguardKey::generate().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let endpoint = socket.local_addr().unwrap().to_string();
        let (_mesh, task) = mesh::new(socket, silent.secret(), 0).unwrap();
        let _running = smol::spawn(task.run());
        let params = JoinParams { peer: silent.public(), ..params(&dir.path().join("node"), &endpoint) };
        let message = refused(params);
        assert!(message.starts_with(&format!("{endpoint}: answers, but not to the request")), "{message}");
    }
}
