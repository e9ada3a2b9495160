//! The world: virtual time, an ordered event queue, and nodes with their own clock, disk and tor.

use std::collections::BTreeMap;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rustbalance_core::cluster::{ClusterConfig, ClusterToken, NodeKeypair, PeerError, Role};
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::join::{Admitted, Joiner, found};
use rustbalance_core::onion::key::HsIdKeypair;
use rustbalance_core::onion::period::{Slot, TimePeriod};
use rustbalance_core::output::RequestId;
use rustbalance_core::rng::Seed;
use rustbalance_core::time::{Mono, Now, ValidAfter, Wall};
use rustbalance_core::{
    ClusterId, Config, ControlInput, Durable, DurableKind, EffectError, EffectId, Event, Input, Node, NodeId, Output,
    Rejected, TargetHealth, TorId, WgPublicKey,
};
use sha2::{Digest, Sha256};

use super::check::Checks;
use super::fault::Trouble;
use super::hsdirs::{HsDirs, Refused};
use super::network::TorNetwork;
use super::tor::{Effect, TorModel};

/// Introduction points per node.
pub const POINTS: usize = 3;
/// Every node starts from this token.
const TOKEN: [u8; 32] = [7; 32];

/// What the seed draws for one run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Datagrams lost, per thousand.
    pub loss_permille: u64,
    /// Datagrams delivered twice, per thousand.
    pub duplicate_permille: u64,
    /// Largest one-way delay, milliseconds; the smallest is a tenth of it.
    pub delay_ms_max: u64,
    /// Wall clocks are off by up to this, milliseconds either way.
    pub skew_ms_max: u64,
    /// Unix time at the start, seconds.
    pub start_secs: u64,
    /// Timers ring late by up to this, milliseconds.
    pub late_ms_max: u64,
    /// A starved machine: it stands still for up to the first and runs for up to the second, milliseconds.
    pub starved_ms: Option<(u64, u64)>,
    /// Slowest write to disk, milliseconds.
    pub disk_ms_max: u64,
    /// A tor has introduction points this long after its control connection, at most, milliseconds; at least 1000.
    pub bootstrap_ms_max: u64,
}

/// What can happen to a node. `life` in the queue drops what was meant for an earlier life.
enum Happening {
    Tick,
    Peer { from: NodeId, bytes: Vec<u8> },
    Admit { joiner: usize, bytes: Vec<u8> },
    Answer { datagrams: Vec<Vec<u8>> },
    Ask { via: usize },
    Control { connection: u64, bytes: Vec<u8> },
    ControlUp { connection: u64 },
    Bootstrapped { process: u64 },
    Upload { process: u64, relay: RelayFingerprint, text: String },
    Fetch { process: u64, relay: RelayFingerprint },
    Starve,
    Thaw,
    Persisted { id: EffectId, record: Durable },
}

/// One machine.
pub struct SimNode {
    /// Its name in the mesh.
    pub id: NodeId,
    /// The daemon, if it runs.
    pub core: Option<Node>,
    /// Its tor.
    pub tor: TorModel,
    /// Its role as last reported.
    pub role: Role,
    /// Its clock against true time, milliseconds of wall time.
    pub skew_ms: i64,
    /// Since when it runs or is dead, milliseconds of true time.
    pub since: u64,
    /// Datagrams sent in the current second of true time, and that second.
    pub sent: (u64, u64),
    /// The newest epoch it held with its disk, for the checker.
    pub epoch_seen: u64,
    /// Admitted, and has not left.
    pub is_member: bool,
    /// Disk content.
    pub(super) disk: BTreeMap<DurableKind, Vec<u8>>,
    boot_ms: u64,
    pub(super) life: u64,
    /// Names the control connection; what was under way on an older one is lost.
    connection: u64,
    is_connected: bool,
    /// Inputs wait until then.
    still_until: u64,
    /// Frozen as a fault, and not only starved.
    pub(super) is_frozen: bool,
    pub(super) is_leaving: bool,
    /// Writes fail.
    pub(super) disk_fails: bool,
    /// The operator's application.
    pub(super) target: TargetHealth,
    joiner: Option<Joiner>,
    founded: Option<(ClusterId, NodeId)>,
    timer: Option<u64>,
    key_seed: [u8; 32],
    /// Keys of points it had, and when it lost them: nobody may list them for long.
    pub past_points: Vec<([u8; 32], u64)>,
}

