//! One machine: its daemon, tor, disk and clocks; and how it starts, stands still and dies.

use std::collections::BTreeMap;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rustbalance_core::cluster::{ClusterConfig, ClusterToken, NodeKeypair, Role};
use rustbalance_core::hsdesc::IntroPoint;
use rustbalance_core::join::Joiner;
use rustbalance_core::rng::Seed;
use rustbalance_core::{ClusterId, Config, DurableKind, HostFacts, Input, Node, NodeId, TargetHealth, WgPublicKey};

use super::clock::Clock;
use super::mesh::Mesh;
use super::options::Options;
use super::queue::{Happening, Told};
use super::tor::TorModel;
use super::world::{POINTS, World};

/// The first token of every cluster.
pub(super) const TOKEN: [u8; 32] = [7; 32];
/// Whoever stands still for longer has missed a beat by more than half a second, and must notice, milliseconds.
const STALL_MS: u64 = 1_000;
/// Points that are gone are remembered, so many per machine.
const PAST_POINTS_MAX: usize = 64;

/// What is free on a disk that takes writes, bytes.
const DISK_BYTES: u64 = 1 << 30;

/// What a machine has sent since the world began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Datagrams of the daemon.
    pub datagrams: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Handshake messages of its tunnels.
    pub handshakes: u64,
}

/// What a daemon keeps.
pub(super) type Disk = BTreeMap<DurableKind, Vec<u8>>;

/// One machine.
pub struct SimNode {
    /// Its name in the mesh.
    pub id: NodeId,
    /// Whose keys it has: its own number, or that of the machine it is a clone of.
    pub who: u32,
    /// The daemon, if it runs.
    pub core: Option<Node>,
    /// Its tors.
    pub tors: Vec<TorModel>,
    /// Its role as last reported.
    pub role: Role,
    /// Its clocks.
    pub clock: Clock,
    /// How far ahead of true time its wall clock was before it was set, since all was last well, milliseconds.
    pub was_ahead_ms: i64,
    /// Since when it runs, stands still or is dead, milliseconds of true time.
    pub since: u64,
    /// When its daemon last started, milliseconds of true time.
    pub started_at: u64,
    /// Datagrams sent in the current second of true time, and that second.
    pub sent: (u64, u64),
    /// When it last flooded the others, milliseconds of true time.
    pub flooded_at: Option<u64>,
    /// All it has sent.
    pub traffic: Traffic,
    /// When its daemon last came out of a freeze that its clocks have seen, milliseconds of true time.
    pub woke_at: u64,
    /// The newest epoch it held with its disk, for the checker.
    pub epoch_seen: u64,
    /// Admitted, and has not left.
    pub is_member: bool,
    /// Its tors are somebody else's, who has them publish by themselves; from its next start on.
    pub is_attached: bool,
    /// Taken out of service by its operator, as its disk says.
    pub is_draining: bool,
    /// Started from an image of its disk from when it was alone.
    pub is_back_alone: bool,
    /// Its removal was ordered.
    pub is_to_go: bool,
    /// Removed from the cluster by another member.
    pub is_removed: bool,
    /// Who has heard of that.
    pub removal_heard: Vec<usize>,
    /// Its daemon says what other versions do not know.
    pub is_newer: bool,
    /// Its share of the clients, from its next start on.
    pub weight: u16,
    /// Its priority as publisher, from its next start on; lower is preferred.
    pub priority: u8,
    /// The one in force, which an order may have changed.
    pub priority_now: u8,
    /// When its daemon last asked others for a newer beacon.
    pub asked_at: Option<u64>,
    /// What it wants to be on disk of its lease is not there.
    pub lease_unwritten: bool,
    /// The operator's application.
    pub target: TargetHealth,
    /// Keys of points it had, and when it lost them: nobody may list them for long.
    pub past_points: Vec<([u8; 32], u64)>,
    pub(super) disk: Disk,
    /// An image of it, and of the file with the cluster token.
    pub(super) image: Option<(Disk, [u8; 32])>,
    pub(super) mesh: Mesh,
    pub(super) life: u32,
    /// Inputs to the daemon wait until then.
    pub(super) still_until: u64,
    /// Its tors do nothing until then.
    pub(super) tor_still_until: u64,
    /// Packets that wait for the end of `still_until`.
    pub(super) backlog: (u64, usize),
    /// Frozen as a fault, and not only starved.
    pub(super) is_frozen: bool,
    pub(super) is_tor_frozen: bool,
    pub(super) is_leaving: bool,
    /// It has left, whoever heard of that: it does not start again.
    pub(super) is_gone: bool,
    /// Writes fail.
    pub(super) disk_fails: bool,
    /// Slowest write, milliseconds, if more than [`Options::disk_ms_max`].
    pub(super) disk_ms: u64,
    /// What its shell keeps of the cluster token.
    pub token: [u8; 32],
    pub(super) joiner: Option<Joiner>,
    /// Whom it asks.
    pub(super) via: u32,
    pub(super) founded: Option<(ClusterId, NodeId)>,
    pub(super) timer: Option<u64>,
    pub(super) key_seed: [u8; 32],
}

