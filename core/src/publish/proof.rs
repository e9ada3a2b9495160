//! From a plan to a proven one: confirmed by every HSDir, and given back by those that can be asked.

use std::sync::Arc;

use super::plan::STRANGER;
use super::upload::SlotUploads;
use super::{PublicationEvent, Publisher};
use crate::cluster::{ProvenPlan, View};
use crate::output::{Event, Outbox};
use crate::time::Now;

impl Publisher {
    /// A plan is proven when every HSDir has confirmed it and those of the current period have given it back.
    pub(super) fn prove(&mut self, now: Now, view: &View, out: &mut Outbox) {
        let serial = self.planner.serial();
        let (Some(plan), Some(epoch)) = (self.planner.plan(), self.schedule.tenure()) else { return };
        if !self.is_confirmed() {
            return;
        }
        if self.reported != serial {
            self.reported = serial;
            let hsdirs = self.slots.values().map(|uploads| uploads.targets.len()).sum();
            let took = now.mono.since(self.planner.planned_at()).as_millis();
            let took_ms = u64::try_from(took).unwrap_or(u64::MAX);
            out.event(Event::Publication(PublicationEvent::Confirmed { hsdirs, took_ms }));
        }
        let verified = self.is_verified();
        let is_news = self.proven.as_ref().is_none_or(|proven| (proven.epoch, proven.serial) != (epoch, serial));
        if verified && is_news && view.sees_majority {
            let nodes = plan.nodes.iter().filter(|(node, _)| **node != STRANGER);
            let nodes = nodes.map(|(node, part)| (*node, part.clone())).collect();
            self.proven = Some(Arc::new(ProvenPlan { epoch, serial, nodes }));
        }
    }

    /// Every HSDir of both slots has confirmed the plan in force.
    pub(super) fn is_confirmed(&self) -> bool {
        let serial = self.planner.serial();
        let mut targets = self.slots.values().flat_map(|uploads| uploads.targets.values()).peekable();
        self.planner.plan().is_some() && targets.peek().is_some() && targets.all(|target| target.has_plan(serial))
    }

    /// Every HSDir of the current slot has given back what it confirmed.
    pub(super) fn is_verified(&self) -> bool {
        self.slots.values().filter(|uploads| uploads.current).all(SlotUploads::is_verified)
    }

    pub(super) fn report_plan(&self, out: &mut Outbox) {
        if let Some(plan) = self.planner.plan() {
            let (points, nodes) = (plan.points.len(), plan.nodes.len());
            out.event(Event::Publication(PublicationEvent::Planned { points, nodes }));
        }
    }
}