/// An upload that an HSDir took.
pub struct Taken {
    /// Who uploaded.
    pub by: usize,
    /// To whom.
    pub relay: RelayFingerprint,
    /// Keys that the descriptor before listed and this one does not.
    pub removed: Vec<[u8; 32]>,
    /// Points listed.
    pub points: usize,
}

/// Everything.
pub struct World {
    /// True time since the start, milliseconds.
    pub now: u64,
    /// The machines.
    pub nodes: Vec<SimNode>,
    /// The HSDirs.
    pub hsdirs: HsDirs,
    /// The tor network.
    pub network: TorNetwork,
    /// What this run drew.
    pub options: Options,
    /// When the last fault happened, milliseconds of true time.
    pub calm_since: u64,
    /// Faults come so fast that nothing need converge.
    pub turmoil: bool,
    /// The last upload that an HSDir took, until a checker has looked at it.
    pub taken: Option<Taken>,
    /// First violation, if any.
    pub violation: Option<String>,
    /// Steps taken.
    pub steps: u64,
    /// Rejected inputs.
    pub rejected: u64,
    master: Vec<u8>,
    queue: BTreeMap<(u64, u64), (usize, u64, Happening)>,
    sequence: u64,
    rng: ChaCha20Rng,
    trace: Sha256,
    /// Readable trace, kept when asked for.
    pub log: Option<Vec<String>>,
    checks: Checks,
    /// Cut links, by (sender, receiver).
    pub cut: std::collections::BTreeSet<(usize, usize)>,
    /// Other lasting faults.
    pub trouble: Trouble,
}

