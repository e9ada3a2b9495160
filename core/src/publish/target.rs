//! One HSDir of one slot: what it holds, what it refused, when to try again.

use super::build::Digest;
use crate::onion::revision::RevisionCounter;
use crate::rng::Rng;
use crate::sabotage::{Rule, is_broken};
use crate::time::Mono;
use crate::tor::UploadFailure;
use core::time::Duration;
use rand_core::Rng as _;

/// Refusals over this time with our counter behind mean that the stored one is poisoned,
const POISONED_AFTER: Duration = Duration::from_secs(30);
/// if they are this many in a row: of two rivals, who upload every 30 s, one may well be late twice.
const POISONED_REFUSALS: u32 = 3;
/// First step ahead of the clock where a poisoned counter cannot be read, seconds; doubled per refusal.
const STEP_SECS: u32 = 60;
/// The longest step: 2 h.
const STEP_MAX_SECS: u32 = 7_200;
/// First wait after a failure; doubled per failure in a row.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest wait after a failure.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Wait after tor's connection broke: the upload itself did not fail.
const RETRY_DISCONNECTED: Duration = Duration::from_millis(250);
/// Failures in a row that make an HSDir count as failing.
const FAILING_ATTEMPTS: u32 = 3;
/// An HSDir that twice does not give back what it confirmed gets it again.
const MISSES_MAX: u8 = 2;
/// How long an HSDir keeps a descriptor: what `descriptor-lifetime` says in all of ours.
const LIFETIME: Duration = Duration::from_secs(180 * 60);
/// Between two readings of one HSDir that gave nothing.
const READ_AGAIN: Duration = Duration::from_secs(2);
/// Between two readings of one that gave what it should: 5 to 10 min.
const VERIFY_AGAIN_MIN_MS: u64 = 5 * 60 * 1000;

/// An upload the HSDir confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Confirmed {
    /// The round it belonged to.
    pub(super) round: u64,
    /// The plan it carried, and which of its contents.
    pub(super) serial: u64,
    pub(super) content: usize,
    pub(super) revision: RevisionCounter,
    pub(super) n: u32,
    /// Of its text.
    pub(super) digest: Digest,
    pub(super) at: Mono,
}

/// Refusals in a row: nothing that was sent between them was taken, or may have been.
#[derive(Clone, Copy, Debug)]
struct Refusals {
    first: Mono,
    last: Mono,
    count: u32,
}

/// When the HSDir is to be read back, and what that has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ReadBack {
    at: Mono,
    /// In a row.
    misses: u8,
    /// When it last gave back what it confirmed.
    verified: Option<Mono>,
}

/// What an HSDir gave back instead of what it had confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lapse {
    /// Nothing, or it could not be asked.
    Gone,
    /// An older descriptor.
    Stale,
    /// One with a higher counter: another publisher's.
    Foreign,
    /// Another one under the same counter.
    Altered,
}

impl Lapse {
    fn in_words(self) -> &'static str {
        match self {
            Self::Gone => "it did not give back what it had confirmed",
            Self::Stale => "it gave back an older descriptor than it had confirmed",
            Self::Foreign => "it gave back another publisher's descriptor",
            Self::Altered => "it gave back another descriptor than it had confirmed, under the same counter",
        }
    }
}

/// Which counter the next upload needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The clock's, if above this one.
    Clock { above: Option<RevisionCounter> },
    /// The next above a counter that is known to be stored.
    Above(RevisionCounter),
    /// The clock's plus seconds: the stored one cannot be read.
    Ahead { secs: u32 },
}

/// One HSDir of one slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    /// Which of the plan's contents is for it.
    pub(super) content: usize,
    pub(super) confirmed: Option<Confirmed>,
    pub(super) failure: Option<UploadFailure>,
    /// The highest counter ever sent to it.
    sent: Option<RevisionCounter>,
    /// The counter it holds, known from its own confirmation.
    holds: Option<RevisionCounter>,
    /// The counter it holds, read after a refusal; beyond an honest rival's.
    poisoned: Option<RevisionCounter>,
    /// Refusals in a row.
    refused: Option<Refusals>,
    /// Steps ahead taken.
    steps: u32,
    attempts: u32,
    next_try: Mono,
    /// Refused: its stored counter should be read.
    pub(super) probe: bool,
    read_back: Option<ReadBack>,
    /// Why it is to be served again, until it confirms.
    pub(super) lapse: Option<Lapse>,
}

impl Target {
    /// Whether it lacks this round's upload.
    pub(super) fn is_wanted(&self, round: u64) -> bool {
        self.confirmed.is_none_or(|confirmed| (confirmed.round, confirmed.content) != (round, self.content))
    }

