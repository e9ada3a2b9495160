//! The clocks of one machine: boot time and wall time, each of which may drift, and stop with a suspended machine.

use rustbalance_core::time::{Mono, Now, Wall};

/// Both clocks as they were at one instant of true time, and how they have run since.
#[derive(Clone, Debug)]
pub struct Clock {
    /// True time, milliseconds since the start of the world.
    anchor: u64,
    /// Boot time then, milliseconds. Before the anchor it stands still.
    mono: u64,
    /// Wall time against true wall time then, milliseconds.
    skew_ms: i64,
    mono_ppm: i64,
    wall_ppm: i64,
}

impl Clock {
    /// Both clocks at true time 0, running true.
    pub(super) fn new(mono_ms: u64, skew_ms: i64) -> Self {
        Self { anchor: 0, mono: mono_ms, skew_ms, mono_ppm: 0, wall_ppm: 0 }
    }

    /// What they show at true time `now`, which is `wall` by true clocks.
    pub fn read(&self, now: u64, wall: Wall) -> Now {
        Now { mono: self.mono(now), wall: Wall::from_ms(wall.as_ms().saturating_add_signed(self.skew_ms(now))) }
    }

    fn mono(&self, now: u64) -> Mono {
        let elapsed = now.saturating_sub(self.anchor);
        Mono::from_ms((self.mono + elapsed).saturating_add_signed(drift(elapsed, self.mono_ppm)))
    }

    /// Wall time against true wall time, milliseconds.
    pub fn skew_ms(&self, now: u64) -> i64 {
        self.skew_ms + drift(now.saturating_sub(self.anchor), self.wall_ppm)
    }

    /// The first instant of true time at which boot time is `mono`.
    pub(super) fn when(&self, mono: Mono) -> u64 {
        let ahead = mono.as_ms().saturating_sub(self.mono);
        let at = self.anchor + ahead;
        if self.mono_ppm == 0 {
            return at;
        }
        let mut at = self.anchor + ahead * 1_000_000 / 1_000_000u64.saturating_add_signed(self.mono_ppm);
        // Rounding is off by a millisecond at most, either way.
        at = at.saturating_sub(1).max(self.anchor);
        while self.mono(at) < mono {
            at += 1;
        }
        at
    }

    /// From now on they run fast or slow.
    pub(super) fn set_drift(&mut self, now: u64, wall_ppm: i64, mono_ppm: i64) {
        self.settle(now);
        (self.wall_ppm, self.mono_ppm) = (wall_ppm, mono_ppm);
    }

    /// The wall clock jumps.
    pub(super) fn jump(&mut self, by_ms: i64) {
        self.skew_ms += by_ms;
    }

    /// The wall clock is set right.
    pub(super) fn correct(&mut self, now: u64) {
        self.settle(now);
        self.skew_ms = 0;
    }

    /// Both stand still for `ms`.
    pub(super) fn stand_still(&mut self, now: u64, ms: u64) {
        self.settle(now);
        self.anchor += ms;
        self.skew_ms -= i64::try_from(ms).unwrap_or(i64::MAX);
    }

    /// Whether they stood still until `now`: then who looks at them has not noticed that time passed.
    pub(super) fn stood_still(&self, now: u64) -> bool {
        self.anchor >= now
    }

    fn settle(&mut self, now: u64) {
        (self.mono, self.skew_ms) = (self.mono(now).as_ms(), self.skew_ms(now));
        self.anchor = self.anchor.max(now);
    }
}

fn drift(elapsed: u64, ppm: i64) -> i64 {
    if ppm == 0 {
        return 0; // the common case, and asked for at every step
    }
    i64::try_from(elapsed).unwrap_or(i64::MAX).saturating_mul(ppm) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_rings_when_boot_time_has_come_whatever_the_drift() {
        for ppm in [-50_000, -500, -1, 0, 1, 300, 50_000] {
            let mut clock = Clock::new(777, 0);
            clock.set_drift(1_234, 0, ppm);
            for ahead in [0, 1, 499, 500, 120_001] {
                let mono = Mono::from_ms(clock.mono(5_000).as_ms() + ahead);
                let at = clock.when(mono);
                assert!(clock.mono(at) >= mono && clock.mono(at - 1) < mono, "{ppm} {ahead}");
            }
        }
    }

    #[test]
    fn a_suspended_machine_has_slept_without_noticing() {
        let mut clock = Clock::new(0, 0);
        clock.stand_still(100, 5_000);
        assert_eq!(clock.mono(4_000), clock.mono(100));
        assert_eq!(clock.mono(5_101), Mono::from_ms(101));
        assert_eq!(clock.skew_ms(5_101), -5_000);
        clock.jump(2_000);
        assert_eq!(clock.skew_ms(5_101), -3_000);
        clock.correct(6_000);
        assert_eq!(clock.read(7_000, Wall::from_ms(9)).wall, Wall::from_ms(9));
    }

    #[test]
    fn a_drifting_wall_clock_gains_a_second_in_a_thousand() {
        let mut clock = Clock::new(0, 0);
        clock.set_drift(0, 1_000, 0);
        assert_eq!((clock.skew_ms(1_000_000), clock.mono(1_000_000)), (1_000, Mono::from_ms(1_000_000)));
    }
}
