//! Invariant 1, second clause: once the preemption delay is over nobody of better priority who could publish, and says
//! so, is left waiting.

use rustbalance_core::cluster::Role;

use super::{CONVERGE_MS, World, is_calm};
use crate::sim::machine::SimNode;

/// How long a better priority waits, milliseconds; doubled for each lease that it lost, up to the second.
const DELAY_MS: (u64, u64) = (60_000, 3_600_000);
/// Question, offer and claim, milliseconds (`docs/PROTOCOL.md`).
const HANDED_OVER_MS: u64 = 3_000;
/// A clock that is further off, from true time or from the others', may not do, milliseconds.
const CLOCK_MS: u64 = 3_000;
/// Clocks may drift, so everybody is looked at this often at least, milliseconds.
const LOOK_MS: u64 = 1_000;
/// Boot time may run slow by less than one part in so many.
const DRIFT: u64 = 100;

#[derive(Default)]
pub(super) struct BetterPriority {
    nodes: Vec<Seen>,
    due: u64,
}

/// What is remembered of a machine.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// Since when it could publish, and says so.
    fit_since: Option<u64>,
    holds: bool,
    /// Leases that it gave up, of this life: some of them in a hand-over, which does not count with the node itself.
    lost: u32,
    started_at: u64,
}

impl BetterPriority {
    pub(super) fn check(&mut self, world: &World) -> Result<(), String> {
        let changed = world.changed;
        if !(changed.roles || changed.machines || changed.points || world.now >= self.due) {
            return Ok(());
        }
        self.due = world.now + LOOK_MS;
        self.nodes.resize(world.nodes.len(), Seen::default());
        let median = median_skew(world);
        for (seen, node) in self.nodes.iter_mut().zip(&world.nodes) {
            seen.follow(node, world.now, median);
        }
        // Who is starved misses whatever it is offered.
        if !is_calm(world) || world.options.starved_ms.is_some() {
            return Ok(());
        }
        let holders = world.nodes.iter().filter(|node| node.is_live() && matches!(node.role, Role::Holder { .. }));
        // Whoever has the best of them keeps the lease.
        let Some(priority) = holders.map(|node| node.priority_now).min() else { return Ok(()) };
        let waits = |(index, node): (usize, &SimNode)| {
            let at = self.nodes.get(index)?.must_hold_at(world.calm_since + CONVERGE_MS)?;
            (node.priority_now < priority && world.now > at).then_some(index)
        };
        let waiting = world.nodes.iter().enumerate().find_map(waits);
        match waiting.filter(|index| !is_paused(world, *index)) {
            Some(index) => Err(format!("{index} has better priority than who publishes, and does not get the lease")),
            None => Ok(()),
        }
    }
}

impl Seen {
    fn follow(&mut self, node: &SimNode, now: u64, median: i64) {
        let holds = matches!(node.role, Role::Holder { .. });
        if self.started_at != node.started_at {
            *self = Self { started_at: node.started_at, ..Self::default() };
        }
        self.lost += u32::from(self.holds && !holds);
        self.holds = holds;
        let skew = node.clock.skew_ms(now);
        let is_right =
            skew.abs_diff(0) <= CLOCK_MS && skew.abs_diff(median) <= CLOCK_MS && !node.clock.stood_still(now);
        let says_so = node.core.as_ref().is_some_and(|core| core.record().eligible);
        let tors = node.tors.iter().all(|tor| tor.control.is_up && !tor.points.is_empty()) && !node.is_tor_frozen;
        let fit = node.is_live() && node.is_member && !node.is_draining && !node.is_leaving && !node.disk_fails;
        self.fit_since = (fit && says_so && tors && is_right).then(|| self.fit_since.unwrap_or(now));
    }

    /// When it must have the lease if it has the best priority, in calm that began at `calm_at`.
    fn must_hold_at(&self, calm_at: u64) -> Option<u64> {
        let delay = DELAY_MS.0.saturating_mul(1 << self.lost.min(16)).min(DELAY_MS.1);
        Some(self.fit_since?.max(calm_at) + delay + delay / DRIFT + HANDED_OVER_MS)
    }
}

/// In a pause nobody preempts.
fn is_paused(world: &World, index: usize) -> bool {
    world.status(index).is_some_and(|status| status.paused.is_some())
}

fn median_skew(world: &World) -> i64 {
    let live = world.nodes.iter().filter(|node| node.is_live() && node.is_member);
    let mut skews: Vec<i64> = live.map(|node| node.clock.skew_ms(world.now)).collect();
    skews.sort_unstable();
    skews.get(skews.len() / 2).copied().unwrap_or_default()
}
