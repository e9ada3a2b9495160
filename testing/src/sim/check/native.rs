//! Invariant 9, last part: no native upload while the roster exceeds one.

use super::World;

pub(super) fn check(world: &World) -> Result<(), String> {
    let members = world.nodes.iter().filter(|node| node.is_member).count();
    match world.nodes.iter().position(|node| node.tor.publishes) {
        Some(index) if members > 1 => Err(format!("the tor of {index} publishes in a cluster of {members}")),
        _ => Ok(()),
    }
}
