//! From offers to the plan in force: changes are gathered for a moment, and an empty plan is never adopted.

use super::plan::pow::Altered;
use super::plan::{Division, Offers, Plan};
use super::wake::Wake;
use crate::cluster::View;
use crate::hsdesc::IntroPoint;
use crate::id::NodeId;
use crate::sabotage::{Rule, is_broken};
use crate::time::Mono;
use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Changes closer together than this go into one plan.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// What a new plan means for what is published.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It says the same, or there is none.
    Nothing,
    /// Some descriptors say something else.
    Part(Altered),
    /// All do, as far as we know.
    All,
}

/// The plan in force.
#[derive(Debug)]
pub(super) struct Planner {
    division: Division,
    offers: Arc<Offers>,
    plan: Option<Plan>,
    digest: [u8; 16],
    /// Bumped with every plan that says something else.
    serial: u64,
    planned_at: Mono,
    /// Offers differ from the plan's since then.
    changed_since: Option<Mono>,
}

impl Planner {
    /// No plan yet. `places`: the most points in one descriptor.
    pub(super) fn new(places: usize) -> Self {
        Self {
            division: Division { places, read: 0 },
            offers: Arc::default(),
            plan: None,
            digest: [0; 16],
            serial: 0,
            planned_at: Mono::default(),
            changed_since: None,
        }
    }

    /// The plan in force, if there ever was something to publish.
    pub(super) fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// The plan in force, as beacons name it.
    pub(super) fn digest(&self) -> [u8; 16] {
        self.digest
    }

    /// Names the plan in force within this run.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// When the plan in force was made.
    pub(super) fn planned_at(&self) -> Mono {
        self.planned_at
    }

    /// Not publishing: the next plan starts from what others proved.
    pub(super) fn stop(&mut self) {
        *self = Self { serial: self.serial, ..Self::new(self.division.places) };
    }

    /// Follows the offers (not empty) at once if `urgent` or if there is no plan yet, else [`DEBOUNCE`] after the first
    /// change. `read`: HSDirs of one slot that clients read.
    pub(super) fn follow(
        &mut self,
        now: Mono,
        offers: Arc<Offers>,
        view: &View,
        read: usize,
        urgent: bool,
        wake: &mut Wake,
    ) -> Change {
        let division = Division { read, ..self.division };
        if self.plan.is_some() && offers == self.offers && division == self.division {
            self.changed_since = None;
            return Change::Nothing;
        }
        let due = self.changed_since.get_or_insert(now).plus(DEBOUNCE);
        if now < due && self.plan.is_some() && !urgent {
            wake.at(due);
            return Change::Nothing;
        }
        self.changed_since = None;
        let mut plan = Plan::new(&offers, &self.previous(view), division);
        if let Some(old) = &self.plan {
            plan.remember(old, &view.members);
        }
        (self.offers, self.division) = (offers, division);
        if plan.points.is_empty() {
            return Change::Nothing;
        }
        let change = match self.plan.as_ref().and_then(|old| old.altered(&plan)) {
            Some(altered) if altered.is_empty() => Change::Nothing,
            Some(altered) => Change::Part(altered),
            None => Change::All,
        };
        self.digest = plan.digest();
        self.plan = Some(plan);
        if change != Change::Nothing {
            self.serial += 1;
            self.planned_at = now;
        }
        change
    }

    /// Who stays in the plan whatever befalls it: during a pause whoever was in it before, so that it puts nobody back.
    pub(super) fn kept(&self, view: &View) -> BTreeSet<NodeId> {
        if !view.paused || is_broken(Rule::PauseKeepsAll) {
            return BTreeSet::new();
        }
        match (&self.plan, &view.proven) {
            (Some(plan), _) => plan.points.iter().map(|(node, _)| *node).collect(),
            (None, Some(proven)) => proven.nodes.keys().copied().collect(),
            (None, None) => view.members.iter().map(|member| member.node).collect(),
        }
    }

    /// What is published as far as we know: keeps points where they are over a change of publisher.
    fn previous(&self, view: &View) -> Vec<(NodeId, IntroPoint)> {
        match (&self.plan, &view.proven) {
            (Some(plan), _) => plan.points.clone(),
            (None, Some(proven)) => {
                let points =
                    proven.nodes.iter().flat_map(|(node, part)| part.points.iter().map(|p| (*node, p.clone())));
                points.collect()
            }
            (None, None) => Vec::new(),
        }
    }
}
