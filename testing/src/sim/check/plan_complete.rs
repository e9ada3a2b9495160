//! Invariant 2: in calm, both slots hold every live node's points on every responsible HSDir
//! (of two points on one relay exactly one), and nothing else.

use std::collections::BTreeSet;

use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::period::Slot;

use super::{World, is_calm, is_majority_live};
use crate::sim::world::SimNode;

#[derive(Default)]
pub(super) struct PlanComplete {
    checked_at: u64,
}

impl PlanComplete {
    pub(super) fn check(&mut self, world: &mut World) -> Result<(), String> {
        // Once a second of calm is enough: what HSDirs hold changes by uploads only.
        if !is_calm(world) || world.now < self.checked_at + 1000 {
            return Ok(());
        }
        self.checked_at = world.now;
        missing(world).map_or(Ok(()), Err)
    }
}

/// What keeps the HSDirs from holding exactly the live nodes' points, if anything.
pub fn missing(world: &mut World) -> Option<String> {
    let members = world.nodes.iter().filter(|node| node.is_member).count();
    if members < 2 || !world.nodes.iter().any(SimNode::is_live) {
        return None; // A roster of one is published by its tor, which the model leaves out.
    }
    let live = world.nodes.iter().filter(|node| node.is_live()).flat_map(|node| &node.tor.points);
    let offered: BTreeSet<[u8; 32]> = live.clone().map(|point| point.auth_key).collect();
    let relays: BTreeSet<RelayFingerprint> = live.filter_map(|point| point.relay()).collect();
    if offered.is_empty() {
        return None;
    }
    let may_clean = is_majority_live(world);
    let ring = world.network.ring(world.wall().as_secs());
    for slot in [Slot::First, Slot::Second] {
        let blind = world.master().blind(ring.slot_period(slot)).public();
        for relay in ring.responsible(slot, blind).store {
            let held = world.hsdirs.get(relay, blind).map(|stored| &stored.points);
            let Some(held) = held else { return Some(format!("{relay} holds nothing for the {slot:?} slot")) };
            let exact = held.len() == relays.len() && held.is_subset(&offered);
            // A minority leaves the points of those it cannot see, even where one shares a relay with its own.
            if !exact && (may_clean || held.is_disjoint(&offered)) {
                let (held, relays) = (held.len(), relays.len());
                return Some(format!("{relay} holds {held} points in the {slot:?} slot, offered on {relays} relays"));
            }
        }
    }
    None
}
