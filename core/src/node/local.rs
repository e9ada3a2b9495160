//! What a node says of itself and offers to the others.

use std::sync::Arc;

use super::{Node, Shutdown};
use crate::cluster::Local;
use crate::hsdesc::{IntroPoint, NUM_INTRO_POINT_MAX};
use crate::input::TargetHealth;
use crate::time::Now;
use crate::tor::Tor;

impl Node {
    /// What this node can say of itself.
    pub(super) fn local(&self, now: Now) -> Local {
        // Not as one that is alone: the next to join has a better clock.
        let uploader = self.uploader(false).and_then(|index| self.tors.get(index));
        let ready = uploader.is_some_and(|tor| tor.can_publish() && self.may_offer(now, tor));
        Local {
            points: self.points(now),
            header: self.serving(now).next().map(|tor| tor.facts().header.clone()).unwrap_or_default(),
            pow: self.only_tor(now).and_then(|tor| tor.facts().pow),
            harvest: self.only_tor(now).and_then(|tor| tor.facts().harvest.clone()),
            tor_ready: self.serving(now).next().is_some(),
            target_up: self.target == TargetHealth::Up,
            eligible: ready && self.shutdown == Shutdown::No && self.health.may_publish(),
        }
    }

    /// The tors that clients can be sent to.
    fn serving(&self, now: Now) -> impl Iterator<Item = &Tor> {
        self.tors.iter().filter(move |tor| tor.is_serving() && self.may_offer(now, tor))
    }

    /// The points of all tors that serve: the first of each before the second of any, as there is not room for all of many.
    fn points(&self, now: Now) -> Arc<[IntroPoint]> {
        let serving: Vec<_> = self.serving(now).map(|tor| &tor.facts().points).collect();
        if let [points] = serving.as_slice()
            && points.len() <= NUM_INTRO_POINT_MAX
        {
            return Arc::clone(points); // as nearly always, and nothing is copied
        }
        let by_turns =
            (0..NUM_INTRO_POINT_MAX).flat_map(|nth| serving.iter().filter_map(move |points| points.get(nth)));
        by_turns.take(NUM_INTRO_POINT_MAX).cloned().collect()
    }

    /// The one whose proof of work goes with this node's points. Also while it serves nobody: it may have published by itself
    /// last, which others have to hear of.
    fn only_tor(&self, now: Now) -> Option<&Tor> {
        let [tor] = self.tors.as_slice() else { return None };
        self.may_offer(now, tor).then_some(tor)
    }
}
