//! Invariant 3: no point that is gone, or whose node is dead or frozen, is on any HSDir after `T_exclude`.

use rustbalance_core::onion::period::Slot;

use super::{World, is_calm, is_majority_live};

/// Silence, probes, takeover if it was the holder, and uploads: 6 s at the 99th percentile, so more at the worst.
const EXCLUDE_MS: u64 = 9_000;

pub(super) fn check(world: &mut World) -> Result<(), String> {
    // Stored descriptors change only when one is accepted or a deadline passes; calm covers both.
    if !is_calm(world) && world.now % 1000 >= 50 {
        return Ok(());
    }
    // Who is parted, or learns of one fault after the other, needs longer: that ends with calm.
    if world.turmoil || !world.cut.is_empty() || world.now < world.calm_since + EXCLUDE_MS || !is_majority_live(world) {
        return Ok(());
    }
    let past = world.nodes.iter().flat_map(|node| &node.past_points);
    let past = past.filter(|(_, since)| world.now > since + EXCLUDE_MS).map(|(point, _)| *point);
    let frozen = world.nodes.iter().filter(|node| !node.is_live());
    let dead: Vec<_> = past.chain(frozen.flat_map(|node| &node.tor.points).map(|point| point.auth_key)).collect();
    if dead.is_empty() {
        return Ok(());
    }
    let ring = world.network.ring(world.wall().as_secs());
    for slot in [Slot::First, Slot::Second] {
        let blind = world.master().blind(ring.slot_period(slot)).public();
        for relay in ring.responsible(slot, blind).store {
            let stored = world.hsdirs.get(relay, blind);
            if stored.is_some_and(|stored| dead.iter().any(|point| stored.points.contains(point))) {
                return Err(format!("{relay} still lists a dead node's point in the {slot:?} slot"));
            }
        }
    }
    Ok(())
}
