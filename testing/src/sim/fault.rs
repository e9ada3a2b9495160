//! What can go wrong with a machine, between machines, and in the tor network around them.

use rustbalance_core::cluster::Order;
use serde::{Deserialize, Serialize};

/// One fault, in plain numbers, so that a schedule of them can be written down, shortened and replayed.
///
/// Machines are numbered as in [`World::nodes`](super::world::World::nodes). `relay` counts the HSDirs that are responsible at that moment, over
/// both slots, and starts anew after the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the numbers that the sentence above each variant speaks of")]
pub enum Fault {
    /// The machine dies at once: daemon and tor, writes not yet on disk lost.
    Kill {
        node: usize,
    },
    /// A dead machine starts from its disk.
    Start {
        node: usize,
    },
    /// All dead machines that are members start together.
    StartAll,
    /// It dies, and what the daemon learnt is gone from its disk.
    LoseDisk {
        node: usize,
    },
    /// The operator stops the daemon in an orderly way.
    Stop {
        node: usize,
    },
    /// The operator takes the machine out of the cluster for good.
    Leave {
        node: usize,
    },
    /// The operator takes the machine out of service, over restarts too; and puts it back.
    Drain {
        node: usize,
    },
    Undrain {
        node: usize,
    },
    /// The operator gives `whom` an order at `node`.
    Order {
        node: usize,
        whom: usize,
        order: Order,
    },
    /// The operator pauses the cluster at this machine; for no time: ends the pause.
    Pause {
        node: usize,
        secs: u32,
    },
    /// The operator makes a new cluster token at this machine.
    RotateToken {
        node: usize,
    },
    /// The operator removes `whom` at `node`, and switches `whom` off some seconds after it has come into force.
    Remove {
        node: usize,
        whom: usize,
    },
    /// The machine's daemon is of a newer version from now on: it also says what the others do not know.
    Upgrade {
        node: usize,
    },
    /// A machine that is not a member asks `via` to be admitted.
    Join {
        node: usize,
        via: usize,
    },
    /// An image of the disk is kept.
    Snapshot {
        node: usize,
    },
    /// It dies and starts with the disk as it was when the last image was kept.
    Rollback {
        node: usize,
    },
    /// Machine `copy`, not a member, starts with a copy of the disk and the keys of `node`.
    Clone {
        node: usize,
        copy: usize,
    },

    /// The whole machine stands still; its clocks run on.
    Freeze {
        node: usize,
        ms: u64,
    },
    /// Only the tor stands still: its circuits live, it answers nothing.
    FreezeTor {
        node: usize,
        ms: u64,
    },
    /// Only the daemon stands still: its points live, nobody is home.
    FreezeDaemon {
        node: usize,
        ms: u64,
    },
    /// The virtual machine is suspended: its clocks stand still with it.
    Suspend {
        node: usize,
        ms: u64,
    },

    /// The wall clock jumps.
    Jump {
        node: usize,
        ms: i64,
    },
    /// All wall clocks jump together.
    JumpAll {
        ms: i64,
    },
    /// The clocks run fast or slow from now on, millionths.
    Drift {
        node: usize,
        wall_ppm: i64,
        mono_ppm: i64,
    },
    /// The wall clock is set right.
    Correct {
        node: usize,
    },

    /// The disk refuses writes, or takes them again.
    Disk {
        node: usize,
        fails: bool,
    },
    /// Writes take up to this long.
    SlowDisk {
        node: usize,
        ms: u64,
    },

    /// No link between the two groups works.
    Partition {
        left: Vec<usize>,
        right: Vec<usize>,
    },
    /// One direction of one link does not work.
    Mute {
        from: usize,
        to: usize,
    },
    /// It hears nobody, and is heard.
    Deaf {
        node: usize,
    },
    /// It is heard by nobody, and hears.
    Dumb {
        node: usize,
    },
    /// Everything mends but dead machines.
    Heal,
    /// So many of a thousand datagrams are lost.
    Loss {
        permille: u64,
    },
    /// All datagrams are lost for a while.
    Burst {
        ms: u64,
    },
    /// All datagrams from and to one machine are lost for a while.
    BurstAt {
        node: usize,
        ms: u64,
    },
    /// So many of a thousand handshake messages are lost besides.
    Handshakes {
        permille: u64,
    },
    /// So many of a thousand datagrams come twice.
    Duplicate {
        permille: u64,
    },
    /// So many of a thousand datagrams come up to `ms` late.
    Reorder {
        permille: u64,
        ms: u64,
    },
    /// So many of a thousand datagrams are changed under way; the tunnel drops them.
    Corrupt {
        permille: u64,
    },
    /// Longer datagrams are lost: a path carries no more bytes, those of the tunnel not counted.
    Mtu {
        bytes: usize,
    },
    /// The machine has another address: what others send to the old one is lost until they hear of the new one.
    Move {
        node: usize,
    },

    /// The tor dies and is restarted by the daemon.
    Tor {
        node: usize,
    },
    /// The tor dies and its restart takes so much longer.
    TorDead {
        node: usize,
        ms: u64,
    },
    /// The control connection is lost.
    Control {
        node: usize,
        ms: u64,
    },
    /// Tor chooses other introduction points.
    Points {
        node: usize,
    },
    /// One introduction point dies; tor chooses another.
    Point {
        node: usize,
        point: usize,
    },
    /// The circuits behind all points die and tor still lists the points, for so long.
    Hollow {
        node: usize,
        ms: u64,
    },
    /// The tor forgets what was set at run time.
    Settings {
        node: usize,
    },
    /// Uploads of this tor end like this for a while.
    Uploads {
        node: usize,
        how: UploadFault,
        ms: u64,
    },

    /// An HSDir loses what it holds.
    Forget {
        relay: usize,
    },
    /// An HSDir refuses everything for a while.
    Refuse {
        relay: usize,
        ms: u64,
    },
    /// An HSDir answers late for a while.
    Late {
        relay: usize,
        ms: u64,
    },
    /// A relay is not in the next consensus.
    RelayLeaves {
        relay: usize,
    },
    /// A relay more is in the next consensus.
    RelayEnters,
    /// Somebody with the master key has uploaded with a counter of `ahead_secs` from now.
    Poison {
        relay: usize,
        ahead_secs: u64,
    },
    /// Somebody with the master key has uploaded a fresh descriptor with points of nobody here.
    Foreign {
        relay: usize,
    },

    /// The operator's application dies or comes back.
    Target {
        node: usize,
        up: bool,
    },

    /// A member lies to all others.
    Lie {
        node: usize,
        lie: Lie,
    },
    /// A machine that has left speaks as if it were a member.
    Former {
        node: usize,
    },
    /// A stranger with an old token asks `via` to be admitted.
    Stranger {
        via: usize,
    },
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
    /// A beacon of an epoch beyond all bounds, twice.
    AbsurdEpoch,
    /// A beacon of its own, of the highest epoch that is believed.
    HighEpoch,
    /// A beacon with counter floors of the far future.
    AbsurdFloors,
    /// A proven plan that another is said to have proven.
    ForgedPlan,
    /// Another's word that a third has been removed, or has left.
    ForgedTombstone,
    /// A new cluster token that another is said to have made.
    ForgedRotation,
    /// Another's word on who may connect: nobody.
    ForgedAccess,
    /// A pause that another is said to have ordered.
    ForgedPause,
    /// As many datagrams as the line takes.
    Flood,
    /// Old datagrams of everybody, again.
    Replay,
    /// Datagrams with changed bytes.
    Garble,
    /// Kinds of message that this version does not know.
    UnknownKinds,
}
