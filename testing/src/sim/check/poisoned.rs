//! Invariant 5, last part: a counter that runs far ahead of true time is passed, sooner where it can be read.

use std::collections::BTreeMap;

use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::key::HsBlindId;

use super::World;
use crate::sim::hsdirs::Stored;
use crate::sim::layout::Layout;

/// A counter this far ahead is no honest rival's, seconds.
const AHEAD_SECS: u64 = 10;
/// A refusal counts as a poisoned counter after 30 s, and the next try comes up to 75 s later, milliseconds.
const READABLE_MS: u64 = 120_000;
/// Where it cannot be read the publisher steps ahead by 60 s, 120 s and so on, a try at a time, milliseconds.
const STEP_MS: u64 = 80_000;

/// Since when it is calm, and what is poisoned then: the time its counter stands for.
#[derive(Default)]
pub(super) struct Poisoned {
    since: u64,
    held: BTreeMap<(RelayFingerprint, HsBlindId), u64>,
}

impl Poisoned {
    /// Calm begins.
    pub(super) fn begin(&mut self, world: &World, layout: &Layout) {
        let stored =
            layout.hsdirs().filter_map(|(slot, relay)| Some((slot.blind, relay, world.hsdirs.get(relay, slot.blind)?)));
        let poisoned = stored.filter(|(.., stored)| is_poisoned(world, stored));
        self.held = poisoned.map(|(blind, relay, stored)| ((relay, blind), stored.secs)).collect();
        self.since = world.now;
    }

    /// In calm.
    pub(super) fn check(&self, world: &World, layout: &Layout) -> Result<(), String> {
        for ((relay, blind), secs) in &self.held {
            let Some(stored) = world.hsdirs.get(*relay, *blind) else { continue };
            let ahead = secs.saturating_sub(world.options.start_secs + self.since / 1000);
            let bound = if *blind == layout.current().blind { READABLE_MS } else { steps(ahead) * STEP_MS };
            if stored.secs == *secs && world.now > self.since + bound {
                return Err(format!("a counter {ahead} s ahead on {relay} is not passed within {bound} ms of calm"));
            }
        }
        Ok(())
    }
}

/// Whether no honest publisher's clock gives the counter of `stored`.
pub(super) fn is_poisoned(world: &World, stored: &Stored) -> bool {
    stored.secs > world.wall().as_secs() + AHEAD_SECS
}

/// Steps of 60 s, doubled each, that pass a counter so far ahead, and two more for the first refusals.
fn steps(ahead_secs: u64) -> u64 {
    2 + (1..=8).find(|step| 60 << (step - 1) > ahead_secs).unwrap_or(8)
}
