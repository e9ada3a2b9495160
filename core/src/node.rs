//! [`Node`] routes each [`Input`] to its parts and drains them into the outbox; no protocol rules here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::{Access, Cluster, ClusterConfig, CommandError, Local, Role};
use crate::hsdesc::NUM_INTRO_POINT_MAX;
use crate::id::hex;
use crate::input::{Command, Input, Rejected, TargetHealth};
use crate::onion::address::OnionAddress;
use crate::onion::key::HsIdKeypair;
use crate::output::{DurableKind, Outbox, Output, Peer, Stop, TimerName};
use crate::publish::{Publisher, Wish};
use crate::rng::Seed;
use crate::status::{AccessStatus, MemberStatus, Status};
use crate::time::{Mono, Now};
use crate::tor::{AuthorizedClients, Files, Native, Renewal, Tor, TorState, turn};
use crate::{NodeId, TorId};

/// Tors per node.
const TORS_MAX: u8 = 8;

/// Everything a node is told once.
pub struct Config {
    /// The master key.
    pub master: HsIdKeypair,
    /// Coordination.
    pub cluster: ClusterConfig,
    /// How many tors, 1..=8.
    pub tors: u8,
}

/// Why a configuration was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// Names the field and its bounds.
    OutOfRange {
        /// Field.
        field: &'static str,
        /// Allowed.
        allowed: &'static str,
    },
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::OutOfRange { field, allowed } => write!(f, "{field} is out of range; allowed is {allowed}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// What the last run left on disk.
pub type Saved = BTreeMap<DurableKind, Vec<u8>>;

/// The whole node, without its world.
///
/// Call order: [`Node::handle`] with one fact, [`Node::poll_output`] until `None`, [`Node::next_timeout`];
/// at that instant, or earlier, [`Input::Tick`]. A tick early, late or twice is harmless.
pub struct Node {
    id: NodeId,
    name: String,
    address: OnionAddress,
    cluster: Cluster,
    tors: Vec<Tor>,
    authorized_clients: AuthorizedClients,
    renewals: Vec<Renewal>,
    publisher: Publisher,
    target: TargetHealth,
    out: Outbox,
    /// The last peers wished for, to wish only for changes.
    peers: Arc<Vec<Peer>>,
    shutdown: Shutdown,
    rejected: BTreeMap<&'static str, u64>,
}

/// How far an orderly shutdown is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shutdown {
    No,
    Asked,
    Stopped,
}

impl Node {
    /// Starts a node from what its last run saved (empty: a founded or admitted node's first start
    /// needs at least the roster file).
    ///
    /// # Errors
    /// A field out of range. Saved files that do not decode are reported by a warning event and
    /// treated as lost, which the protocol survives.
    pub fn new(config: Config, saved: &Saved, seed: &Seed, now: Now) -> Result<Self, ConfigError> {
        if !(1..=TORS_MAX).contains(&config.tors) {
            return Err(ConfigError::OutOfRange { field: "tor.instances", allowed: "1 to 8" });
        }
        if !(1..=1000).contains(&config.cluster.weight) {
            return Err(ConfigError::OutOfRange { field: "weight", allowed: "1 to 1000" });
        }
        let service = config.master.public();
        let mut out = Outbox::default();
        let id = config.cluster.keypair.id();
        let name = config.cluster.name.clone();
        let own_client = Arc::new(config.master.own_client());
        let cluster = Cluster::new(config.cluster, saved, seed.fork("cluster"), now, &mut out);
        let removals = cluster.view(now).removals;
        let mut node = Self {
            id,
            name,
            address: OnionAddress::new(service),
            cluster,
            tors: (0..config.tors).map(|tor| Tor::new(TorId(tor), service, Arc::clone(&own_client))).collect(),
            authorized_clients: AuthorizedClients::new(own_client.public()),
            renewals: (0..config.tors).map(|_| Renewal::new(removals)).collect(),
            publisher: Publisher::new(config.master, seed.fork("publish")),
            target: TargetHealth::Down,
            out,
            peers: Arc::default(),
            shutdown: Shutdown::No,
            rejected: BTreeMap::new(),
        };
        node.advance(now);
        Ok(node)
    }

