//! Invariant 6: no empty descriptor, none poorer without a cause; and no minority takes the majority's points away.

use super::{World, is_calm};
use crate::sim::world::Taken;

/// By then a parted node knows that it is parted: what was under way before the cut was heard a TTL ago, and the upload
/// that began then has arrived.
const PARTED_MS: u64 = 3_250 + 750;

pub(super) fn check(world: &World, taken: &Taken) -> Result<(), String> {
    let Taken { by, relay, removed, points, .. } = taken;
    if *points == 0 {
        return Err(format!("{by} emptied {relay}"));
    }
    let parted = !world.turmoil && !world.cut.is_empty() && world.now > world.calm_since + PARTED_MS;
    let judged = is_calm(world) || (parted && is_minority(world, *by));
    if !judged {
        return Ok(());
    }
    let offers = |key: &[u8; 32]| {
        let offering = world.nodes.iter().position(|node| node.tor.points.iter().any(|point| point.auth_key == *key));
        offering.filter(|owner| world.nodes[*owner].is_offered())
    };
    // Of two points on one relay one has to go, and which may change.
    let shared = |key: &[u8; 32]| {
        let all = || world.nodes.iter().flat_map(|node| &node.tor.points);
        let relay = all().find(|point| point.auth_key == *key).and_then(|point| point.relay());
        all().filter(|point| point.relay() == relay).count() > 1
    };
    match removed.iter().find_map(|key| offers(key).filter(|_| !shared(key))) {
        Some(owner) => Err(format!("{by} took a point of {owner} off {relay} without a cause")),
        None => Ok(()),
    }
}

/// Whether `node` reaches less than half of the members, itself included.
pub(in crate::sim) fn is_minority(world: &World, node: usize) -> bool {
    let members: Vec<_> = (0..world.nodes.len()).filter(|other| world.nodes[*other].is_member).collect();
    let reached = members.iter().filter(|other| !world.cut.contains(node, **other)).count();
    reached * 2 < members.len()
}
