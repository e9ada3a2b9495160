//! The world: virtual time, what is still to happen, and machines, tor network and HSDirs to which it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher as _};
use std::rc::Rc;
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rustbalance_core::NodeId;
use rustbalance_core::cluster::Role;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::key::{HsBlindId, HsId, HsIdKeypair};
use rustbalance_core::shared;
use rustbalance_core::status::{MemberStatus, Status};
use rustbalance_core::time::Wall;

use super::check::Checks;
use super::clients::Clients;
use super::hsdirs::{Accepted, HsDirs};
use super::layout::Layout;
use super::liar::Said;
use super::machine::SimNode;
use super::mesh::Cut;
use super::network::TorNetwork;
use super::options::Options;
use super::queue::{Happening, Queue, Waits};
use super::trouble::Trouble;
use super::tunnel::{Body, Handshakes};
use super::witness::{Sight, Witness};

/// Introduction points per node.
pub const POINTS: usize = 3;
/// A rival is remembered for 30 s, and one upload is under way when it is forgotten, milliseconds.
const RIVAL_MS: u64 = 32_000;
/// Packets that wait while a machine stands still; a socket's buffer holds no more.
const BACKLOG_MAX: usize = 128;

/// An upload that an HSDir took.
pub struct Taken {
    /// Who uploaded.
    pub by: usize,
    /// To whom.
    pub relay: RelayFingerprint,
    /// The key that it is stored under.
    pub blind: HsBlindId,
    /// Keys that the descriptor before listed and this one does not.
    pub removed: Vec<[u8; 32]>,
    /// Points listed.
    pub points: usize,
    /// The unix time that its counter stands for, 0 if it is of another hour's period.
    pub secs: u64,
    /// The furthest that one under the same key stood for anywhere before.
    pub furthest_secs: u64,
}

impl Taken {
    pub(super) fn new(by: usize, relay: RelayFingerprint, accepted: &Accepted) -> Self {
        let Accepted { before, furthest_secs, stored } = accepted;
        let old = before.as_ref().map(|before| before.points.clone()).unwrap_or_default();
        Self {
            by,
            relay,
            blind: stored.blind,
            removed: old.difference(&stored.points).copied().collect(),
            points: stored.points.len(),
            secs: stored.secs,
            furthest_secs: *furthest_secs,
        }
    }
}

/// A descriptor that a daemon handed to its tor.
#[derive(Debug)]
pub struct Posted {
    /// The machine.
    pub by: usize,
    /// Its text.
    pub text: Arc<str>,
    /// When the daemon did so; a tor that stood still takes it later.
    pub said: u64,
}

/// What has changed since the checkers looked last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    /// A role.
    pub roles: bool,
    /// Who lives, serves, is frozen or a member.
    pub machines: bool,
    /// Introduction points of a tor.
    pub points: bool,
    /// A tor's own publishing.
    pub native: bool,
    /// What HSDirs hold, or which of them are responsible.
    pub stored: bool,
    /// Whatever there is.
    pub everything: bool,
    /// The machine that sent datagrams.
    pub sender: Option<usize>,
}

impl Changes {
    pub(super) const ALL: Self =
        Self { roles: true, machines: true, points: true, native: true, stored: true, everything: true, sender: None };
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
    /// When the last fault happened, or will have worn off, milliseconds of true time.
    pub calm_since: u64,
    /// Until then publishers may take each other for rivals, whose uploads are far apart.
    pub rivals_until: u64,
    /// Faults so far, and what came of them.
    pub faults: u64,
    /// Faults come so fast that nothing need converge.
    pub turmoil: bool,
    /// The last upload that an HSDir took, until a checker has looked at it.
    pub taken: Option<Taken>,
    /// A descriptor that a daemon handed to its tor, until a checker has looked at it.
    pub posted: Option<Posted>,
    /// First violation, if any.
    pub violation: Option<String>,
    /// It is one of something that should have come about by then.
    pub is_late: bool,
    /// Steps taken.
    pub steps: u64,
    /// Rejected inputs.
    pub rejected: u64,
    /// Readable trace, kept when asked for.
    pub log: Option<Vec<String>>,
    /// Who looks on, if anyone.
    pub witness: Option<Box<Witness>>,
    /// Links that do not work.
    pub cut: Cut,
    /// Other lasting faults.
    pub trouble: Trouble,
    /// The service's clients.
    pub clients: Clients,
    /// For the checkers.
    pub changed: Changes,
    /// The address that the service is reached at.
    pub(super) service: HsId,
    pub(super) master_file: Vec<u8>,
    pub(super) rng: ChaCha20Rng,
    pub(super) trace: DefaultHasher,
    /// Whose name it is, by number.
    pub(super) names: BTreeMap<NodeId, u32>,
    /// Names of machines before they left and came back.
    pub(super) old_names: BTreeSet<NodeId>,
    pub(super) said: Said,
    /// Which machine is at each address.
    pub(super) places: Vec<Option<usize>>,
    pub(super) handshakes: Handshakes,
    /// Kept for its room.
    pub(super) packets: Vec<Body>,
    pub(super) layout: Option<Rc<Layout>>,
    queue: Queue,
    /// Out of its place while they check.
    checks: Option<Box<Checks>>,
    /// Whether the checkers look after every step.
    pub(super) is_checked: bool,
}

