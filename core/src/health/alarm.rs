//! Something that is wrong from one limit on, and right again only at another.

use core::time::Duration;

use crate::time::Mono;

/// How a fact looks beside its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing is known: all stays as it is.
    Unknown,
    /// Past the limit.
    Bad,
    /// Neither bad nor well: all stays as it is.
    Between,
    /// Well away from it.
    Good,
}

impl Look {
    pub(super) fn of(is_bad: bool, is_good: bool) -> Self {
        match (is_bad, is_good) {
            (true, _) => Self::Bad,
            (false, true) => Self::Good,
            (false, false) => Self::Between,
        }
    }
}

/// On or off.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    is_on: bool,
    /// Since when the fact has spoken against that.
    against: Option<Mono>,
}

impl Alarm {
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// True if it goes on or off: the fact has looked so for as long as `lasts`.
    pub(super) fn tick(&mut self, now: Mono, look: Look, lasts: Duration) -> bool {
        let speaks_against = match look {
            Look::Unknown | Look::Between => false,
            Look::Bad => !self.is_on,
            Look::Good => self.is_on,
        };
        if !speaks_against {
            self.against = None;
            return false;
        }
        let turns = now.since(*self.against.get_or_insert(now)) >= lasts;
        if turns {
            self.is_on = !self.is_on;
            self.against = None;
        }
        turns
    }
}