    /// Takes one fact in, then does whatever is due.
    ///
    /// # Errors
    /// The input had no effect, save that time passed; counted under [`Rejected::name`].
    pub fn handle(&mut self, now: Now, input: Input<'_>) -> Result<(), Rejected> {
        let result = self.route(now, input);
        if let Err(rejected) = &result {
            *self.rejected.entry(rejected.name()).or_default() += 1;
        }
        self.advance(now);
        result
    }

    /// The next wish; drain until `None` before the next [`Node::handle`].
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop()
    }

    /// When to call with [`Input::Tick`] at the latest, and why.
    pub fn next_timeout(&self) -> Option<(Mono, TimerName)> {
        let files = self.authorized_clients.next_timeout().map(|at| (at, TimerName::TorPoll));
        let parts = [self.cluster.next_timeout(), self.publisher.next_timeout(), files];
        let renewals = self.renewals.iter().filter_map(Renewal::next_timeout).map(|at| (at, TimerName::TorPoll));
        self.tors.iter().map(Tor::next_timeout).chain(parts).flatten().chain(renewals).min()
    }

    fn route(&mut self, now: Now, input: Input<'_>) -> Result<(), Rejected> {
        match input {
            Input::Tick => Ok(()),
            Input::Peer { from, bytes } => {
                self.cluster.handle_peer(now, from, bytes, &mut self.out).map_err(Rejected::Peer)
            }
            Input::Stranger { bytes } => {
                self.cluster.handle_stranger(now, bytes, &mut self.out).map_err(Rejected::Peer)
            }
            Input::Admit { request, wg, bytes } => {
                self.cluster.handle_admit(now, request, wg, bytes, &mut self.out).map_err(Rejected::Admit)
            }
            Input::Control(id, input) => match self.tors.get_mut(usize::from(id.0)) {
                Some(tor) => tor.handle(now, input, &mut self.out).map_err(Rejected::Control),
                None => Err(Rejected::Unexpected("tor")),
            },
            Input::Done { id, result } => {
                let is_ours = self.authorized_clients.done(now.mono, id, &result, &mut self.out)
                    || self.cluster.handle_done(now, id, &result, &mut self.out);
                if is_ours { Ok(()) } else { Err(Rejected::Unexpected("done")) }
            }
            Input::Target(health) => {
                self.target = health;
                Ok(())
            }
            Input::Command(command) => self.command(now, &command).map_err(Rejected::Command),
        }
    }

    fn command(&mut self, now: Now, command: &Command) -> Result<(), CommandError> {
        match command {
            Command::Leave if self.cluster.view(now).role == Role::Alone => Err(CommandError::OnlyMember),
            Command::Shutdown | Command::Leave => {
                self.shutdown = Shutdown::Asked;
                self.cluster.shut_down(now, *command == Command::Leave, &mut self.out);
                Ok(())
            }
            Command::Drain => self.cluster.drain(now, &mut self.out),
            Command::Undrain => self.cluster.undrain(now, &mut self.out),
            Command::RotateToken => self.cluster.rotate_token(now, &mut self.out),
            Command::ChangeAccess(changes) => self.cluster.change_access(now, changes, &mut self.out),
            Command::Remove(node) => self.cluster.remove(now, *node, &mut self.out),
        }
    }

    /// Recomputes what should be true and does the next step towards it. Idempotent.
    fn advance(&mut self, now: Now) {
        self.advance_tors(now);
        let local = self.local(now);
        self.cluster.set_local(now, local, &mut self.out);
        self.cluster.tick(now, &mut self.out);
        self.publish(now);
        self.cluster.set_publication(now, self.publisher.publication(), &mut self.out);
        self.wish_peers();
        let is_duplicate = self.cluster.is_duplicate();
        if is_duplicate && self.shutdown == Shutdown::No {
            self.shutdown = Shutdown::Asked;
        }
        if self.shutdown == Shutdown::Asked && self.cluster.is_stopped(now) {
            self.shutdown = Shutdown::Stopped;
            self.out.push(Output::Stopped(if is_duplicate { Stop::DuplicateIdentity } else { Stop::Commanded }));
        }
    }

    fn advance_tors(&mut self, now: Now) {
        for tor in &mut self.tors {
            tor.tick(now, &mut self.out);
            while let Some(event) = tor.poll_event() {
                self.publisher.handle(now, event, &mut self.out);
            }
        }
    }

    /// The tor that uploads: the first that knows the ring.
    fn uploader(&self) -> Option<usize> {
        self.tors.iter().position(|tor| tor.facts().ring.is_some())
    }

    fn publish(&mut self, now: Now) {
        let view = self.cluster.view(now);
        let uploader = self.uploader().unwrap_or(0);
        if let Some(tor) = self.tors.get_mut(uploader) {
            let ring = tor.facts().ring.clone();
            let can_upload = |hsdir| tor.can_upload(hsdir);
            for wish in self.publisher.tick(now, &view, ring.as_ref(), &can_upload, &mut self.out) {
                match wish {
                    Wish::Upload { hsdir, descriptor } => tor.upload(now, hsdir, &descriptor, &mut self.out),
                    Wish::Fetch { hsdir } => tor.fetch(now, hsdir, &mut self.out),
                }
            }
        }
        self.authorized_clients.tick(now.mono, &view.access, &mut self.out);
        let files = self.authorized_clients.files();
        let native = self.publisher.wants_native(&view) && !self.cluster.admission_waiting();
        for tor in &mut self.tors {
            // Who may connect changes while tor publishes: it goes on until it has read the new files. Off and on again, it
            // might upload nothing for hours.
            let native = native
                && match files {
                    Files::Written(_) => true,
                    Files::Writing => tor.wants_native(),
                    Files::Failed => false,
                };
            if let Files::Written(serial) = files {
                tor.files_written(serial, &mut self.out);
            }
            tor.want_native(native, &mut self.out);
        }
        for ((tor, renewal), id) in self.tors.iter().zip(&mut self.renewals).zip(0..) {
            let is_there = tor.state() != TorState::Disconnected && self.shutdown == Shutdown::No;
            // The view of a follower has no members.
            let turn = || turn(self.id, &self.cluster.members());
            if renewal.tick(now.mono, view.removals, turn, tor.processes(), is_there) {
                self.out.push(Output::RestartTor(TorId(id)));
            }
        }
        if self.cluster.admission_waiting() && self.tors.iter().all(|tor| tor.native() == Native::Off) {
            self.cluster.native_is_off(now, &mut self.out);
        }
    }

    fn wish_peers(&mut self) {
        let peers = self.cluster.peers();
        if !Arc::ptr_eq(&peers, &self.peers) && peers != self.peers {
            self.out.push(Output::Peers(peers.to_vec()));
            self.peers = peers;
        }
    }

    /// What this node can say of itself.
    fn local(&self, now: Now) -> Local {
        let serving = |tor: &&Tor| tor.is_serving();
        let points = self.tors.iter().filter(serving).flat_map(|tor| &tor.facts().points);
        let ready = self.tors.iter().any(|tor| tor.state() == TorState::Ready);
        Local {
            points: points.take(NUM_INTRO_POINT_MAX).cloned().collect(),
            header: self.tors.iter().find(serving).map(|tor| tor.facts().header.clone()).unwrap_or_default(),
            tor_ready: self.tors.iter().any(Tor::is_serving),
            target_up: self.target == TargetHealth::Up,
            eligible: ready
                && self.uploader().is_some()
                && self.shutdown == Shutdown::No
                && Publisher::clock_sane(self.cluster.clock_offset(now)),
        }
    }

    /// Who may connect to the address.
    pub fn access(&self) -> &Access {
        self.cluster.access()
    }

    /// For operators.
    pub fn status(&self, now: Now) -> Status {
        let view = self.cluster.view(now);
        let publication = self.publisher.status(now);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: self.address.to_string(),
            node: hex(&self.id.0),
            name: self.name.clone(),
            role: match view.role {
                Role::Alone => "alone",
                Role::Follower => "follower",
                Role::Holder { .. } => "holder",
            }
            .to_owned(),
            epoch: view.holder.map_or(0, |(_, epoch)| epoch),
            holder: view.holder.map(|(node, _)| hex(&node.0)),
            mode: if self.publisher.wants_native(&view) { "native" } else { "merged" }.to_owned(),
            tors: self.tors.iter().map(|tor| tor.state().to_string()).collect(),
            target: match self.target {
                TargetHealth::Up => "up",
                TargetHealth::Down => "down",
            }
            .to_owned(),
            access: AccessStatus { restricted: view.access.is_restricted(), clients: view.access.clients().count() },
            members: self.cluster.members().iter().map(|member| MemberStatus::new(now, member, &publication)).collect(),
            publication,
            rejected: self.rejected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        }
    }
}
