//! A question asked again and again, one at a time.

use core::time::Duration;

use crate::time::Mono;

/// When to ask next. At most one question is under way; a request to hurry during it counts for the next one.
#[derive(Debug)]
pub(super) struct Poll {
    next: Mono,
    asked: bool,
}

impl Poll {
    /// Due at `at`.
    pub(super) fn at(at: Mono) -> Self {
        Self { next: at, asked: false }
    }

    /// Whether to ask now; if so the next question is due `period` later, but not before the answer.
    pub(super) fn take(&mut self, now: Mono, period: Duration) -> bool {
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if due {
            *self = Self { next: now.plus(period), asked: true };
        }
        due
    }

    /// The answer came.
    pub(super) fn answered(&mut self) {
        self.asked = false;
    }

    /// Asks at `at` if nothing is due earlier.
    pub(super) fn hasten(&mut self, at: Mono) {
        self.next = self.next.min(at);
    }

    /// When to ask; `None` while waiting for the answer.
    pub(super) fn deadline(&self) -> Option<Mono> {
        (!self.asked).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_once_and_hurries_after_the_answer() {
        let (at, second) = (Mono::from_ms, Duration::from_secs(1));
        let mut poll = Poll::at(at(10));
        assert!(!poll.take(at(9), second));
        assert!(poll.take(at(10), second));
        assert!(!poll.take(at(5000), second), "the first question is open");
        assert_eq!(poll.deadline(), None);
        poll.hasten(at(200));
        poll.answered();
        assert_eq!(poll.deadline(), Some(at(200)));
        assert!(poll.take(at(200), second));
        poll.answered();
        assert_eq!(poll.deadline(), Some(at(1200)));
    }
}
