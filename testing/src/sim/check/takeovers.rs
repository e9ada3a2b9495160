//! Invariants 9 and 1: who takes the lease from a living publisher has asked for a newer beacon first; or it has better
//! priority, was offered the lease, and has run for as long as that takes.

use rustbalance_core::cluster::Role;

use super::World;
use crate::sim::machine::SimNode;

/// A claim follows the question within 0.3 s, and counts once it is on a disk that may be slow, milliseconds.
const ASKED_MS: u64 = 5_000;
/// A better priority waits so long before it wants the lease, milliseconds.
const PREEMPT_MS: u64 = 60_000;
/// Who was not heard by a publisher whom it hears need not ask; for so long that may be the reason, milliseconds.
const DEAF_MS: u64 = 10_000;

#[derive(Default)]
pub(super) struct Takeovers {
    /// Who published when we last looked.
    publishers: Vec<usize>,
    /// When the network last kept anybody from hearing anybody.
    parted_at: u64,
}

impl Takeovers {
    pub(super) fn check(&mut self, world: &World) -> Result<(), String> {
        if world.turmoil || !world.cut.is_empty() || !world.trouble.is_over(world.now) {
            self.parted_at = world.now;
        }
        if !world.changed.roles {
            return Ok(());
        }
        let publishes = |index: &usize| matches!(world.nodes[*index].role, Role::Holder { .. });
        let publishers: Vec<_> = (0..world.nodes.len()).filter(publishes).collect();
        let before = core::mem::replace(&mut self.publishers, publishers);
        if world.now < self.parted_at + DEAF_MS || world.options.starved_ms.is_some() {
            return Ok(());
        }
        let lives = |index: &usize| world.nodes[*index].is_live() && world.nodes[*index].is_member && publishes(index);
        let Some(loser) = before.iter().copied().find(lives) else { return Ok(()) };
        let winners = self.publishers.iter().filter(|index| !before.contains(index));
        winners.copied().try_for_each(|winner| judge(world, loser, winner))
    }
}

fn judge(world: &World, loser: usize, winner: usize) -> Result<(), String> {
    let (from, to) = (&world.nodes[loser], &world.nodes[winner]);
    let asked = to.asked_at.is_some_and(|at| world.now <= at + ASKED_MS);
    let waited = to.priority_now < from.priority_now && world.now >= to.started_at + PREEMPT_MS;
    // Two who take a lease that was given away meet at one epoch: the better rank keeps it.
    let epoch = |node: &SimNode| if let Role::Holder { epoch } = node.role { epoch } else { 0 };
    let is_duel = epoch(to) == epoch(from);
    if asked || waited || is_duel {
        return Ok(());
    }
    Err(format!("{winner} takes the lease from {loser}, and has neither asked nor waited"))
}
