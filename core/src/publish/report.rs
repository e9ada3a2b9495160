//! What publication tells the others and the operator.

use super::Publisher;
use super::target::Lapse;
use super::upload::SlotUploads;
use super::waiting::Waiting;
use crate::cluster::{ProvenPlan, Publication};
use crate::hsdesc::IntroPoint;
use crate::id::{NodeId, RelayFingerprint, hex};
use crate::onion::period::{Slot, TimePeriod};
use crate::spread::shares_per_million;
use crate::status::{HsDirStatus, PeriodStatus, PlannedPoint, PublicationStatus, SlotStatus};
use crate::time::{Mono, Now};
use crate::tor::UploadFailure;

impl Publisher {
    /// What beacons and gossip carry.
    pub fn publication(&self) -> Publication {
        let floors = self.slots.iter().filter_map(|(slot, uploads)| {
            let accepted = uploads.accepted()?;
            Some((*slot, (uploads.period.number, accepted)))
        });
        let targets = || self.slots.values().flat_map(|uploads| uploads.targets.values());
        let failing = || targets().filter(|target| target.is_failing()).count() * 2 > targets().count();
        Publication {
            plan_digest: self.planner.digest(),
            floors: floors.collect(),
            proven: self.proven.clone(),
            failing: self.schedule.tenure().is_some() && failing(),
        }
    }

    /// For `rustbalance status`.
    pub fn status(&self, now: Now) -> PublicationStatus {
        let period = self.ring.as_ref().map(|ring| ring.params().client_period(ring.valid_after()));
        let period = period.map(|TimePeriod { number, length_minutes }| PeriodStatus { number, length_minutes });
        let Some(plan) = self.planner.plan() else {
            let points = self.known.iter().flat_map(|plan| known_points(plan)).collect();
            let waiting = self.waiting_in_words();
            return PublicationStatus { period, points, waiting, ..PublicationStatus::default() };
        };
        let contents = self.read_contents(plan);
        let left_out = plan.left_out.iter().map(|(node, point, reason)| {
            let relay = point.relay().map_or_else(|| "an unknown relay".to_owned(), |relay| relay.to_string());
            format!("node {node}, point on {relay}: {reason}")
        });
        PublicationStatus {
            period,
            points: plan.points.iter().map(|(node, point)| planned_point(*node, point)).collect(),
            left_out: left_out.collect(),
            descriptors: contents.len(),
            shares: shares_per_million(contents).iter().map(|(node, share)| (hex(&node.0), *share)).collect(),
            slots: self.slots.iter().map(|(slot, uploads)| self.slot_status(now, *slot, uploads)).collect(),
            confirmed: self.is_confirmed(now),
            proven: self.is_confirmed(now) && self.is_verified(),
            waiting: self.waiting_in_words(),
            pow: self.pow_in_words(),
        }
    }

    fn waiting_in_words(&self) -> Option<String> {
        self.waiting.as_ref().map(Waiting::to_string)
    }

    fn slot_status(&self, now: Now, slot: Slot, uploads: &SlotUploads) -> SlotStatus {
        let confirmed = uploads.targets.values().filter_map(|target| target.confirmed);
        SlotStatus {
            slot: match slot {
                Slot::First => "first".to_owned(),
                Slot::Second => "second".to_owned(),
            },
            period: uploads.period.number,
            current: uploads.current,
            revision: confirmed.map(|confirmed| confirmed.revision.0).max(),
            hsdirs: uploads.store.iter().filter_map(|hsdir| self.hsdir_status(now, *hsdir, uploads)).collect(),
        }
    }

    fn hsdir_status(&self, now: Now, hsdir: RelayFingerprint, uploads: &SlotUploads) -> Option<HsDirStatus> {
        let target = uploads.targets.get(&hsdir)?;
        let in_flight = self.flights.get(&hsdir).is_some_and(|flight| flight.period == uploads.period);
        let state = if in_flight {
            "sent"
        } else if target.is_refusing() {
            "refused"
        } else if target.has_plan(now.mono, self.planner.serial()) {
            if uploads.current && target.verified_at().is_some() { "verified" } else { "confirmed" }
        } else {
            match target.lapse {
                Some(Lapse::Gone) => "gone",
                Some(Lapse::Stale) => "stale",
                Some(Lapse::Foreign | Lapse::Altered) => "foreign",
                None => "wanted",
            }
        };
        let age = |at: Mono| u64::try_from(now.mono.since(at).as_millis()).unwrap_or(u64::MAX);
        Some(HsDirStatus {
            relay: hsdir.to_string(),
            state: state.to_owned(),
            failure: target.failure.as_ref().map(UploadFailure::to_string),
            confirmed_ms: target.confirmed.map(|confirmed| age(confirmed.at)),
            verified_ms: target.verified_at().map(age),
        })
    }
}

fn known_points(plan: &ProvenPlan) -> impl Iterator<Item = PlannedPoint> {
    plan.nodes.iter().flat_map(|(node, part)| part.points.iter().map(|point| planned_point(*node, point)))
}

fn planned_point(node: NodeId, point: &IntroPoint) -> PlannedPoint {
    PlannedPoint {
        node: hex(&node.0),
        auth_key: hex(&point.auth_key),
        relay: point.relay().map_or_else(String::new, |relay| relay.to_string()),
    }
}