impl World {
    /// `count` machines, none running; `seed` decides everything.
    pub fn new(seed: u64, count: usize, options: Options) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let master = HsIdKeypair::generate(&mut rng).to_tor_file().to_vec();
        let nodes = (0..count).map(|_| SimNode::new(&master, &options, &mut rng)).collect();
        Self {
            now: 0,
            nodes,
            hsdirs: HsDirs::default(),
            network: TorNetwork::new(200),
            options,
            calm_since: 0,
            turmoil: false,
            taken: None,
            violation: None,
            steps: 0,
            rejected: 0,
            master,
            queue: BTreeMap::new(),
            sequence: 0,
            rng,
            trace: Sha256::new(),
            log: None,
            checks: Checks::default(),
            cut: Default::default(),
            trouble: Trouble::default(),
        }
    }

    /// The master key.
    pub fn master(&self) -> HsIdKeypair {
        HsIdKeypair::from_tor_file(&self.master).expect("made by ourselves")
    }

    /// True wall time.
    pub fn wall(&self) -> Wall {
        Wall::from_ms(self.options.start_secs * 1000 + self.now)
    }

    /// A number below `bound` (at least 1).
    pub fn draw(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound.max(1)
    }

    /// Hash over everything that happened so far.
    pub fn trace_hash(&self) -> String {
        self.trace.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Machine 0 founds the cluster and starts.
    pub fn found(&mut self) {
        let (keypair, wg, master) = (self.nodes[0].keypair(), self.nodes[0].wg(), self.master().public());
        let admitted = found(&keypair, wg, master);
        self.install(0, admitted);
    }

    /// Machine `joiner` asks `via` to be admitted, and starts once it is.
    pub fn join(&mut self, joiner: usize, via: usize) {
        let (keypair, wg, peer) = (self.nodes[joiner].keypair(), self.nodes[joiner].wg(), self.nodes[via].wg());
        let master = self.master().public();
        let request = Joiner::new(&keypair, wg, peer, &ClusterToken::new(TOKEN), master, &mut self.rng);
        self.nodes[joiner].joiner = Some(request);
        self.fault(&format!("{joiner} joins via {via}"));
        self.push(joiner, 0, Happening::Ask { via });
    }

    fn install(&mut self, index: usize, admitted: Admitted) {
        self.nodes[index].is_member = true;
        self.nodes[index].founded = Some((admitted.cluster, admitted.genesis));
        self.nodes[index].disk.insert(DurableKind::Roster, admitted.roster);
        self.start(index);
    }

    /// Starts the daemon and its tor from what the disk holds.
    pub fn start(&mut self, index: usize) {
        self.fault(&format!("{index} starts"));
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let (master, now) = (self.master(), self.now);
        let wall = self.options.start_secs * 1000 + now;
        let node = &mut self.nodes[index];
        node.life += 1;
        node.since = now;
        node.timer = None;
        node.role = Role::Follower;
        (node.still_until, node.is_frozen) = (now, false);
        let (cluster, genesis) = node.founded.expect("founded or admitted before it starts");
        let config = Config { master, cluster: node.config(index, cluster, genesis), tors: 1 };
        let clock = node.clock(now, wall);
        let core = Node::new(config, &node.disk, &Seed::new(seed), clock).expect("the configuration is good");
        if core.status(clock).role == "alone" {
            node.role = Role::Alone;
        }
        node.core = Some(core);
        self.drain(index);
        self.step_input(index, Input::Target(self.nodes[index].target));
        self.start_tor(index);
        if self.options.starved_ms.is_some() {
            self.push(index, 1, Happening::Starve);
        }
    }

    /// The node's tor starts anew: control connection soon, points some seconds later.
    pub(super) fn start_tor(&mut self, index: usize) {
        self.lose_points(index);
        let rng = ChaCha20Rng::seed_from_u64(self.rng.next_u64());
        let node = &mut self.nodes[index];
        node.tor = TorModel::new(&self.master, node.tor.process + 1, rng);
        let process = node.tor.process;
        let (connect, bootstrap) = (100 + self.draw(400), 1000 + self.draw(self.options.bootstrap_ms_max - 1000));
        self.reconnect(index, connect);
        self.push(index, connect + bootstrap, Happening::Bootstrapped { process });
    }

    /// A new control connection comes up; nothing more is heard of the one before.
    pub(super) fn reconnect(&mut self, index: usize, delay: u64) {
        self.nodes[index].connection += 1;
        self.nodes[index].is_connected = false;
        let connection = self.nodes[index].connection;
        self.push(index, delay, Happening::ControlUp { connection });
    }

    /// The control connection ends, seen by both sides.
    pub(super) fn disconnect(&mut self, index: usize) {
        self.nodes[index].connection += 1;
        self.nodes[index].is_connected = false;
        self.step_input(index, Input::Control(TorId(0), ControlInput::Closed));
    }

    /// The points that its tor has are gone.
    pub(super) fn lose_points(&mut self, index: usize) {
        let (node, now) = (&mut self.nodes[index], self.now);
        node.past_points.extend(node.tor.points.drain(..).map(|point| (point.auth_key, now)));
    }

    /// The machine stands still for `ms`: what comes meanwhile waits, and is then there at once.
    pub(super) fn stand_still(&mut self, index: usize, ms: u64) {
        let node = &mut self.nodes[index];
        node.still_until = node.still_until.max(self.now + ms);
    }

    /// Wakes the machine when it has stood still, for the trace and the checkers.
    pub(super) fn thaw_after(&mut self, index: usize, ms: u64) {
        self.nodes[index].is_frozen = true;
        self.push(index, ms, Happening::Thaw);
    }

    /// Notes a fault: calm starts anew.
    pub(super) fn fault(&mut self, what: &str) {
        self.calm_since = self.now;
        self.note(|| format!("--- {what}"));
    }

    /// Notes a violation, unless there was one before.
    pub fn fail(&mut self, what: String) {
        let at = self.now as f64 / 1000.0;
        self.violation.get_or_insert_with(|| format!("at {at:.3} s: {what}"));
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(log) = &mut self.log {
            log.push(format!("{:9.3} {}", now as f64 / 1000.0, line()));
        }
    }

    fn push(&mut self, index: usize, delay: u64, happening: Happening) {
        let life = self.nodes[index].life;
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), (index, life, happening));
    }

    /// Runs for `ms` of true time, or until a violation.
    pub fn run_for(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.violation.is_none() {
            match self.queue.first_key_value() {
                Some(((at, _), _)) if *at <= end => self.step(),
                _ => break,
            }
        }
        self.now = end;
    }

    /// Runs until `done`, at most `ms`; true if it came to be.
    pub fn run_until(&mut self, ms: u64, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + ms;
        while self.violation.is_none() && self.now <= end {
            if done(self) {
                return true;
            }
            if self.queue.is_empty() {
                break;
            }
            self.step();
        }
        false
    }

    /// What all checkers say of the world as it is.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&mut self) -> Result<(), String> {
        let mut checks = core::mem::take(&mut self.checks);
        let result = checks.after_step(self);
        self.checks = checks;
        result
    }

    /// One event.
    fn step(&mut self) {
        let Some(((at, _), (index, life, happening))) = self.queue.pop_first() else { return };
        self.now = at;
        self.steps += 1;
        let node = &self.nodes[index];
        if node.life == life {
            let waits = at < node.still_until && !matches!(happening, Happening::Thaw | Happening::Starve);
            if waits {
                // In order, as they came.
                self.sequence += 1;
                self.queue.insert((node.still_until, self.sequence), (index, life, happening));
                return;
            }
            self.happen(index, happening);
        }
        if let Err(violation) = self.check() {
            self.fail(violation);
        }
    }

    fn happen(&mut self, index: usize, happening: Happening) {
        match happening {
            Happening::Tick => self.tick(index),
            Happening::Peer { from, bytes } => self.step_input(index, Input::Peer { from, bytes: &bytes }),
            Happening::Ask { via } => self.ask(index, via),
            Happening::Admit { joiner, bytes } => {
                let wg = self.nodes[joiner].wg();
                self.step_input(index, Input::Admit { request: RequestId(joiner as u64), wg, bytes: &bytes });
            }
            Happening::Answer { datagrams } => self.answer(index, &datagrams),
            Happening::ControlUp { connection } if connection == self.nodes[index].connection => {
                self.nodes[index].is_connected = true;
                self.nodes[index].tor.connected();
                self.step_input(index, Input::Control(TorId(0), ControlInput::Connected));
            }
            Happening::Control { connection, .. } | Happening::ControlUp { connection }
                if connection != self.nodes[index].connection => {}
            Happening::ControlUp { .. } => {}
            Happening::Control { bytes, .. } => {
                self.note(|| format!("{index} < {}", first_line(&bytes)));
                self.step_input(index, Input::Control(TorId(0), ControlInput::Bytes(&bytes)));
            }
            Happening::Bootstrapped { process } if process == self.nodes[index].tor.process => {
                let bytes = self.nodes[index].tor.bootstrap(&self.network, POINTS);
                self.fault(&format!("the tor of {index} is ready"));
                self.hear_tor(index, &bytes);
            }
            Happening::Upload { process, relay, text } if process == self.nodes[index].tor.process => {
                self.upload(index, relay, &text);
            }
            Happening::Fetch { process, relay } if process == self.nodes[index].tor.process => self.fetch(index, relay),
            Happening::Bootstrapped { .. } | Happening::Upload { .. } | Happening::Fetch { .. } => {}
            Happening::Persisted { id, record: _ } if self.nodes[index].disk_fails => {
                let result = Err(EffectError::Disk("no space left on device".to_owned()));
                self.step_input(index, Input::Done { id, result });
            }
            Happening::Persisted { id, record } => {
                self.nodes[index].disk.insert(record.kind, record.bytes);
                self.step_input(index, Input::Done { id, result: Ok(()) });
            }
            Happening::Starve => self.starve(index),
            Happening::Thaw => {
                self.nodes[index].is_frozen = false;
                self.fault(&format!("{index} thaws"));
            }
        }
    }

    fn starve(&mut self, index: usize) {
        let Some((still, runs)) = self.options.starved_ms else { return };
        let (still, runs) = (self.draw(still), 1 + self.draw(runs));
        self.stand_still(index, still);
        self.push(index, still + runs, Happening::Starve);
    }

    /// What tor says of itself, if anyone listens.
    pub(super) fn hear_tor(&mut self, index: usize, bytes: &[u8]) {
        if self.nodes[index].is_connected {
            self.step_input(index, Input::Control(TorId(0), ControlInput::Bytes(bytes)));
        }
    }

    fn tick(&mut self, index: usize) {
        // Only the newest timer counts; older ones were overtaken.
        if self.nodes[index].timer.is_some_and(|at| at <= self.now) {
            self.nodes[index].timer = None;
            self.step_input(index, Input::Tick);
        }
    }

    fn ask(&mut self, index: usize, via: usize) {
        let Some(bytes) = self.nodes[index].joiner.as_ref().map(Joiner::request) else { return };
        let delay = self.delay();
        self.push(via, delay, Happening::Admit { joiner: index, bytes });
        self.push(index, 1000, Happening::Ask { via });
    }

    fn answer(&mut self, index: usize, datagrams: &[Vec<u8>]) {
        let Some(mut joiner) = self.nodes[index].joiner.take() else { return };
        for bytes in datagrams {
            match joiner.handle(bytes) {
                Ok(Some(admitted)) => return self.install(index, admitted),
                Ok(None) => {}
                Err(error) => {
                    self.fail(format!("{index} could not join: {error:?}"));
                }
            }
        }
        self.nodes[index].joiner = Some(joiner);
    }

    fn upload(&mut self, index: usize, relay: RelayFingerprint, text: &str) {
        let (service, wall) = (self.master().public(), self.wall());
        let ring = self.network.ring(wall.as_secs());
        // An uploader whose consensus is older may be a period behind.
        let periods: Vec<_> = [Slot::First, Slot::Second]
            .map(|slot| ring.slot_period(slot))
            .into_iter()
            .flat_map(|period| [period, TimePeriod { number: period.number - 1, ..period }])
            .collect();
        let before = self.hsdirs.points(relay, text);
        let result = self.hsdirs.upload(relay, text, service, &periods, wall);
        if result.is_ok() {
            let after = self.hsdirs.points(relay, text);
            let removed = before.difference(&after).copied().collect();
            self.taken = Some(Taken { by: index, relay, removed, points: after.len() });
        }
        self.note(|| format!("{index} uploads to {relay}: {result:?}"));
        if let Err(Refused::Bad(what)) = &result {
            self.fail(format!("{index} uploaded a bad descriptor: {what}"));
        }
        let event = self.nodes[index].tor.upload_event(relay, result.is_ok());
        let delay = 50 + self.draw(200);
        self.say(index, delay, event);
    }

    /// Tor will say `bytes` on the connection it has now.
    fn say(&mut self, index: usize, delay: u64, bytes: Vec<u8>) {
        let connection = self.nodes[index].connection;
        self.push(index, delay, Happening::Control { connection, bytes });
    }

    fn fetch(&mut self, index: usize, relay: RelayFingerprint) {
        let ring = self.network.ring(self.wall().as_secs());
        let slot = ring.params().current_slot(ValidAfter::from_secs(TorNetwork::valid_after(self.wall().as_secs())));
        let blind = self.master().blind(ring.slot_period(slot)).public();
        let text = self.hsdirs.get(relay, blind).map(|stored| stored.text.clone());
        let event = self.nodes[index].tor.fetch_events(relay, text.as_deref());
        let delay = 50 + self.draw(150);
        self.say(index, delay, event);
    }

    /// One input to the daemon, then everything it wishes for.
    pub(super) fn step_input(&mut self, index: usize, input: Input<'_>) {
        let clock = self.nodes[index].clock(self.now, self.wall().as_ms());
        let Some(core) = self.nodes[index].core.as_mut() else { return };
        let rejected = core.handle(clock, input).err();
        if let Some(rejected) = rejected.filter(|rejected| *rejected != Rejected::Peer(PeerError::Duplicate)) {
            self.rejected += 1;
            self.note(|| format!("{index} rejects {rejected:?}"));
        }
        self.drain(index);
    }

    fn drain(&mut self, index: usize) {
        while let Some(output) = self.nodes[index].core.as_mut().and_then(Node::poll_output) {
            self.record(index, &output);
            self.perform(index, output);
        }
        let Some(core) = &self.nodes[index].core else { return };
        if let Some((at, _why)) = core.next_timeout() {
            let at = at.as_ms().saturating_sub(self.nodes[index].boot_ms).max(self.now + 1);
            if self.nodes[index].timer.is_none_or(|timer| at < timer) {
                let at = at + self.draw(self.options.late_ms_max + 1);
                self.nodes[index].timer = Some(at);
                self.push(index, at - self.now, Happening::Tick);
            }
        }
    }

    fn record(&mut self, index: usize, output: &Output) {
        self.trace.update(self.now.to_be_bytes());
        self.trace.update([index as u8]);
        match output {
            Output::SendPeer { to, bytes } => {
                self.trace.update(to.0);
                self.trace.update(bytes);
            }
            Output::Control(_, bytes) => self.trace.update(bytes),
            Output::AdmitReply { .. }
            | Output::Reconnect(_)
            | Output::Persist { .. }
            | Output::Peers(_)
            | Output::Event(_)
            | Output::Stopped => self.trace.update(format!("{output:?}")),
        }
        if let Output::Event(event) = output {
            self.note(|| format!("{index} {event:?}"));
        }
    }

    fn perform(&mut self, index: usize, output: Output) {
        match output {
            Output::SendPeer { to, bytes } => self.send(index, to, bytes),
            Output::AdmitReply { request, datagrams } => {
                let delay = self.delay();
                self.push(request.0 as usize, delay, Happening::Answer { datagrams });
            }
            Output::Control(_, bytes) => self.control(index, &bytes),
            Output::Reconnect(_) => {
                self.reconnect(index, 100);
            }
            Output::Persist { id, record } => {
                let delay = 1 + self.draw(self.options.disk_ms_max.max(self.trouble.disk_ms));
                self.push(index, delay, Happening::Persisted { id, record });
            }
            Output::Event(Event::Role(role)) => self.nodes[index].role = role,
            Output::Stopped => {
                self.nodes[index].is_member = !self.nodes[index].is_leaving;
                self.kill(index);
            }
            Output::Event(_) | Output::Peers(_) => {}
        }
    }

    fn control(&mut self, index: usize, bytes: &[u8]) {
        self.note(|| format!("{index} > {}", first_line(bytes)));
        let wall = self.wall();
        let process = self.nodes[index].tor.process;
        let effects = self.nodes[index].tor.handle(bytes, &mut self.network, wall);
        for effect in effects {
            // Replies keep their order: the delay is the same for all of them.
            match effect {
                Effect::Reply(bytes) => self.say(index, 2, bytes),
                Effect::Upload(relay, text) => {
                    let delay = 100 + self.draw(200);
                    self.push(index, delay, Happening::Upload { process, relay, text });
                }
                Effect::Fetch(relay) => self.push(index, 80, Happening::Fetch { process, relay }),
            }
        }
    }

    fn delay(&mut self) -> u64 {
        let max = self.options.delay_ms_max;
        max / 10 + self.draw(max - max / 10 + 1)
    }

    fn send(&mut self, index: usize, to: NodeId, bytes: Vec<u8>) {
        let second = self.now / 1000;
        let sent = &mut self.nodes[index].sent;
        *sent = if sent.0 == second { (second, sent.1 + 1) } else { (second, 1) };
        if bytes.len() > rustbalance_core::output::DATAGRAM_MAX {
            self.fail(format!("{index} sent {} bytes", bytes.len()));
        }
        let Some(target) = self.nodes.iter().position(|node| node.id == to) else { return };
        let from = self.nodes[index].id;
        let loss = self.options.loss_permille.max(self.trouble.loss_permille);
        let lost = self.draw(1000) < loss || self.cut.contains(&(index, target));
        let twice = self.draw(1000) < self.options.duplicate_permille;
        for _ in 0..if lost { 0 } else { 1 + usize::from(twice) } {
            let delay = self.delay();
            self.push(target, delay, Happening::Peer { from, bytes: bytes.clone() });
        }
    }
}

