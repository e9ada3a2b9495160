//! All tunnels behind one socket: which datagram belongs to which, and who may have one.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{HandshakeInit, Packet, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use rustbalance_core::output::RequestId;
use rustbalance_core::time::Mono;
use rustbalance_core::{NodeId, Peer, WgPublicKey};

use super::MeshEvent;
use super::counters::{Count, Counters};
use super::packet::Port;
use super::tunnel::{Transmit, Tunnel, TunnelKeys, WIRE_MAX};

/// Tunnels for keys nobody has admitted (yet), at once.
pub(crate) const PROVISIONAL_MAX: usize = 16;
/// Life of such a tunnel.
pub(crate) const PROVISIONAL_LIFE: Duration = Duration::from_secs(10);
/// Handshake messages per second from all addresses together before cookies are asked for.
const HANDSHAKES_PER_SECOND: u64 = 100;
/// Datagrams heeded of one provisional tunnel in all its life. A joiner repeats its request every second; a member that
/// is not known here beats twice a second, calls as often, and shows its admission in between.
pub(crate) const DATAGRAMS_PER_TUNNEL: u8 = 64;
/// Admission requests whose answer may still come; the oldest goes first.
const REQUESTS_MAX: usize = 64;
/// Session indices are 24 bits of tunnel and 8 bits of session.
const INDEX_MASK: u32 = 0x00ff_ffff;

/// What a step of the switch wants done.
#[derive(Default)]
pub(crate) struct Outcome {
    /// For the socket.
    pub net: Vec<Transmit>,
    /// For the core.
    pub events: Vec<MeshEvent>,
    /// Contacts to be named.
    pub resolve: Vec<(WgPublicKey, String)>,
    /// Members with whom there was a handshake, and when.
    pub met: Vec<(NodeId, Mono)>,
}

/// Whose tunnel it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Member(NodeId),
    Provisional { until: Mono },
}

struct Entry {
    owner: Owner,
    index: u32,
    tunnel: Tunnel,
    /// Datagrams that came while it was provisional, until there were too many.
    said: u8,
}

/// The switch.
pub(crate) struct Switch {
    secret: StaticSecret,
    public: PublicKey,
    /// Counts handshakes, asks for cookies.
    gate: RateLimiter,
    /// For the tunnels, behind the gate: without a limit, else every handshake would count twice.
    open: Arc<RateLimiter>,
    tunnels: BTreeMap<WgPublicKey, Entry>,
    members: BTreeMap<NodeId, WgPublicKey>,
    indices: BTreeMap<u32, WgPublicKey>,
    requests: VecDeque<(RequestId, WgPublicKey)>,
    next_index: u32,
    next_request: u64,
    counters: Arc<Counters>,
}

impl Switch {
    /// Without any tunnel. `first_index` should differ from run to run.
    pub fn new(secret: StaticSecret, first_index: u32, counters: Arc<Counters>) -> Self {
        let public = PublicKey::from(&secret);
        Self {
            gate: RateLimiter::new(&public, HANDSHAKES_PER_SECOND),
            open: Arc::new(RateLimiter::new(&public, u64::MAX)),
            secret,
            public,
            tunnels: BTreeMap::new(),
            members: BTreeMap::new(),
            indices: BTreeMap::new(),
            requests: VecDeque::new(),
            next_index: first_index & INDEX_MASK,
            next_request: 0,
            counters,
        }
    }

