//! What clients of a simulated cluster meet.

use rustbalance_core::cluster::Role;
use rustbalance_testing::sim::clients::{Failure, Statistics};
use rustbalance_testing::sim::fault::Fault;
use rustbalance_testing::sim::options::Options;
use rustbalance_testing::sim::world::World;

/// Failures in a million visits allowed while nodes are killed.
const FAILED_PER_MILLION_MAX: u64 = 1_000;

/// `count` nodes, all published.
fn cluster(seed: u64, count: usize) -> World {
    let options = Options {
        loss_permille: 10,
        delay_ms_max: 50,
        skew_ms_max: 500,
        bootstrap_ms_max: 5_000,
        client_every_ms: 1_000,
        ..Options::default()
    };
    let mut world = World::new(seed, count, options);
    world.form(count);
    world.run_for(30_000);
    world
}

/// What came of the visits in the next `ms`.
fn visits(world: &mut World, ms: u64) -> Statistics {
    world.clients.statistics = Statistics::default();
    world.run_for(ms);
    assert_eq!(world.violation, None);
    world.clients.statistics.clone()
}

fn holder(world: &World) -> usize {
    world.nodes.iter().position(|node| matches!(node.role, Role::Holder { .. })).expect("someone publishes")
}

#[test]
fn in_calm_everyone_is_served() {
    let mut world = cluster(1, 3);
    let statistics = visits(&mut world, 600_000);
    assert!(statistics.client_fetches > 400, "{statistics:?}");
    assert_eq!(statistics.client_failures, 0, "{statistics:?}");
}

#[test]
fn who_holds_a_descriptor_of_yesterday_fetches_a_new_one() {
    let mut world = cluster(2, 3);
    world.options.start_secs += 10 * 3_600 - 300;
    let statistics = visits(&mut world, 70 * 60_000);
    assert_eq!(statistics.client_failures, 0, "{statistics:?}");
}

#[test]
fn a_node_killed_every_five_minutes_is_hardly_noticed() {
    let mut sum = Statistics::default();
    let mut world = cluster(10, 5);
    for round in 0..12 {
        // The publisher every third time.
        let dead = if round % 3 == 0 { holder(&world) } else { round % 5 };
        world.kill(dead);
        sum.add(&visits(&mut world, 60_000));
        world.start(dead);
        sum.add(&visits(&mut world, 240_000));
    }
    println!("{sum:?}");
    assert!(sum.client_fetches > 3_000);
    assert!(sum.failed_per_million() <= FAILED_PER_MILLION_MAX, "{sum:?}");
}

#[test]
fn a_dead_target_fails_visits_only_until_its_node_closes_what_even_old_descriptors_list() {
    let mut world = cluster(3, 3);
    // What the checkers take for complete knows nothing of targets.
    world.turmoil = true;
    visits(&mut world, 120_000);
    let mut sum = Statistics::default();
    for up in [false, true].into_iter().cycle().take(20) {
        world.strike(&Fault::Target { node: 1, up });
        sum.add(&visits(&mut world, 60_000));
    }
    assert!(sum.reasons.keys().all(|reason| *reason == Failure::TargetDown), "{sum:?}");
    // Otherwise those with an old descriptor would fail for as long as the target is down.
    assert!(sum.client_fetches > 1_000 && sum.client_failures * 200 < sum.client_fetches, "{sum:?}");
}

#[test]
fn a_frozen_node_delays_and_few_give_up() {
    let mut world = cluster(4, 3);
    visits(&mut world, 120_000);
    world.freeze(1, 300_000);
    let statistics = visits(&mut world, 299_000);
    // With an initial timeout nobody waits for the second point.
    assert!(statistics.reasons.keys().all(|reason| *reason == Failure::GaveUp), "{statistics:?}");
    assert!(statistics.client_failures * 20 < statistics.client_fetches, "{statistics:?}");
}

#[test]
fn nobody_is_there_while_all_are_dead() {
    let mut world = cluster(5, 3);
    (0..3).for_each(|node| world.kill(node));
    // The world goes on only where something happens.
    world.join(0, 1);
    let statistics = visits(&mut world, 60_000);
    assert_eq!(statistics.reasons.keys().copied().collect::<Vec<_>>(), [Failure::NobodyThere]);
    assert_eq!(statistics.client_failures, statistics.client_fetches);
    assert_eq!(statistics.failed_per_million(), 0, "none of them could have succeeded");
}
