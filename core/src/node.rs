//! [`Node`] routes each [`Input`] to its parts and drains them into the outbox; no protocol rules here.

mod attached;
mod config;
mod harvest;
mod local;
mod native;
#[cfg(test)]
mod testing;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::{Access, Cluster, CommandError, InviteStatus, Record, Role};
use crate::health::Health;
use crate::hsdir::ring::Ring;
use crate::id::hex;
use crate::input::{Command, ControlInput, Input, Rejected, TargetHealth};
use crate::onion::address::OnionAddress;
use crate::output::{Outbox, Output, Peer, Stop, TimerName};
use crate::publish::{Publisher, Wish};
use crate::rng::Seed;
use crate::sabotage::{Rule, is_broken};
use crate::status::{AccessStatus, ClockStatus, MemberStatus, OrderStatus, PauseStatus, Status};
use crate::time::{Mono, Now};
use crate::tor::{AuthorizedClients, Look, Native, Presence, Renewal, Tor, TorState, Validity, Watchdog, turn};
use crate::{NodeId, TorId};
pub use config::{Config, ConfigError, Saved, TORS_MAX};

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
    is_attached: bool,
    authorized_clients: AuthorizedClients,
    renewals: Vec<Renewal>,
    watchdogs: Vec<Watchdog>,
    publisher: Publisher,
    target: TargetHealth,
    health: Health,
    out: Outbox,
    /// The last peers wished for, to wish only for changes.
    peers: Arc<Vec<Peer>>,
    shutdown: Shutdown,
    /// How often tors have connected.
    connections: u64,
    /// A tor was found to let in everybody: when its files were last written again for that.
    exposed: Option<Mono>,
    /// Since when this node's tor is to show hidden points.
    harvest_since: Option<Mono>,
    /// What was last said of a tor that somebody else runs.
    attached_said: Option<String>,
    rejected: BTreeMap<&'static str, u64>,
}

/// How far an orderly shutdown is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shutdown {
    No,
    Asked,
    Stopped,
    /// And nobody is to come by its introduction points any more.
    Withdrawn,
}

impl Node {
    /// Starts a node from what its last run saved (empty: a founded or admitted node's first start
    /// needs at least the roster file).
    ///
    /// # Errors
    /// A field out of range. Saved files that do not decode are reported by a warning event and
    /// treated as lost, which the protocol survives.
    pub fn new(config: Config, saved: &Saved, seed: &Seed, now: Now) -> Result<Self, ConfigError> {
        config.check()?;
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
            is_attached: config.is_attached,
            authorized_clients: AuthorizedClients::new(own_client.public()),
            renewals: (0..config.tors).map(|_| Renewal::new(removals)).collect(),
            watchdogs: (0..config.tors).map(|_| Watchdog::default()).collect(),
            publisher: Publisher::new(config.master, usize::from(config.points), config.tors, seed.fork("publish")),
            target: TargetHealth::Down,
            health: Health::default(),
            out,
            peers: Arc::default(),
            shutdown: Shutdown::No,
            connections: 0,
            exposed: None,
            harvest_since: None,
            attached_said: None,
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
        let files = self.authorized_clients.next_timeout().filter(|_| !self.is_attached);
        let files = files.map(|at| (at, TimerName::TorPoll));
        let parts = [self.cluster.next_timeout(), self.publisher.next_timeout(), files];
        let renewals = self.renewals.iter().filter_map(Renewal::next_timeout).map(|at| (at, TimerName::TorPoll));
        let watchdogs = self.watchdogs.iter().filter_map(Watchdog::next_timeout).map(|at| (at, TimerName::TorPoll));
        self.tors.iter().map(Tor::next_timeout).chain(parts).flatten().chain(renewals).chain(watchdogs).min()
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
            Input::Invited { request, path, bytes } => {
                self.cluster.handle_invited(now, request, path, bytes, &mut self.out).map_err(Rejected::Admit)
            }
            Input::Control(id, input) => {
                let index = usize::from(id.0);
                let (Some(tor), Some(watchdog)) = (self.tors.get_mut(index), self.watchdogs.get_mut(index)) else {
                    return Err(Rejected::Unexpected("tor"));
                };
                if let ControlInput::Ended { again_in } = input {
                    watchdog.ended(now.mono, again_in);
                }
                tor.handle(now, input, &mut self.out).map_err(Rejected::Control)
            }
            Input::Done { id, result } => {
                let is_ours = self.authorized_clients.done(now.mono, id, &result, &mut self.out)
                    || self.cluster.handle_done(now, id, &result, &mut self.out);
                if is_ours { Ok(()) } else { Err(Rejected::Unexpected("done")) }
            }
            Input::Target(health) => {
                self.target = health;
                Ok(())
            }
            Input::Host(facts) => {
                self.health.measured(facts);
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
            Command::Withdraw => {
                if self.shutdown != Shutdown::No {
                    self.shutdown = Shutdown::Withdrawn;
                }
                Ok(())
            }
            Command::Order(node, order) => self.cluster.order(now, node.unwrap_or(self.id), *order, &mut self.out),
            Command::Pause(secs) => self.cluster.pause(now, *secs, &mut self.out),
            Command::Reconfigure { weight, priority } => self.cluster.reconfigure(now, *weight, *priority),
            Command::RotateToken => self.cluster.rotate_token(now, &mut self.out),
            Command::ChangeAccess(changes) if self.would_fail_open(changes) => Err(CommandError::Attached),
            Command::ChangeAccess(changes) => self.cluster.change_access(now, changes, &mut self.out),
            Command::Invite(new) => self.cluster.invite(now, new, &mut self.out),
            Command::RevokeInvite(name) => self.cluster.revoke_invite(now, name, &mut self.out),
            Command::Remove(node) => self.cluster.remove(now, *node, &mut self.out),
        }
    }

