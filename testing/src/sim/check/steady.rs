//! Since when nothing has befallen a machine for which others may take it, or a point of it, off: whoever else was struck.

use rustbalance_core::Node;
use rustbalance_core::cluster::NodeState;

use super::World;
use crate::sim::machine::SimNode;

/// Everybody is looked at so often, and at every fault, milliseconds.
const LOOK_MS: u64 = 250;
/// Whom nobody reaches for no longer than this is silent for less than a TTL, and nobody may take it for dead,
/// milliseconds.
const SILENCE_MS: u64 = 3_000;
/// A clock that is set by more than this is a fault: handshakes from before it are taken for old ones, milliseconds.
const STEP_MS: u64 = 500;

/// What is remembered of all machines.
#[derive(Default)]
pub(super) struct Steady {
    nodes: Vec<Seen>,
    /// Since when all links have worked, for everybody.
    quiet_since: Option<u64>,
    faults: u64,
    due: u64,
}

#[derive(Clone, Default)]
struct Seen {
    since: Option<u64>,
    life: (u64, u32),
    skew_ms: i64,
    points: Vec<[u8; 32]>,
    /// When the silence that it is in, or was in last, began and ends.
    silence: (u64, u64),
    /// When the last one ended that was long.
    heard_since: u64,
}

impl Steady {
    /// Before anything is judged.
    pub(super) fn look(&mut self, world: &World) {
        let is_quiet = !world.turmoil && world.cut.is_empty() && world.trouble.silences_nobody(world.now);
        self.quiet_since = is_quiet.then(|| self.quiet_since.unwrap_or(world.now));
        let changed = world.changed.machines || world.changed.points || self.faults != world.faults;
        if changed || world.now >= self.due {
            (self.faults, self.due) = (world.faults, world.now + LOOK_MS);
            self.nodes.resize(world.nodes.len(), Seen::default());
            self.nodes.iter_mut().zip(&world.nodes).for_each(|(seen, node)| seen.follow(node, world.now));
        }
    }

    /// Since when there has been no cause for `by` to take `node` off.
    pub(super) fn since(&self, by: usize, node: usize) -> Option<u64> {
        let (by, node) = (self.nodes.get(by)?, self.nodes.get(node)?);
        Some(node.since?.max(by.heard_since).max(self.quiet_since?))
    }
}

impl Seen {
    fn follow(&mut self, node: &SimNode, now: u64) {
        let (life, skew_ms) = ((node.started_at, node.mesh.place), node.clock.skew_ms(now));
        let same_points = self.points.iter().eq(node.points().map(|point| &point.auth_key));
        if !same_points {
            self.points = node.points().map(|point| point.auth_key).collect();
        }
        let until = node.mesh.burst_until;
        if until > self.silence.1 {
            let begins = if now >= self.silence.1 { now } else { self.silence.0 };
            self.silence = (begins, until);
        }
        let (begins, ends) = self.silence;
        if ends - begins > SILENCE_MS {
            self.heard_since = ends;
        }
        let is_heard = now >= self.heard_since;
        let is_same = same_points && self.life == life && self.skew_ms.abs_diff(skew_ms) <= STEP_MS;
        (self.life, self.skew_ms) = (life, skew_ms);
        let since = self.since.filter(|_| is_same).unwrap_or(now);
        self.since = (is_heard && is_well(node)).then_some(since);
    }
}

/// Whether it serves, is told to, and says so.
fn is_well(node: &SimNode) -> bool {
    let state = node.core.as_ref().map(Node::record).map(|record| record.state);
    node.is_offered()
        && !node.is_pointless()
        && node.tors.iter().all(|tor| tor.control.is_up)
        && state == Some(NodeState::Active)
}