impl World {
    /// `count` machines, none running; `seed` decides everything.
    pub fn new(seed: u64, count: usize, options: Options) -> Self {
        shared::share();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let master = HsIdKeypair::generate(&mut rng);
        let master_file = master.to_tor_file().to_vec();
        let numbers = 0..u32::try_from(count).expect("machines are counted in thousands");
        let nodes: Vec<_> = numbers.map(|index| SimNode::new(index, &master_file, &options, &mut rng)).collect();
        Self {
            now: 0,
            hsdirs: HsDirs::new(master.own_client()),
            network: TorNetwork::default(),
            options,
            calm_since: 0,
            rivals_until: 0,
            faults: 0,
            turmoil: false,
            taken: None,
            posted: None,
            violation: None,
            is_late: false,
            steps: 0,
            rejected: 0,
            log: None,
            witness: None,
            cut: Cut::new(count),
            trouble: Trouble::default(),
            clients: Clients::new(seed),
            changed: Changes::ALL,
            service: master.public(),
            master_file,
            rng,
            trace: DefaultHasher::new(),
            names: nodes.iter().map(|node| (node.id, node.who)).collect(),
            old_names: BTreeSet::new(),
            said: Said::default(),
            places: (0..count).map(Some).collect(),
            handshakes: Handshakes::default(),
            packets: Vec::new(),
            layout: None,
            queue: Queue::default(),
            checks: Some(Box::default()),
            is_checked: true,
            nodes,
        }
    }

    /// The master key.
    pub fn master(&self) -> HsIdKeypair {
        HsIdKeypair::from_tor_file(&self.master_file).expect("made by ourselves")
    }

    /// True wall time.
    pub fn wall(&self) -> Wall {
        Wall::from_ms(self.options.start_secs * 1000 + self.now)
    }

    /// A number below `bound` (at least 1).
    pub fn draw(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound.max(1)
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.rng.fill_bytes(bytes);
    }

    /// What a running daemon says of itself.
    pub fn status(&self, index: usize) -> Option<Status> {
        let node = &self.nodes[index];
        Some(node.core.as_ref()?.status(node.clock.read(self.now, self.wall())))
    }

    /// Hash over everything that happened so far.
    pub fn trace_hash(&self) -> String {
        format!("{:016x}", self.trace.finish())
    }

    /// Notes a fault: calm starts anew.
    pub(super) fn fault(&mut self, what: &str) {
        self.lasting_fault(0, what);
    }

    /// Notes a fault that wears off after `ms`: calm starts after it.
    pub(super) fn lasting_fault(&mut self, ms: u64, what: &str) {
        self.note_rivals(ms);
        self.calm_since = self.calm_since.max(self.now + ms);
        self.faults += 1;
        self.note(|| format!("--- {what}"));
        self.see(0, &Sight::Befell(what));
    }

    /// Notes whether there are rivals, who may be for `ms` more.
    pub(super) fn note_rivals(&mut self, ms: u64) {
        let publishes = |node: &&SimNode| node.core.is_some() && matches!(node.role, Role::Holder { .. });
        if self.nodes.iter().filter(publishes).count() > 1 {
            self.rivals_until = self.rivals_until.max(self.now + ms + RIVAL_MS);
        }
    }

