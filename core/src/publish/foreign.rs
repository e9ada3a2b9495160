//! Somebody else who publishes with the service's key: told by points that no member has.

use core::time::Duration;
use std::collections::BTreeSet;

use super::Publisher;
use crate::cluster::View;
use crate::hsdesc::Descriptor;
use crate::id::RelayFingerprint;
use crate::onion::revision::RevisionCounter;
use crate::output::{Event, Outbox};
use crate::time::Mono;

/// Between two warnings: it is seen about as often as HSDirs are read back.
const WARN_AGAIN: Duration = Duration::from_secs(600);
/// Status tells of it for so long after it was seen: several times as long as whoever goes on takes to be seen again.
const TOLD: Duration = Duration::from_secs(3600);

/// What a member's tor was made to publish (`tor/harvest.rs`) its record names some seconds later.
const NAMED_LATE: Duration = Duration::from_secs(15);

/// A descriptor on an HSDir that we did not put there.
pub(super) struct Suspect {
    seen: Mono,
    hsdir: RelayFingerprint,
    revision: RevisionCounter,
    points: BTreeSet<[u8; 32]>,
}

impl Suspect {
    pub(super) fn new(seen: Mono, hsdir: RelayFingerprint, descriptor: &Descriptor) -> Self {
        let points = descriptor.points.iter().map(|point| point.auth_key).collect();
        Self { seen, hsdir, revision: descriptor.revision, points }
    }
}

/// Another publisher, as it was seen on some HSDir.
#[derive(Debug, Default)]
pub(super) struct Sighting {
    /// When the log was told.
    told_at: Option<Mono>,
    last: Option<(Mono, String)>,
}

impl Sighting {
    /// Seen again: the log hears of it now and then, an operator who asks for longer.
    fn seen(&mut self, now: Mono, words: String, out: &mut Outbox) {
        if self.told_at.is_none_or(|at| now >= at.plus(WARN_AGAIN)) {
            self.told_at = Some(now);
            out.event(Event::Warning(words.clone()));
        }
        self.last = Some((now, words));
    }

    /// What was seen last, and when, if that is not long ago.
    fn in_words(&self, now: Mono) -> Option<String> {
        let (at, words) = self.last.as_ref()?;
        let ago = now.since(*at);
        (ago < TOLD).then(|| format!("{words} (last seen {} min ago)", ago.as_secs() / 60))
    }

    /// A counter that passes ours, on an HSDir of the period that clients do not ask for, where nothing can be read back.
    pub(super) fn unread(&mut self, now: Mono, hsdir: RelayFingerprint, out: &mut Outbox) {
        let words = format!(
            "HSDir {hsdir}, and perhaps others, refuses this address's descriptor for the other time period, as it holds a \
             newer one, which cannot be read: perhaps somebody else publishes with its key, or one of its machines' clocks \
             was ahead. Its counter is passed"
        );
        self.seen(now, words, out);
    }
}

impl Publisher {
    /// Warns of a descriptor that no member can have made. A rival of ours lists some member's point at least; what
    /// lists none at all says nothing of who made it.
    pub(super) fn judge_suspect(&mut self, now: Mono, view: &View, out: &mut Outbox) {
        if self.suspect.is_none() {
            return;
        }
        let records = view.members.iter().filter_map(|member| member.record.as_ref());
        let names_late = records.clone().any(|record| record.pow.is_some());
        let due = |suspect: &Suspect| suspect.seen.plus(if names_late { NAMED_LATE } else { Duration::ZERO });
        let Some(Suspect { hsdir, revision, points, .. }) = self.suspect.take_if(|suspect| now >= due(suspect)) else {
            return self.suspect.iter().for_each(|suspect| self.wake.at(due(suspect)));
        };
        let proven = view.proven.iter().flat_map(|plan| plan.nodes.values());
        let planned = self.planner.plan().into_iter().flat_map(|plan| &plan.points).map(|(_, point)| point);
        let known =
            records.flat_map(|record| record.all_points()).chain(proven.flat_map(|part| &part.points)).chain(planned);
        let is_known = known.into_iter().any(|point| points.contains(&point.auth_key));
        if points.is_empty() || is_known {
            return;
        }
        let words = format!(
            "HSDir {hsdir} holds a descriptor of this address with {} introduction points of no member (revision {}): \
             somebody else publishes with its key, perhaps a tor or Onionbalance that was left running; stop it, or if \
             the key was stolen, move to a new address. It is replaced as often as it is found",
            points.len(),
            revision.0
        );
        self.stranger.seen(now, words, out);
    }

    /// What an operator has to be told, a line each: that somebody else publishes.
    pub(crate) fn warnings(&self, now: Mono) -> Vec<String> {
        [&self.stranger, &self.unread_stranger].into_iter().filter_map(|sighting| sighting.in_words(now)).collect()
    }
}
