//! Offers are asked for with every input, and gathered anew only when they may differ: those of a large cluster are work.

use super::plan::Offers;
use super::wake::Wake;
use crate::cluster::{Access, Member, ProvenPlan, View};
use crate::id::NodeId;
use crate::time::{Mono, Now};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What was gathered last.
#[derive(Debug, Default)]
pub(super) struct Gathering(Option<Gathered>);

/// Offers, and all that they follow from.
#[derive(Debug)]
struct Gathered {
    members: Arc<Vec<Member>>,
    access: Arc<Access>,
    proven: Option<Arc<ProvenPlan>>,
    kept: BTreeSet<NodeId>,
    /// When the first of the silent will have been so for too long, or the first seed has run out.
    until: Option<Mono>,
    offers: Arc<Offers>,
}

impl Gathering {
    /// [`Offers::gather`].
    pub(super) fn gather(&mut self, now: Now, view: &View, kept: BTreeSet<NodeId>, wake: &mut Wake) -> Arc<Offers> {
        let known = self.0.take().filter(|gathered| gathered.kept == kept && gathered.holds(now, view));
        let gathered = known.unwrap_or_else(|| Gathered::new(now, view, kept));
        if let Some(until) = gathered.until {
            wake.at(until);
        }
        self.0.insert(gathered).offers.clone()
    }

    /// Not publishing.
    pub(super) fn stop(&mut self) {
        self.0 = None;
    }
}

impl Gathered {
    fn new(now: Now, view: &View, kept: BTreeSet<NodeId>) -> Self {
        let mut wake = Wake::default();
        let offers = Arc::new(Offers::gather(now, view, &kept, &mut wake));
        let (members, access, proven) = (view.members.clone(), view.access.clone(), view.proven.clone());
        Self { members, access, proven, kept, until: wake.get(), offers }
    }

    fn holds(&self, now: Now, view: &View) -> bool {
        let same_proven = match (&self.proven, &view.proven) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        };
        let same = same_proven && Arc::ptr_eq(&self.access, &view.access) && Arc::ptr_eq(&self.members, &view.members);
        let holds = same && self.until.is_none_or(|at| now.mono < at) && self.offers.seeds_hold(now.wall);
        debug_assert!(
            !holds || Self::new(now, view, self.kept.clone()).offers == self.offers,
            "offers changed unnoticed"
        );
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Liveness;
    use crate::publish::testing::{members, view};
    use crate::time::Wall;
    use std::collections::BTreeMap;

    const NOW: Now = Now { mono: Mono::from_ms(100_000), wall: Wall::from_secs(1_795_446_825) };

    #[test]
    fn what_changed_nothing_is_not_gathered_anew_and_a_change_is_seen() {
        let (mut gathering, mut wake, mut view) = (Gathering::default(), Wake::default(), view());
        let first = gathering.gather(NOW, &view, BTreeSet::new(), &mut wake);
        assert!(Arc::ptr_eq(&first, &gathering.gather(NOW, &view.clone(), BTreeSet::new(), &mut wake)));
        view.access = Arc::new(Access::Restricted(BTreeMap::new()));
        let closed = gathering.gather(NOW, &view, BTreeSet::new(), &mut wake);
        assert_ne!(first, closed);
        members(&mut view)[1].liveness = Liveness::Down;
        assert_ne!(closed, gathering.gather(NOW, &view, BTreeSet::new(), &mut wake));
    }

    #[test]
    fn silence_ends_by_time_alone() {
        let (mut gathering, mut view) = (Gathering::default(), view());
        (members(&mut view)[1].liveness, members(&mut view)[1].since) = (Liveness::Unknown, NOW.mono);
        let mut wake = Wake::default();
        let silent = gathering.gather(NOW, &view, BTreeSet::new(), &mut wake);
        let until = wake.get().expect("somebody is silent");
        for _ in 0..2 {
            let mut wake = Wake::default();
            assert_eq!(silent, gathering.gather(NOW, &view, BTreeSet::new(), &mut wake));
            assert_eq!(wake.get(), Some(until), "asked for each time");
        }
        assert_ne!(silent, gathering.gather(Now { mono: until, ..NOW }, &view, BTreeSet::new(), &mut Wake::default()));
    }
}
