//! What happens to descriptors on HSDirs while nothing happens to the cluster.

use super::Scenario;
use crate::sim::fault::Fault;

/// HSDirs of the current slot are read back at least this often, and repaired soon after, milliseconds.
const REPAIRED_MS: u64 = 660_000;

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
