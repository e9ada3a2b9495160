//! Stories of who publishes.

use rustbalance_core::cluster::Role;
use rustbalance_testing::sim::check::CONVERGE_MS;
use rustbalance_testing::sim::fault::{Fault, Lie};
use rustbalance_testing::sim::options::Options;
use rustbalance_testing::sim::world::World;

use crate::worlds::{calm, followers, formed, publisher, publishers};

/// Nothing reaches a follower for as long as a lease lasts; then everything does.
pub fn publisher_out_of_reach(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    for node in followers(&world) {
        let ms = 2_900 + seed * 70;
        world.strike(&Fault::BurstAt { node, ms });
        world.run_for(ms + 20_000);
    }
    world
}

/// The publisher dies, and the others go on to say to each other what was said before.
pub fn dead_publisher_is_repeated(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let (node, liars) = (publisher(&world), followers(&world));
    world.strike(&Fault::Kill { node });
    for _ in 0..8 {
        world.run_for(500);
        liars.iter().for_each(|liar| world.strike(&Fault::Lie { node: *liar, lie: Lie::Replay }));
    }
    world.run_for(200);
    if publishers(&world) != 1 {
        world.fail("nobody publishes 4.2 s after the publisher's death".to_owned());
    }
    calm(world)
}

pub fn deaf_publisher(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let node = publisher(&world);
    world.strike(&Fault::Deaf { node });
    calm(world)
}

/// The publisher dies, and the others' disks are slow.
pub fn slow_disks(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let node = publisher(&world);
    followers(&world).into_iter().for_each(|node| world.strike(&Fault::SlowDisk { node, ms: 4_000 }));
    world.strike(&Fault::Kill { node });
    calm(world)
}

/// Enough for a flood, if there were one.
pub fn five_nodes(seed: u64) -> World {
    calm(formed(seed, 5, &[]))
}

pub fn dead_follower(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let node = followers(&world)[0];
    world.strike(&Fault::Kill { node });
    calm(world)
}

/// The publisher dies as the others fall into two halves; each half claims the same epoch.
pub fn two_claims_of_one_epoch(seed: u64) -> World {
    let mut world = formed(seed, 5, &[]);
    let (node, rest) = (publisher(&world), followers(&world));
    world.strike(&Fault::Partition { left: rest[..2].to_vec(), right: rest[2..].to_vec() });
    world.strike(&Fault::Kill { node });
    world.run_for(20_000);
    world.strike(&Fault::Heal);
    world.run_for(2_500);
    if publishers(&world) != 1 {
        let count = publishers(&world);
        world.fail(format!("{count} publish 2.5 s after healing"));
    }
    calm(world)
}

/// Two of four are heard by the other two, and hear them no more; for a while the publisher among the two hears nobody.
/// So it keeps quiet, until the lease is lost and the winner has published; then it overwrites that.
pub fn loser_uploads_last(seed: u64) -> World {
    let mut world = formed(seed, 4, &[]);
    let (loser, rest) = (publisher(&world), followers(&world));
    for (from, to) in [(rest[0], loser), (rest[1], loser), (rest[2], loser), (rest[1], rest[0]), (rest[2], rest[0])] {
        world.strike(&Fault::Mute { from, to });
    }
    world.run_for(7_700);
    world.partition(&rest[..1], &[loser], false);
    world.run_for(3_000);
    world.strike(&Fault::Heal);
    calm(world)
}

/// Who is preferred restarts; that is no reason to give it the lease at once.
pub fn better_priority_returns(seed: u64) -> World {
    let mut world = formed(seed, 3, &[10, 100, 100]);
    world.run_for(120_000);
    world.strike(&Fault::Kill { node: 0 });
    world.run_for(15_000);
    world.strike(&Fault::Start { node: 0 });
    world.run_for(120_000);
    if publisher(&world) != 0 {
        world.fail("the preferred node does not publish two minutes after its return".to_owned());
    }
    world
}

/// A follower starts, and for a moment nobody reaches it: its tor is ready before that is over.
pub fn start_out_of_reach(seed: u64) -> World {
    let mut world = World::new(seed, 3, Options { bootstrap_ms_max: 1_000, ..Options::default() });
    world.form(3);
    let mut world = calm(world);
    let node = followers(&world)[0];
    world.strike(&Fault::Kill { node });
    world.run_for(20_000);
    world.strike(&Fault::Start { node });
    world.strike(&Fault::BurstAt { node, ms: 3_000 });
    if world.run_until(10_000, |world| matches!(world.nodes[node].role, Role::Holder { .. })) {
        world.fail(format!("{node} claims before it has listened"));
    }
    calm(world)
}

/// A follower says that it publishes, under the last epoch there is; then the publisher dies.
pub fn absurd_epoch(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let node = followers(&world)[0];
    world.strike(&Fault::Lie { node, lie: Lie::AbsurdEpoch });
    world.run_for(20_000);
    let node = publisher(&world);
    world.strike(&Fault::Kill { node });
    calm(world)
}

pub fn publisher_with_a_wrong_clock(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let node = publisher(&world);
    world.strike(&Fault::Jump { node, ms: 60_000 });
    world.run_for(CONVERGE_MS + 10_000);
    if world.nodes[node].role != Role::Follower {
        world.fail(format!("{node} publishes with a clock a minute off"));
    }
    world.strike(&Fault::Correct { node });
    calm(world)
}
