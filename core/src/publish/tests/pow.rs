//! Proof of work: in the period that tors show, each HSDir that clients read holds one node's points and parameters.

use crate::cluster::Liveness;
use crate::hsdesc::{Descriptor, Harvest, PowOffer, PowParams};
use crate::onion::period::Slot;
use crate::publish::testing::{World, keys, keys_of, member, members, secs};
use core::time::Duration;
use std::collections::BTreeSet;

/// Three nodes of three points each, whose tors offer proof of work for the period of `slot`; until it has been published.
fn published(slot: Slot) -> World {
    let mut world = World::new(30);
    offer(&mut world, slot, 3);
    world.run(secs(5));
    world
}

/// The tors of nodes 1 to `nodes` offer proof of work for the period of `slot`.
fn offer(world: &mut World, slot: Slot, nodes: u8) {
    let period = world.period(slot).number;
    for n in 1..=nodes {
        let params = PowParams { seed: [n; 32], effort: u32::from(n), expires: world.now.wall.as_secs() + 7200 };
        world.record(n).pow = Some(PowOffer { period, params });
    }
}

/// As [`published`], with a consensus that does not move and more nodes, if there are to be more; at rest.
fn at_rest(nodes: u8) -> World {
    let mut world = World::new(30);
    world.consensus_moves = false;
    for n in 4..=nodes {
        members(world.view()).push(member(n, &[3 * n - 2, 3 * n - 1, 3 * n]));
    }
    offer(&mut world, Slot::First, nodes);
    world.run(secs(40));
    assert!(world.publisher().status(world.now).proven);
    world.forget();
    world
}

/// The tor of node `n` suggests another effort, and so many seconds pass.
fn effort(world: &mut World, n: u8, effort: u32, seconds: u64) {
    world.record(n).version += 1;
    world.record(n).pow.as_mut().unwrap().params.effort = effort;
    world.run(secs(seconds));
}

/// What the HSDirs of `slot` that clients read hold.
fn held(world: &World, slot: Slot) -> Vec<Descriptor> {
    let blind = world.id.blind(world.period(slot)).unwrap();
    let read = world.ring.as_ref().unwrap().responsible(slot, blind).fetch;
    read.into_iter().map(|hsdir| world.held(slot, hsdir).unwrap().clone()).collect()
}

/// The node whose points these are, all of them, and no others; with its own seed.
fn owner(world: &World, descriptor: &Descriptor) -> u8 {
    let listed = keys(&descriptor.points);
    let owner = (1..=3).find(|n| keys_of(&world.sites[0].view, &[*n]) == listed).expect("one node's points");
    assert_eq!(descriptor.pow.map(|pow| (pow.seed, pow.effort)), Some(([owner; 32], u32::from(owner))));
    owner
}

fn owners(world: &World, slot: Slot) -> Vec<u8> {
    held(world, slot).iter().map(|descriptor| owner(world, descriptor)).collect()
}

#[test]
fn each_node_has_two_of_six_hsdirs_and_the_other_slot_lists_all_without_proof_of_work() {
    let world = published(Slot::First);
    let mut owners = owners(&world, Slot::First);
    owners.sort_unstable();
    assert_eq!(owners, [1, 1, 2, 2, 3, 3]);
    for descriptor in held(&world, Slot::Second) {
        assert_eq!((descriptor.points.len(), descriptor.pow), (9, None));
    }
    let status = world.publisher().status(world.now);
    assert!(status.proven && status.descriptors == 6);
    assert!(status.pow.is_some_and(|words| words.starts_with("in the descriptors")));
    assert_eq!(status.shares.values().copied().collect::<BTreeSet<_>>(), [333_333].into());
}

#[test]
fn hsdirs_of_a_dead_node_get_anothers_content_at_once() {
    let mut world = published(Slot::First);
    members(&mut world.sites[0].view)[1].liveness = Liveness::Down;
    world.run(secs(2));
    let mut owners = owners(&world, Slot::First);
    owners.sort_unstable();
    assert_eq!(owners, [1, 1, 1, 3, 3, 3]);
}

#[test]
fn new_seed_goes_out_at_once_and_its_points_stay_where_they_were() {
    let mut world = published(Slot::First);
    let before = owners(&world, Slot::First);
    world.record(2).pow.as_mut().unwrap().params.seed = [20; 32];
    world.run(secs(2));
    let seeds: Vec<_> = held(&world, Slot::First).into_iter().map(|held| held.pow.unwrap().seed[0]).collect();
    let expected: Vec<_> = before.into_iter().map(|n| if n == 2 { 20 } else { n }).collect();
    assert_eq!(seeds, expected);
}

