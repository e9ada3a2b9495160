//! Invariant 5, last part: a counter that runs far ahead of true time is passed, sooner where it can be read.

use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::key::HsBlindId;

use super::World;
use crate::sim::hsdirs::Stored;
use crate::sim::layout::Layout;

/// A counter this far ahead is no honest rival's, seconds.
const AHEAD_SECS: u64 = 10;
/// A refusal counts as a poisoned counter after 30 s, and the next try comes up to 75 s later, milliseconds.
const READABLE_MS: u64 = 120_000;
/// An HSDir that has refused a counter is tried again so soon, once the clock of whoever publishes has caught up, seconds:
/// the pause between two tries, 75 s at most, and what clocks are apart.
const NEXT_TRY_SECS: u64 = 80;
/// Where it cannot be read the publisher steps ahead by 60 s, 120 s and so on, a try at a time, milliseconds.
const STEP_MS: u64 = 80_000;

/// In calm, which began at `since`. A publisher learns of a poisoned counter when it is refused.
pub(super) fn check(world: &World, layout: &Layout, since: u64) -> Result<(), String> {
    for ((relay, blind), refused_at) in &world.hsdirs.refused_since {
        let (since, stored) = (since.max(*refused_at), world.hsdirs.get(*relay, *blind));
        let Some(stored) = stored.filter(|stored| is_poisoned(world, stored)) else { continue };
        let ahead = stored.secs.saturating_sub(world.options.start_secs + since / 1000);
        let bound = if *blind == layout.current().blind { READABLE_MS } else { steps(ahead) * STEP_MS };
        if world.now > since + bound {
            return Err(format!("a counter {ahead} s ahead on {relay} is not passed within {bound} ms of calm"));
        }
    }
    Ok(())
}

/// Whether no honest publisher's clock gives the counter of `stored`.
fn is_poisoned(world: &World, stored: &Stored) -> bool {
    stored.secs > world.wall().as_secs() + AHEAD_SECS
}

/// Whether the HSDir may still have `stored` because of its counter: it is poisoned, or was, and the publisher that was
/// refused for it has not tried again yet; or is to the publisher, who is alone, started with a clock that was behind, and
/// knows from nobody that it is right by now.
pub(super) fn is_passing(world: &World, relay: RelayFingerprint, blind: HsBlindId, stored: &Stored) -> bool {
    let Some(refused_at) = world.hsdirs.refused_since.get(&(relay, blind)) else { return is_poisoned(world, stored) };
    let behind = world.hsdirs.refused_behind(relay, blind);
    let stepped_at = world.calm_since.max(*refused_at) + steps(behind) * STEP_MS;
    let is_stepping = behind > AHEAD_SECS && world.now < stepped_at;
    is_poisoned(world, stored) || is_stepping || stored.secs + NEXT_TRY_SECS > world.wall().as_secs()
}

/// Steps of 60 s, doubled each, that pass a counter so far ahead, and two more for the first refusals.
fn steps(ahead_secs: u64) -> u64 {
    2 + (1..=8).find(|step| 60 << (step - 1) > ahead_secs).unwrap_or(8)
}
