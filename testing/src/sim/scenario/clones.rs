//! Two machines with the same keys, and daemons of two versions.

use super::{Mark, Scenario, Story};
use crate::sim::fault::Fault;

/// Until one of two machines with the same keys has stopped, milliseconds.
const ONE_LEFT_MS_MAX: u64 = 120_000;

pub(super) const CLONED: Scenario = Scenario {
    name: "cloned-machine",
    about: "a machine is cloned and both run: one of the two notices and stops, and the others carry on",
    nodes: Some(4),
    spare: 1,
    is_long: false,
    marks: &[(Mark::RecordConflict, 25), (Mark::DuplicateIdentity, 5)],
    tell: |story| {
        story.form();
        story.calm(2_000);
        let (node, copy) = (story.draw(0, story.count as u64 - 1) as usize, story.count);
        story.world.turmoil = true;
        story.world.strike(&Fault::Clone { node, copy });
        if story.draw(0, 3) > 0 {
            // An image that is started twice on one host: both begin with the same order of records.
            story.world.nodes[copy].clock = story.world.nodes[node].clock.clone();
            for machine in [node, copy] {
                story.world.kill(machine);
                story.world.start(machine);
            }
        }
        let one_left = |world: &super::World| !(world.nodes[node].is_live() && world.nodes[copy].is_live());
        if !story.world.run_until(ONE_LEFT_MS_MAX, one_left) {
            return story.fail(format!("two machines with the same keys run for {ONE_LEFT_MS_MAX} ms"));
        }
        // The operator sees what the log says, and that it is the right one that runs.
        story.pause(1_000, 20_000);
        story.world.strike(&Fault::Kill { node: copy });
        story.world.strike(&Fault::Start { node });
        story.world.run_for(35_000);
        story.world.turmoil = false;
        story.calm(5_000);
        story.kill_publisher();
        story.calm(2_000);
    },
};

pub(super) const UPGRADE: Scenario = Scenario {
    name: "rolling-upgrade",
    about: "five nodes are restarted one by one with a daemon that also says what the older ones do not know",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[(Mark::UnknownKindRefused, 1), (Mark::OtherVersionRefused, 1)],
    tell: |story| {
        story.form();
        story.calm(1_000);
        for node in 0..story.count {
            story.world.strike(&Fault::Stop { node });
            story.pause(1_000, 5_000);
            story.world.strike(&Fault::Upgrade { node });
            story.world.strike(&Fault::Start { node });
            story.calm(2_000);
        }
        both_versions(story);
    },
};

/// One goes back to the old version, and the publisher dies.
fn both_versions(story: &mut Story) {
    let Some(node) = story.draw_live() else { return };
    story.world.nodes[node].is_newer = false;
    story.kill_publisher();
    story.calm(2_000);
}
