//! Which epochs are believed: how far ahead one may be of all seen before, and how that grows.

use super::super::timing::{BEAT, EPOCH_JUMP_MAX};
use crate::sabotage::{Rule, is_broken};
use crate::time::Mono;

/// The highest epoch believed. It grows by [`EPOCH_JUMP_MAX`] a beat at most, whoever says what: so no liar can use
/// epochs up, and who was away while one lied catches up in no more beats than the lies took.
#[derive(Debug)]
pub(in super::super) struct Reach {
    limit: u64,
    grown_at: Mono,
}

impl Reach {
    /// `epoch_max` is the newest seen.
    pub(in super::super) fn new(now: Mono, epoch_max: u64) -> Self {
        Self { limit: epoch_max.saturating_add(EPOCH_JUMP_MAX), grown_at: now }
    }

    pub(in super::super) fn believes(&self, epoch: u64) -> bool {
        epoch <= self.limit || is_broken(Rule::BoundedEpochs)
    }

    /// Whether it may grow now.
    pub(in super::super) fn may_grow(&self, now: Mono) -> bool {
        now.since(self.grown_at) >= BEAT
    }

    /// A member published under an epoch beyond it: the next such beacon or plan may find it grown enough.
    pub(in super::super) fn grow(&mut self, now: Mono) {
        if self.may_grow(now) {
            self.limit = self.limit.saturating_add(EPOCH_JUMP_MAX);
            self.grown_at = now;
        }
    }

    /// Follows the newest epoch seen.
    pub(super) fn follow(&mut self, now: Mono, epoch_max: u64) {
        let limit = epoch_max.saturating_add(EPOCH_JUMP_MAX);
        if limit > self.limit && self.may_grow(now) {
            (self.limit, self.grown_at) = (limit, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_by_one_jump_a_beat_whatever_is_said() {
        let mut reach = Reach::new(Mono::from_ms(0), 5);
        assert!(reach.believes(5 + EPOCH_JUMP_MAX) && !reach.believes(6 + EPOCH_JUMP_MAX));
        for ms in [100, 499, 500, 600, 999] {
            reach.grow(Mono::from_ms(ms));
            reach.follow(Mono::from_ms(ms), 5 + EPOCH_JUMP_MAX);
        }
        assert!(reach.believes(5 + 2 * EPOCH_JUMP_MAX) && !reach.believes(6 + 2 * EPOCH_JUMP_MAX));
        reach.follow(Mono::from_ms(1_000), 7 + EPOCH_JUMP_MAX);
        assert!(reach.believes(7 + 2 * EPOCH_JUMP_MAX) && !reach.believes(8 + 2 * EPOCH_JUMP_MAX));
    }

    #[test]
    fn the_last_epoch_is_no_cause_for_panic() {
        let mut reach = Reach::new(Mono::from_ms(0), u64::MAX);
        reach.grow(Mono::from_ms(9_000));
        assert!(reach.believes(u64::MAX));
    }
}
