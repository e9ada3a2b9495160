//! Whoever visits the service for the first time in calm is served, whatever the hour and however old its consensus.

use super::{World, is_majority_live};

pub(super) fn check(world: &mut World) -> Result<(), String> {
    // A minority goes on listing whom it cannot see, and who is frozen serves nobody.
    match world.clients.surprised.take() {
        Some(what) if is_majority_live(world) => Err(what),
        _ => Ok(()),
    }
}