    /// Recomputes what should be true and does the next step towards it. Idempotent.
    fn advance(&mut self, now: Now) {
        self.advance_tors(now);
        self.health.tick(now, self.cluster.clock_offset(now), self.validity(), &mut self.out);
        let local = self.local(now);
        self.cluster.set_local(now, local, &mut self.out);
        self.cluster.tick(now, &mut self.out);
        self.cluster.answer_invited(now, self.publisher.master(), &mut self.out);
        self.publish(now);
        let is_withdrawn = self.shutdown == Shutdown::Withdrawn;
        let presence = if is_withdrawn { Presence::Out } else { self.cluster.presence(now.mono) };
        self.tors.iter_mut().for_each(|tor| tor.set_presence(now, presence, &mut self.out));
        self.cluster.set_withdrawn(now.mono, presence == Presence::Out && self.is_withdrawn());
        self.harvest(now);
        self.watch_tors(now);
        self.tell_of_attached(now);
        self.cluster.set_publication(now, self.publisher.publication(), &mut self.out);
        self.wish_peers();
        let is_duplicate = self.cluster.is_duplicate();
        if is_duplicate && self.shutdown == Shutdown::No {
            self.shutdown = Shutdown::Asked;
        }
        if self.shutdown == Shutdown::Asked && self.cluster.is_stopped() {
            self.shutdown = Shutdown::Stopped;
            self.publish_attached(now);
            self.out.push(Output::Stopped(if is_duplicate { Stop::DuplicateIdentity } else { Stop::Commanded }));
        }
    }

    fn advance_tors(&mut self, now: Now) {
        let has_company = self.tors.iter().any(Tor::has_company);
        self.publisher.keep_merged(self.is_attached && !has_company);
        self.publisher.keep_native(has_company);
        for tor in &mut self.tors {
            tor.tick(now, &mut self.out);
            while let Some(event) = tor.poll_event() {
                self.publisher.handle(now, event, &mut self.out);
            }
        }
    }

    /// The tor that uploads, of those that know the ring: the first that can, or could soonest.
    fn uploader(&self, alone: bool) -> Option<usize> {
        let known = self.tors.iter().enumerate().filter(|(_, tor)| tor.facts().ring_for(alone).is_some());
        let uploader = known.rev().max_by_key(|(_, tor)| (tor.can_publish(), tor.state() != TorState::Disconnected));
        uploader.map(|(index, _)| index)
    }

    /// The ring of the newest consensus that any tor has, so that it never goes back when another one uploads.
    fn ring(&self, alone: bool) -> Option<Arc<Ring>> {
        let rings = self.tors.iter().rev().filter_map(|tor| tor.facts().ring_for(alone));
        rings.max_by_key(|ring| ring.valid_after()).cloned()
    }

    /// The clock against that consensus: a tor that is cut off says nothing of it.
    fn validity(&self) -> Validity {
        let known = self.tors.iter().map(Tor::facts).filter(|facts| facts.validity != Validity::Unknown);
        known.max_by_key(|facts| facts.valid_after).map(|facts| facts.validity).unwrap_or_default()
    }

