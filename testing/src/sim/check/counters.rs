//! Invariant 5: counters on an HSDir grow (the model refuses others) and never run ahead of true time by over 5 s,
//! unless they must pass one that does.

use super::{World, is_settled};
use crate::sim::world::Taken;

/// How far ahead an honest publisher's clock may be, seconds.
const AHEAD_SECS_MAX: u64 = 5;

/// Counters go on above the furthest that is stored, one a build, and not every build is stored, seconds.
const GO_ON_SECS_MAX: u64 = 5;

pub(super) fn check(world: &World, taken: &Taken) -> Result<(), String> {
    // The next one after an honest one is honest.
    let limit = world.wall().as_secs() + AHEAD_SECS_MAX.max(ahead_secs(world, taken.by)) + 1;
    let goes_on = taken.furthest_secs > limit || taken.secs <= taken.furthest_secs + GO_ON_SECS_MAX;
    if taken.secs > limit && !goes_on {
        let ahead = taken.secs - world.wall().as_secs();
        let Taken { by, relay, .. } = taken;
        return Err(format!("{by} put a counter on {relay}, {ahead} s from now: that is ahead of true time"));
    }
    Ok(())
}

/// How far ahead of true time counters of this publisher may be: as far as both its own clock and the median of the
/// clocks of the live members that it hears. Until it has heard them all it may know its own only.
fn ahead_secs(world: &World, by: usize) -> u64 {
    let skew = |index: usize| world.nodes[index].clock.skew_ms(world.now);
    let ahead = |skew: i64| u64::try_from(skew.max(0)).unwrap_or_default().div_ceil(1000);
    if !is_settled(world) {
        // What was built before its clock was set may be under way.
        return ahead(skew(by).max(world.nodes[by].was_ahead_ms));
    }
    let heard = |index: &usize| {
        let node = &world.nodes[*index];
        node.is_live() && node.is_member && !world.cut.contains(*index, by)
    };
    let mut skews: Vec<i64> = (0..world.nodes.len()).filter(heard).map(skew).collect();
    skews.sort_unstable();
    let median = skews.get(skews.len() / 2).copied().unwrap_or_default();
    ahead(median.min(skew(by)))
}
