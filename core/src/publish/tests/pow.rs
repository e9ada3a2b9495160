//! Proof of work: in the period that tors show, each HSDir that clients read holds one node's points and parameters.

use crate::cluster::Liveness;
use crate::hsdesc::{Descriptor, PowOffer, PowParams};
use crate::onion::period::Slot;
use crate::publish::testing::{World, keys, keys_of, members, secs};
use std::collections::BTreeSet;

/// Three nodes of three points each, whose tors offer proof of work for the period of `slot`; until it has been published.
fn published(slot: Slot) -> World {
    let mut world = World::new(30);
    let period = world.period(slot).number;
    for n in [1, 2, 3] {
        let params = PowParams { seed: [n; 32], effort: u32::from(n), expires: world.now.wall.as_secs() + 7200 };
        world.record(n).pow = Some(PowOffer { period, params });
    }
    world.run(secs(5));
    world
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
fn in_the_half_of_the_day_that_tors_do_not_show_clients_find_all_points_and_status_says_why() {
    let world = published(Slot::Second);
    // It is SRV..TP here: the tors would have to be of the next period.
    for descriptor in held(&world, Slot::First) {
        assert_eq!((descriptor.points.len(), descriptor.pow), (9, None));
    }
    let status = world.publisher().status(world.now);
    assert_eq!(status.descriptors, 1);
    assert!(status.pow.is_some_and(|words| words.starts_with("not in the descriptors that clients read until")));
}
