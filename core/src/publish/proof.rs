//! From a plan to a proven one: confirmed by every HSDir, and given back by those that can be asked.

use std::sync::Arc;

use super::plan::{Plan, STRANGER};
use super::upload::SlotUploads;
use super::{PublicationEvent, Publisher};
use crate::cluster::{ProvenPlan, View};
use crate::hsdesc::IntroPoint;
use crate::id::NodeId;
use crate::output::{Event, Outbox};
use crate::time::Now;

impl Publisher {
    /// A plan is proven when every HSDir has confirmed it and those of the current period have given it back.
    pub(super) fn prove(&mut self, now: Now, view: &View, out: &mut Outbox) {
        let serial = self.planner.serial();
        let (Some(plan), Some(epoch)) = (self.planner.plan(), self.schedule.tenure()) else { return };
        if !self.is_confirmed(now) {
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
    pub(super) fn is_confirmed(&self, now: Now) -> bool {
        let serial = self.planner.serial();
        let mut targets = self.slots.values().flat_map(|uploads| uploads.targets.values()).peekable();
        self.planner.plan().is_some()
            && targets.peek().is_some()
            && targets.all(|target| target.has_plan(now.mono, serial))
    }

    /// Every HSDir of the current slot has given back what it confirmed.
    pub(super) fn is_verified(&self) -> bool {
        self.slots.values().filter(|uploads| uploads.current).all(SlotUploads::is_verified)
    }

    pub(super) fn report_plan(&self, out: &mut Outbox) {
        if let Some(plan) = self.planner.plan() {
            let (points, nodes) = (plan.points.len(), plan.nodes.len());
            let descriptors = self.read_contents(plan).len();
            out.event(Event::Publication(PublicationEvent::Planned { points, nodes, descriptors }));
        }
    }

    /// What the descriptors that clients use now list.
    pub(super) fn read_contents<'a>(&self, plan: &'a Plan) -> &'a [Vec<(NodeId, IntroPoint)>] {
        plan.contents(self.read_period().unwrap_or(0))
    }

    /// The number of the time period that clients use now.
    fn read_period(&self) -> Option<u64> {
        self.slots.values().find(|uploads| uploads.current).map(|uploads| uploads.period.number)
    }

    /// Whether clients find proof of work, and if not, why, where a node offers any.
    pub(super) fn pow_in_words(&self) -> Option<String> {
        self.planner.plan()?.pow.in_words(self.read_period())
    }

    /// Says so whenever that has changed.
    pub(super) fn report_pow(&mut self, out: &mut Outbox) {
        let words = self.pow_in_words();
        if words != self.pow_reported {
            self.pow_reported.clone_from(&words);
            let words = words.unwrap_or_else(|| "no node offers it any more".to_owned());
            out.event(Event::Publication(PublicationEvent::Pow(words)));
        }
    }
}