    fn publish(&mut self, now: Now) {
        let view = self.cluster.view(now);
        self.keep_files(now, &view);
        if self.tors.iter().any(|tor| tor.facts().miscounts) {
            self.publisher.publish_instead(now.mono);
        }
        let alone = view.role == Role::Alone;
        let (uploader, ring) = (self.uploader(alone).unwrap_or(0), self.ring(alone));
        if let Some(tor) = self.tors.get_mut(uploader) {
            let can_upload = |hsdir| tor.can_upload(hsdir);
            for wish in self.publisher.tick(now, &view, ring.as_ref(), &can_upload, &mut self.out) {
                match wish {
                    Wish::Upload { hsdir, descriptor } => tor.upload(now, hsdir, &descriptor, &mut self.out),
                    Wish::Fetch { hsdir } => tor.fetch(now, hsdir, &mut self.out),
                }
            }
        }
        self.publish_attached(now);
        self.publish_natively(now.mono, &view);
        for ((tor, renewal), id) in self.tors.iter_mut().zip(&mut self.renewals).zip(0u8..) {
            let is_there = tor.state() != TorState::Disconnected && self.shutdown == Shutdown::No;
            // The view of a follower has no members. A node's own tors have their turns one after the other, too.
            let turn = || turn(self.id, &self.cluster.members()) + u32::from(id);
            if renewal.tick(now.mono, view.removals, turn, tor.processes(), is_there) {
                tor.renew(&format!("tor {id}: a removed client may know its introduction points"), &mut self.out);
            }
        }
        let is_off = is_broken(Rule::NativeOffFirst)
            || !self.publisher.may_be_native()
            || self.tors.iter().all(|tor| tor.native() == Native::Off);
        if self.cluster.admission_waiting() && is_off {
            self.cluster.native_is_off(now, &mut self.out);
        }
    }

    /// Starts a tor anew that is of no use.
    fn watch_tors(&mut self, now: Now) {
        let may_restart = self.shutdown == Shutdown::No && self.cluster.paused(now.mono).is_none();
        for ((tor, watchdog), id) in self.tors.iter_mut().zip(&mut self.watchdogs).zip(0..) {
            let look = Look { state: tor.state(), processes: tor.processes(), is_wanted: tor.is_wanted(), may_restart };
            if let Some(ailment) = watchdog.tick(now.mono, look) {
                tor.renew(&format!("tor {id} {ailment}"), &mut self.out);
            }
        }
    }

    fn wish_peers(&mut self) {
        let peers = self.cluster.peers();
        if !Arc::ptr_eq(&peers, &self.peers) && peers != self.peers {
            self.out.push(Output::Peers(peers.to_vec()));
            self.peers = peers;
        }
    }

    /// Whether no client can come by the introduction points of its tors now.
    pub fn is_withdrawn(&self) -> bool {
        self.tors.iter().all(Tor::is_withdrawn)
    }

    /// What this node says of itself.
    pub fn record(&self) -> &Record {
        self.cluster.record()
    }

    /// Who may connect to the address.
    pub fn access(&self) -> &Access {
        self.cluster.access()
    }

    /// The invites that are remembered.
    pub fn invites(&self, now: Now) -> Vec<InviteStatus> {
        self.cluster.invites(now)
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
            tors: self.tors_in_words(now),
            target: match self.target {
                TargetHealth::Up => "up",
                TargetHealth::Down => "down",
            }
            .to_owned(),
            sessions: 0,
            clock: ClockStatus {
                ahead_ms: (view.clock_offset.others > 0).then(|| view.clock_offset.widest_ms().saturating_neg()),
                others: view.clock_offset.others,
            },
            host: self.health.host(),
            warnings: [self.health.warnings(), self.publisher.warnings(now.mono), self.exposure()].concat(),
            access: AccessStatus::from(&*view.access),
            presence: match self.cluster.presence(now.mono) {
                Presence::In => "in",
                Presence::GoingOut => "going out",
                Presence::Out => "out",
            }
            .to_owned(),
            ordered: self.cluster.ordered().lines(),
            stood_down_ms: self.cluster.stood_down_until().map(|until| until.as_ms().saturating_sub(now.mono.as_ms())),
            paused: self.cluster.paused(now.mono).map(|(until, by)| PauseStatus {
                by: hex(&by.0),
                left_ms: until.as_ms().saturating_sub(now.mono.as_ms()),
            }),
            orders: self.cluster.given_orders().map(|(node, given)| OrderStatus::new(*node, given)).collect(),
            unheard: self.cluster.unheard().map(|node| hex(&node.0)).collect(),
            unsaved: self.cluster.unsaved().map(|kind| format!("state/{}", kind.file_name())).collect(),
            members: self
                .cluster
                .members()
                .iter()
                .map(|member| MemberStatus::new(now, member, self.cluster.heard(now, member.node), &publication))
                .collect(),
            publication,
            rejected: self.rejected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        }
    }
}
