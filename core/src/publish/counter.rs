//! Which `n` (seconds, DESIGN 2.9) the next descriptor of a period carries.

use crate::onion::revision::REVISION_N_MAX;
use crate::time::{Mono, Now};
use core::time::Duration;

/// Clocks further apart than this make a node not eligible, milliseconds.
pub(super) const CLOCK_OFFSET_MAX_MS: u64 = 5_000;
/// A stored counter up to this many seconds ahead of ours is an honest rival's; beyond, it is poisoned.
pub(super) const AHEAD_MAX_SECS: u32 = 10;
/// Counters ahead of the clock advance at the clock's own pace.
const SECOND: Duration = Duration::from_secs(1);

/// The clock that counters go by: the slower of our own and the median of the live members'.
#[derive(Clone, Copy, Debug)]
pub(super) struct CounterClock {
    now: Now,
    behind_ms: u64,
}

impl CounterClock {
    /// `offset_ms`: the median minus ours, as [`View::clock_offset_ms`](crate::cluster::View).
    pub(super) fn new(now: Now, offset_ms: i64) -> Self {
        Self { now, behind_ms: offset_ms.min(0).unsigned_abs() }
    }

    /// `n` now for counters that count from `origin` (unix seconds); 0 before it.
    pub(super) fn n(&self, origin: u64) -> u32 {
        let secs = self.now.wall.as_ms().saturating_sub(self.behind_ms) / 1000;
        let n = (secs + 1).saturating_sub(origin);
        u32::try_from(n).unwrap_or(u32::MAX)
    }

    /// When [`Self::n`] grows next.
    fn next_second(&self) -> Mono {
        let into_second = self.now.wall.as_ms().saturating_sub(self.behind_ms) % 1000;
        self.now.mono.plus(Duration::from_millis(1000 - into_second))
    }
}

/// What to do about a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Use this one.
    Use(u32),
    /// Every counter so far is used: ask again then.
    Wait(Mono),
    /// The clock lies outside the period's counters.
    OutOfRange,
}

/// The counters of one period. None is used twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    /// The highest `n` we used or know to be stored.
    floor: u32,
    /// When we last used one.
    used_at: Option<Mono>,
}

impl Counters {
    /// Some HSDir holds a descriptor with this `n`.
    pub(super) fn raise(&mut self, n: u32) {
        self.floor = self.floor.max(n);
    }

    /// The highest `n` we used or know to be stored.
    pub(super) fn floor(&self) -> u32 {
        self.floor
    }

    /// The clock's `n` if that is above the floor, else the next above it, at most one a second.
    pub(super) fn next(&self, clock: &CounterClock, origin: u64) -> Next {
        let by_clock = clock.n(origin);
        let n = by_clock.max(self.floor.saturating_add(1));
        let again = self.used_at.map_or(Mono::default(), |at| at.plus(SECOND));
        if by_clock == 0 || n > REVISION_N_MAX {
            Next::OutOfRange
        } else if n > by_clock && clock.now.mono < again {
            Next::Wait(again.min(clock.next_second()))
        } else {
            Next::Use(n)
        }
    }

    /// `n` is being used.
    pub(super) fn used(&mut self, n: u32, now: Mono) {
        self.raise(n);
        self.used_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    const ORIGIN: u64 = 1_000_000;

    fn clock(secs: u64, offset_ms: i64) -> CounterClock {
        let now = Now { mono: Mono::from_ms(secs * 1000), wall: Wall::from_secs(ORIGIN + secs) };
        CounterClock::new(now, offset_ms)
    }

    #[test]
    fn counters_count_from_one_at_the_origin() {
        assert_eq!(clock(0, 0).n(ORIGIN), 1);
        assert_eq!(clock(99, 0).n(ORIGIN), 100);
        assert_eq!(clock(0, 0).n(ORIGIN + 2), 0);
    }

    #[test]
    fn slower_of_own_clock_and_median_counts() {
        assert_eq!(clock(100, -4000).n(ORIGIN), 97);
        assert_eq!(clock(100, 4000).n(ORIGIN), 101);
    }

    #[test]
    fn no_counter_is_used_twice() {
        let mut counters = Counters::default();
        assert_eq!(counters.next(&clock(10, 0), ORIGIN), Next::Use(11));
        counters.used(11, Mono::from_ms(10_000));
        assert_eq!(counters.next(&clock(10, 0), ORIGIN), Next::Wait(Mono::from_ms(11_000)));
        assert_eq!(counters.next(&clock(11, 0), ORIGIN), Next::Use(12));
    }

    #[test]
    fn clock_set_back_goes_on_above_what_was_used_one_a_second() {
        let mut counters = Counters::default();
        counters.used(500, Mono::from_ms(9_500));
        assert_eq!(counters.next(&clock(10, 0), ORIGIN), Next::Wait(Mono::from_ms(10_500)));
        assert_eq!(counters.next(&clock(11, 0), ORIGIN), Next::Use(501));
    }

    #[test]
    fn floor_of_another_publisher_is_passed_at_once() {
        let mut counters = Counters::default();
        counters.raise(14);
        assert_eq!(counters.next(&clock(10, 0), ORIGIN), Next::Use(15));
    }

    #[test]
    fn clock_outside_the_period_gives_no_counter() {
        let counters = Counters::default();
        assert_eq!(counters.next(&clock(10, 0), ORIGIN + 100), Next::OutOfRange);
        assert_eq!(counters.next(&clock(u64::from(REVISION_N_MAX), 0), ORIGIN), Next::OutOfRange);
        assert_eq!(counters.next(&clock(u64::from(REVISION_N_MAX) - 1, 0), ORIGIN), Next::Use(REVISION_N_MAX));
    }
}
