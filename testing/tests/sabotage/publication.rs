//! Stories of what is published.

use rustbalance_core::cluster::Role;
use rustbalance_testing::sim::check::CONVERGE_MS;
use rustbalance_testing::sim::clients::Clients;
use rustbalance_testing::sim::fault::Fault;
use rustbalance_testing::sim::options::{DAY_SECS, Options};
use rustbalance_testing::sim::world::World;

use crate::worlds::{calm, followers, formed, publisher, settled};

/// Every HSDir loses what it holds, and nothing else happens.
pub fn copy_is_lost(seed: u64) -> World {
    let mut world = settled(seed, 2);
    (0..16).for_each(|relay| world.strike(&Fault::Forget { relay }));
    world.run_for(CONVERGE_MS + 670_000);
    world
}

/// Some HSDirs answer late, so that they still wait for the newest descriptor when the publisher is stopped.
pub fn publisher_stalls_amid_its_uploads(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let (node, other) = (publisher(&world), followers(&world)[0]);
    for relay in (0..16).step_by(2) {
        world.strike(&Fault::Late { relay, ms: 20_000 });
    }
    for up in [false, true] {
        world.strike(&Fault::Target { node: other, up });
        world.run_for(1_000);
    }
    world.strike(&Fault::Freeze { node, ms: 1_500 });
    calm(world)
}

/// One of three sleeps as another's points change, and misses it: what waits for it is more than a socket holds. It wakes
/// when the publisher has died, and is the only one that may publish, for the third has no disk. It hears that the points
/// changed, but not how, since the path carries no large datagrams until it has claimed.
pub fn points_change_unheard(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let (node, rest) = (publisher(&world), followers(&world));
    let (next, other) = (rest[0], rest[1]);
    world.strike(&Fault::Disk { node: other, fails: true });
    world.run_for(15_000);
    world.strike(&Fault::Freeze { node: next, ms: 60_000 });
    world.run_for(35_000);
    world.strike(&Fault::Points { node: other });
    world.run_for(21_000);
    world.strike(&Fault::Kill { node });
    world.run_for(3_900);
    world.trouble.bytes_max = Some(300);
    let claims = |world: &World| matches!(world.nodes[next].role, Role::Holder { .. });
    if !world.run_until(10_000, claims) {
        world.fail(format!("{next} does not publish"));
    }
    world.trouble.bytes_max = None;
    world.run_for(5_000);
    world.strike(&Fault::Disk { node: other, fails: false });
    calm(world)
}

/// A follower is not heard for a little longer than is needed to be suspected, and not long enough to be down; from five
/// places in a beat on.
pub fn silences_of_a_moment(seed: u64) -> World {
    let mut world = settled(seed, 3);
    let (node, accepted) = (followers(&world)[0], world.hsdirs.accepted);
    for _ in 0..5 {
        world.strike(&Fault::BurstAt { node, ms: 2_950 });
        world.run_for(10_100);
    }
    let uploads = world.hsdirs.accepted - accepted;
    if uploads > 0 {
        world.fail(format!("{uploads} uploads for 3 s of silence"));
    }
    world
}

/// The clock says midnight, and the tors have not heard of it yet.
pub fn consensus_comes_late(seed: u64) -> World {
    let midnight = DAY_SECS + 86_400;
    let mut world = World::new(seed, 2, Options { start_secs: midnight - 60, ..Options::default() });
    world.turmoil = true;
    world.nodes.iter_mut().for_each(|node| node.tors.iter_mut().for_each(|tor| tor.lag_secs = 40));
    world.form(2);
    world.run_for(110_000);
    world.turmoil = false;
    calm(world)
}

/// An honest rival's counter, some seconds ahead, is on every HSDir.
pub fn refused_once(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let node = followers(&world)[0];
    for relay in 0..16 {
        world.strike(&Fault::Poison { relay, ahead_secs: 5 });
    }
    world.strike(&Fault::Points { node });
    world.run_for(10_000);
    calm(world)
}

pub fn dead_application(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let node = followers(&world)[0];
    world.strike(&Fault::Target { node, up: false });
    calm(world)
}

/// Two of five hear the other three no more, and one of the two publishes.
pub fn publisher_in_a_minority(seed: u64) -> World {
    let mut world = formed(seed, 5, &[]);
    let (node, rest) = (publisher(&world), followers(&world));
    world.strike(&Fault::Partition { left: vec![node, rest[0]], right: rest[1..].to_vec() });
    world.run_for(30_000);
    world.strike(&Fault::Heal);
    calm(world)
}

/// Nine points, three to a descriptor, and two thirds of all clients are due to one node.
pub fn short_descriptors(seed: u64) -> World {
    let mut world = World::new(seed, 3, Options { places: 3, ..Options::default() });
    world.nodes[0].weight = 400;
    world.form(3);
    let mut world = calm(world);
    let met = Clients::newcomers(&mut world, 20_000);
    let (all, due) = (met.iter().sum::<u64>(), met.iter().sum::<u64>() * 2 / 3);
    if met[0].abs_diff(due) * 4 > due {
        world.fail(format!("of {all} new clients {} come to 0, {due} are due", met[0]));
    }
    world
}

/// Two halves with a publisher each meet again, and then points change again and again.
pub fn changes_beside_a_rival(seed: u64) -> World {
    let mut world = formed(seed, 5, &[]);
    let (node, rest) = (publisher(&world), followers(&world));
    world.strike(&Fault::Partition { left: vec![node, rest[0]], right: rest[1..].to_vec() });
    world.run_for(20_000);
    world.strike(&Fault::Heal);
    world.run_for(5_000);
    let accepted = world.hsdirs.accepted;
    for _ in 0..5 {
        world.strike(&Fault::Points { node: rest[0] });
        world.run_for(4_000);
    }
    let uploads = world.hsdirs.accepted - accepted;
    if uploads > 16 {
        world.fail(format!("{uploads} uploads beside a rival to 16 HSDirs within 20 s"));
    }
    calm(world)
}

/// The publisher's clock is a minute ahead, and nobody else has a disk to publish with.
pub fn only_publisher_with_a_fast_clock(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let (node, rest) = (publisher(&world), followers(&world));
    rest.iter().for_each(|node| world.strike(&Fault::Disk { node: *node, fails: true }));
    world.run_for(15_000);
    world.strike(&Fault::Jump { node, ms: 60_000 });
    world.run_for(15_000);
    world.strike(&Fault::Points { node: rest[0] });
    world.run_for(10_000);
    let (layout, now) = (world.layout(), world.wall().as_secs());
    let stored = layout.hsdirs().filter_map(|(slot, relay)| world.hsdirs.get(relay, slot.blind));
    let ahead = stored.map(|stored| stored.secs.saturating_sub(now)).max().unwrap_or_default();
    if ahead > 5 {
        world.fail(format!("a counter is {ahead} s ahead of true time, and the others' clocks are right"));
    }
    world.strike(&Fault::Heal);
    world.run_for(60_000);
    calm(world)
}

/// Somebody with the master key has put counters of ten minutes later on every HSDir.
pub fn poisoned_everywhere(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let node = followers(&world)[0];
    (0..16).for_each(|relay| world.strike(&Fault::Poison { relay, ahead_secs: 600 }));
    world.strike(&Fault::Points { node });
    world.run_for(200_000);
    world
}