#[test]
fn another_effort_goes_out_at_once_to_the_hsdirs_with_that_nodes_points_alone() {
    let mut world = at_rest(3);
    effort(&mut world, 2, 20, 2);
    let efforts: Vec<_> = held(&world, Slot::First).iter().map(|held| held.pow.map(|pow| pow.effort)).collect();
    assert_eq!(efforts.iter().filter(|effort| **effort == Some(20)).count(), 2);
    let seen = &world.hsdirs.seen;
    // Of eight HSDirs of the slot two are not read by clients, and hold what another one holds.
    assert!((2..=4).contains(&seen.len()), "{} uploads", seen.len());
    assert!(seen.iter().all(|seen| seen.descriptor.pow.is_some_and(|pow| (pow.seed, pow.effort) == ([2; 32], 20))));
    world.run(secs(2));
    assert!(world.publisher().status(world.now).proven, "what the others hold is of this plan");
}

#[test]
fn effort_that_changes_while_another_goes_out_reaches_its_hsdirs_too() {
    let mut world = at_rest(3);
    world.record(2).pow.as_mut().unwrap().params.effort = 20;
    world.run(Duration::from_millis(250));
    assert!(!world.hsdirs.seen.is_empty() && !world.publisher().status(world.now).proven, "on the way");
    effort(&mut world, 3, 30, 5);
    let efforts: BTreeSet<_> = held(&world, Slot::First).iter().map(|held| held.pow.unwrap().effort).collect();
    assert_eq!(efforts, [1, 20, 30].into());
    assert!(world.publisher().status(world.now).proven);
}

#[test]
fn efforts_that_change_all_the_time_keep_no_descriptor_from_being_uploaded_anew_within_two_hours() {
    let mut world = at_rest(3);
    for n in 0..24 {
        effort(&mut world, 2, 20 + n, 300);
    }
    assert!(world.uploads(Slot::First).0 >= 1 && world.uploads(Slot::Second).0 >= 1);
}

#[test]
fn what_a_node_offers_whose_turn_it_is_not_costs_no_upload() {
    let mut world = at_rest(7);
    let owners: BTreeSet<_> = held(&world, Slot::First).iter().map(|held| held.pow.unwrap().seed[0]).collect();
    let waiting = (1..=7).find(|n| !owners.contains(n)).expect("six have a turn");
    world.record(waiting).pow.as_mut().unwrap().params.seed = [70; 32];
    effort(&mut world, waiting, 70, 5);
    assert_eq!(world.hsdirs.seen.len(), 0);
}

#[test]
fn until_tors_were_made_to_show_the_points_of_a_period_clients_find_all_points_and_status_says_why() {
    let world = published(Slot::Second);
    // It is SRV..TP here: the tors would have to be of the next period.
    for descriptor in held(&world, Slot::First) {
        assert_eq!((descriptor.points.len(), descriptor.pow), (9, None));
    }
    let status = world.publisher().status(world.now);
    assert_eq!(status.descriptors, 1);
    assert!(status.pow.is_some_and(|words| words.starts_with("not yet in the descriptors that clients read")));
}

#[test]
fn points_that_a_member_names_some_seconds_after_they_were_seen_are_no_strangers() {
    for is_named in [true, false] {
        let mut world = at_rest(3);
        let period = world.period(Slot::First);
        let blind = world.id.blind(period).unwrap();
        let hsdir = world.ring.as_ref().unwrap().responsible(Slot::First, blind).fetch[0];
        let copy = world.foreign(Slot::First, secs(60));
        world.run(secs(65));
        world.hsdirs.stored.insert((hsdir, period), copy);
        let points = world.held(Slot::First, hsdir).unwrap().points.clone();
        let mut is_seen = || {
            world.run(secs(1));
            world.publisher().suspect.is_some()
        };
        assert!((0..660).any(|_| is_seen()));
        if is_named {
            world.record(2).harvest = Some(Harvest { period: period.number + 1, number: 1, points });
        }
        world.run(secs(20));
        assert_eq!(world.sites[0].warnings.is_empty(), is_named, "{:?}", world.sites[0].warnings);
    }
}
