//! What a large cluster costs while nothing happens, and how long it takes to find itself after all its machines
//! started at once.

use rustbalance_core::DurableKind;
use rustbalance_core::cluster::Role;
use rustbalance_core::status::Status;

use super::check::CONVERGE_MS;
use super::machine::Traffic;
use super::options::{DAY_SECS, Options};
use super::world::World;

/// A cold start that is not over by then has failed, milliseconds.
const COLD_START_MS_MAX: u64 = 120_000;
/// How long a WireGuard session is good for, milliseconds.
const SESSION_MS: u64 = 180_000;
/// How often a starting cluster is looked at, milliseconds.
const LOOK_MS: u64 = 250;

/// Messages and bytes per node and second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    /// Datagrams.
    pub messages: f64,
    /// Bytes inside the tunnel.
    pub bytes: f64,
    /// Handshake messages, which are not among the datagrams.
    pub handshakes: f64,
}

impl Rate {
    fn new(before: Traffic, after: Traffic, ms: u64) -> Self {
        let rate = |before: u64, after: u64| (after - before) as f64 * 1000.0 / ms as f64;
        Self {
            messages: rate(before.datagrams, after.datagrams),
            bytes: rate(before.bytes, after.bytes),
            handshakes: rate(before.handshakes, after.handshakes),
        }
    }

    fn combine(self, other: Self, how: fn(f64, f64) -> f64) -> Self {
        Self {
            messages: how(self.messages, other.messages),
            bytes: how(self.bytes, other.bytes),
            handshakes: how(self.handshakes, other.handshakes),
        }
    }
}

/// What a calm cluster sends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calm {
    /// Of all nodes but the holder.
    pub mean: Rate,
    /// Of the one among them that sends most.
    pub max: Rate,
    /// Of the holder.
    pub holder: Rate,
}

/// `count` members, none of them running, each with the whole roster on its disk.
pub fn assembled(seed: u64, count: usize) -> World {
    let mut world = World::new(seed, count, options());
    // The checkers know small clusters, where a descriptor has room for all, and look at every node at every step.
    world.is_checked = false;
    world.found();
    for joiner in 1..count {
        world.join(joiner, 0);
        assert!(world.run_until(30_000, |world| world.nodes[joiner].is_live()), "{:?}", world.violation);
        // Only who admits need run, once it has heard where the new one is: the others would be told of each other, one
        // by one.
        for _ in 0..100 {
            world.run_for(100);
            if has_record(&world, joiner) {
                break;
            }
        }
        world.kill(joiner);
    }
    world.run_for(1_000);
    world.kill(0);
    let roster = world.nodes[0].disk.get(&DurableKind::Roster).expect("it was admitted or founded").clone();
    for node in &mut world.nodes {
        node.disk = [(DurableKind::Roster, roster.clone())].into();
    }
    world
}

/// Starts all machines at once. Milliseconds until one publishes and everyone knows everyone, record and all.
pub fn cold_start(world: &mut World) -> Option<u64> {
    let since = world.now;
    (0..world.nodes.len()).for_each(|node| world.start(node));
    while world.now < since + COLD_START_MS_MAX && world.violation.is_none() {
        world.run_for(LOOK_MS);
        if is_converged(world) {
            return Some(world.now - since);
        }
    }
    None
}

/// Waits until the plan is published, proven and known to all, and the sessions that the start made are over, so that
/// only those that are in use are made anew.
pub fn settle(world: &mut World) {
    world.run_for(3 * CONVERGE_MS + SESSION_MS);
}

/// What is sent in the next `ms`.
pub fn measure(world: &mut World, ms: u64) -> Calm {
    let before: Vec<Traffic> = world.nodes.iter().map(|node| node.traffic).collect();
    world.run_for(ms);
    let (mut calm, mut others) = (Calm::default(), 0.0);
    for (node, before) in world.nodes.iter().zip(before) {
        let rate = Rate::new(before, node.traffic, ms);
        if matches!(node.role, Role::Holder { .. }) {
            calm.holder = rate;
            continue;
        }
        others += 1.0;
        calm.mean = calm.mean.combine(rate, |sum, rate| sum + rate);
        calm.max = calm.max.combine(rate, f64::max);
    }
    let count = Rate { messages: others, bytes: others, handshakes: others };
    calm.mean = calm.mean.combine(count, |sum, count| sum / count);
    calm
}

/// Whether the first node has the record of `joiner`, and with it its contact.
fn has_record(world: &World, joiner: usize) -> bool {
    let name = format!("node{joiner}");
    world.status(0).is_some_and(|status| status.members.iter().any(|member| member.name == name))
}

fn is_converged(world: &World) -> bool {
    let count = world.nodes.len();
    let holders = world.nodes.iter().filter(|node| matches!(node.role, Role::Holder { .. })).count();
    let knows_all = |status: Status| {
        let known = status.members.iter().filter(|member| member.liveness == "live" && !member.name.is_empty());
        status.holder.is_some() && known.count() == count
    };
    holders == 1 && (0..count).all(|index| world.status(index).is_some_and(knows_all))
}

/// A round trip of 100 ms at most, 1 % loss, no clients.
fn options() -> Options {
    Options {
        loss_permille: 10,
        delay_ms_max: 50,
        skew_ms_max: 500,
        start_secs: DAY_SECS + 3 * 3_600,
        bootstrap_ms_max: 5_000,
        ..Options::default()
    }
}
