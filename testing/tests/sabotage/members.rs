//! Stories of who is a member, and of what operators ask for.

use rustbalance_core::Command;
use rustbalance_core::cluster::Order;
use rustbalance_testing::sim::fault::Fault;
use rustbalance_testing::sim::measure::{is_listed, points_of};
use rustbalance_testing::sim::options::Options;
use rustbalance_testing::sim::world::World;

use crate::worlds::{calm, followers, formed, publisher};

/// The token is rotated; somebody asks each member with the old one.
pub fn stranger_with_the_old_token(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let old = world.nodes[0].token;
    world.command(0, Command::RotateToken);
    world.run_for(20_000);
    for via in 0..3 {
        world.stranger_asks_with(via, old);
        world.run_for(2_000);
    }
    calm(world)
}

/// One half of a parted cluster removes a node of the other half; then that half removes one of the first half, which has
/// that half's new token. Which half's is in force in the end nobody can say before: so three times.
pub fn strangers_with_removed_nodes_tokens(seed: u64) -> World {
    let mut world = formed(seed, 8, &[]);
    for (left_out, removed) in [(7, 3), (6, 2), (5, 1)] {
        world.strike(&Fault::Partition { left: vec![0, 1, 2, 3], right: vec![4, 5, 6, 7] });
        world.run_for(10_000);
        for (node, whom) in [(0, left_out), (4, removed)] {
            world.strike(&Fault::Remove { node, whom });
            world.run_for(10_000);
        }
        world.strike(&Fault::Heal);
        world.run_for(30_000);
        for via in [0, 4] {
            world.stranger_asks_with(via, world.nodes[removed].token);
            world.run_for(2_000);
        }
    }
    world
}

/// A follower dies while the cluster is paused.
pub fn dead_follower_in_a_pause(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let node = followers(&world)[0];
    let points = points_of(&world, node);
    // The checkers know no pause.
    world.turmoil = true;
    world.strike(&Fault::Pause { node, secs: 60 });
    world.run_for(3_000);
    world.strike(&Fault::Kill { node });
    world.run_for(20_000);
    if !is_listed(&mut world, &points) {
        world.fail(format!("{node} was taken out while the cluster was paused"));
    }
    world
}

/// A follower with a slow disk is drained at another node, and dies as soon as that knows it obeyed.
pub fn order_obeyed_just_before_a_crash(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let (node, whom) = (publisher(&world), followers(&world)[0]);
    world.strike(&Fault::SlowDisk { node: whom, ms: 5_000 });
    world.strike(&Fault::Order { node, whom, order: Order::Drain });
    let is_obeyed = |world: &World| {
        world.status(node).is_some_and(|status| status.orders.iter().any(|order| order.state == "obeyed"))
    };
    for _ in 0..100 {
        if is_obeyed(&world) {
            break;
        }
        world.run_for(100);
    }
    if !is_obeyed(&world) {
        world.fail(format!("{whom} has not answered an order for 10 s"));
    }
    for fault in [Fault::Kill { node: whom }, Fault::SlowDisk { node: whom, ms: 20 }, Fault::Start { node: whom }] {
        world.strike(&fault);
    }
    world.run_for(1_000);
    if !world.nodes[whom].is_draining {
        world.fail(format!("{whom} has forgotten that it is drained"));
    }
    calm(world)
}

/// A node that is alone is asked to admit another while its tor, which publishes by itself, does nothing.
pub fn second_joins_as_tor_stands_still(seed: u64) -> World {
    let mut world = World::new(seed, 2, Options::default());
    world.found();
    world.run_for(20_000);
    assert!(world.nodes[0].is_native());
    world.strike(&Fault::FreezeTor { node: 0, ms: 5_000 });
    world.strike(&Fault::Join { node: 1, via: 0 });
    world.run_for(20_000);
    calm(world)
}

pub fn machine_is_cloned(seed: u64) -> World {
    let mut world = World::new(seed, 4, Options::default());
    world.form(3);
    let mut world = calm(world);
    world.turmoil = true;
    let (node, copy) = (followers(&world)[0], 3);
    world.strike(&Fault::Clone { node, copy });
    let is_one_left = |world: &World| !(world.nodes[node].is_live() && world.nodes[copy].is_live());
    if !world.run_until(60_000, is_one_left) {
        world.fail("two machines with the same keys run for a minute".to_owned());
    }
    world
}

/// Who has left says what was said while it was a member.
pub fn former_member_speaks(seed: u64) -> World {
    let mut world = formed(seed, 4, &[]);
    let node = followers(&world)[0];
    world.strike(&Fault::Leave { node });
    world.run_for(15_000);
    assert!(!world.nodes[node].is_member);
    world.strike(&Fault::Former { node });
    calm(world)
}
