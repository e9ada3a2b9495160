//! A minority does not overwrite a majority (DESIGN section 4): what the current descriptor says is asked first.

use super::counter::CounterClock;
use super::wake::Wake;
use crate::hsdesc::IntroPoint;
use crate::id::RelayFingerprint;
use crate::time::Mono;
use core::time::Duration;

/// How long an answer counts.
const ANSWER_KEPT: Duration = Duration::from_secs(30);
/// A published descriptor is fresh below this age, seconds: what HSDirs keep one for.
const FRESH_SECS: u32 = 3 * 3600;

/// What HSDirs hold of the current slot, asked while we see less than half of the roster.
#[derive(Debug, Default)]
pub(super) struct Majority {
    /// The HSDir to ask next, counted along the clients' walk.
    next: usize,
    answer: Option<Answer>,
}

#[derive(Debug)]
struct Answer {
    at: Mono,
    /// `None`: no HSDir had one.
    published: Option<Published>,
    /// The round that uploads its union with ours.
    round: Option<u64>,
}

/// A descriptor that was fetched and opened.
#[derive(Debug)]
pub(super) struct Published {
    /// The seconds behind its counter.
    pub(super) n: u32,
    pub(super) points: Vec<IntroPoint>,
    /// Authorised clients alone can read it.
    pub(super) restricted: bool,
}

impl Majority {
    /// Half of the roster is in sight: nothing needs to be asked.
    pub(super) fn in_sight(&mut self) {
        *self = Self::default();
    }

    /// The answer is being acted on in `round`. It counts until that is through, or HSDirs reached early would soon look
    /// as if all had the union. A later round needs a new answer once this one is old.
    pub(super) fn justifies(&mut self, now: Mono, round: u64) {
        if let Some(answer) = self.answer.as_mut().filter(|answer| now < answer.at.plus(ANSWER_KEPT)) {
            answer.round = Some(round);
        }
    }

    /// The HSDir to ask, unless a recent answer is there, or one that justifies the `unfinished` round.
    pub(super) fn next_to_ask(
        &mut self,
        now: Mono,
        walk: &[RelayFingerprint],
        unfinished: Option<u64>,
        wake: &mut Wake,
    ) -> Option<RelayFingerprint> {
        if let Some(answer) = &self.answer {
            if answer.round.is_some() && answer.round == unfinished {
                return None;
            }
            let stale_at = answer.at.plus(ANSWER_KEPT);
            if now < stale_at {
                wake.at(stale_at);
                return None;
            }
            *self = Self::default();
        }
        walk.get(self.next).copied()
    }

    /// Whether `hsdir` is the one asked now.
    pub(super) fn asks(&self, hsdir: RelayFingerprint, walk: &[RelayFingerprint]) -> bool {
        self.answer.is_none() && walk.get(self.next) == Some(&hsdir)
    }

    /// One HSDir of a walk of `hsdirs` answered.
    pub(super) fn answered(&mut self, now: Mono, published: Option<Published>, hsdirs: usize) {
        self.next += 1;
        if published.is_some() || self.next >= hsdirs {
            self.answer = Some(Answer { at: now, published, round: None });
        }
    }

    /// What was published, if that is known: the outer `None` means ask first.
    pub(super) fn published(&self) -> Option<Option<&Published>> {
        self.answer.as_ref().map(|answer| answer.published.as_ref())
    }
}

impl Published {
    /// Whether it may stand as it is: fresh, and listing all of `points`.
    pub(super) fn serves<'a>(
        &self,
        clock: &CounterClock,
        origin: u64,
        mut points: impl Iterator<Item = &'a IntroPoint>,
    ) -> bool {
        let fresh = self.n.saturating_add(FRESH_SECS) > clock.n(origin);
        fresh && points.all(|point| self.points.iter().any(|listed| listed.auth_key == point.auth_key))
    }
}
