//! What this node's machine and clock are worth: facts in, warnings out, and whether the node may publish. The one policy
//! for all of them, with hysteresis: what hovers about a limit is said once.

mod alarm;

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use crate::cluster::ClockOffset;
use crate::output::{Event, Outbox};
use crate::publish::Publisher;
use crate::sabotage::{Rule, is_broken};
use crate::status::HostStatus;
use crate::time::Now;
use crate::tor::Validity;
use alarm::{Alarm, Look};

const MIB: u64 = 1024 * 1024;
/// A clock so far from the others' is worth a warning, milliseconds. Half of what keeps it from publishing.
const CLOCK_WARN_MS: u64 = 2_000;
/// Half of that again: it has been set.
const CLOCK_WELL_MS: u64 = 1_000;
/// A clock that was too wrong to publish by may be used again from here, milliseconds; 5 s are too much.
const CLOCK_SANE_MS: u64 = 4_000;
/// A clock must be wrong, or right, for so long: a heartbeat that lay in a queue looks like a clock that is slow.
const CLOCK_LASTS: Duration = Duration::from_secs(10);
/// File handles in use, percent: each visitor takes two.
const FILES: (u64, u64) = (80, 70);
/// Memory in use, percent of the limit.
const MEMORY: (u64, u64) = (90, 80);
/// Room for the node's state and what tor keeps, several times over, bytes.
const DISK: (u64, u64) = (50 * MIB, 60 * MIB);
/// Room in which a claim can be written, bytes.
const DISK_FULL: (u64, u64) = (MIB, 8 * MIB);

/// What the shell measures of the machine; what it cannot measure is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// File handles of this process, and how many it may have.
    pub files: Option<Use>,
    /// Memory in bytes: of the group of processes that has a limit, or of this process where there is none.
    pub memory: Option<Use>,
    /// Bytes that are free for this user where the state directory is.
    pub disk_free: Option<u64>,
}

/// How much of something is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// So much.
    pub used: u64,
    /// Of so much, if it is limited.
    pub limit: Option<u64>,
}

impl Use {
    /// At or above the first number of percent is bad, below the second good again.
    fn look(self, (bad, good): (u64, u64)) -> Look {
        let Some(limit) = self.limit else { return Look::Good };
        let percent = |percent: u64| u128::from(limit) * u128::from(percent);
        let used = u128::from(self.used) * 100;
        Look::of(used >= percent(bad), used < percent(good))
    }
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Concern {
    /// The clock is away from the others'.
    Clock,
    /// So far that the node may not publish by it.
    ClockUnfit,
    /// By the clock tor's consensus is not valid, yet or any more.
    Consensus,
    Files,
    Memory,
    Disk,
    /// Nothing more can be written.
    DiskFull,
}

impl Concern {
    const ALL: [Self; 7] =
        [Self::Clock, Self::ClockUnfit, Self::Consensus, Self::Files, Self::Memory, Self::Disk, Self::DiskFull];

    /// For how long it has to be so before it counts.
    const fn lasts(self) -> Duration {
        match self {
            Self::Clock | Self::Consensus => CLOCK_LASTS,
            Self::ClockUnfit | Self::Files | Self::Memory | Self::Disk | Self::DiskFull => Duration::ZERO,
        }
    }
}

/// All facts, and what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Health {
    host: HostFacts,
    clock: ClockOffset,
    /// The clock against tor's newest consensus.
    validity: Validity,
    alarms: BTreeMap<Concern, Alarm>,
}

impl Health {
    /// What the shell has measured.
    pub(crate) fn measured(&mut self, host: HostFacts) {
        self.host = host;
    }

    /// Judges. Call with every input: nothing here needs a timer of its own.
    pub(crate) fn tick(&mut self, now: Now, clock: ClockOffset, validity: Validity, out: &mut Outbox) {
        (self.clock, self.validity) = (clock, validity);
        for concern in Concern::ALL {
            let look = self.look(concern);
            let alarm = self.alarms.entry(concern).or_default();
            if alarm.tick(now.mono, look, concern.lasts()) {
                let words = self.words(concern).to_string();
                out.event(if self.is_on(concern) {
                    Event::Warning(words)
                } else {
                    Event::Well(over(concern).to_owned())
                });
            }
        }
    }

    /// Whether the node may take the lease, and keep it while another can have it.
    pub(crate) fn may_publish(&self) -> bool {
        let is_unfit = self.is_on(Concern::ClockUnfit) && !is_broken(Rule::RightClock);
        !is_unfit && !self.is_on(Concern::DiskFull)
    }

