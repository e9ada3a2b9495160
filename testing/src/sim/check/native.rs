//! Invariant 9, last part: no native upload while the roster exceeds one, and none by one of several tors. A tor of somebody
//! else's is excused until its node has been connected to it for a moment; and a node whose disk was put back to when it
//! was alone until the others can have told it that it is not: it has no way to know, and who is alone must publish.

use rustbalance_core::cluster::Role;

use super::{World, is_calm};
use crate::sim::machine::SimNode;

/// In which a daemon that runs tells a tor not to publish, milliseconds.
const TOLD_MS: u64 = 1_000;

pub(super) fn check(world: &World) -> Result<(), String> {
    let members = world.nodes.iter().filter(|node| node.is_member).count();
    let is_native = |node: &SimNode| node.is_native() && !is_excused(world, node);
    let natives = || world.nodes.iter().enumerate().filter(|(_, node)| is_native(node));
    match natives().find(|(index, _)| world.options.tors > 1 || !is_unaware(world, *index)) {
        Some((index, _)) if members > 1 => Err(format!("the tor of {index} publishes in a cluster of {members}")),
        Some((index, _)) if world.options.tors > 1 => Err(format!("one of several tors of {index} publishes")),
        _ => Ok(()),
    }
}

fn is_excused(world: &World, node: &SimNode) -> bool {
    let is_new = node.tors.iter().any(|tor| !tor.control.is_up || world.now < tor.control.up_at + TOLD_MS);
    node.is_attached && (is_new || !node.is_live() || node.is_tor_frozen || world.now < node.since + TOLD_MS)
}

/// Whether its disk was put back to when it was alone, and it has not heard of the others: they find out that it is silent,
/// knock, and show it why they are members, which is done when calm begins. Once it has, its tor has only to read that.
fn is_unaware(world: &World, index: usize) -> bool {
    let node = &world.nodes[index];
    let mut others = world.nodes.iter().enumerate().filter(|(other, _)| *other != index);
    let is_told = is_calm(world) && node.is_live() && others.any(|(_, other)| other.is_live() && other.is_member);
    let is_unread = || node.tors.iter().any(|tor| !tor.control.is_up || tor.control.unread > 0);
    node.is_back_alone && if node.role == Role::Alone { !is_told } else { is_unread() }
}
