//! What can go wrong with a machine, between machines, and in the tor network around them.

use rustbalance_core::cluster::Role;
use rustbalance_core::{Command, DurableKind, Input, TargetHealth};
use serde::{Deserialize, Serialize};

use super::world::{SimNode, World};

/// One fault, in plain numbers, so that a schedule of them can be written down, shortened and replayed.
///
/// Machines are numbered as in [`World::nodes`]. `relay` counts the HSDirs that are responsible at that moment, over
/// both slots, and starts anew after the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the numbers that the sentence above each variant speaks of")]
pub enum Fault {
    /// The machine dies at once: daemon and tor, writes not yet on disk lost.
    Kill { node: usize },
    /// A dead machine starts from its disk.
    Start { node: usize },
    /// All dead machines that are members start together.
    StartAll,
    /// It dies, and what the daemon learnt is gone from its disk.
    LoseDisk { node: usize },
    /// The operator stops the daemon in an orderly way.
    Stop { node: usize },
    /// The operator takes the machine out of the cluster for good.
    Leave { node: usize },
    /// A machine that is not a member asks `via` to be admitted.
    Join { node: usize, via: usize },
    /// An image of the disk is kept.
    Snapshot { node: usize },
    /// It dies and starts with the disk as it was when the last image was kept.
    Rollback { node: usize },
    /// Machine `copy`, not a member, starts with a copy of the disk and the keys of `node`.
    Clone { node: usize, copy: usize },

    /// The whole machine stands still; its clocks run on.
    Freeze { node: usize, ms: u64 },
    /// Only the tor stands still: its circuits live, it answers nothing.
    FreezeTor { node: usize, ms: u64 },
    /// Only the daemon stands still: its points live, nobody is home.
    FreezeDaemon { node: usize, ms: u64 },
    /// The virtual machine is suspended: its clocks stand still with it.
    Suspend { node: usize, ms: u64 },

    /// The wall clock jumps.
    Jump { node: usize, ms: i64 },
    /// All wall clocks jump together.
    JumpAll { ms: i64 },
    /// The clocks run fast or slow from now on, millionths.
    Drift { node: usize, wall_ppm: i64, mono_ppm: i64 },
    /// The wall clock is set right.
    Correct { node: usize },

    /// The disk refuses writes, or takes them again.
    Disk { node: usize, fails: bool },
    /// Writes take up to this long.
    SlowDisk { node: usize, ms: u64 },

    /// No link between the two groups works.
    Partition { left: Vec<usize>, right: Vec<usize> },
    /// One direction of one link does not work.
    Mute { from: usize, to: usize },
    /// It hears nobody, and is heard.
    Deaf { node: usize },
    /// It is heard by nobody, and hears.
    Dumb { node: usize },
    /// Everything mends but dead machines, clocks and relays.
    Heal,
    /// So many of a thousand datagrams are lost.
    Loss { permille: u64 },
    /// All datagrams are lost for a while.
    Burst { ms: u64 },
    /// All datagrams from and to one machine are lost for a while.
    BurstAt { node: usize, ms: u64 },
    /// So many of a thousand handshake messages are lost besides.
    Handshakes { permille: u64 },
    /// So many of a thousand datagrams come twice.
    Duplicate { permille: u64 },
    /// So many of a thousand datagrams come up to `ms` late.
    Reorder { permille: u64, ms: u64 },
    /// So many of a thousand datagrams are changed under way; the tunnel drops them.
    Corrupt { permille: u64 },
    /// The machine has another address: what others send to the old one is lost until they hear of the new one.
    Move { node: usize },

    /// The tor dies and is restarted by the daemon.
    Tor { node: usize },
    /// The tor dies and its restart takes so much longer.
    TorDead { node: usize, ms: u64 },
    /// The control connection is lost.
    Control { node: usize, ms: u64 },
    /// Tor chooses other introduction points.
    Points { node: usize },
    /// One introduction point dies; tor chooses another.
    Point { node: usize, point: usize },
    /// The circuits behind all points die and tor still lists the points, for so long.
    Hollow { node: usize, ms: u64 },
    /// The tor forgets what was set at run time.
    Settings { node: usize },
    /// Uploads of this tor end like this for a while.
    Uploads { node: usize, how: UploadFault, ms: u64 },

