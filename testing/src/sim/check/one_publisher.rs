//! Invariant 1: in calm there is exactly one publisher; two nodes never publish under one epoch unless parted.

use rustbalance_core::cluster::Role;

use super::{World, is_calm};

pub(super) fn check(world: &World) -> Result<(), String> {
    if !is_calm(world) {
        return Ok(());
    }
    let live = || world.nodes.iter().filter(|node| node.is_live());
    let publishes = |role: Role| matches!(role, Role::Holder { .. } | Role::Alone);
    if live().all(|node| node.tor.points.is_empty()) {
        return Ok(()); // Nobody could.
    }
    let publishers = live().filter(|node| publishes(node.role)).count();
    match (live().count(), publishers) {
        (0, _) | (_, 1) => Ok(()),
        (live, publishers) => Err(format!("{publishers} publishers among {live} live nodes in calm")),
    }
}
