//! Invariant 2: in calm, both slots hold every serving node's points on every responsible HSDir (of two points on one
//! relay exactly one, and at most 20), and nothing else.

use std::collections::BTreeSet;

use rustbalance_core::hsdesc::NUM_INTRO_POINT_MAX;
use rustbalance_core::id::RelayFingerprint;

use super::poisoned::is_poisoned;
use super::{World, is_majority_live};

/// What keeps the HSDirs from holding exactly the serving nodes' points, if anything.
pub fn missing(world: &mut World) -> Option<String> {
    let members = world.nodes.iter().filter(|node| node.is_member).count();
    if members < 2 {
        return None; // A roster of one is published by its tor, which the model leaves out.
    }
    let layout = world.layout();
    let serving = world.nodes.iter().filter(|node| node.is_offered()).flat_map(|node| &node.tor.points);
    let offered: BTreeSet<[u8; 32]> = serving.clone().map(|point| point.auth_key).collect();
    let relays: BTreeSet<RelayFingerprint> = serving.filter_map(|point| point.relay()).collect();
    if offered.is_empty() {
        return None;
    }
    let (may_clean, expected) = (is_majority_live(world), relays.len().min(NUM_INTRO_POINT_MAX));
    let world = &*world;
    // An HSDir that refuses must be served once it can be; how soon, others say.
    for (slot, relay) in layout.hsdirs().filter(|(_, relay)| !world.hsdirs.is_ill(*relay, world.now)) {
        // How soon a publisher learns of what others did to an HSDir is for `lost_copies` to say.
        if world.hsdirs.is_spoiled(relay, slot.blind) {
            continue;
        }
        let (name, stored) = (slot.slot, world.hsdirs.get(relay, slot.blind));
        let Some(stored) = stored else { return Some(format!("{relay} holds nothing for the {name:?} slot")) };
        if is_poisoned(world, stored) {
            continue;
        }
        let held = &stored.points;
        let exact = held.len() == expected && held.is_subset(&offered);
        // A minority leaves the points of those it cannot see, even where one shares a relay with its own.
        if !exact && (may_clean || held.is_disjoint(&offered)) {
            let (held, relays) = (held.len(), relays.len());
            return Some(format!("{relay} holds {held} points in the {name:?} slot, offered on {relays} relays"));
        }
    }
    None
}
