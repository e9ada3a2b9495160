//! Invariant 6: no empty descriptor, none poorer without a cause; and no minority takes the majority's points away. Where
//! HSDirs hold different descriptors, a node is not taken away as long as clients find it on some of them.
//!
//! Judged are who uploads in calm, a minority that is parted, and whoever takes off what nothing has befallen for
//! [`CONVERGE_MS`], though others were struck a moment ago: a takeover is no cause to lose anybody.

use std::collections::VecDeque;

use rustbalance_core::onion::key::HsBlindId;

use super::steady::Steady;
use super::{CONVERGE_MS, World, is_calm, spread};
use crate::sim::machine::SimNode;
use crate::sim::world::Taken;

/// By then a parted node knows that it is parted: what was under way before the cut was heard a TTL ago, and the upload
/// that began then has arrived.
const PARTED_MS: u64 = 3_250 + 750;
/// What is on other HSDirs instead is there by then, milliseconds.
const ELSEWHERE_MS: u64 = 5_000;
/// Nodes looked for again.
const MISSED_MAX: usize = 64;

/// Who was taken off an HSDir, of different ones, and should be on another.
#[derive(Default)]
pub(super) struct NeverPoorer {
    steady: Steady,
    missed: VecDeque<Missed>,
}

#[derive(Clone, Copy)]
struct Missed {
    by: usize,
    owner: usize,
    blind: HsBlindId,
    at: u64,
}

impl NeverPoorer {
    pub(super) fn check(&mut self, world: &World, taken: &Taken) -> Result<(), String> {
        let Taken { by, relay, removed, points, blind, .. } = taken;
        if *points == 0 {
            return Err(format!("{by} emptied {relay}"));
        }
        self.steady.look(world);
        let owners = removed.iter().filter(|key| !is_shared(world, key)).filter_map(|key| owner(world, key));
        let owners: Vec<usize> =
            owners.filter(|owner| is_judged(world, *by) || self.is_untouched(world, *by, *owner)).collect();
        if spread::may_be(world) {
            let missed = owners.into_iter().map(|owner| Missed { by: *by, owner, blind: *blind, at: world.now });
            self.missed.extend(missed.take(MISSED_MAX.saturating_sub(self.missed.len())));
            return Ok(());
        }
        match owners.first() {
            Some(owner) => Err(format!("{by} took a point of {owner} off {relay} without a cause")),
            None => Ok(()),
        }
    }

    /// Whether for long enough nothing has befallen `owner`, nor what `by` hears of it.
    fn is_untouched(&self, world: &World, by: usize, owner: usize) -> bool {
        self.steady.since(by, owner).is_some_and(|since| world.now >= since + CONVERGE_MS)
    }

    /// Those taken off a while ago.
    pub(super) fn look_again(&mut self, world: &mut World) -> Result<(), String> {
        self.steady.look(world);
        while let Some(missed) = self.missed.front().filter(|first| world.now >= first.at + ELSEWHERE_MS) {
            let Missed { by, owner, blind, at } = *missed;
            self.missed.pop_front();
            let layout = world.layout();
            let Some(slot) = layout.slots.iter().find(|slot| slot.blind == blind) else { continue };
            let is_ill = |relay| world.hsdirs.is_ill(relay, world.now) || world.hsdirs.is_spoiled(relay, blind);
            let node = &world.nodes[owner];
            // Who is struck meanwhile may put it nowhere.
            let was_quiet = world.calm_since < at && node.is_offered() && is_judged(world, by);
            if !was_quiet || slot.store.iter().any(|relay| is_ill(*relay)) {
                continue;
            }
            let mut stored = slot.fetch.iter().filter_map(|relay| world.hsdirs.get(*relay, blind));
            if !stored.any(|stored| node.points().any(|point| stored.points.contains(&point.auth_key))) {
                return Err(format!("{by} took all points of {owner} off the HSDirs of one slot without a cause"));
            }
        }
        Ok(())
    }
}

/// Whether what `node` uploads must not make anything poorer.
fn is_judged(world: &World, node: usize) -> bool {
    let parted = !world.turmoil && !world.cut.is_empty() && world.now > world.calm_since + PARTED_MS;
    is_calm(world) || (parted && is_minority(world, node))
}

/// Whose point that is, if it is offered.
fn owner(world: &World, key: &[u8; 32]) -> Option<usize> {
    let owner = world.nodes.iter().position(|node| node.has_point(*key));
    owner.filter(|owner| world.nodes[*owner].is_offered())
}

/// Of two points on one relay one has to go, and which may change.
fn is_shared(world: &World, key: &[u8; 32]) -> bool {
    let all = || world.nodes.iter().flat_map(SimNode::points);
    let relay = all().find(|point| point.auth_key == *key).and_then(|point| point.relay());
    all().filter(|point| point.relay() == relay).count() > 1
}

/// Whether `node` reaches less than half of the members, itself included.
pub(in crate::sim) fn is_minority(world: &World, node: usize) -> bool {
    let members: Vec<_> = (0..world.nodes.len()).filter(|other| world.nodes[*other].is_member).collect();
    let reached = members.iter().filter(|other| !world.cut.contains(node, **other)).count();
    reached * 2 < members.len()
}