    /// An HSDir loses what it holds.
    Forget { relay: usize },
    /// An HSDir refuses everything for a while.
    Refuse { relay: usize, ms: u64 },
    /// An HSDir answers late for a while.
    Late { relay: usize, ms: u64 },
    /// A relay is not in the next consensus.
    RelayLeaves { relay: usize },
    /// A relay more is in the next consensus.
    RelayEnters,
    /// Somebody with the master key has uploaded with a counter of `ahead_secs` from now.
    Poison { relay: usize, ahead_secs: u64 },
    /// Somebody with the master key has uploaded a fresh descriptor with points of nobody here.
    Foreign { relay: usize },

    /// The operator's application dies or comes back.
    Target { node: usize, up: bool },

    /// A member lies to all others.
    Lie { node: usize, lie: Lie },
    /// A machine that has left speaks as if it were a member.
    Former { node: usize },
    /// A stranger with an old token asks `via` to be admitted.
    Stranger { via: usize },
}

/// How an upload ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UploadFault {
    /// It arrives, and tor says nothing.
    Silent,
    /// It arrives, and tor says so after up to 20 s.
    Late,
    /// It does not arrive, and tor says nothing.
    Lost,
    /// It does not arrive: `REASON=UNEXPECTED`, say for a broken circuit.
    Failed,
}

/// What a member with valid keys can say that is not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lie {
    /// A record of another member, signed by the liar.
    ForgedRecord,
    /// Its own record with points that are not its own.
    ForeignPoints,
    /// A beacon of an epoch beyond all bounds.
    AbsurdEpoch,
    /// A beacon of its own, of the highest epoch that is believed.
    HighEpoch,
    /// A beacon with counter floors of the far future.
    AbsurdFloors,
    /// As many datagrams as the line takes.
    Flood,
    /// Old datagrams of everybody, again.
    Replay,
    /// Datagrams with changed bytes.
    Garble,
    /// Kinds of message that this version does not know.
    UnknownKinds,
}

/// What lasts until [`Fault::Heal`].
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// Datagrams lost, per thousand, if that is more than [`Options`](super::world::Options) say.
    pub loss_permille: u64,
    /// Slowest write to disk, milliseconds, if that is more than the options say.
    pub disk_ms: u64,
}

impl World {
    /// Lets a fault happen. One that makes no sense at this moment does nothing.
    pub fn strike(&mut self, fault: &Fault) {
        if !self.makes_sense(fault) {
            return;
        }
        match *fault {
            Fault::Kill { node } => self.kill(node),
            Fault::Start { node } => self.start(node),
            Fault::StartAll => {
                let dead: Vec<_> = (0..self.nodes.len()).filter(|node| self.may_start(*node)).collect();
                dead.into_iter().for_each(|node| self.start(node));
            }
            Fault::LoseDisk { node } => {
                self.kill(node);
                self.lose_disk(node);
            }
            Fault::Stop { node } => self.command(node, Command::Shutdown),
            Fault::Leave { node } => self.command(node, Command::Leave),
            Fault::Join { node, via } => self.join(node, via),
            Fault::Freeze { node, ms } => self.freeze(node, ms),
            Fault::Jump { node, ms } => self.jump_clock(node, ms),
            Fault::JumpAll { ms } => (0..self.nodes.len()).for_each(|node| self.jump_clock(node, ms)),
            Fault::Disk { node, fails } => self.fail_disk(node, fails),
            Fault::SlowDisk { node: _, ms } => self.trouble.disk_ms = ms,
            Fault::Partition { ref left, ref right } => self.partition(left, right, true),
            Fault::Mute { from, to } => self.mute(from, to),
            Fault::Heal => self.heal(),
            Fault::Loss { permille } => self.trouble.loss_permille = permille,
            Fault::Tor { node } => self.kill_tor(node),
            Fault::Control { node, ms } => self.lose_control(node, ms),
            Fault::Points { node } => self.replace_points(node),
            Fault::Target { node, up } => self.set_target(node, up),
            Fault::Snapshot { .. }
            | Fault::Rollback { .. }
            | Fault::Clone { .. }
            | Fault::FreezeTor { .. }
            | Fault::FreezeDaemon { .. }
            | Fault::Suspend { .. }
            | Fault::Drift { .. }
            | Fault::Correct { .. }
            | Fault::Deaf { .. }
            | Fault::Dumb { .. }
            | Fault::Burst { .. }
            | Fault::BurstAt { .. }
            | Fault::Handshakes { .. }
            | Fault::Duplicate { .. }
            | Fault::Reorder { .. }
            | Fault::Corrupt { .. }
            | Fault::Move { .. }
            | Fault::TorDead { .. }
            | Fault::Point { .. }
            | Fault::Hollow { .. }
            | Fault::Settings { .. }
            | Fault::Uploads { .. }
            | Fault::Forget { .. }
            | Fault::Refuse { .. }
            | Fault::Late { .. }
            | Fault::RelayLeaves { .. }
            | Fault::RelayEnters
            | Fault::Poison { .. }
            | Fault::Foreign { .. }
            | Fault::Lie { .. }
            | Fault::Former { .. }
            | Fault::Stranger { .. } => {}
        }
    }

