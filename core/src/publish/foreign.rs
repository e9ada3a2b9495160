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

/// A descriptor on an HSDir that we did not put there.
pub(super) struct Suspect {
    hsdir: RelayFingerprint,
    revision: RevisionCounter,
    points: BTreeSet<[u8; 32]>,
}

impl Suspect {
    pub(super) fn new(hsdir: RelayFingerprint, descriptor: &Descriptor) -> Self {
        let points = descriptor.points.iter().map(|point| point.auth_key).collect();
        Self { hsdir, revision: descriptor.revision, points }
    }
}

/// Warns of a counter that passes ours on an HSDir of the period that clients do not ask for, where nothing can be read back.
/// `warned_at`: when that was last said, of whichever HSDir.
pub(super) fn warn_unread(warned_at: &mut Option<Mono>, now: Mono, hsdir: RelayFingerprint, out: &mut Outbox) {
    if warned_at.is_some_and(|at| now < at.plus(WARN_AGAIN)) {
        return;
    }
    *warned_at = Some(now);
    out.event(Event::Warning(format!(
        "HSDir {hsdir}, and perhaps others, refuses this address's descriptor for the other time period, as it holds a newer \
         one, which cannot be read: perhaps somebody else publishes with its key, or one of its machines' clocks was ahead. \
         Its counter is passed"
    )));
}

impl Publisher {
    /// Warns of a descriptor that no member can have made. A rival of ours lists some member's point at least; what
    /// lists none at all says nothing of who made it.
    pub(super) fn judge_suspect(&mut self, now: Mono, view: &View, out: &mut Outbox) {
        let Some(Suspect { hsdir, revision, points }) = self.suspect.take() else { return };
        let records = view.members.iter().filter_map(|member| member.record.as_ref());
        let proven = view.proven.iter().flat_map(|plan| plan.nodes.values());
        let planned = self.planner.plan().into_iter().flat_map(|plan| &plan.points).map(|(_, point)| point);
        let known =
            records.flat_map(|record| &record.points).chain(proven.flat_map(|part| &part.points)).chain(planned);
        let is_known = known.into_iter().any(|point| points.contains(&point.auth_key));
        let was_said = self.warned_at.is_some_and(|at| now < at.plus(WARN_AGAIN));
        if points.is_empty() || is_known || was_said {
            return;
        }
        self.warned_at = Some(now);
        out.event(Event::Warning(format!(
            "HSDir {hsdir} holds a descriptor of this address with {} introduction points of no member (revision {}): \
             somebody else publishes with its key, perhaps a tor or Onionbalance that was left running; stop it, or if \
             the key was stolen, move to a new address. It is replaced as often as it is found",
            points.len(),
            revision.0
        )));
    }
}
