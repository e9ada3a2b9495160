//! Revision counters against rivals, wrong clocks and poisoned HSDirs.

use crate::cluster::{ClockOffset, Role};
use crate::id::RelayFingerprint;
use crate::merge::testing::point;
use crate::onion::period::Slot;
use crate::onion::revision::{REVISION_N_MAX, RevisionCounter};
use crate::publish::Publisher;
use crate::publish::testing::{Behaviour, World, counter, keys_of, members, n, poison, record_of, secs, view};

/// How many HSDirs of `slot` hold the plan of nine points.
fn holding(world: &World, slot: Slot) -> usize {
    let stored = |hsdir: &RelayFingerprint| world.hsdirs.stored[&(*hsdir, world.period(slot))].1.len() > 1000;
    world.responsible(slot).iter().filter(|hsdir| stored(hsdir)).count()
}

/// How many uploads were refused.
fn refused(world: &World) -> usize {
    world.hsdirs.seen.iter().filter(|seen| !seen.accepted).count()
}

/// The middle clocks of an even number of nodes.
fn middle(lower_ms: i64, upper_ms: i64) -> ClockOffset {
    ClockOffset { lower_ms, upper_ms, others: 1 }
}

#[test]
fn clocks_more_than_five_seconds_apart_are_not_eligible() {
    let sane = |lower_ms, upper_ms| {
        let mut view = view();
        view.clock_offset = middle(lower_ms, upper_ms);
        Publisher::clock_sane(view.clock_offset)
    };
    assert!(sane(0, 0) && sane(5000, 5000) && sane(-5000, -5000));
    assert!(!sane(5001, 5001) && !sane(-5001, -5001) && !sane(5001, 9000) && !sane(-9000, -5001));
}

#[test]
fn of_two_clocks_apart_neither_rules_the_other_out() {
    for (lower_ms, upper_ms) in [(-10_000, 0), (0, 10_000), (-1_700_000_000_000, 0)] {
        let mut world = World::new(30);
        world.view().clock_offset = middle(lower_ms, upper_ms);
        assert!(Publisher::clock_sane(world.view().clock_offset));
        world.run(secs(2));
        assert_eq!(world.listed().len(), 9, "{lower_ms} {upper_ms}");
    }
}

#[test]
fn step_of_the_clock_moves_no_counter_before_a_newer_consensus() {
    let mut world = World::new(30);
    world.consensus_moves = false;
    world.run(secs(5));
    for (step_is_confirmed, relay) in [(false, 20), (true, 21)] {
        world.sites[0].clock_ms = 120_000;
        world.record(2).points = vec![point(2, relay, 0)];
        world.forget();
        world.run(secs(2));
        let limit = counter(&mut world, Slot::First, 60);
        let mut first = world.hsdirs.seen.iter().filter(|seen| seen.descriptor.period == world.period(Slot::First));
        assert!(
            first.clone().count() >= 8 && first.all(|seen| (seen.descriptor.revision > limit) == step_is_confirmed)
        );
        world.run(secs(20));
        world.new_consensus();
    }
}

#[test]
fn two_publishers_taking_turns_replace_each_others_descriptors_at_once() {
    for (ours, theirs) in [(0, 0), (4900, 0), (0, 4900), (-4900, 0)] {
        let mut world = World::new(30);
        world.sites[0].clock_ms = ours;
        world.view().role = Role::Follower;
        world.add_site(2, view());
        world.sites[1].clock_ms = theirs;
        world.sites[1].view.role = Role::Follower;
        for turn in 1..=6_u8 {
            let (holder, other) = (usize::from(turn % 2), usize::from((turn + 1) % 2));
            let floors = world.sites[other].publisher.publication().floors;
            world.sites[other].view.role = Role::Follower;
            let view = &mut world.sites[holder].view;
            view.role = Role::Holder { epoch: u64::from(turn) };
            view.floors = floors;
            record_of(&mut members(view)[2]).points = vec![point(3, 20 + turn, 0)];
            let expected = keys_of(view, &[1, 2, 3]);
            world.run(secs(2));
            assert_eq!(world.listed(), expected, "turn {turn}, clocks {ours} {theirs}");
            world.run(secs(5));
        }
        assert!(world.hsdirs.seen.iter().all(|seen| seen.accepted));
    }
}

