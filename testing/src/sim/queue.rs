//! What is still to happen, in order of true time and, within a millisecond, in the order in which it was put there.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use rustbalance_core::hsdesc::IntroPoint;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::{Command, Durable, EffectId};

use super::mesh::Packet;

/// What can happen to a machine.
pub(super) enum Happening {
    /// The daemon's timer.
    Tick,
    /// Something that its machine tells it.
    Told(Told),
    /// A packet on the network, sent from that address.
    Packet { place: u32, packet: Packet },
    /// The tunnel to that machine may have something to do.
    Tunnel { peer: u32 },
    /// A joiner's request arrives.
    Admit { joiner: u32, bytes: Vec<u8> },
    /// The answer to it arrives.
    Answer { datagrams: Vec<Vec<u8>> },
    /// A joiner asks (again).
    Ask { via: u32 },
    /// The control connection is up.
    ControlUp { tor: usize, connection: u64 },
    /// Tor says something.
    Control { tor: usize, connection: u64, bytes: Arc<[u8]> },
    /// Commands reach a tor that stood still when they were given.
    Commands { tor: usize, connection: u64, said: u64, bytes: Vec<u8> },
    /// Something happens within a tor process.
    Tor { tor: usize, process: u64, what: TorHappening },
    /// The machine is starved for a moment.
    Starve,
    /// The end of a freeze.
    Thaw,
    /// A write reaches the disk.
    Persisted { id: EffectId, record: Durable },
    /// NTP sets the clock.
    Correct,
    /// The operator switches a removed machine off.
    SwitchOff,
}

impl Happening {
    /// Who has to stand still for it to wait.
    pub(super) fn waits_for(&self) -> Waits {
        match self {
            Self::Thaw | Self::Starve | Self::Correct | Self::SwitchOff => Waits::Nobody,
            Self::Tor { .. } | Self::Commands { .. } => Waits::Tor,
            Self::Tick
            | Self::Told(_)
            | Self::Packet { .. }
            | Self::Tunnel { .. }
            | Self::Admit { .. }
            | Self::Answer { .. }
            | Self::Ask { .. }
            | Self::ControlUp { .. }
            | Self::Control { .. }
            | Self::Persisted { .. } => Waits::Daemon,
        }
    }
}

/// What a daemon learns from its machine; later, if it stands still.
pub(super) enum Told {
    /// The application's health has changed.
    Target,
    /// What its daemon measures of the machine has changed.
    Host,
    /// The control connection of a tor is closed.
    Closed { tor: usize },
    /// The operator's command.
    Command(Box<Command>),
}

/// See [`Happening::waits_for`].
pub(super) enum Waits {
    Daemon,
    Tor,
    Nobody,
}

/// What can happen within a tor process.
#[derive(Debug)]
pub(super) enum TorHappening {
    /// It is bootstrapped.
    Bootstrapped,
    /// The circuit of an introduction point is established.
    Point,
    /// A point that lost its circuit has one again.
    Reopen { point: Box<IntroPoint> },
    /// The descriptor follows the circuits.
    Listed,
    /// It comes to upload its own descriptor: those of the daemon end.
    BreakOff,
    /// An upload arrives at its HSDir.
    Upload { stream: u64, text: Arc<str> },
    /// The HSDir's answer arrives: taken, or why not.
    Answered { stream: u64, reason: Option<&'static str> },
    /// A fetch arrives at this HSDir.
    Fetch { relay: RelayFingerprint },
    /// Its answer arrives, which tor tells in these events.
    Fetched { events: Vec<u8> },
}

struct Entry {
    at: u64,
    sequence: u64,
    machine: u32,
    life: u32,
    happening: Happening,
}

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
}

impl Queue {
    /// Lets `happening` happen at `at` to the machine, if it still lives this `life` of its.
    pub(super) fn push(&mut self, at: u64, machine: usize, life: u32, happening: Happening) {
        self.sequence += 1;
        let machine = u32::try_from(machine).expect("machines are counted in thousands");
        self.heap.push(Reverse(Entry { at, sequence: self.sequence, machine, life, happening }));
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.0.at)
    }

    /// The next thing: when, to which machine in which of its lives, what.
    pub(super) fn pop(&mut self) -> Option<(u64, usize, u32, Happening)> {
        let Reverse(entry) = self.heap.pop()?;
        Some((entry.at, entry.machine as usize, entry.life, entry.happening))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}
