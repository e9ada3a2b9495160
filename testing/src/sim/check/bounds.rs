//! Invariant 7: everything is bounded; here datagrams per node and second, and epochs per hour.

use rustbalance_core::cluster::Role;

use super::World;

/// Beats (2 a second to three nodes), beacons and their forwarding (2 a second to at most 4 and to all), records,
/// acknowledgements and probes of five nodes stay far below.
const DATAGRAMS_PER_SECOND_MAX: u64 = 150;
/// The same while faults come one after the other: who was frozen answers everything at once.
const DATAGRAMS_IN_TURMOIL_MAX: u64 = 600;
/// A node may gain the lease this often in one run.
const LEASES_MAX: u32 = 12;

#[derive(Default)]
pub(super) struct Bounds {
    gained: u32,
    last_epoch: u64,
}

impl Bounds {
    pub(super) fn check(&mut self, world: &World) -> Result<(), String> {
        let most = if world.turmoil { DATAGRAMS_IN_TURMOIL_MAX } else { DATAGRAMS_PER_SECOND_MAX };
        for (index, node) in world.nodes.iter().enumerate() {
            if node.sent.1 > most {
                return Err(format!("{index} sent {} datagrams in one second", node.sent.1));
            }
            if let Role::Holder { epoch } = node.role
                && epoch > self.last_epoch
            {
                self.last_epoch = epoch;
                self.gained += 1;
            }
        }
        match self.gained {
            0..=LEASES_MAX => Ok(()),
            gained => Err(format!("{gained} leases in one run")),
        }
    }
}