    /// A new round and plan say nothing new for it: if it has confirmed its part of the last ones, it has that of these.
    pub(super) fn carry_over(&mut self, before: (u64, u64), after: (u64, u64)) {
        let content = self.content;
        let is_last = |confirmed: &&mut Confirmed| {
            (confirmed.round, confirmed.serial, confirmed.content) == (before.0, before.1, content)
        };
        if let Some(confirmed) = self.confirmed.as_mut().filter(is_last) {
            (confirmed.round, confirmed.serial) = after;
        }
    }

    /// Whether it holds its part of this plan: it has confirmed it, keeps it still, and has not refused to take it anew, which
    /// it does if it holds something newer.
    pub(super) fn has_plan(&self, now: Mono, serial: u64) -> bool {
        let is_kept = |confirmed: &Confirmed| now.since(confirmed.at) < LIFETIME;
        let confirmed = self.confirmed.as_ref().filter(|confirmed| is_kept(confirmed));
        confirmed.is_some_and(|confirmed| (confirmed.serial, confirmed.content) == (serial, self.content))
            && !self.is_refusing()
    }

    /// Its last answer was that it holds something newer.
    pub(super) fn is_refusing(&self) -> bool {
        self.failure == Some(UploadFailure::Rejected)
    }

    /// Where what it holds cannot be read: whether it has refused what we upload for too long to be a rival's race.
    pub(super) fn is_mysterious(&self) -> bool {
        self.is_poisoned(|last| last)
    }

    /// Not before this instant.
    pub(super) fn next_try(&self) -> Mono {
        self.next_try
    }

    /// There is something new for it. It is tried soon, but if that fails, too, the wait is as long as before.
    pub(super) fn hurry(&mut self, now: Mono) {
        self.next_try = self.next_try.min(now.plus(RETRY_FIRST));
    }

    /// It failed three times in a row. A refusal is an answer, which another publisher would get as well: who hands the
    /// lease on for it never gets as far as to know a poisoned counter.
    pub(super) fn is_failing(&self) -> bool {
        self.attempts >= FAILING_ATTEMPTS && !matches!(self.failure, None | Some(UploadFailure::Rejected))
    }

    /// It refuses, and first did so long before `until` that a rival's race is over.
    fn is_poisoned(&self, until: impl Fn(Mono) -> Mono) -> bool {
        let is_long = |refused: &Refusals| {
            let long = until(refused.last).since(refused.first) >= POISONED_AFTER;
            (long && refused.count >= POISONED_REFUSALS) || is_broken(Rule::PatienceAfterRefusal)
        };
        let passes = !is_broken(Rule::PassPoison);
        passes && self.is_refusing() && self.refused.as_ref().is_some_and(is_long)
    }

    /// `readable`: its slot is the one that can be fetched back.
    pub(super) fn need(&self, now: Mono, readable: bool) -> Need {
        match self.poisoned {
            Some(stored) if self.is_poisoned(|_| now) => Need::Above(self.sent.map_or(stored, |sent| sent.max(stored))),
            // One refusal that is merely old, for uploads had to wait, says nothing of a counter that cannot be read.
            None if self.is_mysterious() && !readable => {
                let secs = STEP_SECS.saturating_mul(1 << self.steps.min(16));
                Need::Ahead { secs: secs.min(STEP_MAX_SECS) }
            }
            _ => Need::Clock { above: self.sent.max(self.holds) },
        }
    }

    /// An upload to it has started.
    pub(super) fn sent(&mut self, revision: RevisionCounter) {
        self.sent = self.sent.max(Some(revision));
        self.read_back = None;
    }

    /// It confirmed an upload. What it does not keep counts as an attempt until it gives it back.
    pub(super) fn confirm(&mut self, confirmed: Confirmed) {
        *self = Self {
            content: self.content,
            sent: self.sent,
            holds: Some(confirmed.revision),
            attempts: self.lapse.map_or(0, |_| self.attempts),
            read_back: Some(ReadBack { at: confirmed.at, misses: 0, verified: None }),
            confirmed: Some(confirmed),
            ..Self::default()
        };
    }

