//! A minority does not overwrite a majority (`docs/PROTOCOL.md`): what the current descriptors say is asked first.
//!
//! Each HSDir may hold another descriptor. So one by one all that clients read are asked, unless what was found so far
//! serves us already. Where some do not answer, what they may list is no evidence that they do not.

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
    /// What those before it hold, as far as they hold anything.
    heard: Vec<Published>,
    answer: Option<Answer>,
    /// A restriction was found that we have not heard of. HSDirs forget in three hours what they hold.
    pub(super) found_restricted: bool,
    /// None was found, or we were told of one since we started, so that we know if there is none any more.
    pub(super) knows_access: bool,
}

#[derive(Debug)]
struct Answer {
    at: Mono,
    /// `None`: no HSDir had one.
    published: Option<Published>,
    /// Every HSDir had one: nothing else is published.
    is_whole: bool,
    /// The round that uploads its union with ours.
    round: Option<u64>,
}

/// A descriptor that was fetched and opened; or what several say together.
#[derive(Clone, Debug)]
pub(super) struct Published {
    /// The seconds behind its counter; of several the least.
    pub(super) n: u32,
    pub(super) points: Vec<IntroPoint>,
    /// Authorised clients alone can read it; of several: one.
    pub(super) restricted: bool,
    /// Everybody can read it; of several: one.
    pub(super) open: bool,
    /// Different descriptors were found, which list some points of each node.
    pub(super) is_spread: bool,
}

impl Majority {
    /// Half of the roster is in sight: nothing needs to be asked.
    pub(super) fn in_sight(&mut self) {
        *self = Self { knows_access: self.knows_access, ..Self::default() };
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
            self.ask_anew();
        }
        walk.get(self.next).copied()
    }

    /// Something else was published since the answer.
    pub(super) fn doubt(&mut self) {
        if self.answer.is_some() {
            self.ask_anew();
        }
    }

    fn ask_anew(&mut self) {
        let Self { found_restricted, knows_access, .. } = *self;
        *self = Self { found_restricted, knows_access, ..Self::default() };
    }

    /// Whether `hsdir` is the one asked now.
    pub(super) fn asks(&self, hsdir: RelayFingerprint, walk: &[RelayFingerprint]) -> bool {
        self.answer.is_none() && walk.get(self.next) == Some(&hsdir)
    }

    /// One HSDir of a walk of `hsdirs` answered.
    pub(super) fn answered(&mut self, now: Mono, published: Option<Published>, hsdirs: usize) {
        self.next += 1;
        self.heard.extend(published);
        if self.next >= hsdirs {
            self.conclude(now, self.heard.len() == hsdirs);
        }
    }

    /// What was heard so far, while there are others to ask.
    pub(super) fn heard(&self) -> Option<Published> {
        self.heard.iter().cloned().reduce(Published::and)
    }

    /// What was heard so far is enough; `is_whole`: it is all there is.
    pub(super) fn conclude(&mut self, now: Mono, is_whole: bool) {
        let published = self.heard();
        self.heard.clear();
        self.answer = Some(Answer { at: now, published, is_whole, round: None });
    }

    /// Whether nothing is published but what the answer says.
    pub(super) fn is_whole(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.is_whole)
    }

    /// What was published, if that is known: the outer `None` means ask first.
    pub(super) fn published(&self) -> Option<Option<&Published>> {
        self.answer.as_ref().map(|answer| answer.published.as_ref())
    }
}

impl Published {
    /// One descriptor.
    pub(super) fn new(n: u32, points: Vec<IntroPoint>, restricted: bool) -> Self {
        Self { n, points, restricted, open: !restricted, is_spread: false }
    }

    /// Whether it may stand as it is: fresh, and listing the points of every one of `nodes`, all of either kind or,
    /// where there are different descriptors, some.
    pub(super) fn serves<'a>(
        &self,
        clock: &CounterClock,
        origin: u64,
        mut nodes: impl Iterator<Item = (&'a [IntroPoint], &'a [IntroPoint])>,
    ) -> bool {
        let fresh = self.n.saturating_add(FRESH_SECS) > clock.n(origin);
        let serves = |(shown, harvested): (&[IntroPoint], &[IntroPoint])| {
            if self.is_spread {
                shown.iter().chain(harvested).any(|point| self.lists(point))
            } else {
                [shown, harvested].iter().any(|all| !all.is_empty() && all.iter().all(|point| self.lists(point)))
            }
        };
        fresh && nodes.all(serves)
    }

    fn lists(&self, point: &IntroPoint) -> bool {
        self.points.iter().any(|listed| listed.auth_key == point.auth_key)
    }

    fn lists_same(&self, other: &Self) -> bool {
        self.points.len() == other.points.len() && self.points.iter().all(|point| other.lists(point))
    }

    /// What both say.
    fn and(mut self, other: Self) -> Self {
        self.is_spread |= other.is_spread || !self.lists_same(&other);
        let new: Vec<_> = other.points.into_iter().filter(|point| !self.lists(point)).collect();
        self.points.extend(new);
        let (restricted, open) = (self.restricted || other.restricted, self.open || other.open);
        Self { n: self.n.min(other.n), restricted, open, ..self }
    }
}
