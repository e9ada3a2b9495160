//! Wishes of the core.

use std::collections::VecDeque;

use crate::cluster::{Access, ClusterToken, Liveness, Role};
use crate::id::{EffectId, NodeId, TorId, WgPublicKey};
use crate::invite::{InviteName, InvitePath};

/// A request to be admitted, named by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// May be lost; nobody answers.
    SendPeer {
        /// To whom.
        to: NodeId,
        /// At most [`DATAGRAM_MAX`].
        bytes: Vec<u8>,
    },
    /// The answer in a provisional tunnel: datagrams of at most [`DATAGRAM_MAX`], in order.
    AdmitReply {
        /// Which request.
        request: RequestId,
        /// The datagrams.
        datagrams: Vec<Vec<u8>>,
    },
    /// The answer to an invited node, whole, to be sent as it is; none if the request is nothing of ours, and so for the
    /// service.
    InviteReply {
        /// Which request.
        request: RequestId,
        /// The answer.
        answer: Option<Vec<u8>>,
    },
    /// All paths of the service at which invited nodes are answered, replacing the previous list.
    InvitePaths(Vec<InvitePath>),
    /// To that tor, in order.
    Control(TorId, Vec<u8>),
    /// That tor's control connection is of no use any more: close and reopen it.
    Reconnect(TorId),
    /// That tor is to start anew, and get other introduction points: a new process, in place of the one that runs.
    RestartTor(TorId),
    /// On disk (synced) before its [`Input::Done`](crate::Input).
    Persist {
        /// Names the wish.
        id: EffectId,
        /// What to write, replacing the previous of its kind.
        record: Durable,
    },
    /// All mesh peers there should be, replacing the previous list.
    Peers(Vec<Peer>),
    /// The cluster token in force, for operators to copy to new nodes. What the core needs of it is in the roster file;
    /// nothing answers, and a node that starts with an older one says it again.
    Token(ClusterToken),
    /// For logs and metrics.
    Event(Event),
    /// The node is done; the shell may exit.
    Stopped(Stop),
}

/// Why the node stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// As commanded.
    Commanded,
    /// Another process runs with our keys.
    DuplicateIdentity,
}

/// Largest datagram between nodes, bytes: IPv6 and UDP headers (48) inside a 1280-byte tunnel.
pub const DATAGRAM_MAX: usize = 1280 - 48;

/// A mesh peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name in the core.
    pub node: NodeId,
    /// Its WireGuard key.
    pub wg: WgPublicKey,
    /// Where it says it can be reached, in the shell's own words ([`Config::contact`](crate::Config)); unverified.
    pub contact: Option<String>,
}

/// One file of the node's state, encoded by the part that owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Which file.
    pub kind: DurableKind,
    /// Its whole content.
    pub bytes: Vec<u8>,
}

/// The files that must survive a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DurableKind {
    /// Incarnation and newest epoch seen or claimed.
    Lease,
    /// Admissions, tombstones and the newest token rotation.
    Roster,
    /// The last proven plan.
    Plan,
    /// What the operator ordered of this node: out of service, weight, priority.
    Orders,
    /// Invites, and who has joined with them.
    Invites,
    /// Since when the cluster token has been in force here.
    TokenAge,
    /// The files in tor's `authorized_clients`, a line each: name, space, content. The others there are to go, last of all,
    /// so that tor never finds none where there should be some.
    AuthorizedClients,
}

impl DurableKind {
    /// Those that are read again at the next start.
    pub const SAVED: [Self; 6] = [Self::Lease, Self::Roster, Self::Plan, Self::Orders, Self::Invites, Self::TokenAge];
    /// The file's name.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Roster => "roster",
            Self::Plan => "plan",
            Self::Orders => "orders",
            Self::Invites => "invites",
            Self::TokenAge => "token_age",
            Self::AuthorizedClients => "authorized_clients",
        }
    }
}

/// What a log or a metric may want to know. `Display` writes one line for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// This node's role changed.
    Role(Role),
    /// A member's liveness changed.
    Member(NodeId, Liveness),
    /// A node was admitted to the roster (by us or another member).
    Admitted(NodeId),
    /// We admitted a node that showed this invite.
    InviteUsed(InviteName, NodeId),
    /// A node left the roster.
    Left(NodeId),
    /// A node was removed from the roster by another, or was there only by the word of one that was.
    Removed(NodeId),
    /// There is a cluster token of this generation.
    TokenRotated(u32),
    /// From now on these may connect to the address.
    Access(Access),
    /// The cluster is paused from now on, or no more.
    Paused(bool),
    /// A tor's readiness changed.
    Tor(TorId, crate::tor::TorState),
    /// Publication news.
    Publication(crate::publish::PublicationEvent),
    /// Something an operator must act on, in plain words.
    Warning(String),
    /// Something of which there was a warning is well again, in plain words.
    Well(String),
}

impl core::fmt::Display for Event {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Role(Role::Alone) => f.write_str("the only member of the cluster"),
            Self::Role(Role::Follower) => f.write_str("not publishing"),
            Self::Role(Role::Holder { epoch }) => write!(f, "publishing, epoch {epoch}"),
            Self::Member(node, Liveness::Live) => write!(f, "member {node} is live"),
            Self::Member(node, Liveness::Unknown) => write!(f, "member {node} is silent"),
            Self::Member(node, Liveness::Down) => write!(f, "member {node} is down"),
            Self::Admitted(node) => write!(f, "member {node} was admitted"),
            Self::InviteUsed(name, node) => write!(f, "{node} has joined with the invite {name}"),
            Self::Left(node) => write!(f, "member {node} left"),
            Self::Removed(node) => write!(f, "member {node} was removed"),
            Self::TokenRotated(generation) => write!(f, "new cluster token, generation {generation}"),
            Self::Access(Access::Open) => f.write_str("everybody may connect to the address"),
            Self::Access(Access::Restricted(clients)) => {
                write!(f, "{} authorised clients may connect to the address, and nobody else", clients.len())
            }
            Self::Paused(true) => f.write_str("the cluster is paused: nobody is taken out for being down or unwell"),
            Self::Paused(false) => f.write_str("the cluster is paused no more"),
            Self::Tor(tor, state) => write!(f, "tor {}: {state}", tor.0),
            Self::Publication(event) => event.fmt(f),
            Self::Warning(text) | Self::Well(text) => f.write_str(text),
        }
    }
}

/// Why the node wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerName {
    /// Heartbeats and beacons.
    Beat,
    /// Lease: expiry, claim, preemption, hand-over.
    Lease,
    /// Liveness probes.
    Probe,
    /// Record pushes, digests, chunks.
    Gossip,
    /// Polling a tor.
    TorPoll,
    /// Uploads, retries, debounce, re-publication.
    Publish,
    /// Orderly shutdown.
    Shutdown,
}

/// Where parts put their wishes. Drained after every input, and so bounded by what one input can cause: datagrams to each
/// member and of each push under way, chunks of an item, commands to each tor, a file of each kind, events.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: VecDeque<Output>,
    next_effect: u64,
}

impl Outbox {
    /// Appends a wish.
    pub fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    /// Wishes for `record` to be durable; the id comes back in `Input::Done`.
    pub fn persist(&mut self, kind: DurableKind, bytes: Vec<u8>) -> EffectId {
        let id = EffectId(self.next_effect);
        self.next_effect += 1;
        self.push(Output::Persist { id, record: Durable { kind, bytes } });
        id
    }

    /// Reports an event.
    pub fn event(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    /// The next wish.
    pub fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }
}
