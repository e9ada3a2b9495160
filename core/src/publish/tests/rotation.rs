//! Through shared random runs and time periods.

use crate::onion::period::{Half, Slot};
use crate::publish::testing::{RUN, VOTING_INTERVAL, World, secs};

#[test]
fn both_slots_are_published_all_the_way_through_two_days() {
    let mut world = World::new(30);
    let (mut halves, mut periods) = (Vec::new(), Vec::new());
    for _ in 0..2 * RUN / VOTING_INTERVAL {
        world.run(secs(5));
        assert_eq!(world.listed().len(), 9);
        let ring = world.ring.clone().unwrap();
        halves.push(ring.params().half(ring.valid_after()));
        periods.push(world.period(Slot::First).number);
        world.run(secs(VOTING_INTERVAL - 5));
    }
    assert!(halves.contains(&Half::SrvToTp) && halves.contains(&Half::TpToSrv));
    periods.dedup();
    assert_eq!(periods.len(), 3);
    assert!(world.hsdirs.seen.iter().all(|seen| seen.accepted), "a counter was refused");
}

#[test]
fn clients_find_the_plan_at_once_when_a_period_begins() {
    // The last consensus before a new period, then the first of it: nothing needs uploading in between.
    let mut world = World::new(RUN / 2 - VOTING_INTERVAL);
    world.run(secs(VOTING_INTERVAL - 1));
    assert!(!world.publisher().slots[&Slot::Second].current);
    world.forget();
    world.run(secs(1));
    assert!(world.publisher().slots[&Slot::Second].current);
    assert!(world.hsdirs.seen.is_empty());
    assert_eq!(world.listed().len(), 9);
}

#[test]
fn new_shared_random_value_re_publishes_both_slots() {
    let mut world = World::new(RUN - VOTING_INTERVAL);
    world.run(secs(VOTING_INTERVAL - 1));
    let second = world.period(Slot::Second);
    world.forget();
    world.run(secs(2));
    assert_eq!(world.period(Slot::First), second);
    assert_eq!((world.uploads(Slot::First), world.uploads(Slot::Second)), ((1, 1), (1, 1)));
    assert_eq!(world.listed().len(), 9);
}

#[test]
fn keys_of_past_periods_are_forgotten() {
    let mut world = World::new(30);
    world.run(secs(2 * RUN));
    assert_eq!(world.publisher().builder.periods(), 2);
}
