//! A pause: known to all, for as long as it lasts and no longer, and nobody preempts meanwhile.

mod mesh;

use mesh::{World, seeds};
use rustbalance_core::cluster::CommandError;

fn pause(world: &mut World, node: usize, secs: u32) -> Result<(), CommandError> {
    world.command(node, |cluster, now, out| cluster.pause(now, secs, out))
}

fn paused(world: &World) -> Vec<usize> {
    world.live().into_iter().filter(|node| world.view(*node).paused).collect()
}

#[test]
fn a_pause_reaches_all_and_ends_by_itself_or_by_an_order() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 5);
        world.loss_percent = 10;
        assert_eq!(pause(&mut world, 1, 60), Ok(()));
        let took = world.until(5_000, "all pause", |world| paused(world).len() == 5);
        assert!(took <= 2_000, "{took} ms");
        world.run(61_000 - took);
        assert_eq!(paused(&world), []);
        assert_eq!(pause(&mut world, 2, 3_600), Ok(()));
        world.run(3_000);
        assert_eq!(pause(&mut world, 3, 0), Ok(()));
        world.until(5_000, "none pauses", |world| paused(world).is_empty());
        assert_eq!(pause(&mut world, 3, 86_401), Err(CommandError::OutOfRange));
    }
}

#[test]
fn who_starts_during_a_pause_hears_of_it_and_of_its_end() {
    for seed in seeds(5) {
        let mut world = World::of(seed, 3);
        assert_eq!(pause(&mut world, 0, 60), Ok(()));
        world.run(20_000);
        world.kill(2);
        world.start(2);
        world.run(5_000);
        assert_eq!(paused(&world), [0, 1, 2]);
        world.run(37_000);
        assert_eq!(paused(&world), [], "not 60 s from its start on");
    }
}

#[test]
fn a_pause_ordered_at_a_node_that_has_just_started_and_knows_of_none_holds() {
    for seed in seeds(5) {
        let mut world = World::of(seed, 3);
        assert_eq!(pause(&mut world, 0, 60), Ok(()));
        world.run(2_000);
        assert_eq!(pause(&mut world, 0, 0), Ok(()));
        world.run(2_000);
        world.kill(2);
        world.start(2);
        assert_eq!(pause(&mut world, 2, 60), Ok(()));
        world.run(5_000);
        assert_eq!(paused(&world), [0, 1, 2]);
    }
}

#[test]
fn a_pause_is_ended_at_a_node_that_has_just_started_and_knows_of_none() {
    for seed in seeds(5) {
        let mut world = World::of(seed, 3);
        assert_eq!(pause(&mut world, 0, 600), Ok(()));
        world.run(2_000);
        world.kill(2);
        world.start(2);
        assert_eq!(pause(&mut world, 2, 0), Ok(()));
        world.run(5_000);
        assert_eq!(paused(&world), []);
    }
}

#[test]
fn a_node_whose_clock_is_behind_pauses_no_longer_than_the_pause_lasts() {
    let mut world = World::of(1, 3);
    world.set_clock(2, -3_600_000);
    world.run(2_000);
    assert_eq!(pause(&mut world, 0, 30), Ok(()));
    world.run(29_000);
    assert_eq!(paused(&world), [0, 1, 2]);
    world.run(3_000);
    assert_eq!(paused(&world), []);
}

#[test]
fn nobody_preempts_during_a_pause() {
    for seed in seeds(3) {
        let mut world = World::of(seed, 3);
        let holder = world.holders()[0];
        assert_eq!(pause(&mut world, 0, 200), Ok(()));
        world.run(2_000);
        let preferred = world.join(9, 1);
        world.set_eligible(preferred, true);
        world.run(150_000);
        assert_eq!(world.holders(), [holder]);
        world.until(150_000, "the preferred one publishes", |world| world.holders() == [preferred]);
    }
}