    /// Notes a violation, unless there was one before.
    pub fn fail(&mut self, what: String) {
        if self.violation.is_none() && self.log.is_some() {
            for index in 0..self.nodes.len() {
                let Some(status) = self.status(index) else { continue };
                let id = self.nodes[index].id;
                let waits = status.publication.waiting.unwrap_or_else(|| "has its plan uploaded".to_owned());
                self.note(|| {
                    let (role, epoch, orders) = (status.role, status.epoch, status.ordered.join(", "));
                    format!("{index} ({id}) {role}, epoch {epoch}, ordered [{orders}]: {waits}")
                });
                for MemberStatus { node, liveness, state, priority, introduction_points, tor_ready, .. } in
                    status.members
                {
                    let tor = if tor_ready { "ready" } else { "not ready" };
                    self.note(|| {
                        let of = node.get(..8).unwrap_or_default();
                        format!(
                            "  {of} {liveness}, {state}, priority {priority}, tor {tor}, {introduction_points} points"
                        )
                    });
                }
            }
        }
        let at = self.now as f64 / 1000.0;
        self.violation.get_or_insert_with(|| format!("at {at:.3} s: {what}"));
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(log) = &mut self.log {
            log.push(format!("{:9.3} {}", now as f64 / 1000.0, line()));
        }
    }

    pub(super) fn push(&mut self, index: usize, delay: u64, happening: Happening) {
        self.queue.push(self.now + delay, index, self.nodes[index].life, happening);
    }

    /// Runs for `ms` of true time, or until a violation.
    pub fn run_for(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.violation.is_none() && self.queue.next_at().is_some_and(|at| at <= end) {
            self.step();
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
            if self.queue.next_at().is_none() {
                break;
            }
            self.step();
        }
        false
    }

    /// What all checkers say of the world as it is, whatever they have looked at before.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&mut self) -> Result<(), String> {
        self.changed = Changes::ALL;
        self.check_changes()
    }

    fn check_changes(&mut self) -> Result<(), String> {
        let Some(mut checks) = self.checks.take() else { return Ok(()) };
        let result = checks.after_step(self);
        self.checks = Some(checks);
        self.changed = Changes::default();
        result
    }

    /// One event.
    fn step(&mut self) {
        let Some((at, index, life, happening)) = self.queue.pop() else { return };
        Clients::catch_up(self, at);
        self.now = at;
        self.steps += 1;
        let node = &self.nodes[index];
        if node.life == life {
            let still_until = match happening.waits_for() {
                Waits::Daemon => node.still_until,
                Waits::Tor => node.tor_still_until,
                Waits::Nobody => 0,
            };
            if at < still_until {
                return self.wait(index, still_until, happening);
            }
            self.happen(index, happening);
        }
        if self.is_checked
            && let Err(violation) = self.check_changes()
        {
            self.fail(violation);
        }
    }

    /// What comes while a machine stands still waits, in order, as it came.
    fn wait(&mut self, index: usize, until: u64, happening: Happening) {
        let node = &mut self.nodes[index];
        if let Happening::Packet { .. } = happening {
            let waiting = if node.backlog.0 == until { node.backlog.1 } else { 0 };
            if waiting >= BACKLOG_MAX {
                return;
            }
            node.backlog = (until, waiting + 1);
        }
        self.queue.push(until, index, node.life, happening);
    }

    fn happen(&mut self, index: usize, happening: Happening) {
        match happening {
            Happening::Tick => self.tick(index),
            Happening::Told(told) => self.told(index, told),
            Happening::Packet { place, packet } => self.receive(index, place, packet),
            Happening::Tunnel { peer } => self.tunnel_alarm(index, peer),
            Happening::Ask { via } => self.ask(index, via),
            Happening::Admit { joiner, bytes } => self.admit(index, joiner, &bytes),
            Happening::Answer { datagrams } => self.answer(index, &datagrams),
            Happening::ControlUp { tor, connection } => self.control_up(index, tor, connection),
            Happening::Control { tor, connection, bytes } => self.control_said(index, tor, connection, &bytes),
            Happening::Commands { tor, connection, said, bytes } => {
                self.unread_commands(index, tor, connection, said, &bytes);
            }
            Happening::Tor { tor, process, what } if process == self.nodes[index].tors[tor].process => {
                self.tor_happens(index, tor, what);
            }
            Happening::Tor { .. } => {}
            Happening::Persisted { id, record } => self.persisted(index, id, record),
            Happening::Starve => self.starve(index),
            Happening::Thaw => self.thaw(index),
            Happening::Correct => self.correct(index),
            Happening::SwitchOff => self.kill(index),
        }
    }
}
