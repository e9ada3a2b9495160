//! One node is preferred as publisher.

use super::story::publishers;
use super::{Mark, Scenario, Story};
use crate::sim::fault::Fault;

/// Better than what all others have.
const PREFERRED: u8 = 10;
/// Eligible for a minute, and the hand-over (PROTOCOL.md, Preemption); its tor's readiness is counted apart.
const PREEMPTED_MS_MAX: u64 = 66_000;

pub(super) const PREEMPTION: Scenario = Scenario {
    name: "preemption",
    about: "the preferred node comes back and takes the lease by hand-over after a minute, without a gap",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[(Mark::Preempted, 3)],
    tell: |story| {
        let node = preferred(story);
        for _ in 0..2 {
            story.ready();
            let is_holder = |world: &super::World| publishers(world).any(|publisher| publisher == node);
            if !story.world.run_until(PREEMPTED_MS_MAX * 2, is_holder) {
                return story.fail(format!("{node} is preferred and does not publish"));
            }
            story.calm(2_000);
            story.strike_down(node, &Fault::Kill { node });
            story.calm(2_000);
            story.world.strike(&Fault::Start { node });
        }
        story.calm(5_000);
    },
};

pub(super) const CUT: Scenario = Scenario {
    name: "hand-over-cut",
    about: "a fault strikes between the offer of the lease and the claim",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[(Mark::HandoverCut, 3)],
    tell: |story| {
        preferred(story);
        let handover =
            |world: &super::World| world.witness.as_ref().and_then(|witness| witness.marks.handover(world.now));
        if !story.world.run_until(PREEMPTED_MS_MAX * 2, |world| handover(world).is_some()) {
            return story.fail("the lease is never offered".to_owned());
        }
        let Some((by, to)) = handover(&story.world) else { return };
        story.pause(0, 60);
        let ms = story.draw(500, 5_000);
        let fault = match story.draw(0, 5) {
            0 => Fault::Kill { node: to },
            1 => Fault::Kill { node: by },
            2 => Fault::Freeze { node: to, ms },
            3 => Fault::Freeze { node: by, ms },
            4 => Fault::Mute { from: to, to: by },
            _ => Fault::Burst { ms },
        };
        story.world.strike(&fault);
        story.pause(500, 10_000);
        story.world.strike(&Fault::Heal);
        story.world.strike(&Fault::StartAll);
        story.in_turmoil(40_000);
        story.calm(10_000);
    },
};

/// Forms the cluster with the preferred node last, so that another holds the lease.
fn preferred(story: &mut Story) -> usize {
    let node = story.count - 1;
    story.world.nodes[node].priority = PREFERRED;
    story.form();
    node
}
