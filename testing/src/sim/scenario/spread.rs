//! More introduction points than one descriptor lists: clients fall on all machines alike, or by weight.

use super::{Mark, Scenario, Story};
use crate::sim::clients::Clients;
use crate::sim::fault::Fault;

/// New clients at each count: so many that chance is far smaller than what is allowed.
const NEWCOMERS: u64 = 100_000;
/// A machine's share of them may be so far from its part of the weight, percent.
const OFF_PERCENT_MAX: u64 = 25;
/// Machines that go and come.
const ROUNDS: u64 = 2;

pub(super) const OF_TWELVE: Scenario = Scenario {
    name: "spread",
    about: "twelve nodes of equal or unequal weight: new clients fall on each by its weight, while nodes go and come",
    nodes: Some(12),
    spare: 0,
    is_long: false,
    marks: &[(Mark::DistinctContents, 2)],
    tell,
};

pub(super) const OF_SIXTY: Scenario = Scenario {
    name: "sixty-nodes",
    about: "the same with sixty nodes",
    nodes: Some(60),
    spare: 0,
    is_long: true,
    marks: &[(Mark::DistinctContents, 1)],
    tell,
};

fn tell(story: &mut Story) {
    let heavy = [100, 200][story.draw(0, 1) as usize];
    for node in story.world.nodes.iter_mut().step_by(4) {
        node.weight = heavy;
    }
    story.drew = format!("; every fourth of weight {heavy}");
    story.form();
    story.calm(3_000);
    are_shares_fair(story);
    for _ in 0..ROUNDS {
        let Some(node) = story.draw_live() else { return };
        story.strike_down(node, &Fault::Kill { node });
        story.calm(1_000);
        are_shares_fair(story);
        story.world.strike(&Fault::Start { node });
        story.ready();
        story.calm(1_000);
        are_shares_fair(story);
    }
}

/// Whether every machine that is offered meets its part of new clients.
fn are_shares_fair(story: &mut Story) {
    let met = Clients::newcomers(&mut story.world, NEWCOMERS);
    let offered = story.world.nodes.iter().zip(&met).filter(|(node, _)| node.is_offered());
    let weights: u64 = offered.clone().map(|(node, _)| u64::from(node.weight)).sum();
    let all: u64 = offered.clone().map(|(_, met)| met).sum();
    let unfair = offered.enumerate().find_map(|(number, (node, met))| {
        let due = all * u64::from(node.weight) / weights.max(1);
        (met.abs_diff(due) * 100 > due * OFF_PERCENT_MAX)
            .then(|| format!("{met} clients come to {number}, {due} are due"))
    });
    if let Some(unfair) = unfair {
        story.fail(unfair);
    }
}
