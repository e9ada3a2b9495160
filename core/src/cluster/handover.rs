//! Preemption by hand-over: a better priority asks, the holder offers, the target claims with everything it needs,
//! and the old holder publishes until it sees that claim.

use core::time::Duration;

use super::timing::{HANDOVER, PREEMPT_CALM, PREEMPT_DELAY, PREEMPT_DELAY_MAX};
use crate::id::NodeId;
use crate::sabotage::{Rule, is_broken};
use crate::time::Mono;

/// What a node remembers of hand-overs it took part in.
#[derive(Debug, Default)]
pub(super) struct Handover {
    /// As holder: to whom we last offered, and when.
    offered: Option<(NodeId, Mono)>,
    /// As old holder: who claimed on our offer and has not yet shown that it goes on.
    handed: Option<NodeId>,
    /// Leases lost against our will, and when the last was.
    lost: u32,
    lost_at: Mono,
}

impl Handover {
    /// How long we must have been eligible before we ask: doubled per lost lease, halved per calm hour.
    pub(super) fn preempt_delay(&self, now: Mono) -> Duration {
        if is_broken(Rule::DampedPreemption) {
            return Duration::ZERO;
        }
        let calm = now.since(self.lost_at).as_secs() / PREEMPT_CALM.as_secs();
        let lost = self.lost.saturating_sub(u32::try_from(calm).unwrap_or(u32::MAX)).min(16);
        (PREEMPT_DELAY * (1 << lost)).min(PREEMPT_DELAY_MAX)
    }

    /// We offer the lease to `to`.
    pub(super) fn offer(&mut self, now: Mono, to: NodeId) {
        self.offered = Some((to, now));
    }

    /// Whether somebody else than `to` may yet claim on our offer: of two who claim the same epoch one would lose it again.
    pub(super) fn is_offered_beside(&self, now: Mono, to: NodeId) -> bool {
        self.offered.is_some_and(|(other, at)| other != to && now.since(at) < HANDOVER)
    }

    /// Our lease went to `winner`: as offered, or against our will.
    pub(super) fn unseated(&mut self, now: Mono, winner: NodeId) {
        let offered = self.offered.take().is_some_and(|(to, at)| to == winner && now.since(at) < HANDOVER);
        if offered {
            self.handed = Some(winner);
        } else {
            self.lose(now);
        }
    }

    /// We lost or gave up a lease because it did not work here.
    pub(super) fn lose(&mut self, now: Mono) {
        let calm = now.since(self.lost_at).as_secs() / PREEMPT_CALM.as_secs();
        self.lost = self.lost.saturating_sub(u32::try_from(calm).unwrap_or(u32::MAX)).saturating_add(1).min(16);
        self.lost_at = now;
    }

    /// A beacon was accepted: its second shows that the new holder goes on.
    pub(super) fn witness(&mut self, holder: NodeId, seq: u64) {
        if self.handed.is_some_and(|handed| handed != holder || seq >= 2) {
            self.handed = None;
        }
    }

    /// Whether `holder` claimed on our offer and we still wait for its second beacon.
    pub(super) fn is_handed_to(&self, holder: NodeId) -> bool {
        self.handed == Some(holder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_per_lost_lease_and_halves_per_calm_hour() {
        let mut handover = Handover::default();
        let hour = |n: u64| Mono::from_ms(n * 3_600_000);
        assert_eq!(handover.preempt_delay(hour(1)), PREEMPT_DELAY);
        for lost in 1..=3u32 {
            handover.unseated(hour(1), NodeId([1; 32]));
            assert_eq!(handover.preempt_delay(hour(1)), PREEMPT_DELAY * (1 << lost));
        }
        assert_eq!(handover.preempt_delay(hour(2)), PREEMPT_DELAY * 4);
        assert_eq!(handover.preempt_delay(hour(9)), PREEMPT_DELAY);
        for _ in 0..100 {
            handover.unseated(hour(9), NodeId([1; 32]));
        }
        assert_eq!(handover.preempt_delay(hour(9)), PREEMPT_DELAY_MAX);
    }

    #[test]
    fn an_offered_lease_is_not_lost_unless_the_offer_lapsed() {
        let (x, at) = (NodeId([1; 32]), |ms| Mono::from_ms(ms));
        let mut handover = Handover::default();
        handover.offer(at(1000), x);
        handover.unseated(at(2999), x);
        assert!(handover.is_handed_to(x));
        assert_eq!(handover.preempt_delay(at(3000)), PREEMPT_DELAY);
        handover.witness(x, 1);
        assert!(handover.is_handed_to(x));
        handover.witness(x, 2);
        assert!(!handover.is_handed_to(x));
        handover.offer(at(5000), x);
        handover.unseated(at(7000), x);
        assert!(!handover.is_handed_to(x));
        assert_eq!(handover.preempt_delay(at(7000)), PREEMPT_DELAY * 2);
    }
}
