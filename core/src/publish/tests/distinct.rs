//! More points than one descriptor lists: each HSDir that clients read holds a content of its own.

use super::partition::minority;
use crate::cluster::View;
use crate::id::RelayFingerprint;
use crate::merge::testing::point;
use crate::onion::period::Slot;
use crate::publish::testing::{World, keys, keys_of, secs};
use std::collections::BTreeSet;

/// Auth keys.
type Content = BTreeSet<[u8; 32]>;

/// Five nodes of three points each, three in a descriptor; published by node 3 under this view.
fn published(view: View) -> World {
    let mut world = World::with_places(30, 3);
    world.consensus_moves = false;
    world.sites.clear();
    world.elsewhere(3, View { sees_majority: true, ..view });
    world
}

/// The HSDirs of `slot` that clients read.
fn read(world: &World, slot: Slot) -> Vec<RelayFingerprint> {
    let blind = world.id.blind(world.period(slot)).unwrap();
    world.ring.as_ref().unwrap().responsible(slot, blind).fetch
}

/// What they hold, in the order clients walk.
fn contents(world: &World, slot: Slot) -> Vec<Content> {
    read(world, slot).into_iter().map(|hsdir| keys(&world.held(slot, hsdir).unwrap().points)).collect()
}

/// Nodes with a point where clients of `slot` look.
fn served(world: &World, slot: Slot) -> Vec<u8> {
    let listed: Content = contents(world, slot).into_iter().flatten().collect();
    (1..=5).filter(|n| !keys_of(&minority(&[]), &[*n]).is_disjoint(&listed)).collect()
}

#[test]
fn each_hsdir_that_clients_read_holds_another_content_and_every_node_is_in_some_of_each_slot() {
    let mut world = World::with_places(30, 3);
    world.sites[0].view.members = minority(&[1, 2, 3, 4, 5]).members;
    world.run(secs(5));
    for slot in [Slot::First, Slot::Second] {
        let contents = contents(&world, slot);
        assert!(contents.iter().all(|content| content.len() == 3));
        assert_eq!(contents.iter().collect::<BTreeSet<_>>().len(), 6);
        assert_eq!(served(&world, slot), [1, 2, 3, 4, 5]);
        assert_eq!(world.uploads(slot), (1, 1));
    }
    let status = world.publisher().status(world.now);
    assert!(status.proven && status.descriptors == 6);
    assert_eq!(status.shares.len(), 5);
    let proven = world.publisher().publication().proven.unwrap();
    assert_eq!(proven.nodes.len(), 5);
}

#[test]
fn all_contents_of_a_round_go_out_at_once_under_one_counter_a_slot() {
    let mut world = World::with_places(30, 3);
    world.run(secs(5));
    for slot in [Slot::First, Slot::Second] {
        let period = world.period(slot);
        let seen: Vec<_> = world.hsdirs.seen.iter().filter(|seen| seen.descriptor.period == period).collect();
        let revisions: BTreeSet<_> = seen.iter().map(|seen| seen.descriptor.revision).collect();
        assert_eq!((seen.len(), revisions.len()), (8, 1));
    }
}

#[test]
fn both_slots_begin_with_different_contents() {
    let mut world = World::with_places(30, 3);
    world.run(secs(5));
    let (first, second) = (contents(&world, Slot::First), contents(&world, Slot::Second));
    assert_ne!(first, second);
    assert_eq!(first.into_iter().collect::<BTreeSet<_>>(), second.into_iter().collect());
}

#[test]
fn whoever_publishes_divides_alike() {
    let mut world = World::with_places(30, 3);
    world.consensus_moves = false;
    world.run(secs(5));
    let before = contents(&world, Slot::First);
    world.elsewhere(2, world.sites[0].view.clone());
    assert_eq!(contents(&world, Slot::First), before);
}

#[test]
fn one_hsdir_more_moves_contents_on_those_alone_whose_place_changed() {
    let mut world = World::with_places(30, 3);
    world.run(secs(5));
    let before: Vec<_> = read(&world, Slot::First);
    for relays in 31..60 {
        world.relays = relays;
        world.new_consensus();
        if read(&world, Slot::First) != before {
            break;
        }
    }
    let after = read(&world, Slot::First);
    assert_ne!(after, before, "a relay has come in between");
    world.forget();
    world.run(secs(5));
    assert!(world.publisher().status(world.now).proven);
    assert_eq!(contents(&world, Slot::First).into_iter().collect::<BTreeSet<_>>().len(), 6);
    let period = world.period(Slot::First);
    for (at, hsdir) in after.iter().enumerate() {
        let again = world.hsdirs.seen.iter().any(|seen| seen.hsdir == *hsdir && seen.descriptor.period == period);
        assert_eq!(again, before.get(at) != Some(hsdir), "{hsdir}");
    }
}

#[test]
fn fewer_points_than_fit_are_the_same_everywhere_again() {
    let mut world = World::with_places(30, 3);
    world.run(secs(5));
    assert_eq!(contents(&world, Slot::First).into_iter().collect::<BTreeSet<_>>().len(), 6);
    for n in [1, 2, 3] {
        world.record(n).points.truncate(1);
    }
    world.run(secs(5));
    assert_eq!(world.listed(), keys_of(&world.sites[0].view, &[1, 2, 3]));
    assert_eq!(world.publisher().status(world.now).descriptors, 1);
}

#[test]
fn nodes_on_the_same_relays_share_them_by_distinct_contents() {
    let mut world = World::new(30);
    for n in [1, 2, 3] {
        world.record(n).points = vec![point(n, 7, 0)];
    }
    world.run(secs(5));
    let listed: Content = contents(&world, Slot::First).into_iter().flatten().collect();
    assert_eq!(listed.len(), 3, "none has to go without");
    assert!(contents(&world, Slot::First).iter().all(|content| content.len() == 1));
}

#[test]
fn minority_that_is_listed_somewhere_keeps_quiet_though_no_hsdir_lists_all() {
    let mut world = published(minority(&[1, 2, 3, 4, 5]));
    world.add_site(1, minority(&[1, 2]));
    world.run(secs(100));
    assert!(world.hsdirs.seen.is_empty());
    assert!(world.publisher().status(world.now).waiting.unwrap().contains("lists our points"));
}

#[test]
fn minority_that_is_not_listed_adds_itself_and_takes_nobody_away() {
    let mut world = published(minority(&[3, 4, 5]));
    assert_eq!(served(&world, Slot::First), [3, 4, 5]);
    world.add_site(1, minority(&[1, 2]));
    world.run(secs(10));
    for slot in [Slot::First, Slot::Second] {
        assert_eq!(served(&world, slot), [1, 2, 3, 4, 5]);
    }
}

#[test]
fn what_an_unread_hsdir_may_list_is_taken_from_the_proven_plan() {
    let mut world = published(minority(&[3, 4, 5]));
    let proven = {
        let mut before = World::with_places(30, 3);
        before.sites[0].view.members = minority(&[1, 2, 3, 4, 5]).members;
        before.run(secs(5));
        before.publisher().publication().proven
    };
    // All but one have lost what they held.
    let period = world.period(Slot::First);
    for hsdir in &read(&world, Slot::First)[1..] {
        world.hsdirs.stored.remove(&(*hsdir, period));
    }
    world.add_site(1, View { proven, ..minority(&[1, 2]) });
    world.run(secs(10));
    assert_eq!(served(&world, Slot::First), [1, 2, 3, 4, 5]);
}
