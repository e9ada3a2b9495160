//! What stories begin and end with.

use rustbalance_core::cluster::Role;
use rustbalance_testing::sim::check::CONVERGE_MS;
use rustbalance_testing::sim::options::Options;
use rustbalance_testing::sim::world::World;

/// `count` machines, all published, that wish for these priorities.
pub fn formed(seed: u64, count: usize, priorities: &[u8]) -> World {
    let mut world = World::new(seed, count, Options::default());
    for (node, priority) in world.nodes.iter_mut().zip(priorities) {
        node.priority = *priority;
    }
    world.form(count);
    world.run_for(CONVERGE_MS + 10_000);
    // Where in a beat it begins is for the seed to say.
    world.run_for(seed * 97 % 500);
    world
}

/// The same, with nothing more to be uploaded: half a minute after it begins a publisher does so once more.
pub fn settled(seed: u64, count: usize) -> World {
    let mut world = formed(seed, count, &[]);
    world.run_for(30_000);
    world
}

pub fn publisher(world: &World) -> usize {
    world.nodes.iter().position(|node| matches!(node.role, Role::Holder { .. })).unwrap_or_default()
}

pub fn followers(world: &World) -> Vec<usize> {
    (0..world.nodes.len()).filter(|node| world.nodes[*node].role == Role::Follower).collect()
}

pub fn publishers(world: &World) -> usize {
    world.nodes.iter().filter(|node| node.is_live() && matches!(node.role, Role::Holder { .. })).count()
}

/// Long enough for every invariant of calm, rivals included.
pub fn calm(mut world: World) -> World {
    world.run_for(CONVERGE_MS + 45_000);
    world
}
