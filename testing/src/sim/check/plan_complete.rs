//! Invariant 2: in calm, both slots hold every serving node's points on every responsible HSDir (of two points on one
//! relay exactly one), and nothing else. Where not all have room in one descriptor: as many of them as have on each
//! HSDir, and every serving node on some of those that clients read.

use std::collections::BTreeSet;

use rustbalance_core::id::RelayFingerprint;

use super::poisoned::is_passing;
use super::{World, is_majority_live, spread};
use crate::sim::layout::SlotLayout;
use crate::sim::machine::SimNode;

/// What keeps the HSDirs from holding exactly the serving nodes' points, if anything.
pub fn missing(world: &mut World) -> Option<String> {
    let members = world.nodes.iter().filter(|node| node.is_member).count();
    if members < 2 && world.options.tors == 1 {
        return None; // A roster of one is published by its one tor, which the model leaves out.
    }
    let layout = world.layout();
    let serving = world.nodes.iter().filter(|node| node.is_offered()).flat_map(SimNode::points);
    let offered: BTreeSet<[u8; 32]> = serving.clone().map(|point| point.auth_key).collect();
    let relays: BTreeSet<RelayFingerprint> = serving.filter_map(|point| point.relay()).collect();
    if offered.is_empty() {
        return None;
    }
    let (may_clean, is_whole) = (is_majority_live(world), spread::is_whole(world));
    let (world, most) = (&*world, usize::from(world.options.places));
    // An HSDir that refuses must be served once it can be; how soon, others say.
    for (slot, relay) in layout.hsdirs().filter(|(_, relay)| !world.hsdirs.is_ill(*relay, world.now)) {
        // How soon a publisher learns of what others did to an HSDir is for `lost_copies` to say.
        if world.hsdirs.is_spoiled(relay, slot.blind) {
            continue;
        }
        let (name, stored) = (slot.slot, world.hsdirs.get(relay, slot.blind));
        let Some(stored) = stored else { return Some(format!("{relay} holds nothing for the {name:?} slot")) };
        if is_passing(world, relay, slot.blind, stored) {
            continue;
        }
        let held = &stored.points;
        let count = if is_whole { held.len() == relays.len() } else { (1..=most).contains(&held.len()) };
        let exact = count && held.is_subset(&offered);
        // A minority leaves the points of those it cannot see, even where one shares a relay with its own.
        if !exact && (may_clean || held.is_disjoint(&offered)) {
            let (held, relays) = (held.len(), relays.len());
            return Some(format!("{relay} holds {held} points in the {name:?} slot, offered on {relays} relays"));
        }
    }
    if is_whole || !may_clean { None } else { layout.slots.iter().find_map(|slot| unread(world, slot)) }
}

/// A serving node that clients of `slot` cannot find, if all its HSDirs are well.
fn unread(world: &World, slot: &SlotLayout) -> Option<String> {
    let is_well = |relay: &RelayFingerprint| {
        let stored = world.hsdirs.get(*relay, slot.blind);
        let is_spoiled = world.hsdirs.is_spoiled(*relay, slot.blind);
        !is_spoiled
            && !world.hsdirs.is_ill(*relay, world.now)
            && stored.is_some_and(|stored| !is_passing(world, *relay, slot.blind, stored))
    };
    if !slot.fetch.iter().all(is_well) {
        return None;
    }
    let stored = slot.fetch.iter().filter_map(|relay| world.hsdirs.get(*relay, slot.blind));
    let listed: BTreeSet<_> = stored.flat_map(|stored| stored.points.iter().copied()).collect();
    let serving = world.nodes.iter().enumerate().filter(|(_, node)| node.is_offered() && !node.is_pointless());
    let lost = serving.into_iter().find(|(_, node)| node.points().all(|point| !listed.contains(&point.auth_key)));
    lost.map(|(node, _)| format!("no HSDir that clients read lists {node} in the {:?} slot", slot.slot))
}
