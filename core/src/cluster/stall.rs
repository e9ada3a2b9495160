//! Stalls: the process was stopped or starved. What it believed may be old; what it would upload may be older.

use super::timing::{STALL_GRACE, STALL_HOLD, STALL_LATE, STALLS_APART, TTL};
use crate::time::Mono;
use core::time::Duration;

/// Uploads wait until a member has echoed a beacon newer than this, or until then.
#[derive(Debug)]
struct Hold {
    until: Mono,
    epoch: u64,
    seq: u64,
}

/// When we expected to be woken, and what holds since we last were not.
#[derive(Debug, Default)]
pub(super) struct Stall {
    expected_at: Option<Mono>,
    ticked_at: Mono,
    hold: Option<Hold>,
    /// Of the last stall in full.
    grace_until: Option<Mono>,
}

/// What a stall entails. Descriptors built before are discarded in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stalled {
    /// Peers' deadlines are extended until then, and uploads wait.
    Until(Mono),
    /// One of many: nothing waits for it.
    Again,
}

impl Stall {
    /// Called first with every input; `None` if this is no stall. `newest` is our own newest beacon if we publish.
    pub(super) fn notice(&mut self, now: Mono, newest: Option<(u64, u64)>) -> Option<Stalled> {
        let late = self.expected_at.map_or(Duration::ZERO, |at| now.since(at));
        self.ticked_at = now;
        self.hold = self.hold.take().filter(|hold| now < hold.until);
        if late <= STALL_LATE {
            return None;
        }
        self.expected_at = Some(now);
        if late < TTL && self.grace_until.is_some_and(|until| now.since(until) < STALLS_APART) {
            return Some(Stalled::Again);
        }
        let until = now.plus(STALL_GRACE);
        self.grace_until = Some(until);
        self.hold = newest.map(|(epoch, seq)| Hold { until: now.plus(STALL_HOLD), epoch, seq });
        Some(Stalled::Until(until))
    }

    /// When we asked to be woken.
    pub(super) fn expect(&mut self, at: Option<Mono>) {
        self.expected_at = at;
    }

    /// The last time anything happened.
    pub(super) fn ticked_at(&self) -> Mono {
        self.ticked_at
    }

    /// A heartbeat names a beacon: one sent after the stall proves that our lease still stands. Heartbeats that
    /// waited while we were stopped name older ones.
    pub(super) fn echoed(&mut self, epoch: u64, seq: u64) {
        self.hold = self.hold.take().filter(|hold| hold.epoch != epoch || seq <= hold.seq);
    }

    /// Whether nothing may be uploaded now.
    pub(super) fn holds_uploads(&self, now: Mono) -> bool {
        self.hold.as_ref().is_some_and(|hold| now < hold.until)
    }

    /// When the hold ends by itself.
    pub(super) fn next_timeout(&self) -> Option<Mono> {
        self.hold.as_ref().map(|hold| hold.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_half_a_second_late_is_a_stall_once() {
        let mut stall = Stall::default();
        assert_eq!(stall.notice(Mono::from_ms(9000), None), None);
        stall.expect(Some(Mono::from_ms(10_000)));
        assert_eq!(stall.notice(Mono::from_ms(10_500), None), None);
        assert_eq!(stall.notice(Mono::from_ms(10_501), None), Some(Stalled::Until(Mono::from_ms(11_501))));
        assert_eq!(stall.notice(Mono::from_ms(10_501), None), None);
    }

    #[test]
    fn whoever_is_always_late_gets_grace_only_now_and_then() {
        let mut stall = Stall::default();
        let mut late = |due: u64, at: u64| {
            stall.expect(Some(Mono::from_ms(due)));
            stall.notice(Mono::from_ms(at), Some((3, at)))
        };
        assert_eq!(late(0, 1000), Some(Stalled::Until(Mono::from_ms(2000))));
        assert_eq!(late(1100, 2000), Some(Stalled::Again));
        assert_eq!(late(10_000, 11_999), Some(Stalled::Again));
        assert_eq!(late(5000, 8250), Some(Stalled::Until(Mono::from_ms(9250))), "a lease may have changed hands");
        assert_eq!(late(18_000, 19_250), Some(Stalled::Until(Mono::from_ms(20_250))));
        assert!(stall.holds_uploads(Mono::from_ms(20_249)));
        assert!(!stall.holds_uploads(Mono::from_ms(20_250)));
    }

    #[test]
    fn uploads_wait_for_an_echo_from_after_the_stall_or_a_second() {
        let mut stall = Stall::default();
        stall.expect(Some(Mono::from_ms(0)));
        let (at, then) = (Mono::from_ms(5000), Mono::from_ms(6000));
        stall.notice(at, Some((3, 20)));
        for (epoch, seq) in [(3, 20), (2, 99), (4, 1)] {
            stall.echoed(epoch, seq);
            assert!(stall.holds_uploads(at), "{epoch} {seq}");
        }
        assert_eq!(stall.next_timeout(), Some(then));
        assert!(!stall.holds_uploads(then));
        stall.echoed(3, 21);
        assert!(!stall.holds_uploads(at));
    }
}