impl SimNode {
    pub(super) fn new(index: u32, master: &[u8], options: &Options, rng: &mut ChaCha20Rng) -> Self {
        let mut key_seed = [0; 32];
        rng.fill_bytes(&mut key_seed);
        let skew = options.skew_ms_max;
        let skew_ms = (rng.next_u64() % (2 * skew + 1)) as i64 - skew as i64;
        Self {
            id: NodeKeypair::from_seed(&key_seed).id(),
            who: index,
            core: None,
            tors: vec![TorModel::new(master, 0, ChaCha20Rng::from_seed(key_seed))],
            role: Role::Follower,
            clock: Clock::new(rng.next_u64() % 10_000_000, skew_ms),
            was_ahead_ms: 0,
            since: 0,
            started_at: 0,
            sent: (0, 0),
            flooded_at: None,
            traffic: Traffic::default(),
            woke_at: 0,
            epoch_seen: 0,
            is_member: false,
            is_attached: false,
            is_draining: false,
            is_back_alone: false,
            is_removed: false,
            is_to_go: false,
            removal_heard: Vec::new(),
            is_newer: false,
            weight: 100,
            priority: 100,
            priority_now: 100,
            asked_at: None,
            lease_unwritten: false,
            target: TargetHealth::Up,
            past_points: Vec::new(),
            disk: BTreeMap::new(),
            image: None,
            mesh: Mesh::at(index),
            life: 0,
            still_until: 0,
            tor_still_until: 0,
            backlog: (0, 0),
            is_frozen: false,
            is_tor_frozen: false,
            is_leaving: false,
            is_gone: false,
            disk_fails: false,
            disk_ms: 0,
            token: TOKEN,
            joiner: None,
            via: 0,
            founded: None,
            timer: None,
            key_seed,
        }
    }

    /// The introduction points of all its tors.
    pub fn points(&self) -> impl Iterator<Item = &IntroPoint> + Clone {
        self.tors.iter().flat_map(|tor| &tor.points)
    }

    /// Whether it has such a point.
    pub fn has_point(&self, key: [u8; 32]) -> bool {
        self.points().any(|point| point.auth_key == key)
    }

    /// Whether it has none.
    pub fn is_pointless(&self) -> bool {
        self.points().next().is_none()
    }

    /// Whether each of its tors has all it is to have.
    pub fn is_full(&self) -> bool {
        self.tors.iter().all(|tor| tor.points.len() >= POINTS)
    }

    /// Whether a tor of it publishes by itself.
    pub fn is_native(&self) -> bool {
        self.tors.iter().any(|tor| tor.publishes)
    }

    /// In which its tors read who may connect; an attached tor has others.
    pub(super) fn files(&self) -> &[u8] {
        self.disk.get(&DurableKind::AuthorizedClients).map_or(&[], Vec::as_slice)
    }

    /// Whether its daemon runs, and is not frozen.
    pub fn is_live(&self) -> bool {
        self.core.is_some() && !self.is_frozen
    }

    /// Whether a client that comes to its points is served: daemon, tor and application are well.
    pub fn serves(&self) -> bool {
        self.is_live() && !self.is_tor_frozen && self.is_member && self.target == TargetHealth::Up
    }

    /// Whether new clients are to be sent to it.
    pub fn is_offered(&self) -> bool {
        self.serves() && !self.is_draining
    }

    /// Whether others may join by it.
    pub(super) fn lets_in(&self) -> bool {
        self.is_member && !self.is_to_go
    }

    /// What its daemon measures of the machine.
    pub(super) fn host_facts(&self) -> HostFacts {
        let disk_free = if self.disk_fails { 0 } else { DISK_BYTES };
        HostFacts { disk_free: Some(disk_free), ..HostFacts::default() }
    }

    /// Its wall clock is about to be set.
    pub(super) fn remember_clock(&mut self, now: u64) {
        self.was_ahead_ms = self.was_ahead_ms.max(self.clock.skew_ms(now));
    }

    pub(super) fn keypair(&self) -> NodeKeypair {
        NodeKeypair::from_seed(&self.key_seed)
    }

    pub(super) fn wg(&self) -> WgPublicKey {
        WgPublicKey(self.id.0)
    }

    /// Points that are gone.
    pub(super) fn lost(&mut self, points: impl IntoIterator<Item = [u8; 32]>, now: u64) {
        self.past_points.extend(points.into_iter().map(|point| (point, now)));
        let surplus = self.past_points.len().saturating_sub(PAST_POINTS_MAX);
        self.past_points.drain(..surplus);
    }

    fn config(&self, cluster: ClusterId, genesis: NodeId, options: &Options) -> ClusterConfig {
        let name = format!("node{}", self.who);
        ClusterConfig {
            keypair: self.keypair(),
            wg: self.wg(),
            cluster,
            genesis,
            token: ClusterToken::new(self.token),
            priority: self.priority,
            weight: self.weight,
            contact: Some(name.clone()),
            token_age_max: options.token_age_max,
            name,
        }
    }
}