    /// Replaces the list of members. Tunnels of those who stay, and provisional ones of those who come, live on.
    pub fn set_peers(&mut self, now: Mono, peers: Vec<Peer>, out: &mut Outcome) {
        let ours = WgPublicKey(self.public.to_bytes());
        self.members = peers.iter().filter(|peer| peer.wg != ours).map(|peer| (peer.node, peer.wg)).collect();
        let members = &self.members;
        self.tunnels.retain(|key, entry| match entry.owner {
            Owner::Member(node) => members.get(&node) == Some(key),
            Owner::Provisional { .. } => true,
        });
        for peer in peers.into_iter().filter(|peer| peer.wg != ours) {
            let owner = Owner::Member(peer.node);
            if !self.tunnels.contains_key(&peer.wg) {
                let entry = self.new_entry(now, peer.wg, owner);
                self.tunnels.insert(peer.wg, entry);
            }
            if let Some(entry) = self.tunnels.get_mut(&peer.wg) {
                entry.owner = owner;
                entry.tunnel.set_contact(now, peer.contact);
                out.resolve.extend(entry.tunnel.take_resolution(now).map(|contact| (peer.wg, contact)));
            }
        }
        self.rebuild_indices();
    }

    /// Sends to a member.
    pub fn send(&mut self, now: Mono, to: NodeId, bytes: &[u8], out: &mut Outcome) {
        let Some(entry) = self.members.get(&to).and_then(|key| self.tunnels.get_mut(key)) else {
            self.counters.add(Count::UnknownPeer);
            return;
        };
        if !entry.tunnel.send(now, Port::Cluster, bytes, &mut out.net) {
            self.counters.add(Count::Oversized);
        }
    }

    /// Answers an admission request, if its tunnel still lives.
    pub fn answer(&mut self, now: Mono, request: RequestId, datagrams: &[Vec<u8>], out: &mut Outcome) {
        let key = self.requests.iter().find(|(id, _)| *id == request).map(|(_, key)| *key);
        let Some(entry) = key.and_then(|key| self.tunnels.get_mut(&key)) else {
            self.counters.add(Count::UnknownPeer);
            return;
        };
        for datagram in datagrams {
            if !entry.tunnel.send(now, Port::Admission, datagram, &mut out.net) {
                self.counters.add(Count::Oversized);
            }
        }
    }

    /// A contact's addresses.
    pub fn resolved(&mut self, now: Mono, key: WgPublicKey, addresses: &[SocketAddr], out: &mut Outcome) {
        if let Some(entry) = self.tunnels.get_mut(&key) {
            entry.tunnel.resolved(now, addresses, &mut out.net);
        }
    }

    /// Call about every 250 ms, for that is what boringtun's timers expect; nothing else in this crate knows of it.
    pub fn tick(&mut self, now: Mono, out: &mut Outcome) {
        self.gate.reset_count();
        self.tunnels.retain(|_, entry| match entry.owner {
            Owner::Member(_) => true,
            Owner::Provisional { until } => now < until,
        });
        self.rebuild_indices();
        for (key, entry) in &mut self.tunnels {
            entry.tunnel.tick(now, &mut out.net);
            out.resolve.extend(entry.tunnel.take_resolution(now).map(|contact| (*key, contact)));
            if let Owner::Member(node) = entry.owner {
                out.met.extend(entry.tunnel.take_handshake(now).map(|at| (node, at)));
            }
        }
    }

    /// A datagram from the socket. Whatever is wrong with it is counted and has no other effect.
    pub fn receive(&mut self, now: Mono, from: SocketAddr, datagram: &[u8], out: &mut Outcome) {
        if let Err(count) = self.dispatch(now, from, datagram, out) {
            self.counters.add(count);
        }
    }

