//! Invariant 8: a removed node is nobody's member, a rotation loses no honest one, and all have one cluster token.

use super::World;
use crate::sim::admission::is_listed;
use crate::sim::machine::SimNode;

/// When calm begins, and when a machine has started or stopped in calm.
pub(super) fn check(world: &World) -> Result<(), String> {
    let members = || world.nodes.iter().enumerate().filter(|(_, node)| node.is_live() && node.is_member);
    let Some((_, first)) = members().next() else { return Ok(()) };
    for (index, node) in members() {
        let Some(status) = world.status(index) else { continue };
        if let Some((other, _)) = members().find(|(_, other)| !is_listed(&status, other.id)) {
            return Err(format!("{other} is no member for {index}"));
        }
        // A removal that only those knew who were removed themselves is nobody's to know any more.
        let is_known = |other: &SimNode| other.removal_heard.iter().any(|by| world.nodes[*by].is_member);
        let is_gone = |other: &SimNode| other.is_removed && is_known(other) && is_listed(&status, other.id);
        if let Some(other) = world.nodes.iter().position(is_gone) {
            return Err(format!("{other} was removed, and is a member for {index}"));
        }
        if node.token != first.token {
            return Err(format!("{index} has another cluster token"));
        }
    }
    Ok(())
}