    /// Whether whom the fault hits is in a state to be hit.
    fn makes_sense(&self, fault: &Fault) -> bool {
        let exists = |node: usize| node < self.nodes.len();
        let live = |node: usize| self.nodes.get(node).is_some_and(SimNode::is_live);
        let runs = |node: usize| self.nodes.get(node).is_some_and(|node| node.core.is_some());
        match *fault {
            Fault::Kill { node } | Fault::LoseDisk { node } | Fault::Snapshot { node } | Fault::Rollback { node } => {
                runs(node)
            }
            Fault::Start { node } => self.may_start(node),
            Fault::Join { node, via } => self.may_join(node) && live(via),
            Fault::Clone { node, copy } => runs(node) && self.may_join(copy),
            Fault::Stop { node }
            | Fault::Leave { node }
            | Fault::Freeze { node, .. }
            | Fault::FreezeTor { node, .. }
            | Fault::FreezeDaemon { node, .. }
            | Fault::Suspend { node, .. }
            | Fault::Tor { node }
            | Fault::TorDead { node, .. }
            | Fault::Control { node, .. }
            | Fault::Points { node }
            | Fault::Point { node, .. }
            | Fault::Hollow { node, .. }
            | Fault::Settings { node }
            | Fault::Uploads { node, .. }
            | Fault::Lie { node, .. }
            | Fault::Stranger { via: node } => live(node),
            Fault::Jump { node, .. }
            | Fault::Drift { node, .. }
            | Fault::Correct { node }
            | Fault::Disk { node, .. }
            | Fault::SlowDisk { node, .. }
            | Fault::Deaf { node }
            | Fault::Dumb { node }
            | Fault::BurstAt { node, .. }
            | Fault::Move { node }
            | Fault::Target { node, .. }
            | Fault::Former { node } => exists(node),
            Fault::Mute { from, to } => exists(from) && exists(to) && from != to,
            Fault::Partition { ref left, ref right } => left.iter().chain(right).all(|node| exists(*node)),
            Fault::StartAll
            | Fault::JumpAll { .. }
            | Fault::Heal
            | Fault::Loss { .. }
            | Fault::Burst { .. }
            | Fault::Handshakes { .. }
            | Fault::Duplicate { .. }
            | Fault::Reorder { .. }
            | Fault::Corrupt { .. }
            | Fault::Forget { .. }
            | Fault::Refuse { .. }
            | Fault::Late { .. }
            | Fault::RelayLeaves { .. }
            | Fault::RelayEnters
            | Fault::Poison { .. }
            | Fault::Foreign { .. } => true,
        }
    }