    fn dispatch(&mut self, now: Mono, from: SocketAddr, datagram: &[u8], out: &mut Outcome) -> Result<(), Count> {
        if datagram.len() > WIRE_MAX {
            return Err(Count::Oversized);
        }
        let mut buffer = [0; WIRE_MAX];
        let key = match self.gate.verify_packet(Some(from.ip()), datagram, &mut buffer) {
            Ok(Packet::HandshakeInit(packet)) => self.initiator(now, &packet)?,
            Ok(Packet::HandshakeResponse(packet)) => self.receiver(packet.receiver_idx)?,
            Ok(Packet::PacketCookieReply(packet)) => self.receiver(packet.receiver_idx)?,
            Ok(Packet::PacketData(packet)) => self.receiver(packet.receiver_idx)?,
            Err(TunnResult::WriteToNetwork(cookie)) => {
                out.net.push((from, cookie.to_vec()));
                return Err(Count::RateLimited);
            }
            Err(TunnResult::Err(error)) => return Err(super::tunnel::refusal(&error)),
            Err(_) => return Err(Count::Garbage),
        };
        let known = self.tunnels.remove(&key);
        let is_new = known.is_none();
        let mut entry =
            known.unwrap_or_else(|| self.new_entry(now, key, Owner::Provisional { until: now.plus(PROVISIONAL_LIFE) }));
        let inner = entry.tunnel.receive(now, from, datagram, &mut out.net);
        let owner = entry.owner;
        // A new tunnel is kept only if the handshake was right to the end.
        if !is_new || inner.is_ok() {
            self.indices.insert(entry.index, key);
            self.tunnels.insert(key, entry);
        }
        let Some((port, bytes)) = inner? else { return Ok(()) };
        out.events.push(self.event(owner, key, port, bytes)?);
        Ok(())
    }

    /// What a packet that came out of a tunnel is to the core. Members keep the admission port: the answer to a
    /// joiner may have been lost, and it asks again.
    fn event(&mut self, owner: Owner, key: WgPublicKey, port: Port, bytes: Vec<u8>) -> Result<MeshEvent, Count> {
        match (port, owner) {
            (Port::Cluster, Owner::Member(from)) => Ok(MeshEvent::Datagram { from, bytes }),
            (_, Owner::Provisional { .. }) if !self.may_ask(key) => Err(Count::RateLimited),
            (Port::Cluster, Owner::Provisional { .. }) => Ok(MeshEvent::Stranger { bytes }),
            (Port::Admission, _) => {
                let request = RequestId(self.next_request);
                self.next_request += 1;
                if self.requests.len() >= REQUESTS_MAX {
                    self.requests.pop_front();
                }
                self.requests.push_back((request, key));
                Ok(MeshEvent::Admit { request, wg: key, bytes })
            }
        }
    }

    /// Whether a stranger may say something (once more): it costs the core a MAC or a signature, a stranger nothing.
    fn may_ask(&mut self, key: WgPublicKey) -> bool {
        self.tunnels.get_mut(&key).is_some_and(|entry| {
            entry.said = entry.said.saturating_add(1);
            entry.said <= DATAGRAMS_PER_TUNNEL
        })
    }

    /// Who knocks: a known key, or an unknown one if there is room for a provisional tunnel.
    fn initiator(&self, now: Mono, packet: &HandshakeInit<'_>) -> Result<WgPublicKey, Count> {
        let half = parse_handshake_anon(&self.secret, &self.public, packet).map_err(|_| Count::Forged)?;
        let key = WgPublicKey(half.peer_static_public);
        let provisional = |entry: &Entry| matches!(entry.owner, Owner::Provisional { until } if now < until);
        if self.tunnels.contains_key(&key)
            || self.tunnels.values().filter(|entry| provisional(entry)).count() < PROVISIONAL_MAX
        {
            Ok(key)
        } else {
            Err(Count::ProvisionalFull)
        }
    }

    fn receiver(&self, index: u32) -> Result<WgPublicKey, Count> {
        self.indices.get(&(index >> 8)).copied().ok_or(Count::UnknownIndex)
    }

    fn new_entry(&mut self, now: Mono, peer: WgPublicKey, owner: Owner) -> Entry {
        while self.indices.contains_key(&self.next_index) {
            self.next_index = (self.next_index + 1) & INDEX_MASK;
        }
        let index = self.next_index;
        self.next_index = (index + 1) & INDEX_MASK;
        let limiter = Arc::clone(&self.open);
        let tunnel = Tunnel::new(TunnelKeys { secret: self.secret.clone(), peer, index, limiter }, now);
        Entry { owner, index, tunnel, said: 0 }
    }

    fn rebuild_indices(&mut self) {
        self.indices = self.tunnels.iter().map(|(key, entry)| (entry.index, *key)).collect();
    }
}

#[cfg(test)]
mod tests;