impl SimNode {
    fn new(master: &[u8], options: &Options, rng: &mut ChaCha20Rng) -> Self {
        let mut key_seed = [0; 32];
        rng.fill_bytes(&mut key_seed);
        let skew = options.skew_ms_max;
        Self {
            id: NodeKeypair::from_seed(&key_seed).id(),
            core: None,
            tor: TorModel::new(master, 0, ChaCha20Rng::from_seed(key_seed)),
            role: Role::Follower,
            skew_ms: (rng.next_u64() % (2 * skew + 1)) as i64 - skew as i64,
            since: 0,
            sent: (0, 0),
            epoch_seen: 0,
            is_member: false,
            disk: BTreeMap::new(),
            boot_ms: rng.next_u64() % 10_000_000,
            life: 0,
            connection: 0,
            is_connected: false,
            still_until: 0,
            is_frozen: false,
            is_leaving: false,
            disk_fails: false,
            target: TargetHealth::Up,
            joiner: None,
            founded: None,
            timer: None,
            key_seed,
            past_points: Vec::new(),
        }
    }

    /// Whether its daemon runs, and is not frozen.
    pub fn is_live(&self) -> bool {
        self.core.is_some() && !self.is_frozen
    }

    fn keypair(&self) -> NodeKeypair {
        NodeKeypair::from_seed(&self.key_seed)
    }

    fn wg(&self) -> WgPublicKey {
        WgPublicKey(self.id.0)
    }

    fn clock(&self, now: u64, wall_ms: u64) -> Now {
        Now {
            mono: Mono::from_ms(self.boot_ms + now),
            wall: Wall::from_ms(wall_ms.saturating_add_signed(self.skew_ms)),
        }
    }

    fn config(&self, index: usize, cluster: ClusterId, genesis: NodeId) -> ClusterConfig {
        ClusterConfig {
            keypair: self.keypair(),
            wg: self.wg(),
            cluster,
            genesis,
            token: ClusterToken::new(TOKEN),
            priority: 100,
            weight: 100,
            name: format!("node{index}"),
            contact: None,
        }
    }
}

/// The first line of what goes over a control connection, for the trace.
fn first_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().chars().take(120).collect()
}