    /// What is wrong now, a line each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        Concern::ALL.into_iter().filter(|concern| self.is_on(*concern)).map(|on| self.words(on).to_string()).collect()
    }

    /// The machine, for operators.
    pub(crate) fn host(&self) -> HostStatus {
        let HostFacts { files, memory, disk_free } = self.host;
        HostStatus {
            files: files.map(|files| files.used),
            files_max: files.and_then(|files| files.limit),
            memory_bytes: memory.map(|memory| memory.used),
            memory_max_bytes: memory.and_then(|memory| memory.limit),
            disk_free_bytes: disk_free,
        }
    }

    fn is_on(&self, concern: Concern) -> bool {
        self.alarms.get(&concern).is_some_and(Alarm::is_on)
    }

    fn look(&self, concern: Concern) -> Look {
        let HostFacts { files, memory, disk_free } = self.host;
        let used = |used: Option<Use>, limits| used.map_or(Look::Unknown, |used| used.look(limits));
        let free = |(bad, good)| disk_free.map_or(Look::Unknown, |free| Look::of(free < bad, free >= good));
        match concern {
            Concern::Clock => {
                let apart = self.clock.widest_ms().unsigned_abs();
                Look::of(apart >= CLOCK_WARN_MS, apart < CLOCK_WELL_MS)
            }
            Concern::ClockUnfit => {
                let nearest = self.clock.nearest_ms().unsigned_abs();
                Look::of(!Publisher::clock_sane(self.clock), nearest <= CLOCK_SANE_MS)
            }
            Concern::Consensus => match self.validity {
                Validity::Unknown => Look::Unknown,
                Validity::Valid => Look::Good,
                Validity::NotYet(_) | Validity::Expired => Look::Bad,
            },
            Concern::Files => used(files, FILES),
            Concern::Memory => used(memory, MEMORY),
            Concern::Disk => free(DISK),
            Concern::DiskFull => free(DISK_FULL),
        }
    }

    fn words(&self, concern: Concern) -> Words<'_> {
        Words(self, concern)
    }
}

/// A warning: what is wrong, and what to do.
struct Words<'a>(&'a Health, Concern);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Health { host, clock, validity, .. }, concern) = self;
        let used = |used: Option<Use>| used.map_or((0, 0), |used| (used.used, used.limit.unwrap_or(0)));
        let free_mib = host.disk_free.unwrap_or(0) / MIB;
        match concern {
            Concern::Clock => {
                write!(f, "this machine's clock is {}; set it, or theirs, and see that NTP runs", ClockWords(*clock))
            }
            Concern::ClockUnfit => write!(
                f,
                "this machine's clock is {}: this node does not publish while another can; set the clock",
                ClockWords(*clock)
            ),
            Concern::Consensus => match validity {
                Validity::NotYet(secs) => write!(
                    f,
                    "this machine's clock is at least {secs} s behind: tor has a consensus that begins later; set the clock"
                ),
                Validity::Unknown | Validity::Valid | Validity::Expired => f.write_str(
                    "by this machine's clock tor's newest consensus ended more than a day ago: set the clock, or see that \
                     tor reaches the network",
                ),
            },
            Concern::Files => {
                let (used, limit) = used(host.files);
                write!(f, "{used} of {limit} file handles are in use; raise LimitNOFILE, or lower proxy.max_connections")
            }
            Concern::Memory => {
                let (used, limit) = used(host.memory);
                let (used, limit) = (used / MIB, limit / MIB);
                write!(f, "{used} of {limit} MiB of memory are in use; raise the limit, or lower proxy.max_connections")
            }
            Concern::Disk => write!(f, "{free_mib} MiB are free for the state directory; make room on that disk"),
            Concern::DiskFull => {
                f.write_str("the state directory's disk is full: this node does not publish while another can; make room")
            }
        }
    }
}

/// A clock against the others', as in "1.2 s ahead of the others".
pub(crate) struct ClockWords(pub ClockOffset);

impl fmt::Display for ClockWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What the offset says of the others, the words say of ours.
        let theirs = self.0.widest_ms();
        let whose = if self.0.others == 1 { "the other node's" } else { "those of the other nodes" };
        let side = if theirs > 0 { "behind" } else { "ahead of" };
        let tenths = theirs.unsigned_abs() / 100;
        write!(f, "{}.{} s {side} {whose}", tenths / 10, tenths % 10)
    }
}

/// What is said when it is over.
const fn over(concern: Concern) -> &'static str {
    match concern {
        Concern::Clock => "this machine's clock agrees with the others again",
        Concern::ClockUnfit => "this machine's clock is good enough to publish by again",
        Concern::Consensus => "this machine's clock and tor's newest consensus agree again",
        Concern::Files => "enough file handles are free again",
        Concern::Memory => "enough memory is free again",
        Concern::Disk => "enough of the state directory's disk is free again",
        Concern::DiskFull => "there is room in the state directory again",
    }
}

#[cfg(test)]
mod tests;
