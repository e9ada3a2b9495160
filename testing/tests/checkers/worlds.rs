//! Good worlds, and what is said of them once they are spoiled.

use std::collections::BTreeSet;

use rustbalance_core::cluster::Role;
use rustbalance_core::hsdesc::IntroPoint;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_testing::sim::check::CONVERGE_MS;
use rustbalance_testing::sim::machine::SimNode;
use rustbalance_testing::sim::options::Options;
use rustbalance_testing::sim::world::{Taken, World};

/// Three nodes, all published, nothing happening.
pub fn calm() -> World {
    calm_with(Options::default())
}

pub fn calm_with(options: Options) -> World {
    let mut world = World::new(2, 3, Options { client_every_ms: 1_000, ..options });
    world.form(3);
    world.run_for(CONVERGE_MS + 10_000);
    assert_eq!(world.violation, None);
    let relays: BTreeSet<_> = world.nodes.iter().flat_map(SimNode::points).map(IntroPoint::relay).collect();
    assert_eq!(relays.len(), 9, "every point of this seed's world is listed");
    world
}

pub fn publisher(world: &World) -> usize {
    world.nodes.iter().position(|node| matches!(node.role, Role::Holder { .. })).expect("someone publishes")
}

/// An upload that is as it should be.
pub fn taken(world: &mut World, relay: RelayFingerprint) -> Taken {
    let (secs, blind) = (world.wall().as_secs(), world.layout().current().blind);
    Taken { by: 1, relay, blind, removed: Vec::new(), points: 6, secs, furthest_secs: secs - 60 }
}

/// What is said of the calm world once `spoil` has been at it.
pub fn verdict(spoil: impl Fn(&mut World)) -> String {
    verdict_of(calm(), spoil)
}

/// The same of one whose descriptors have no room for all: HSDirs hold different ones.
pub fn verdict_of_distinct(spoil: impl Fn(&mut World)) -> String {
    verdict_of(calm_with(Options { places: 3, ..Options::default() }), spoil)
}

/// Nobody has heard of the points that the last machine has now; those that are published are the first one's.
pub fn hide_the_last(world: &mut World) {
    let [first, .., last] = &mut world.nodes[..] else { panic!("too few machines") };
    let strange = last.tors[0].points.first().map(|point| IntroPoint { auth_key: [9; 32], ..point.clone() });
    let published = core::mem::replace(&mut last.tors[0].points, strange.into_iter().collect());
    first.tors[0].points.extend(published);
}

pub fn verdict_of(mut world: World, spoil: impl Fn(&mut World)) -> String {
    spoil(&mut world);
    // Some look at whole seconds only.
    world.now = world.now / 1000 * 1000 + 2000;
    world.check().expect_err("this is not well")
}
