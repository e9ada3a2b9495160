//! How soon a tor that has ended is started again: at once, then ever later, and seldom while it ends again and again. It is
//! never given up: a node that nobody looks after comes back when what is wrong has gone.

use std::collections::VecDeque;
use std::time::Duration;

use rustbalance_core::time::Mono;

/// First delay.
const FIRST: Duration = Duration::from_millis(500);
/// Longest delay before [`CAP`] ends.
const LONGEST: Duration = Duration::from_secs(30);
/// Who ran so long is started again after [`FIRST`].
const CALM: Duration = Duration::from_secs(60);
/// Ends are counted for so long.
const WINDOW: Duration = Duration::from_secs(3600);
/// Ends within [`WINDOW`] after which a tor is started seldom.
const CAP: usize = 10;
/// The delay then.
const SELDOM: Duration = Duration::from_secs(300);
/// Who ran so long has ended by accident: earlier ends do not count.
const WELL: Duration = Duration::from_secs(1800);

/// Said once when starting becomes seldom.
pub(super) const CAPPED: &str = "has ended 10 times within an hour: from now on it is started every 5 min; look at what it \
                                 logged, and at tor.options";

/// The next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Restart {
    /// After so long.
    pub(super) delay: Duration,
    /// From now on seldom.
    pub(super) caps: bool,
}

impl Restart {
    /// Of a tor that was to end.
    pub(super) const fn wished() -> Self {
        Self { delay: FIRST, caps: false }
    }
}

/// The ends of one tor.
pub(super) struct Restarts {
    backoff: Backoff,
    /// At most [`CAP`], the last ones.
    ends: VecDeque<Mono>,
    is_capped: bool,
}

impl Default for Restarts {
    fn default() -> Self {
        Self { backoff: Backoff::new(FIRST, LONGEST, CALM), ends: VecDeque::with_capacity(CAP), is_capped: false }
    }
}

impl Restarts {
    /// Tor has ended by itself, after it `lasted` so long.
    pub(super) fn after_end(&mut self, now: Mono, lasted: Duration) -> Restart {
        if lasted >= WELL {
            self.ends.clear();
        }
        self.ends.retain(|at| now < at.plus(WINDOW));
        self.ends.push_back(now);
        if self.ends.len() > CAP {
            self.ends.pop_front();
        }
        let was_capped = core::mem::replace(&mut self.is_capped, self.ends.len() == CAP);
        let delay = self.backoff.after(lasted);
        Restart { delay: if self.is_capped { SELDOM } else { delay }, caps: self.is_capped && !was_capped }
    }
}

/// Delays that double while things keep failing.
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    /// What lasts this long counts as a success.
    calm: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration, calm: Duration) -> Self {
        Self { first, longest, calm, next: first }
    }

    /// The delay after what was started has failed, which `lasted` so long.
    pub(super) fn after(&mut self, lasted: Duration) -> Duration {
        let delay = if lasted >= self.calm { self.first } else { self.next };
        self.next = (delay * 2).min(self.longest);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn delays_double_up_to_the_longest_and_start_again_after_calm() {
        let mut backoff = Backoff::new(seconds(1), seconds(5), seconds(60));
        let delays: Vec<_> = [0, 0, 0, 59, 60, 0].map(|lasted| backoff.after(seconds(lasted)).as_secs()).into();
        assert_eq!(delays, [1, 2, 4, 5, 1, 2]);
    }

    /// The delays of a tor that always `lasts` so long, and at which of its ends it was said that they are long now.
    fn lives(lasts: Duration, count: usize) -> (Vec<Duration>, Vec<usize>) {
        let (mut restarts, mut now) = (Restarts::default(), Mono::from_ms(5_000_000));
        let (mut delays, mut said) = (Vec::new(), Vec::new());
        for life in 0..count {
            now = now.plus(lasts);
            let Restart { delay, caps } = restarts.after_end(now, lasts);
            now = now.plus(delay);
            delays.push(delay);
            said.extend(caps.then_some(life));
        }
        (delays, said)
    }

    #[test]
    fn a_tor_that_ends_again_and_again_is_started_every_five_minutes_and_never_given_up() {
        for lasts in [seconds(0), seconds(59), seconds(90)] {
            let (delays, said) = lives(lasts, 100);
            assert!(delays[..9].iter().all(|delay| *delay <= LONGEST), "{delays:?}");
            assert!(delays[9..].iter().all(|delay| *delay == SELDOM), "{delays:?}");
            assert_eq!(said, [9]);
        }
    }

    #[test]
    fn a_tor_that_ends_now_and_then_is_started_at_once() {
        let (delays, said) = lives(seconds(401), 100);
        assert!(delays.iter().all(|delay| *delay == FIRST) && said.is_empty(), "{delays:?}");
    }

    #[test]
    fn a_tor_that_ran_well_has_all_its_starts_again() {
        let mut restarts = Restarts::default();
        let mut end = |at: u64, lasted| restarts.after_end(Mono::from_ms(1000 * at), lasted);
        assert_eq!((0..10).filter(|at| end(*at, seconds(0)).caps).collect::<Vec<_>>(), [9]);
        assert_eq!(end(310, seconds(0)), Restart { delay: SELDOM, caps: false });
        assert_eq!(end(2_500, WELL), Restart { delay: FIRST, caps: false });
        assert!(end(2_501, seconds(0)).delay < seconds(2));
    }
}
