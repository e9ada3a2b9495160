//! The mesh: user-space WireGuard tunnels to the other members over one UDP socket, without root or TUN device.
//!
//! Inside the tunnels go real IPv6/UDP packets between addresses derived from the WireGuard keys. The core's datagrams
//! use port 7900; whoever is not a member (yet) gets a provisional tunnel, 10 s and port 7901, to ask for admission.

use core::time::Duration;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use async_io::Async;
use boringtun::x25519::StaticSecret;
use rustbalance_core::output::RequestId;
use rustbalance_core::time::Mono;
use rustbalance_core::{NodeId, Peer, WgPublicKey};
use smol::channel::{Receiver, Sender};
use smol::future::FutureExt as _;

use crate::clock;
use counters::{Count, Counters};
use switch::{Outcome, Switch};

pub mod address;
pub(crate) mod contact;
pub mod counters;
#[doc(hidden)]
pub mod exercise;
pub(crate) mod packet;
pub(crate) mod switch;
pub(crate) mod tunnel;

/// Boringtun's timers want to be looked at this often.
pub(crate) const TICK: Duration = Duration::from_millis(250);
/// Commands, events and answers of the resolver that may wait.
const QUEUE: usize = 1024;

/// What the mesh is asked to do.
#[derive(Debug)]
pub enum MeshCommand {
    /// Send a datagram to a member; it may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// At most [`DATAGRAM_MAX`](rustbalance_core::output::DATAGRAM_MAX).
        bytes: Vec<u8>,
    },
    /// Answer an admission request.
    Answer {
        /// Which.
        request: RequestId,
        /// In order.
        datagrams: Vec<Vec<u8>>,
    },
}

/// What came out of the tunnels.
#[derive(Debug, PartialEq, Eq)]
pub enum MeshEvent {
    /// A member's datagram.
    Datagram {
        /// The proven sender.
        from: NodeId,
        /// Any content.
        bytes: Vec<u8>,
    },
    /// The tunnel to a member had a handshake.
    Met {
        /// Whom.
        node: NodeId,
        /// When.
        at: Mono,
    },
    /// A datagram for the cluster from a key nobody has admitted, as far as is known here.
    Stranger {
        /// Any content.
        bytes: Vec<u8>,
    },
    /// An admission request.
    Admit {
        /// To be named in the answer.
        request: RequestId,
        /// The proven key.
        wg: WgPublicKey,
        /// Any content.
        bytes: Vec<u8>,
    },
}

/// The owner's end of a running mesh.
pub struct Mesh {
    /// Things to do; full means that the mesh does not keep up.
    pub commands: Sender<MeshCommand>,
    /// The list of members; only the newest counts, so use `force_send`.
    pub peers: Sender<Vec<Peer>>,
    /// What came.
    pub events: Receiver<MeshEvent>,
    /// What was refused or lost.
    pub counters: Arc<Counters>,
}

/// The mesh's own end: a future to be run, see [`MeshTask::run`].
pub struct MeshTask {
    socket: Async<UdpSocket>,
    local: SocketAddr,
    switch: Switch,
    commands: Receiver<MeshCommand>,
    peers: Receiver<Vec<Peer>>,
    events: Sender<MeshEvent>,
    resolved: (Sender<Resolved>, Receiver<Resolved>),
    counters: Arc<Counters>,
}

type Resolved = (WgPublicKey, Vec<SocketAddr>);

/// One thing that happened.
enum Woke {
    Command(MeshCommand),
    Peers(Vec<Peer>),
    Resolved(Resolved),
    Tick,
    Datagram(io::Result<(usize, SocketAddr)>),
    /// The owner dropped its end.
    Closed,
}

