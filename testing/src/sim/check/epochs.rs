//! Invariant 4: a node with its disk never serves from an older epoch than it has served before, and from no newer one
//! before the disk has it.

use rustbalance_core::cluster::Role;

use super::World;

pub(super) fn check(world: &mut World) -> Result<(), String> {
    for (index, node) in world.nodes.iter_mut().enumerate() {
        let Role::Holder { epoch } = node.role else { continue };
        if epoch < node.epoch_seen {
            return Err(format!("{index} serves epoch {epoch} after {}", node.epoch_seen));
        }
        if epoch > node.epoch_seen && node.lease_unwritten {
            return Err(format!("{index} serves epoch {epoch}, which its disk has not"));
        }
        node.epoch_seen = epoch;
    }
    Ok(())
}
