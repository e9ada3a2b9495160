//! Wall clocks are wrong, or are set.

use super::Scenario;

pub(super) const CLOCKS: Scenario = Scenario {
    name: "clock-steps",
    about: "wall clocks of two to five nodes are set wrong, the publisher's among them, and set right again",
    nodes: 5,
    tell: |story| {
        let count = story.draw(2, 5) as usize;
        story.form(count);
        story.calm(2_000);
        for _ in 0..4 {
            let Some(holder) = story.holder() else { return };
            let node = if story.draw(0, 1) == 0 { holder } else { story.draw(0, count as u64 - 1) as usize };
            let by_ms = story.draw(10_000, 7_200_000) as i64 * if story.draw(0, 1) == 0 { 1 } else { -1 };
            story.world.jump_clock(node, by_ms);
            // Whoever publishes now has something new to upload.
            let other = story.draw(0, count as u64 - 1) as usize;
            story.world.replace_points(other);
            story.calm(15_000);
            if count > 2 && story.world.nodes[node].role != rustbalance_core::cluster::Role::Follower {
                return story.fail(format!("{node} publishes with a clock {by_ms} ms off"));
            }
            story.world.jump_clock(node, -by_ms);
            story.calm(2_000);
        }
        story.kill_publisher(10_000);
        story.calm(2_000);
    },
};