/// A mesh on `socket`, which must be bound. `first_index` should differ from run to run.
///
/// # Errors
/// The socket's.
pub fn new(socket: UdpSocket, secret: StaticSecret, first_index: u32) -> io::Result<(Mesh, MeshTask)> {
    let local = socket.local_addr()?;
    let socket = Async::new(socket)?;
    let counters = Arc::new(Counters::default());
    let (to_commands, commands) = smol::channel::bounded(QUEUE);
    let (to_peers, peers) = smol::channel::bounded(1);
    let (to_events, events) = smol::channel::bounded(QUEUE);
    let mesh = Mesh { commands: to_commands, peers: to_peers, events, counters: Arc::clone(&counters) };
    let task = MeshTask {
        socket,
        local,
        switch: Switch::new(secret, first_index, Arc::clone(&counters)),
        commands,
        peers,
        events: to_events,
        resolved: smol::channel::bounded(QUEUE),
        counters,
    };
    Ok((mesh, task))
}

impl MeshTask {
    /// Runs until the owner drops its [`Mesh`]; what it commanded before still goes out.
    pub async fn run(mut self) {
        let mut buffer = vec![0; 2048]; // larger than any valid datagram, so that oversized ones are recognised
        let mut tick_at = clock::mono();
        loop {
            let woke = self.wait(tick_at, &mut buffer).await;
            let now = clock::mono();
            let mut out = Outcome::default();
            match woke {
                Woke::Command(MeshCommand::Send { to, bytes }) => self.switch.send(now, to, &bytes, &mut out),
                Woke::Command(MeshCommand::Answer { request, datagrams }) => {
                    self.switch.answer(now, request, &datagrams, &mut out);
                }
                Woke::Peers(peers) => self.switch.set_peers(now, peers, &mut out),
                Woke::Resolved((key, addresses)) => self.switch.resolved(now, key, &addresses, &mut out),
                Woke::Tick => {
                    tick_at = now.plus(TICK);
                    self.switch.tick(now, &mut out);
                }
                Woke::Datagram(Ok((length, from))) => {
                    let datagram = buffer.get(..length).unwrap_or_default();
                    self.switch.receive(now, from, datagram, &mut out);
                }
                Woke::Datagram(Err(error)) => {
                    tracing::debug!(%error, "mesh socket: receive failed");
                    clock::sleep(TICK).await;
                }
                Woke::Closed => return,
            }
            self.perform(out);
        }
    }

    /// Exactly one event. The socket comes last: a flood of datagrams must not keep the rest from being heard.
    async fn wait(&self, tick_at: Mono, buffer: &mut [u8]) -> Woke {
        let command = async { self.commands.recv().await.map_or(Woke::Closed, Woke::Command) };
        let peers = async {
            match self.peers.recv().await {
                Ok(peers) => Woke::Peers(peers),
                // What the owner left in `commands` still goes out.
                Err(_) => core::future::pending().await,
            }
        };
        let resolved = async { self.resolved.1.recv().await.map_or(Woke::Closed, Woke::Resolved) };
        let tick = async {
            clock::sleep_until(Some(tick_at)).await;
            Woke::Tick
        };
        let datagram = async { Woke::Datagram(self.socket.recv_from(buffer).await) };
        peers.or(tick).or(command).or(resolved).or(datagram).await
    }

    /// Hands over, never waits.
    fn perform(&self, out: Outcome) {
        for (to, datagram) in out.net {
            if let Err(error) = self.socket.get_ref().send_to(&datagram, to) {
                tracing::trace!(%error, "mesh socket: datagram not sent");
                self.counters.add(Count::NotSent);
            }
        }
        let met = out.met.into_iter().map(|(node, at)| MeshEvent::Met { node, at });
        for event in out.events.into_iter().chain(met) {
            if self.events.try_send(event).is_err() {
                self.counters.add(Count::QueueFull);
            }
        }
        for (key, contact) in out.resolve {
            let (local, answer) = (self.local, self.resolved.0.clone());
            let naming = async move {
                match contact::resolve(contact.clone()).await {
                    Ok(addresses) => {
                        let reachable = |address| contact::reachable_from(local, address);
                        _ = answer.try_send((key, addresses.into_iter().filter_map(reachable).collect()));
                    }
                    Err(error) => tracing::debug!(contact, %error, "contact cannot be resolved"),
                }
            };
            smol::spawn(naming).detach();
        }
    }
}
