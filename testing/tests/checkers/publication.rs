//! What is published, by whom it may be, and what clients find.

use rustbalance_core::TargetHealth;
use rustbalance_core::cluster::Role;
use rustbalance_testing::sim::check::CONVERGE_MS;
use rustbalance_testing::sim::clients::Clients;
use rustbalance_testing::sim::fault::Fault;
use rustbalance_testing::sim::hsdirs::HsDirs;
use rustbalance_testing::sim::options::Options;
use rustbalance_testing::sim::world::{Posted, Taken, World};

use crate::worlds::{calm, hide_the_last, taken, verdict, verdict_of, verdict_of_distinct};

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
fn a_member_that_is_not_listed_is_seen() {
    let said = verdict(|world| {
        world.nodes[2].id = rustbalance_core::NodeId([9; 32]);
        world.changed.machines = true;
    });
    assert_eq!(said, "2 is no member for 0");
}

#[test]
fn a_removed_node_that_is_listed_is_seen() {
    let said = verdict(|world| {
        (world.nodes[1].is_removed, world.nodes[1].removal_heard) = (true, vec![0]);
        world.changed.machines = true;
    });
    assert_eq!(said, "1 was removed, and is a member for 0");
}

#[test]
fn a_descriptor_from_before_a_stall_is_seen() {
    let said = verdict(|world| {
        let posted = |said| Some(Posted { by: 1, text: "5".into(), said });
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
fn native_publishing_by_a_node_put_back_to_when_it_was_alone_is_seen_once_others_can_have_told_it() {
    let put_back = || {
        let mut world = World::new(2, 3, Options::default());
        world.found();
        world.run_for(1_000);
        world.strike(&Fault::Snapshot { node: 0 });
        for joiner in 1..3 {
            world.join(joiner, 0);
            world.run_for(1_000);
        }
        world.run_for(2 * CONVERGE_MS);
        world.strike(&Fault::Rollback { node: 0 });
        assert!(world.run_until(2_000, |world| world.nodes[0].is_native()), "it is alone, as far as it knows");
        assert_eq!((world.violation.take(), world.check()), (None, Ok(())), "nobody has told it");
        world
    };
    let mut world = put_back();
    world.run_for(CONVERGE_MS);
    assert_eq!((world.violation.take(), world.nodes[0].is_native()), (None, false), "the others have");
    let complaint = "the tor of 0 publishes in a cluster of 3";
    assert_eq!(verdict_of(put_back(), |world| world.calm_since = 0), complaint);
    assert_eq!(verdict_of(put_back(), |world| world.nodes[0].role = Role::Follower), complaint);
    assert_eq!(verdict_of(put_back(), |world| world.nodes[0].is_back_alone = false), complaint);
}

#[test]
fn native_publishing_by_one_of_several_tors_is_seen() {
    let mut world = World::new(2, 1, Options { tors: 2, ..Options::default() });
    world.found();
    world.run_for(CONVERGE_MS + 10_000);
    assert_eq!(world.violation, None);
    assert_eq!(
        verdict_of(world, |world| world.nodes[0].tors[1].publishes = true),
        "one of several tors of 0 publishes"
    );
}

#[test]
fn native_publishing_switched_on_again_and_again_is_seen() {
    let said = verdict(|world| {
        for on in [true, false].repeat(usize::try_from(world.faults).expect("a few") + 2) {
            world.nodes[2].tors[0].publishes = on;
            _ = world.check(); // each is one too many in a cluster
        }
    });
    assert!(said.starts_with("tors began to publish "), "{said}");
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
fn points_taken_off_whom_nothing_befell_are_seen_though_others_were_struck() {
    let take_off_2 = |world: &mut World| {
        let relay = world.network.relays[0].fingerprint;
        let removed = world.nodes[2].tors[0].points.iter().map(|point| point.auth_key).collect();
        world.taken = Some(Taken { removed, ..taken(world, relay) });
    };
    let said = verdict(|world| {
        world.strike(&Fault::Kill { node: 0 });
        take_off_2(world);
    });
    assert!(said.starts_with("1 took a point of 2 off"), "{said}");
    for fault in [Fault::BurstAt { node: 2, ms: 5_000 }, Fault::Freeze { node: 2, ms: 100 }, Fault::Burst { ms: 100 }] {
        let mut world = calm();
        world.strike(&fault);
        world.run_for(200);
        take_off_2(&mut world);
        assert_eq!(world.check(), Ok(()), "{fault:?} may be a cause");
    }
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
    // The verdict is of two seconds later.
    let said = verdict(|world| world.nodes[1].sent = (world.now / 1000 + 2, 151));
    assert_eq!(said, "1 sent 151 datagrams in one second");
    let mut world = calm();
    world.now = world.now / 1000 * 1000 + 2_000;
    world.nodes[1].sent = (world.now / 1000, 151);
    world.nodes[1].flooded_at = Some(world.now - 100);
    assert_eq!(world.check(), Ok(()), "it answers those whom it flooded");
    world.nodes[1].flooded_at = Some(world.now - 3_000);
    assert_eq!(world.check(), Err(said));
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
