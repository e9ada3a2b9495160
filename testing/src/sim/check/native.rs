//! Invariant 9, last part: no native upload while the roster exceeds one, and none by one of several tors. A tor of somebody
//! else's is excused until its node has been connected to it for a moment.

use super::World;
use crate::sim::machine::SimNode;

/// In which a daemon that runs tells a tor not to publish, milliseconds.
const TOLD_MS: u64 = 1_000;

pub(super) fn check(world: &World) -> Result<(), String> {
    let members = world.nodes.iter().filter(|node| node.is_member).count();
    let is_native = |node: &SimNode| node.is_native() && !is_excused(world, node);
    match world.nodes.iter().position(is_native) {
        Some(index) if members > 1 => Err(format!("the tor of {index} publishes in a cluster of {members}")),
        Some(index) if world.options.tors > 1 => Err(format!("one of several tors of {index} publishes")),
        _ => Ok(()),
    }
}

fn is_excused(world: &World, node: &SimNode) -> bool {
    let is_new = node.tors.iter().any(|tor| !tor.control.is_up || world.now < tor.control.up_at + TOLD_MS);
    node.is_attached && (is_new || !node.is_live() || node.is_tor_frozen || world.now < node.since + TOLD_MS)
}