impl World {
    /// Starts the daemon and its tor from what the disk holds.
    pub fn start(&mut self, index: usize) {
        self.fault(&format!("{index} starts"));
        self.changed.machines = true;
        let mut seed = [0; 32];
        self.fill(&mut seed);
        let (master, now, wall, points) = (self.master(), self.now, self.wall(), self.options.places);
        let tors_count = u8::try_from(self.options.tors).expect("a machine has a few");
        let node = &mut self.nodes[index];
        node.life += 1;
        // What was on its way died with the last life.
        node.tors.iter_mut().for_each(|tor| tor.control.unread = 0);
        let missing = self.options.tors.saturating_sub(node.tors.len());
        node.tors
            .extend((0..missing).map(|_| TorModel::new(&self.master_file, 0, ChaCha20Rng::from_seed(node.key_seed))));
        (node.since, node.started_at) = (now, now);
        node.timer = None;
        node.role = Role::Follower;
        node.is_leaving = false;
        node.lease_unwritten = false;
        (node.still_until, node.tor_still_until) = (now, now);
        (node.is_frozen, node.is_tor_frozen) = (false, false);
        let (cluster, genesis) = node.founded.expect("founded or admitted before it starts");
        let cluster = node.config(cluster, genesis, &self.options);
        let config = Config { master, cluster, tors: tors_count, is_attached: node.is_attached, points };
        let clock = node.clock.read(now, wall);
        let core = Node::new(config, &node.disk, &Seed::new(seed), clock).expect("the configuration is good");
        if core.status(clock).role == "alone" {
            node.role = Role::Alone;
        }
        // A restart before it has written down of whom it heard is from the same image.
        node.is_back_alone &= node.role == Role::Alone;
        node.core = Some(core);
        self.drain(index);
        self.tell(index, Told::Target);
        self.tell(index, Told::Host);
        (0..self.options.tors).for_each(|tor| self.start_tor(index, tor, 0));
        if self.options.starved_ms.is_some() {
            self.push(index, 1, Happening::Starve);
        }
    }

    /// The machine dies at once: daemon and tor, writes not yet on disk lost.
    pub fn kill(&mut self, index: usize) {
        self.fault(&format!("{index} killed"));
        self.changed.machines = true;
        (0..self.nodes[index].tors.len()).for_each(|tor| self.lose_points(index, tor));
        let node = &mut self.nodes[index];
        node.life += 1;
        node.core = None;
        node.is_frozen = false;
        node.role = Role::Follower;
        node.since = self.now;
        node.tors.iter_mut().for_each(|tor| tor.publishes = false);
        node.mesh.forget();
    }

    /// The daemon's wall clock and boot time, and true time at which its newest timer rings.
    pub(super) fn set_timer(&mut self, index: usize) {
        let node = &self.nodes[index];
        let Some((at, _why)) = node.core.as_ref().and_then(Node::next_timeout) else { return };
        let at = node.clock.when(at).max(self.now + 1);
        if node.timer.is_none_or(|timer| at < timer) {
            let at = if self.options.late_ms_max > 0 { at + self.draw(self.options.late_ms_max + 1) } else { at };
            self.nodes[index].timer = Some(at);
            self.push(index, at - self.now, Happening::Tick);
        }
    }

    /// Only the newest timer counts; older ones were overtaken.
    pub(super) fn tick(&mut self, index: usize) {
        if self.nodes[index].timer.is_some_and(|at| at <= self.now) {
            self.nodes[index].timer = None;
            self.step_input(index, Input::Tick);
        }
    }

    /// The machine stands still for `ms`: what comes meanwhile waits, and is then there at once.
    pub(super) fn stand_still(&mut self, index: usize, ms: u64) {
        let (node, until) = (&mut self.nodes[index], self.now + ms);
        node.still_until = node.still_until.max(until);
        node.tor_still_until = node.tor_still_until.max(until);
    }

    /// Wakes the machine when it has stood still, for the trace and the checkers.
    pub(super) fn thaw_after(&mut self, index: usize, ms: u64) {
        self.nodes[index].is_frozen = true;
        self.nodes[index].since = self.now;
        self.changed.machines = true;
        self.push(index, ms, Happening::Thaw);
    }

    pub(super) fn thaw(&mut self, index: usize) {
        // A longer freeze may have come on top.
        let (now, node) = (self.now, &mut self.nodes[index]);
        if node.is_frozen && now >= node.still_until {
            node.is_frozen = false;
            let was_stalled = now - node.since > STALL_MS && !node.clock.stood_still(now);
            node.woke_at = if was_stalled { now } else { node.woke_at };
        }
        node.is_tor_frozen &= now < node.tor_still_until;
        self.changed.machines = true;
        self.fault(&format!("{index} thaws"));
    }

    pub(super) fn starve(&mut self, index: usize) {
        let Some((still, runs)) = self.options.starved_ms else { return };
        let (still, runs) = (self.draw(still), 1 + self.draw(runs));
        self.stand_still(index, still);
        self.push(index, still + runs, Happening::Starve);
    }
}
