//! From one node to five and back.

use super::{Mark, Scenario, Story};
use crate::sim::fault::Fault;

/// A cluster that has shrunk to one node publishes by its tor again after this long (PROTOCOL.md), milliseconds; and
/// once tor's counters are above ours.
const NATIVE_AFTER_MS: u64 = 600_000;
/// Some more for the counters.
const COUNTERS_MS: u64 = 120_000;

pub(super) const ONE_TWO_FIVE_ONE: Scenario = Scenario {
    name: "one-two-five-one",
    about: "one node, two, five; they leave or die until one is left, whose tor then publishes; and one more joins",
    nodes: Some(5),
    spare: 1,
    is_long: false,
    marks: &[(Mark::NativeAndBack, 12)],
    tell: |story| {
        story.world.found();
        story.calm(2_000);
        story.join(1);
        story.calm(2_000);
        for joiner in 2..story.count {
            story.pause(0, 3_000);
            story.join(joiner);
        }
        story.calm(2_000);
        // Who dies stays a member, and the cluster remains one of several.
        let all_leave = story.draw(0, 1) == 0;
        for _ in 1..story.count {
            go(story, all_leave);
        }
        if all_leave {
            story.world.run_for(NATIVE_AFTER_MS + COUNTERS_MS);
            story.join(story.count);
            story.calm(5_000);
        }
    },
};

/// A node leaves once its points are out of what is published, or, as where most others died before, after 12 s.
const LEFT_MS: u64 = 12_500;

/// One node leaves, or dies.
fn go(story: &mut Story, leaves: bool) {
    let Some(node) = story.draw_live() else { return story.fail("nobody is left".to_owned()) };
    if leaves || story.draw(0, 1) == 0 {
        story.world.strike(&Fault::Leave { node });
        if !story.world.run_until(LEFT_MS, |world| !world.nodes[node].is_live()) {
            story.fail(format!("{node} does not leave within {LEFT_MS} ms"));
        }
    } else {
        story.world.strike(&Fault::Kill { node });
    }
    story.calm(2_000);
}