#[test]
fn honest_rival_ahead_is_overtaken_within_seconds_even_without_its_floors() {
    let mut world = World::new(30);
    world.sites[0].clock_ms = 5000;
    world.run(secs(3));
    let mut rival = view();
    rival.role = Role::Holder { epoch: 2 };
    members(&mut rival).pop();
    let expected = keys_of(&rival, &[1, 2]);
    world.view().role = Role::Follower;
    world.add_site(2, rival);
    world.run(secs(10));
    assert_eq!(world.listed(), expected);
}

#[test]
fn a_floor_that_no_honest_clock_can_have_shown_is_not_heeded() {
    let mut world = World::new(30);
    world.run(core::time::Duration::from_millis(1));
    for slot in [Slot::First, Slot::Second] {
        let period = world.period(slot).number;
        world.view().floors.insert(slot, (period, REVISION_N_MAX - 1));
    }
    world.record(2).points.pop();
    world.run(secs(5));
    let limit = counter(&mut world, Slot::Second, 10);
    assert_eq!(world.listed().len(), 8);
    let of_second = world.hsdirs.seen.iter().filter(|seen| seen.descriptor.period == world.period(Slot::Second));
    assert!(of_second.map(|seen| seen.descriptor.revision).all(|revision| revision <= limit));
}

#[test]
fn a_true_floor_is_remembered_whatever_false_ones_come_after_it() {
    let mut world = World::new(30);
    world.view().role = Role::Follower;
    world.run(core::time::Duration::from_millis(1));
    let (period, n) = (world.period(Slot::First).number, n(&world, Slot::First, 8));
    let stored = counter(&mut world, Slot::First, 8);
    for floor in [(period, n), (period, REVISION_N_MAX - 1), (period + 1_000, 5), (period, n - 5)] {
        world.view().floors = [(Slot::First, floor)].into();
        world.run(core::time::Duration::from_millis(1));
    }
    assert_eq!(world.publisher().publication().floors, [(Slot::First, (period, n))].into(), "and told to others");
    world.view().floors.clear();
    world.view().role = Role::Holder { epoch: 2 };
    world.run(core::time::Duration::from_millis(500));
    let mut first = world.hsdirs.seen.iter().filter(|seen| seen.descriptor.period == world.period(Slot::First));
    assert!(first.clone().count() >= 8 && first.all(|seen| seen.descriptor.revision > stored));
}

#[test]
fn slower_of_own_clock_and_median_gives_the_counter() {
    let mut world = World::new(30);
    world.sites[0].clock_ms = 4000;
    world.view().clock_offset = middle(-4000, 0);
    world.run(core::time::Duration::from_millis(300));
    let (of_now, of_next) = (counter(&mut world, Slot::First, 0), counter(&mut world, Slot::First, 1));
    assert!(
        world
            .hsdirs
            .seen
            .iter()
            .filter(|seen| seen.descriptor.period == world.period(Slot::First))
            .all(|seen| { seen.descriptor.revision <= of_now && seen.descriptor.revision < of_next })
    );
    assert_eq!(world.listed().len(), 9);
}

#[test]
fn poisoned_counter_of_the_current_slot_is_passed_by_one_after_thirty_seconds() {
    let mut world = World::new(60);
    world.consensus_moves = false;
    let poisoned = counter(&mut world, Slot::First, 100_000);
    poison(&mut world, Slot::First, poisoned);
    world.run(secs(29));
    assert_eq!((holding(&world, Slot::First), holding(&world, Slot::Second)), (0, 8));
    world.run(secs(60));
    assert_eq!(holding(&world, Slot::First), 8);
    for hsdir in world.responsible(Slot::First) {
        assert_eq!(world.held(Slot::First, hsdir).unwrap().revision, RevisionCounter(poisoned.0 + 1));
    }
    // The next plan goes on from there without waiting.
    world.record(2).points.pop();
    world.run(secs(2));
    assert_eq!(world.listed().len(), 8);
    // Beacons do not spread it.
    assert!(!world.publisher().publication().floors.contains_key(&Slot::First));
}

#[test]
fn poisoned_counter_that_cannot_be_read_is_passed_in_growing_steps() {
    let mut world = World::new(60);
    world.consensus_moves = false;
    let poisoned = counter(&mut world, Slot::Second, 3600);
    poison(&mut world, Slot::Second, poisoned);
    world.run(secs(29));
    assert_eq!((holding(&world, Slot::First), holding(&world, Slot::Second)), (8, 0));
    world.run(secs(900));
    assert_eq!(holding(&world, Slot::Second), 8);
    let limit = counter(&mut world, Slot::Second, 7200);
    assert!(world.hsdirs.seen.iter().all(|seen| seen.descriptor.revision <= limit));
}

