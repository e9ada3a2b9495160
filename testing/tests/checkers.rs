//! No checker is blind: in a calm, good world each one sees what only it should see.

#![allow(clippy::indexing_slicing, reason = "tests: a wrong index is a failed test")]

use std::collections::BTreeSet;

use rustbalance_core::TargetHealth;
use rustbalance_core::cluster::Role;
use rustbalance_core::hsdesc::IntroPoint;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_testing::sim::check::CONVERGE_MS;
use rustbalance_testing::sim::clients::Clients;
use rustbalance_testing::sim::fault::Fault;
use rustbalance_testing::sim::hsdirs::HsDirs;
use rustbalance_testing::sim::machine::SimNode;
use rustbalance_testing::sim::options::Options;
use rustbalance_testing::sim::world::{Posted, Taken, World};

/// Three nodes, all published, nothing happening.
fn calm() -> World {
    calm_with(Options::default())
}

fn calm_with(options: Options) -> World {
    let mut world = World::new(2, 3, Options { client_every_ms: 1_000, ..options });
    world.form(3);
    world.run_for(CONVERGE_MS + 10_000);
    assert_eq!(world.violation, None);
    let relays: BTreeSet<_> = world.nodes.iter().flat_map(SimNode::points).map(IntroPoint::relay).collect();
    assert_eq!(relays.len(), 9, "every point of this seed's world is listed");
    world
}

fn publisher(world: &World) -> usize {
    world.nodes.iter().position(|node| matches!(node.role, Role::Holder { .. })).expect("someone publishes")
}

/// An upload that is as it should be.
fn taken(world: &mut World, relay: RelayFingerprint) -> Taken {
    let (secs, blind) = (world.wall().as_secs(), world.layout().current().blind);
    Taken { by: 1, relay, blind, removed: Vec::new(), points: 6, secs, furthest_secs: secs - 60 }
}

/// What is said of the calm world once `spoil` has been at it.
fn verdict(spoil: impl Fn(&mut World)) -> String {
    verdict_of(calm(), spoil)
}

/// The same of one whose descriptors have no room for all: HSDirs hold different ones.
fn verdict_of_distinct(spoil: impl Fn(&mut World)) -> String {
    verdict_of(calm_with(Options { places: 3, ..Options::default() }), spoil)
}

/// Nobody has heard of the points that the last machine has now; those that are published are the first one's.
fn hide_the_last(world: &mut World) {
    let [first, .., last] = &mut world.nodes[..] else { panic!("too few machines") };
    let strange = last.tors[0].points.first().map(|point| IntroPoint { auth_key: [9; 32], ..point.clone() });
    let published = core::mem::replace(&mut last.tors[0].points, strange.into_iter().collect());
    first.tors[0].points.extend(published);
}

fn verdict_of(mut world: World, spoil: impl Fn(&mut World)) -> String {
    spoil(&mut world);
    // Some look at whole seconds only.
    world.now = world.now / 1000 * 1000 + 2000;
    world.check().expect_err("this is not well")
}

#[test]
fn a_node_that_is_out_and_answers_where_clients_come_is_seen() {
    let said = verdict(|world| {
        let known = world.nodes[1].tors[0].points[0].clone();
        world.strike(&Fault::Drain { node: 1 });
        world.run_for(2 * CONVERGE_MS + 20_000);
        assert_eq!(world.violation, None);
        assert!(
            world.nodes[1].tors[0].points.len() == 3 && !world.nodes[1].tors[0].points.contains(&known),
            "it has others"
        );
        world.nodes[1].tors[0].points[0] = known;
    });
    assert!(said.starts_with("1 is out and answers at ") && said.ends_with(", which clients know"), "{said}");
}

#[test]
fn two_publishers_are_seen() {
    let said = verdict(|world| {
        let follower = (publisher(world) + 1) % 3;
        world.nodes[follower].role = world.nodes[publisher(world)].role;
        world.nodes[follower].asked_at = Some(world.now);
    });
    assert_eq!(said, "2 publishers among 3 live nodes in calm");
}

