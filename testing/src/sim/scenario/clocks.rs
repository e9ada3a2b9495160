//! Wall clocks are wrong, or are set.

use super::Scenario;
use crate::sim::fault::Fault;
use crate::sim::network::TorNetwork;

pub(super) const TOGETHER: Scenario = Scenario {
    name: "clocks-together",
    about: "all wall clocks of five nodes jump together by up to an hour, the publisher dies, and all are set right again",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        story.form();
        story.calm(2_000);
        // Further back than the newest consensus no tor would take it for live.
        let secs = story.world.wall().as_secs();
        let back = (secs + EARLY_SECS).saturating_sub(TorNetwork::valid_after(secs + TAKES_SECS)) * 1000;
        let ms = if story.draw(0, 1) == 0 { story.draw(0, 3_600_000) as i64 } else { -(story.draw(0, back) as i64) };
        story.world.strike(&Fault::JumpAll { ms });
        story.in_turmoil(20_000);
        story.calm(2_000);
        story.kill_publisher();
        story.calm(2_000);
        story.world.strike(&Fault::JumpAll { ms: -ms });
        story.world.strike(&Fault::StartAll);
        story.in_turmoil(if ms > 0 { SET_BACK_MS } else { 20_000 });
        story.calm(2_000);
        story.kill_publisher();
        story.calm(2_000);
    },
};

/// A consensus counts a minute before its time; some of it is left to clocks that differ, seconds.
const EARLY_SECS: u64 = 50;
/// What happens while the clocks are wrong takes no longer, seconds.
const TAKES_SECS: u64 = 120;
/// Counters from clocks that were an hour ahead are passed within this, milliseconds.
const SET_BACK_MS: u64 = 600_000;

pub(super) const CLOCKS: Scenario = Scenario {
    name: "clock-steps",
    about: "wall clocks of two to seven nodes are set wrong, the publisher's among them, and set right again",
    nodes: None,
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        let count = story.count;
        story.form();
        story.calm(2_000);
        for _ in 0..4 {
            let Some(holder) = story.holder() else { return };
            let node = if story.draw(0, 1) == 0 { holder } else { story.draw(0, count as u64 - 1) as usize };
            let ms = story.draw(10_000, 7_200_000) as i64 * if story.draw(0, 1) == 0 { 1 } else { -1 };
            story.world.strike(&Fault::Jump { node, ms });
            // Whoever publishes now has something new to upload.
            let other = story.draw(0, count as u64 - 1) as usize;
            story.world.strike(&Fault::Points { node: other });
            story.calm(15_000);
            if count > 2 && story.world.nodes[node].role != rustbalance_core::cluster::Role::Follower {
                return story.fail(format!("{node} publishes with a clock {ms} ms off"));
            }
            story.world.strike(&Fault::Jump { node, ms: -ms });
            story.calm(2_000);
        }
        story.kill_publisher();
        story.calm(2_000);
    },
};