    /// An upload failed. `readable` as in [`Self::need`]; `ahead`: it went out under [`Need::Ahead`].
    pub(super) fn fail(&mut self, now: Mono, failure: UploadFailure, readable: bool, ahead: bool, rng: &mut Rng) {
        if failure == UploadFailure::Disconnected {
            self.next_try = now.plus(RETRY_DISCONNECTED);
        } else {
            self.back_off(now, rng);
        }
        match &failure {
            UploadFailure::Rejected => {
                let first = Refusals { first: now, last: now, count: 1 };
                let another =
                    |refused: Refusals| Refusals { last: now, count: refused.count.saturating_add(1), ..refused };
                self.refused = Some(self.refused.map_or(first, another));
                self.probe = readable;
                self.steps = self.steps.saturating_add(u32::from(ahead));
            }
            // It may have been taken, and what refuses the next one may be a rival's that has passed it since.
            UploadFailure::Timeout | UploadFailure::Dropped | UploadFailure::Disconnected => self.refused = None,
            UploadFailure::Refused(_) | UploadFailure::Failed(_) => {}
        }
        self.failure = Some(failure);
    }

    /// No longer the publisher: refusals belong to a race that is over. Kept, they would make the next one, a lease
    /// later, look like a counter poisoned for long.
    pub(super) fn stand_down(&mut self) {
        self.poisoned = None;
        self.refused = None;
        self.failure = None;
        self.probe = false;
        self.lapse = None;
        self.next_try = Mono::default();
        (self.steps, self.attempts) = (0, 0);
    }

    /// Doubles the wait, with a quarter of jitter either way.
    fn back_off(&mut self, now: Mono, rng: &mut Rng) {
        let wait = RETRY_FIRST.saturating_mul(1 << self.attempts.min(8)).min(RETRY_MAX);
        self.attempts = self.attempts.saturating_add(1);
        let percent = 75 + rng.next_u32() % 50;
        self.next_try = now.plus(wait * percent / 100);
    }

    /// Its stored counter is an honest rival's: ours can pass it at once.
    pub(super) fn rival_read(&mut self, now: Mono, stored: RevisionCounter) {
        self.probe = false;
        self.poisoned = None;
        if Some(stored) >= self.sent {
            self.next_try = now;
        }
    }

    /// Its stored counter lies beyond an honest rival's.
    pub(super) fn poison_read(&mut self, stored: RevisionCounter) {
        self.probe = false;
        self.poisoned = Some(stored);
    }

    /// When it should be read back, if it holds something that it confirmed.
    pub(super) fn read_back_at(&self) -> Option<Mono> {
        let is_due = |read_back: &ReadBack| read_back.verified.is_none() || !is_broken(Rule::ReadAgain);
        self.read_back.filter(is_due).map(|read_back| read_back.at)
    }

    /// When it last gave back what it confirmed, if it ever did.
    pub(super) fn verified_at(&self) -> Option<Mono> {
        self.read_back?.verified
    }

    /// It was read back: `stored` is what it gave. A stale, foreign or missing copy is wanted again.
    pub(super) fn read(
        &mut self,
        now: Mono,
        stored: Option<(RevisionCounter, Digest)>,
        rng: &mut Rng,
    ) -> Option<Lapse> {
        let (Some(confirmed), Some(read_back)) = (self.confirmed, &mut self.read_back) else { return None };
        let lapse = match stored {
            Some(stored) if stored == (confirmed.revision, confirmed.digest) => {
                let wait = VERIFY_AGAIN_MIN_MS + rng.next_u64() % VERIFY_AGAIN_MIN_MS;
                *read_back = ReadBack { at: now.plus(Duration::from_millis(wait)), misses: 0, verified: Some(now) };
                self.attempts = 0;
                return None;
            }
            None if read_back.misses + 1 < MISSES_MAX => {
                *read_back = ReadBack { at: now.plus(READ_AGAIN), misses: read_back.misses + 1, ..*read_back };
                return None;
            }
            None => Lapse::Gone,
            Some((stored, _)) if stored < confirmed.revision => Lapse::Stale,
            Some((stored, _)) if stored == confirmed.revision => Lapse::Altered,
            Some((stored, _)) => {
                self.holds = Some(stored);
                Lapse::Foreign
            }
        };
        self.lapsed(now, lapse, rng);
        self.lapse
    }

    /// It has lost what it held of the other slot, and so this too.
    pub(super) fn lost_all(&mut self, now: Mono, rng: &mut Rng) {
        if self.confirmed.is_some() {
            self.lapsed(now, Lapse::Gone, rng);
        }
    }

    fn lapsed(&mut self, now: Mono, lapse: Lapse, rng: &mut Rng) {
        self.confirmed = None;
        self.read_back = None;
        self.lapse = Some(lapse);
        self.failure = Some(UploadFailure::Failed(lapse.in_words().to_owned()));
        self.back_off(now, rng);
    }
}

#[cfg(test)]
mod tests;