#[test]
fn no_publisher_is_seen() {
    let said = verdict(|world| {
        let holder = publisher(world);
        world.nodes[holder].role = Role::Follower;
    });
    assert_eq!(said, "0 publishers among 3 live nodes in calm");
}

#[test]
fn a_lease_that_changes_hands_in_calm_is_seen() {
    let said = verdict(|world| {
        let holder = publisher(world);
        world.nodes[holder].role = Role::Holder { epoch: 77 };
    });
    assert!(said.ends_with("took the lease in calm, epoch 77"), "{said}");
}

#[test]
fn a_lease_taken_from_a_living_holder_without_a_question_is_seen() {
    let said = verdict(|world| {
        let (holder, follower) = (publisher(world), (publisher(world) + 1) % 3);
        world.calm_since = world.now;
        for (role, asked_at) in [(world.nodes[holder].role, Some(world.now)), (Role::Follower, None)] {
            (world.nodes[follower].role, world.nodes[follower].asked_at) = (role, asked_at);
            assert_eq!(world.check(), Ok(()));
        }
        world.nodes[follower].role = world.nodes[holder].role;
    });
    assert!(said.ends_with("has neither asked nor waited"), "{said}");
}

#[test]
fn a_lease_that_is_handed_over_and_kept_is_seen() {
    let said = verdict(|world| {
        let follower = (publisher(world) + 1) % 3;
        world.now += 100_000;
        world.nodes[follower].priority_now = 10;
        world.nodes[follower].role = Role::Holder { epoch: 77 };
        assert_eq!(world.check(), Ok(()), "a hand-over takes a moment");
        world.now += 2_000;
    });
    assert_eq!(said, "2 publishers among 3 live nodes in calm");
}

#[test]
fn an_epoch_that_the_disk_does_not_know_is_seen() {
    let said = verdict(|world| {
        let holder = publisher(world);
        world.calm_since = world.now;
        world.nodes[holder].role = Role::Holder { epoch: 77 };
        world.nodes[holder].lease_unwritten = true;
    });
    assert!(said.ends_with("serves epoch 77, which its disk has not"), "{said}");
}

#[test]
fn a_deaf_holder_that_nobody_replaces_is_seen() {
    let said = verdict(|world| {
        let node = publisher(world);
        world.strike(&Fault::Deaf { node });
        world.calm_since = 0;
    });
    assert_eq!(said, "0 publishers among 2 live nodes in calm");
}

#[test]
fn a_poisoned_counter_that_is_not_passed_is_seen() {
    let said = verdict(|world| {
        world.strike(&Fault::Poison { relay: 0, ahead_secs: 3_600 });
        let (slot, relay) = world.layout().hsdirs().map(|(slot, relay)| (slot.blind, relay)).next().expect("HSDirs");
        world.hsdirs.refused_since.insert((relay, slot), world.now);
        world.calm_since = 0;
        world.now += 900_000;
    });
    assert!(said.contains("is not passed within"), "{said}");
}

#[test]
fn a_lost_copy_that_is_not_repaired_is_seen() {
    let said = verdict(|world| {
        let (blind, relay) = (world.layout().current().blind, world.layout().current().store[0]);
        world.hsdirs.spoiled.insert((relay, blind), world.now);
        assert_eq!(world.check(), Ok(()));
        world.calm_since = 0;
        world.now += 900_000;
    });
    assert!(said.contains("is not repaired within"), "{said}");
}

#[test]
fn points_of_a_node_whose_application_is_dead_are_seen() {
    let said = verdict(|world| world.nodes[1].target = TargetHealth::Down);
    assert!(said.ends_with("still lists a dead node's point in the First slot"), "{said}");
}

#[test]
fn another_cluster_token_is_seen() {
    let said = verdict(|world| {
        world.nodes[2].token = [9; 32];
        world.changed.machines = true;
    });
    assert_eq!(said, "2 has another cluster token");
}

