//! Invariant 5: counters on an HSDir grow (the model refuses others) and never run ahead of true time by over 5 s,
//! unless they must pass one that does.

use rustbalance_core::onion::key::HsBlindId;
use rustbalance_core::onion::revision::RevisionCounter;

use super::World;
use crate::sim::layout::Layout;
use crate::sim::world::Taken;

/// How far ahead an honest publisher's clock may be, seconds.
const AHEAD_SECS_MAX: u64 = 5;

/// The last limit: one descriptor goes to many HSDirs, and to walk a counter's keystream takes its time.
#[derive(Default)]
pub(super) struct Counters {
    limit: Option<(HsBlindId, u64, RevisionCounter)>,
}

impl Counters {
    pub(super) fn check(&mut self, world: &World, layout: &Layout, taken: &Taken) -> Result<(), String> {
        // A publisher whose consensus is older may still serve the period before: its counters are far from ours.
        let Some(slot) = layout.slots.iter().find(|slot| slot.blind == taken.blind) else { return Ok(()) };
        let secs = world.wall().as_secs() + AHEAD_SECS_MAX.max(ahead_secs(world, taken.by));
        let limit = match self.limit {
            Some((blind, at, limit)) if (blind, at) == (slot.blind, secs) => limit,
            _ => slot.counter(secs).ok_or("a counter is out of range")?,
        };
        self.limit = Some((slot.blind, secs, limit));
        let must_pass = taken.replaced.is_some_and(|replaced| replaced > limit);
        if taken.revision > limit && !must_pass {
            return Err(format!("{} put a counter on {} that is ahead of true time", taken.by, taken.relay));
        }
        Ok(())
    }
}

/// How far ahead of true time counters of this publisher may be: as far as both its own clock and the median of the
/// live members' clocks are.
fn ahead_secs(world: &World, by: usize) -> u64 {
    let skew = |index: usize| world.nodes[index].clock.skew_ms(world.now);
    let live = (0..world.nodes.len()).filter(|index| world.nodes[*index].is_live() && world.nodes[*index].is_member);
    let mut skews: Vec<i64> = live.map(skew).collect();
    skews.sort_unstable();
    let median = skews.get(skews.len() / 2).copied().unwrap_or_default();
    u64::try_from(median.min(skew(by)).max(0)).unwrap_or_default().div_ceil(1000)
}
