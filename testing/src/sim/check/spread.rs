//! Whether one descriptor has room for all, or HSDirs hold different ones.

use std::collections::BTreeSet;

use rustbalance_core::merge::{Offer, merge};

use super::World;
use crate::sim::machine::SimNode;

/// A publisher may list points that are gone for so long: a silent node's for 60 s, and the time to notice, milliseconds.
const KEPT_MS: u64 = 90_000;

/// True if what is offered stands in one descriptor, each node with a point of its own at least.
pub(super) fn is_whole(world: &World) -> bool {
    let places = usize::from(world.options.places);
    let offering = world.nodes.iter().filter(|node| node.is_offered());
    let points = || offering.clone().flat_map(SimNode::points);
    if points().map(|point| point.relay()).collect::<BTreeSet<_>>().len() == points().count() {
        return points().count() <= places;
    }
    let points: Vec<Vec<_>> = offering.clone().map(|node| node.points().cloned().collect()).collect();
    let offers = offering.zip(&points).map(|(node, points)| Offer { node: node.id, weight: node.weight, points });
    merge(&offers.collect::<Vec<_>>(), &[], places).is_whole()
}

/// True if some publisher may have too many points for one descriptor: those that went lately among them.
pub(super) fn may_be(world: &World) -> bool {
    let now: usize = world.nodes.iter().map(|node| node.points().count()).sum();
    let gone = world.nodes.iter().flat_map(|node| &node.past_points);
    let gone = gone.filter(|(_, since)| world.now < since + KEPT_MS).count();
    now + gone > usize::from(world.options.places) || !is_whole(world)
}
