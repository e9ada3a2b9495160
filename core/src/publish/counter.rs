//! Which `n` (seconds, see `onion/revision.rs`) the next descriptor of a period carries.

use crate::cluster::ClockOffset;
use crate::onion::revision::REVISION_N_MAX;
use crate::sabotage::{Rule, is_broken};
use crate::time::{Mono, Now, ValidAfter};
use core::time::Duration;

/// Clocks further apart than this make a node not eligible, milliseconds.
pub(super) const CLOCK_OFFSET_MAX_MS: u64 = 5_000;
/// The wall clock was set if it moved by more than this against boot time between two looks, milliseconds.
const STEP_MS: u64 = 2_000;
/// A stored counter up to this many seconds ahead of ours is an honest rival's; beyond, it is poisoned.
pub(super) const AHEAD_MAX_SECS: u32 = 10;
/// Counters ahead of the clock advance at the clock's own pace.
const SECOND: Duration = Duration::from_secs(1);

/// The wall clock that counters go by, and boot time beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct CounterClock {
    mono: Mono,
    wall_ms: u64,
}

impl CounterClock {
    /// Our own clock, whatever it is worth.
    pub(super) fn own(now: Now) -> Self {
        Self { mono: now.mono, wall_ms: now.wall.as_ms() }
    }

    /// `n` now for counters that count from `origin` (unix seconds); 0 before it.
    pub(super) fn n(&self, origin: u64) -> u32 {
        let n = (self.wall_ms / 1000 + 1).saturating_sub(origin);
        u32::try_from(n).unwrap_or(u32::MAX)
    }

    /// When [`Self::n`] grows next.
    fn next_second(&self) -> Mono {
        self.mono.plus(Duration::from_millis(1000 - self.wall_ms % 1000))
    }
}

/// What our clock is worth beside the others' and beside boot time.
#[derive(Debug, Default)]
pub(super) struct ClockWatch {
    /// Wall minus boot time when we last looked, milliseconds.
    ahead_ms: Option<i64>,
    /// A step that nothing has confirmed yet, milliseconds, and the newest consensus before it.
    step: Option<(i64, Option<ValidAfter>)>,
    others: ClockOffset,
    consensus: Option<ValidAfter>,
}

impl ClockWatch {
    /// Compares. What confirms a step is other clocks, which then count themselves, or a consensus that came after it.
    pub(super) fn look(&mut self, now: Now, others: ClockOffset, consensus: Option<ValidAfter>) {
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let ahead_ms = signed(now.wall.as_ms()).saturating_sub(signed(now.mono.as_ms()));
        let moved_ms = self.ahead_ms.map_or(0, |before| ahead_ms.saturating_sub(before));
        // While one waits to be confirmed boot time counts, so that smaller ones add to it.
        self.step = match self.step {
            None => Some((moved_ms, consensus)),
            Some((earlier_ms, before)) => {
                let before = if moved_ms.unsigned_abs() > STEP_MS { consensus } else { before };
                Some((earlier_ms.saturating_add(moved_ms), before))
            }
        };
        let is_open = |(step_ms, before): &(i64, Option<ValidAfter>)| {
            step_ms.unsigned_abs() > STEP_MS && others.others == 0 && consensus <= *before
        };
        self.step = self.step.filter(is_open);
        (self.ahead_ms, self.others, self.consensus) = (Some(ahead_ms), others, consensus);
    }

