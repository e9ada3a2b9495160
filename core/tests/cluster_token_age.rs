//! Automatic rotation of the cluster token: when, by whom, and when not.

mod mesh;

use std::time::Duration;

use mesh::{World, seeds};

/// How old a token may become here.
const MAX_MS: u64 = 300_000;

/// So many nodes that rotate by themselves, each restarted once since it was told so.
fn aging(seed: u64, count: u8) -> World {
    let mut world = if count == 1 { World::found(seed) } else { World::of(seed, count) };
    world.token_age_max = Some(Duration::from_millis(MAX_MS));
    for node in 0..usize::from(count) {
        restart(&mut world, node);
    }
    world
}

fn restart(world: &mut World, node: usize) {
    world.kill(node);
    world.start(node);
    if world.hosts.len() > 1 {
        world.until(20_000, "settled", World::is_settled);
    }
}

/// Of the nodes that run.
fn generations(world: &World) -> Vec<u32> {
    world.hosts.iter().filter_map(|host| host.cluster.as_ref()).map(|cluster| cluster.generation()).collect()
}

#[test]
fn a_calm_cluster_has_one_new_token_for_each_time_that_one_is_old() {
    for seed in seeds(5) {
        for count in [1, 3] {
            let mut world = aging(seed, count);
            for rotations in 1..=3 {
                let expected = vec![rotations; count.into()];
                // Each node looks once a minute.
                let took = world.until(MAX_MS + 120_000, "a new token", |world| generations(world) == expected);
                assert!(took > MAX_MS - 60_000, "{took} ms");
                world.run(60_000);
                assert_eq!(generations(&world), expected, "one is enough");
                let tokens: Vec<_> = world.hosts.iter().map(|host| host.token).collect();
                assert!(tokens.windows(2).all(|pair| pair[0] == pair[1]));
            }
        }
    }
}

#[test]
fn nobody_is_left_out_a_token_waits_for_members_that_are_not_heard() {
    for seed in seeds(5) {
        let mut world = aging(seed, 3);
        world.kill(1);
        world.run(2 * MAX_MS);
        assert_eq!(generations(&world), [0, 0]);
        world.start(1);
        world.run(70_000);
        assert_eq!(generations(&world), [1, 1, 1]);
    }
}

#[test]
fn a_restart_makes_no_token_young_and_a_takeover_makes_no_second_one() {
    for seed in seeds(5) {
        let mut world = aging(seed, 3);
        world.run(MAX_MS / 2);
        for node in 0..3 {
            restart(&mut world, node);
        }
        // The first look comes a minute after the start, the next ones a minute apart.
        world.run(MAX_MS / 2 + 120_000);
        assert_eq!(generations(&world), [1, 1, 1]);
        let holder = world.holders()[0];
        restart(&mut world, holder);
        world.run(MAX_MS / 2);
        assert_eq!(generations(&world), [1, 1, 1]);
    }
}

#[test]
fn a_clock_that_is_set_back_makes_it_young_and_one_that_jumps_ahead_costs_one_rotation() {
    for seed in seeds(5) {
        let mut world = aging(seed, 1);
        world.run(MAX_MS / 2);
        world.set_clock(0, -3_600_000);
        world.run(MAX_MS - 60_000);
        assert_eq!(generations(&world), [0]);
        world.set_clock(0, 86_400_000);
        world.run(70_000);
        assert_eq!(generations(&world), [1]);
        world.set_clock(0, 0);
        world.run(MAX_MS - 60_000);
        assert_eq!(generations(&world), [1]);
    }
}

#[test]
fn a_clock_that_is_right_within_a_minute_of_the_start_makes_no_token_old() {
    for seed in seeds(5) {
        let mut world = aging(seed, 1);
        world.run(70_000);
        for _ in 0..3 {
            world.kill(0);
            world.set_clock(0, -86_400_000);
            world.start(0);
            world.run(50_000);
            world.set_clock(0, 0);
            world.run(1_000);
        }
        assert_eq!(generations(&world), [0]);
    }
}

#[test]
fn nothing_changes_by_itself_during_a_pause_or_without_the_setting() {
    for seed in seeds(3) {
        let mut world = aging(seed, 3);
        assert_eq!(world.command(0, |cluster, now, out| cluster.pause(now, 86_400, out)), Ok(()));
        world.run(2 * MAX_MS);
        assert_eq!(generations(&world), [0, 0, 0]);
        assert_eq!(world.command(0, |cluster, now, out| cluster.pause(now, 0, out)), Ok(()));
        world.run(70_000);
        assert_eq!(generations(&world), [1, 1, 1]);
        let mut world = World::of(seed, 3);
        world.run(2 * MAX_MS);
        assert_eq!(generations(&world), [0, 0, 0]);
    }
}
