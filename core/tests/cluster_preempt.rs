//! A better priority takes the lease by hand-over, after its delay, without a gap.

mod mesh;

use mesh::{World, seeds};
use rustbalance_core::cluster::Role;

#[test]
fn a_better_priority_takes_over_after_its_delay_without_a_gap() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 3);
        let before = world.holders();
        let better = world.join(9, 10);
        world.set_eligible(better, true);
        world.run(59_000);
        assert_eq!(world.holders(), before, "not before its delay");
        let mut gaps = 0;
        for _ in 0..1_000 {
            world.run(5);
            gaps += usize::from(world.holders().is_empty());
        }
        assert_eq!(world.holders(), [better]);
        assert_eq!(gaps, 0, "the old holder publishes until it sees the claim");
    }
}

#[test]
fn equal_priority_preempts_nobody() {
    let mut world = World::of(1, 3);
    let before = world.view(0).holder;
    world.run(300_000);
    assert_eq!(world.view(0).holder, before);
}

#[test]
fn an_offer_that_leads_to_nothing_is_taken_back() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 3);
        let [holder] = world.holders()[..] else { panic!("one holder") };
        let better = world.join(9, 10);
        world.set_eligible(better, true);
        world.until(65_000, "the claim", |world| world.holders().contains(&better));
        world.until(1_000, "seen", |world| world.view(holder).role == Role::Follower);
        world.kill(better);
        let took = world.until(6_000, "a holder again", |world| !world.holders().is_empty());
        assert!(took <= 4_000, "{took} ms");
        world.run(3_000);
        assert_eq!(world.holders().len(), 1);
    }
}

#[test]
fn the_lease_is_offered_to_one_at_a_time() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 3);
        let (better, best) = (world.join(9, 10), world.join(8, 5));
        world.run(5_000);
        world.set_eligible(better, true);
        world.run(seed * 29 % 500);
        world.set_eligible(best, true);
        world.run(55_000);
        for _ in 0..3_000 {
            world.run(5);
            assert!(world.holders().len() <= 2, "{:?} publish", world.holders());
        }
        world.run(120_000);
        assert_eq!(world.holders(), [best]);
    }
}