    /// Dead, and it was admitted once and has not left.
    fn may_start(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.core.is_none() && node.is_member)
    }

    /// Dead, and not a member: it never was one, or it has left.
    fn may_join(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.core.is_none() && !node.is_member)
    }

    /// The operator's application dies or comes back.
    pub fn set_target(&mut self, index: usize, up: bool) {
        let health = if up { TargetHealth::Up } else { TargetHealth::Down };
        self.fault(&format!("the target of {index} is {health:?}"));
        self.nodes[index].target = health;
        self.step_input(index, Input::Target(health));
    }

    /// The machine dies at once: daemon and tor, writes not yet on disk lost.
    pub fn kill(&mut self, index: usize) {
        self.fault(&format!("{index} killed"));
        self.lose_points(index);
        let node = &mut self.nodes[index];
        node.life += 1;
        node.core = None;
        node.is_frozen = false;
        node.role = Role::Follower;
        node.since = self.now;
        node.tor.publishes = false;
    }

    /// Only the tor dies; it is restarted as `io` does.
    pub fn kill_tor(&mut self, index: usize) {
        self.fault(&format!("tor of {index} killed"));
        self.disconnect(index);
        self.start_tor(index);
    }

    /// Only the control connection is lost, for `ms`.
    pub fn lose_control(&mut self, index: usize, ms: u64) {
        self.fault(&format!("control connection of {index} lost for {ms} ms"));
        self.disconnect(index);
        self.reconnect(index, ms);
    }

    /// Tor chooses other introduction points, as it does at a new shared random value.
    pub fn replace_points(&mut self, index: usize) {
        self.fault(&format!("{index} has new points"));
        let mut closed = self.nodes[index].tor.closing();
        self.lose_points(index);
        closed.extend(self.nodes[index].tor.bootstrap(&self.network, super::world::POINTS));
        self.hear_tor(index, &closed);
    }

    /// The whole machine freezes for `ms`: no input is processed, then all at once.
    pub fn freeze(&mut self, index: usize, ms: u64) {
        self.fault(&format!("{index} frozen for {ms} ms"));
        self.nodes[index].since = self.now;
        self.stand_still(index, ms);
        self.thaw_after(index, ms);
    }

    /// The wall clock jumps.
    pub fn jump_clock(&mut self, index: usize, by_ms: i64) {
        self.fault(&format!("clock of {index} jumps by {by_ms} ms"));
        self.nodes[index].skew_ms += by_ms;
    }

    /// The disk refuses writes from now on, or takes them again.
    pub fn fail_disk(&mut self, index: usize, fails: bool) {
        self.fault(&format!("disk of {index} {}", if fails { "fails" } else { "works" }));
        self.nodes[index].disk_fails = fails;
    }

    /// What the daemon learnt is gone from its disk; who it is and the roster stay.
    pub fn lose_disk(&mut self, index: usize) {
        self.fault(&format!("{index} loses its lease and plan files"));
        self.nodes[index].disk.retain(|kind, _| *kind == DurableKind::Roster);
        self.nodes[index].epoch_seen = 0;
    }

    /// An orderly stop or leave.
    pub fn command(&mut self, index: usize, command: Command) {
        self.fault(&format!("{index} {command:?}"));
        self.nodes[index].is_leaving = command == Command::Leave;
        self.step_input(index, Input::Command(command));
    }

    /// Cuts (or mends) every link between the two groups.
    pub fn partition(&mut self, left: &[usize], right: &[usize], cut: bool) {
        self.fault(if cut { "partition" } else { "heal" });
        for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))) {
            for link in [(a, b), (b, a)] {
                if cut {
                    self.cut.insert(link)
                } else {
                    self.cut.remove(&link)
                };
            }
        }
    }

    /// Cuts one direction of one link.
    pub fn mute(&mut self, from: usize, to: usize) {
        self.fault(&format!("{from} no longer reaches {to}"));
        self.cut.insert((from, to));
    }

    /// Mends everything but dead machines.
    pub fn heal(&mut self) {
        self.fault("everything heals");
        self.cut.clear();
        self.trouble = Trouble::default();
        for node in &mut self.nodes {
            node.disk_fails = false;
        }
    }
}