#[test]
fn refusals_with_an_unanswered_upload_between_them_are_no_poison() {
    let mut world = World::new(60);
    world.consensus_moves = false;
    let ahead = counter(&mut world, Slot::Second, 3600);
    poison(&mut world, Slot::Second, ahead);
    world.run(secs(29));
    // What is not answered may have been taken. It was, and a rival's upload passed it.
    for hsdir in world.responsible(Slot::Second) {
        world.hsdirs.behaviour.insert(hsdir, Behaviour::Silent);
    }
    world.run(secs(45));
    world.hsdirs.behaviour.clear();
    let rivals = counter(&mut world, Slot::Second, 5);
    poison(&mut world, Slot::Second, rivals);
    world.record(2).points.pop();
    let refused_before = refused(&world);
    for _ in 0..100 {
        world.run(secs(1));
        let limit = counter(&mut world, Slot::Second, 2);
        let of_second = world.hsdirs.seen.iter().filter(|seen| seen.descriptor.period == world.period(Slot::Second));
        assert!(of_second.map(|seen| seen.descriptor.revision).all(|revision| revision <= limit));
    }
    assert!(refused(&world) > refused_before, "the rival's was met");
    for hsdir in world.responsible(Slot::Second) {
        assert!(world.held(Slot::Second, hsdir).unwrap().revision > rivals);
    }
}

#[test]
fn highest_possible_counter_is_no_cause_for_panic() {
    let mut world = World::new(60);
    world.consensus_moves = false;
    poison(&mut world, Slot::First, RevisionCounter(u64::MAX));
    poison(&mut world, Slot::Second, RevisionCounter(u64::MAX));
    world.run(secs(600));
    assert_eq!(holding(&world, Slot::First), 0);
    assert!(!world.publisher().status(world.now).confirmed);
}

#[test]
fn who_held_the_highest_possible_counter_is_served_as_soon_as_it_has_forgotten_that() {
    let mut world = World::new(60);
    world.consensus_moves = false;
    for slot in [Slot::First, Slot::Second] {
        poison(&mut world, slot, RevisionCounter(u64::MAX));
    }
    world.run(secs(600));
    world.hsdirs.stored.clear();
    world.run(secs(80));
    assert_eq!((holding(&world, Slot::First), holding(&world, Slot::Second)), (8, 8));
    assert!(world.publisher().status(world.now).confirmed);
}

#[test]
fn clock_far_outside_the_period_uploads_nothing_and_says_so() {
    let mut world = World::new(60);
    world.consensus_moves = false;
    world.sites[0].clock_ms = 4 * 86_400 * 1000;
    world.run(secs(5));
    assert!(world.hsdirs.seen.is_empty());
    assert!(world.publisher().status(world.now).waiting.unwrap().contains("clock"));
}

#[test]
fn who_has_a_clock_from_before_the_consensus_uploads_with_counters_of_its_time_or_later_and_never_ahead() {
    let mut world = World::new(60);
    world.consensus_moves = false;
    let age = world.now.wall.as_secs() - world.valid_after();
    world.sites[0].clock_ms = -3600 * 1000;
    world.run(secs(5));
    world.record(2).points.pop();
    world.run(secs(600));
    assert!(world.publisher().status(world.now).confirmed);
    for slot in [Slot::First, Slot::Second] {
        let (period, latest) = (world.period(slot), counter(&mut world, slot, 0));
        let earliest = n(&world, slot, 0) - 605 - u32::try_from(age).unwrap();
        let earliest = world.sites[0].publisher.builder.counter(period, earliest).unwrap();
        let of_slot = || world.hsdirs.seen.iter().filter(|seen| seen.descriptor.period == period);
        let range = earliest..=latest;
        assert!(of_slot().all(|seen| seen.accepted && range.contains(&seen.descriptor.revision)));
        assert!(of_slot().count() >= 16, "twice to everybody");
    }
}

#[test]
fn no_counter_is_used_twice_for_one_hsdir() {
    let mut world = World::new(60);
    for turn in 0..20 {
        world.record(2).points = vec![point(2, 20 + turn, 0)];
        world.run(core::time::Duration::from_millis(350));
    }
    let mut used = std::collections::BTreeSet::new();
    for seen in &world.hsdirs.seen {
        assert!(used.insert((seen.hsdir, seen.descriptor.period, seen.descriptor.revision)));
        assert!(seen.accepted);
    }
}
