//! Invariant 3: no point that is gone, or whose node does not serve, is on any HSDir after `T_exclude`.

use super::poisoned::is_passing;
use super::{World, is_majority_live};
use crate::sim::layout::Layout;
use crate::sim::machine::SimNode;

/// Silence, probes, takeover if it was the holder, and uploads: 6 s at the 99th percentile, so more at the worst.
const EXCLUDE_MS: u64 = 9_000;

#[derive(Default)]
pub(super) struct DeadPoints {
    /// When the next point must be gone.
    due: u64,
}

impl DeadPoints {
    pub(super) fn check(&mut self, world: &World, layout: &Layout) -> Result<(), String> {
        let changed = world.changed;
        if !(changed.stored || changed.machines || changed.points || world.now >= self.due) {
            return Ok(());
        }
        // Who is parted, or learns of one fault after the other, needs longer: that ends with calm.
        let calm_at = (world.calm_since + EXCLUDE_MS).max(world.rivals_until);
        self.due = calm_at.max(world.now + 1);
        if world.turmoil || !world.cut.is_empty() || world.now < calm_at || !is_majority_live(world) {
            return Ok(());
        }
        let gone_at = |since: u64| since + EXCLUDE_MS + 1;
        let past = world.nodes.iter().flat_map(|node| &node.past_points);
        self.due =
            past.clone().map(|(_, since)| gone_at(*since)).filter(|at| *at > world.now).min().unwrap_or(u64::MAX);
        let idle = world.nodes.iter().filter(|node| !node.is_offered() && node.is_member);
        let idle = idle.flat_map(SimNode::points).map(|point| point.auth_key);
        let past = past.filter(|(_, since)| world.now >= gone_at(*since)).map(|(point, _)| *point);
        let dead: Vec<_> = past.chain(idle).collect();
        // What a tor uploads by itself is not modelled.
        let is_native = world.nodes.iter().any(|node| node.is_live() && node.is_native());
        if dead.is_empty() || is_native || world.nodes.iter().all(|node| !node.is_offered()) {
            return Ok(());
        }
        for (slot, relay) in layout.hsdirs().filter(|(slot, relay)| !world.hsdirs.is_spoiled(*relay, slot.blind)) {
            let stored =
                world.hsdirs.get(relay, slot.blind).filter(|stored| !is_passing(world, relay, slot.blind, stored));
            if stored.is_some_and(|stored| dead.iter().any(|point| stored.points.contains(point))) {
                return Err(format!("{relay} still lists a dead node's point in the {:?} slot", slot.slot));
            }
        }
        Ok(())
    }
}
