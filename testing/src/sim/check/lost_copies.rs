//! Invariant 2, of what happens behind the publisher's back: in calm, a copy of the current slot that an HSDir lost, or
//! that somebody else put there, is found when it is next read back, and replaced. The other slot's cannot be read; it
//! waits for the next upload.

use rustbalance_core::onion::key::HsBlindId;

use super::{World, is_majority_live};
use crate::sim::layout::Layout;

/// HSDirs are read back at least every 10 min; then there are misses, waits and the upload, milliseconds.
const REPAIRED_MS: u64 = 660_000;

/// Since when what can be read has been this slot's.
#[derive(Default)]
pub(super) struct LostCopies {
    current: Option<HsBlindId>,
    current_since: u64,
}

impl LostCopies {
    /// In calm, which began at `calm_at`.
    pub(super) fn check(&mut self, world: &World, layout: &Layout, calm_at: u64) -> Result<(), String> {
        let current = layout.current();
        if self.current != Some(current.blind) {
            (self.current, self.current_since) = (Some(current.blind), world.now);
        }
        let is_served = world.nodes.iter().filter(|node| node.is_member).count() > 1
            && world.nodes.iter().any(|node| node.is_offered() && !node.is_pointless());
        if world.hsdirs.spoiled.is_empty() || !is_served || !is_majority_live(world) {
            return Ok(());
        }
        for ((relay, blind), since) in &world.hsdirs.spoiled {
            let since = calm_at.max(self.current_since).max(*since);
            let is_asked = *blind == current.blind && current.store.contains(relay);
            if is_asked && !world.hsdirs.is_ill(*relay, world.now) && world.now > since + REPAIRED_MS {
                return Err(format!("the copy on {relay} is not repaired within {REPAIRED_MS} ms of calm"));
            }
        }
        Ok(())
    }
}
