//! Invariant 9, last part: no native upload while the roster exceeds one, and none by one of several tors.

use super::World;

pub(super) fn check(world: &World) -> Result<(), String> {
    let members = world.nodes.iter().filter(|node| node.is_member).count();
    match world.nodes.iter().position(|node| node.is_native()) {
        Some(index) if members > 1 => Err(format!("the tor of {index} publishes in a cluster of {members}")),
        Some(index) if world.options.tors > 1 => Err(format!("one of several tors of {index} publishes")),
        _ => Ok(()),
    }
}