#[test]
fn a_descriptor_from_before_a_stall_is_seen() {
    let said = verdict(|world| {
        let posted = |said| Some(Posted { by: 1, text: 5, said });
        let before = world.now;
        world.posted = posted(before);
        assert_eq!(world.check(), Ok(()));
        world.nodes[1].woke_at = before + 1;
        world.posted = posted(before);
        assert_eq!(world.check(), Ok(()), "a tor that stood still, too, takes it later");
        world.posted = posted(before + 1);
    });
    assert_eq!(said, "1 uploads what it built before it was stopped");
}

#[test]
fn native_publishing_in_a_cluster_is_seen() {
    assert_eq!(verdict(|world| world.nodes[2].tors[0].publishes = true), "the tor of 2 publishes in a cluster of 3");
}

#[test]
fn an_older_epoch_is_seen() {
    let said = verdict(|world| {
        let holder = publisher(world);
        world.nodes[holder].epoch_seen = 99;
    });
    assert!(said.ends_with("after 99"), "{said}");
}

#[test]
fn an_emptied_descriptor_is_seen() {
    let said = verdict(|world| {
        let relay = world.network.relays[0].fingerprint;
        world.taken = Some(Taken { points: 0, ..taken(world, relay) });
    });
    assert!(said.starts_with("1 emptied"), "{said}");
}

#[test]
fn points_taken_off_without_a_cause_are_seen() {
    let said = verdict(|world| {
        let relay = world.network.relays[0].fingerprint;
        let removed = world.nodes[2].tors[0].points.iter().map(|point| point.auth_key).collect();
        world.taken = Some(Taken { removed, ..taken(world, relay) });
    });
    assert!(said.starts_with("1 took a point of 2 off"), "{said}");
}

#[test]
fn a_node_taken_off_all_of_different_descriptors_is_seen() {
    let said = verdict_of_distinct(|world| {
        let relay = world.network.relays[0].fingerprint;
        let removed = world.nodes[2].tors[0].points.iter().map(|point| point.auth_key).collect();
        world.taken = Some(Taken { removed, ..taken(world, relay) });
        assert_eq!(world.check(), Ok(()), "it may be on others");
        hide_the_last(world);
        world.now += 5_000;
    });
    assert_eq!(said, "1 took all points of 2 off the HSDirs of one slot without a cause");
}

#[test]
fn a_node_on_none_of_different_descriptors_is_seen() {
    assert_eq!(verdict_of_distinct(hide_the_last), "no HSDir that clients read lists 2 in the First slot");
}

#[test]
fn a_flood_is_seen() {
    assert_eq!(verdict(|world| world.nodes[1].sent = (0, 151)), "1 sent 151 datagrams in one second");
}

#[test]
fn a_counter_from_the_future_is_seen() {
    let said = verdict(|world| {
        let relay = world.network.relays[0].fingerprint;
        let secs = world.wall().as_secs() + 20;
        world.taken = Some(Taken { secs, ..taken(world, relay) });
    });
    assert!(said.ends_with("that is ahead of true time"), "{said}");
}

#[test]
fn points_that_are_gone_are_seen() {
    let said = verdict(|world| {
        let point = world.nodes[1].tors[0].points[0].auth_key;
        world.nodes[1].past_points.push((point, 0));
    });
    assert!(said.ends_with("still lists a dead node's point in the First slot"), "{said}");
}

#[test]
fn a_point_that_is_missing_is_seen() {
    let said = verdict(|world| {
        let unknown_key = world.network.relays[0].ed25519;
        world.nodes[1].tors[0].points[0].auth_key = unknown_key;
    });
    assert!(said.contains("in the First slot, offered on"), "{said}");
}

#[test]
fn a_client_that_is_not_served_is_seen() {
    let said = verdict(|world| {
        let accepted = world.hsdirs.accepted;
        world.hsdirs = HsDirs::default();
        world.hsdirs.accepted = accepted;
        Clients::catch_up(world, world.now + 10_000);
    });
    assert_eq!(said, "a new client fails in calm: NoDescriptor");
}
