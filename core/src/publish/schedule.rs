//! When everything is uploaded anew: a round per reason, each to every HSDir of both slots.

use super::wake::Wake;
use crate::cluster::View;
use crate::rng::Rng;
use crate::sabotage::{Rule, is_broken};
use crate::time::Mono;
use core::time::Duration;
use rand_core::Rng as _;

/// Longest wait for half of the roster to be heard, and for the records that heartbeats name, before an epoch's first
/// upload. A new holder whom nobody sent heartbeats gets them within a beat of its first beacon.
const RECORD_GATE: Duration = Duration::from_secs(1);
/// Between two builds of a slot while a rival is visible.
const RIVAL_SPACING: Duration = Duration::from_secs(30);
/// After the first round under a new epoch comes another: an upload of the old holder's may still have been on its way, and
/// arrive after ours.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Re-publication without other reason: 60 to 120 min, as tor does.
const REPUBLISH_MIN_MS: u64 = 60 * 60 * 1000;

/// The rounds of one publisher.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Bumped whenever every HSDir should get an upload.
    round: u64,
    /// The epoch we publish under.
    tenure: Option<u64>,
    /// When we began to.
    since: Mono,
    /// The round that answers the rival: it began when that came into sight.
    rival_round: Option<u64>,
    gate_open: bool,
    planned: bool,
    /// A rival is, or was, visible until then.
    rival_until: Option<Mono>,
    republish_at: Option<Mono>,
    /// When the second round of this epoch is due.
    again_at: Option<Mono>,
}

impl Schedule {
    /// The number of the current round.
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// The epoch we publish under.
    pub(super) fn tenure(&self) -> Option<u64> {
        self.tenure
    }

    /// Not publishing.
    pub(super) fn stop(&mut self) {
        *self = Self { round: self.round, ..Self::default() };
    }

    /// Publishing under this epoch: a new one starts a round, and half a minute later another if this node has `company`, who
    /// may have published before.
    pub(super) fn publish_under(&mut self, now: Mono, epoch: u64, company: bool) {
        if self.tenure != Some(epoch) {
            let is_kept = !is_broken(Rule::WinnerUploads);
            let again_at = Some(now.plus(AGAIN_AFTER)).filter(|_| company && is_kept);
            let round = self.round + u64::from(is_kept);
            *self = Self { round, tenure: Some(epoch), since: now, again_at, ..Self::default() };
        }
    }

    /// Whether this epoch has not planned yet; asking is planning.
    pub(super) fn is_first_plan(&mut self) -> bool {
        !core::mem::replace(&mut self.planned, true)
    }

    /// Whether this epoch's first upload may be planned: half of the roster is heard and every live member's record is
    /// as new as its heartbeat names, or a second has passed.
    pub(super) fn records_are_here(&mut self, now: Mono, view: &View, wake: &mut Wake) -> bool {
        let deadline = self.since.plus(RECORD_GATE);
        let are_here = || view.sees_majority && view.members.iter().all(|member| !is_behind(view, member));
        self.gate_open |= is_broken(Rule::RecordGate) || now >= deadline || are_here();
        if !self.gate_open {
            wake.at(deadline);
        }
        self.gate_open
    }

    /// Something changed that every HSDir must learn.
    pub(super) fn start_round(&mut self) {
        self.round += 1;
        self.republish_at = None;
    }

    /// Something changed that some HSDirs must learn. The others' descriptors get old as before.
    pub(super) fn start_round_of_some(&mut self) {
        self.round += 1;
    }

    /// Starts the rounds that are due: a rival appeared, went 30 s ago, or the descriptor is getting old.
    pub(super) fn tick(&mut self, now: Mono, view: &View, rng: &mut Rng, wake: &mut Wake) {
        let rival_until = view.rival_until.filter(|until| now < *until && !is_broken(Rule::WinnerUploads));
        match (self.rival_until, rival_until) {
            (None, Some(until)) => {
                self.rival_until = Some(until);
                self.start_round();
                self.rival_round = Some(self.round);
            }
            (Some(_), Some(until)) => self.rival_until = Some(until),
            (Some(until), None) if now >= until => {
                self.rival_until = None;
                self.rival_round = None;
                self.start_round();
            }
            (Some(_) | None, None) => {}
        }
        // A minority is late itself, and overwrites nobody for that.
        let is_again = self.again_at.take_if(|at| now >= *at).is_some() && view.sees_majority;
        if is_again || self.republish_at.is_some_and(|at| now >= at) {
            self.start_round();
        }
        if let Some(at) = self.again_at {
            wake.at(at);
        }
        let republish_at = *self.republish_at.get_or_insert_with(|| now.plus(republish_interval(rng)));
        wake.at(republish_at);
        if let Some(until) = self.rival_until {
            wake.at(until);
        }
    }

    /// How far apart builds of one slot must be, while a rival is visible, and which earlier ones count: those of the round
    /// that began when it came into sight and of later ones, so that the answer to it is at once. What was built before may
    /// have been in the same millisecond, when all that came in while the machine stood still is read.
    pub(super) fn spacing(&self) -> Option<(Duration, u64)> {
        self.rival_round.map(|round| (RIVAL_SPACING, round))
    }
}

/// Whether a live member's heartbeat names a newer record than ours.
fn is_behind(view: &View, member: &crate::cluster::Member) -> bool {
    let live = member.liveness == crate::cluster::Liveness::Live;
    live && member.node != view.me && (member.record_behind || member.record.is_none())
}

fn republish_interval(rng: &mut Rng) -> Duration {
    Duration::from_millis(REPUBLISH_MIN_MS + rng.next_u64() % REPUBLISH_MIN_MS)
}
