//! A node that is out of service answers at no point that clients may know: who comes to one goes on to another at once.

use rustbalance_core::TargetHealth;

use super::{CONVERGE_MS, World, is_majority_live};

/// When calm begins all descriptors are without the node; the proof of that, or the time after which none is waited for,
/// and four circuits to each point that are closed, milliseconds.
const OUT_MS: u64 = 16_000;

pub(super) fn check(world: &World) -> Result<(), String> {
    // While nobody else serves, circuits stay; and a minority takes no points out, so that nobody can be shown a plan.
    if world.now < world.calm_since + CONVERGE_MS + OUT_MS
        || !is_majority_live(world)
        || !world.nodes.iter().any(|node| node.is_offered() && !node.is_pointless())
    {
        return Ok(());
    }
    for (index, node) in world.nodes.iter().enumerate() {
        let is_out = node.is_draining || node.target == TargetHealth::Down;
        let can_act =
            node.is_live() && node.is_member && node.tors.iter().all(|tor| tor.control.is_up) && !node.is_tor_frozen;
        let known = node.points().find(|point| world.hsdirs.told.contains(&point.auth_key));
        if let Some(point) = known.filter(|_| is_out && can_act) {
            let key = point.auth_key.map(|byte| format!("{byte:02x}")).concat();
            return Err(format!("{index} is out and answers at {key}, which clients know"));
        }
    }
    Ok(())
}
