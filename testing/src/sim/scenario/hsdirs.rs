//! What happens to descriptors on HSDirs while nothing happens to the cluster.

use std::collections::BTreeMap;

use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::key::HsBlindId;
use rustbalance_core::onion::revision::RevisionCounter;

use super::rotation::change_consensus;
use super::{Mark, Scenario, Story};
use crate::sim::check::plan_complete;
use crate::sim::fault::Fault;

/// HSDirs of the current slot are read back at least this often, and repaired soon after, milliseconds.
const REPAIRED_MS: u64 = 660_000;

/// Between two consensuses, seconds.
const HOUR_SECS: u64 = 3_600;
/// Tors learn of a new consensus so late at most, seconds.
const LATE_SECS_MAX: u64 = 50;
/// A daemon asks its tor every five seconds for a newer consensus, reads it and uploads, milliseconds.
const MOVED_MS: u64 = 8_000;

pub(super) const RELAYS_LEAVE: Scenario = Scenario {
    name: "relays-leave",
    about: "at a full hour one to four responsible HSDirs leave the consensus and others come: the others get the plan",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[(Mark::HsDirLeft, 1)],
    tell: |story| {
        let hour = (story.world.options.start_secs / HOUR_SECS + 1) * HOUR_SECS;
        story.world.options.start_secs = hour - 120;
        story.form();
        // Half a minute after it begins a publisher uploads once more.
        story.calm(40_000);
        change_consensus(story);
        let lag_secs = story.draw(0, LATE_SECS_MAX);
        story.world.nodes.iter_mut().flat_map(|node| &mut node.tors).for_each(|tor| tor.lag_secs = lag_secs);
        let old = held(story);
        let before = (hour * 1000).saturating_sub(story.world.wall().as_ms());
        story.world.run_for(before + 1_000 * lag_secs);
        if story.time_until(MOVED_MS, |world| plan_complete::missing(world).is_none()).is_none() {
            let missing = plan_complete::missing(&mut story.world).unwrap_or_default();
            story.fail(format!("{MOVED_MS} ms after a new consensus: {missing}"));
        }
        // A relay that has just come may be passed over until its microdescriptor is read: then one more is served.
        let again = held(story).iter().filter(|(at, revision)| old.get(at).is_some_and(|it| it != *revision)).count();
        if again > 0 {
            story.fail(format!("{again} HSDirs that stayed were served again"));
        }
        story.calm(10_000);
        story.kill_publisher();
        story.calm(5_000);
    },
};

/// Counters on all HSDirs of the hour.
fn held(story: &mut Story) -> BTreeMap<(HsBlindId, RelayFingerprint), Option<RevisionCounter>> {
    let layout = story.world.layout();
    let revision = |blind, relay| story.world.hsdirs.get(relay, blind).map(|stored| stored.revision);
    layout.hsdirs().map(|(slot, relay)| ((slot.blind, relay), revision(slot.blind, relay))).collect()
}

pub(super) const LOST_COPIES: Scenario = Scenario {
    name: "lost-copies",
    about: "HSDirs lose their copies, or somebody else with the key stores theirs; each is repaired, and no other is served",
    nodes: Some(3),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        story.form();
        story.calm(30_000);
        let accepted = story.world.hsdirs.accepted;
        let struck = story.draw(1, 4);
        for _ in 0..struck {
            let relay = story.draw(0, 15) as usize;
            let ahead_secs = [60, 3_600][story.draw(0, 1) as usize];
            let faults = [Fault::Forget { relay }, Fault::Foreign { relay }, Fault::Poison { relay, ahead_secs }];
            let fault = &faults[story.draw(0, 2) as usize];
            story.world.strike(fault);
            story.pause(0, 20_000);
        }
        // What strangers store is counted, too; an HSDir that forgets may have forgotten both slots.
        story.calm(REPAIRED_MS);
        let uploads = story.world.hsdirs.accepted - accepted;
        if uploads > 3 * struck {
            story.fail(format!("{uploads} uploads for {struck} HSDirs"));
        }
    },
};