    /// The clock for counters: the slower of our own and the others' median; ours as it was before an unconfirmed step.
    /// None is right that is before the newest consensus, neither ours nor others'.
    pub(super) fn counter_clock(&self, now: Now) -> CounterClock {
        let own_ms = now.wall.as_ms();
        let median_ms = if is_broken(Rule::MedianClock) { 0 } else { self.others.lower_ms.min(0) };
        let offset_ms = self.step.map_or(median_ms, |(step_ms, _)| step_ms.saturating_neg());
        let not_before_ms = self.consensus.map_or(0, |consensus| consensus.as_secs().saturating_mul(1000));
        CounterClock { mono: now.mono, wall_ms: own_ms.saturating_add_signed(offset_ms).max(not_before_ms) }
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
        } else if n > by_clock && clock.mono < again {
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

    fn now(secs: u64, step_ms: i64) -> Now {
        let wall = Wall::from_ms((ORIGIN + secs).saturating_mul(1000).saturating_add_signed(step_ms));
        Now { mono: Mono::from_ms(secs * 1000), wall }
    }

    fn clock(secs: u64) -> CounterClock {
        CounterClock::own(now(secs, 0))
    }

    fn known(offset_ms: i64) -> ClockOffset {
        ClockOffset { lower_ms: offset_ms, upper_ms: offset_ms, others: 2 }
    }

    /// The counter at `now` for who has just looked.
    fn n(watch: &mut ClockWatch, now: Now, others: ClockOffset, consensus: Option<u64>) -> u32 {
        watch.look(now, others, consensus.map(|secs| ValidAfter::from_secs(ORIGIN + secs)));
        watch.counter_clock(now).n(ORIGIN)
    }

    #[test]
    fn counters_count_from_one_at_the_origin() {
        assert_eq!(clock(0).n(ORIGIN), 1);
        assert_eq!(clock(99).n(ORIGIN), 100);
        assert_eq!(clock(0).n(ORIGIN + 2), 0);
    }

    #[test]
    fn slower_of_own_clock_and_median_counts() {
        let mut watch = ClockWatch::default();
        assert_eq!(n(&mut watch, now(100, 0), known(-4000), None), 97);
        assert_eq!(n(&mut watch, now(100, 0), known(4000), None), 101);
    }

    #[test]
    fn no_clock_from_before_the_newest_consensus_counts() {
        let mut watch = ClockWatch::default();
        assert_eq!(n(&mut watch, now(9000, 0), known(i64::MIN), Some(7200)), 7201);
        assert_eq!(n(&mut watch, now(100, 0), known(0), Some(7200)), 7201);
    }

    #[test]
    fn step_of_a_clock_nobody_else_confirms_does_not_count_before_a_newer_consensus() {
        for step_ms in [3_600_000, -3_600_000, 2_001] {
            let (mut watch, nobody) = (ClockWatch::default(), ClockOffset::default());
            assert_eq!(n(&mut watch, now(9000, 0), nobody, Some(3600)), 9001);
            assert_eq!(n(&mut watch, now(9001, step_ms), nobody, Some(3600)), 9002, "{step_ms}");
            assert_eq!(n(&mut watch, now(9009, step_ms), nobody, Some(3600)), 9010, "{step_ms}");
            let stepped = clock(9010).n((ORIGIN).saturating_add_signed(-step_ms / 1000));
            let confirmed = n(&mut watch, now(9010, step_ms), nobody, Some(3601));
            assert!(confirmed.abs_diff(stepped) <= 1, "{step_ms}");
        }
    }

    #[test]
    fn step_back_and_forth_is_none_and_drift_is_none() {
        let (mut watch, nobody) = (ClockWatch::default(), ClockOffset::default());
        assert_eq!(n(&mut watch, now(9000, 0), nobody, None), 9001);
        assert_eq!(n(&mut watch, now(9001, 5000), nobody, None), 9002);
        assert_eq!(n(&mut watch, now(9002, 0), nobody, None), 9003);
        assert_eq!(n(&mut watch, now(9003, 2000), nobody, None), 9006);
    }

    #[test]
    fn boot_time_counts_while_a_step_is_unconfirmed_though_the_clock_is_slewed() {
        let (mut watch, nobody) = (ClockWatch::default(), ClockOffset::default());
        assert_eq!(n(&mut watch, now(9000, 0), nobody, Some(3600)), 9001);
        for (at, step_ms, counter) in
            [(9001, -9000, 9002), (9002, -7100, 9003), (9003, -5200, 9004), (9004, -3300, 9005)]
        {
            assert_eq!(n(&mut watch, now(at, step_ms), nobody, Some(3600)), counter);
        }
        assert_eq!(n(&mut watch, now(9005, -1400), nobody, Some(3600)), 9004, "what is left is no step");
    }

    #[test]
    fn other_clocks_judge_a_step_at_once() {
        let mut watch = ClockWatch::default();
        assert_eq!(n(&mut watch, now(9000, 0), known(0), None), 9001);
        assert_eq!(n(&mut watch, now(9001, 3_600_000), known(-3_600_000), None), 9002);
        assert_eq!(n(&mut watch, now(9002, 3_600_000), known(0), None), 12_603);
    }

    #[test]
    fn no_counter_is_used_twice() {
        let mut counters = Counters::default();
        assert_eq!(counters.next(&clock(10), ORIGIN), Next::Use(11));
        counters.used(11, Mono::from_ms(10_000));
        assert_eq!(counters.next(&clock(10), ORIGIN), Next::Wait(Mono::from_ms(11_000)));
        assert_eq!(counters.next(&clock(11), ORIGIN), Next::Use(12));
    }

    #[test]
    fn clock_set_back_goes_on_above_what_was_used_one_a_second() {
        let mut counters = Counters::default();
        counters.used(500, Mono::from_ms(9_500));
        assert_eq!(counters.next(&clock(10), ORIGIN), Next::Wait(Mono::from_ms(10_500)));
        assert_eq!(counters.next(&clock(11), ORIGIN), Next::Use(501));
    }

    #[test]
    fn floor_of_another_publisher_is_passed_at_once() {
        let mut counters = Counters::default();
        counters.raise(14);
        assert_eq!(counters.next(&clock(10), ORIGIN), Next::Use(15));
    }

    #[test]
    fn clock_outside_the_period_gives_no_counter() {
        let counters = Counters::default();
        assert_eq!(counters.next(&clock(10), ORIGIN + 100), Next::OutOfRange);
        assert_eq!(counters.next(&clock(u64::from(REVISION_N_MAX)), ORIGIN), Next::OutOfRange);
        assert_eq!(counters.next(&clock(u64::from(REVISION_N_MAX) - 1), ORIGIN), Next::Use(REVISION_N_MAX));
    }
}
