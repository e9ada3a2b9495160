//! Midnight brings a new shared random value, noon a new time period; consensuses reach tors at different times.

use super::{Mark, Scenario, Story};
use crate::sim::fault::Fault;

pub(super) const MIDNIGHT: Scenario = Scenario {
    name: "midnight",
    about: "a new shared random value: tors replace their points, each at its own time; perhaps the publisher dies then",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[(Mark::RotationWithoutPublisher, 12), (Mark::HsDirLeft, 3)],
    tell: |story| cross(story, 86_400, true),
};

pub(super) const NOON: Scenario = Scenario {
    name: "noon",
    about: "a new time period, seen by each tor at its own time; perhaps the publisher dies then",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[(Mark::RotationWithoutPublisher, 12), (Mark::HsDirLeft, 3)],
    tell: |story| cross(story, 43_200, false),
};

/// Tors learn of a new consensus so late at most, seconds.
const LATE_SECS_MAX: u64 = 50;

/// Some HSDirs that are responsible are not in the next consensus, and other relays are.
pub(super) fn change_consensus(story: &mut Story) {
    for _ in 0..story.draw(1, 4) {
        let relay = story.draw(0, 15) as usize;
        story.world.strike(&Fault::RelayLeaves { relay });
    }
    (0..story.draw(0, 4)).for_each(|_| story.world.strike(&Fault::RelayEnters));
}

/// Passes midnight plus `offset` seconds.
fn cross(story: &mut Story, offset: u64, replaces_points: bool) {
    let turn = story.world.options.start_secs / 86_400 * 86_400 + offset;
    story.world.options.start_secs = turn - 120;
    story.form();
    story.calm(1_000);
    change_consensus(story);
    let mut late: Vec<(u64, usize)> = (0..story.count).map(|node| (story.draw(0, LATE_SECS_MAX), node)).collect();
    for (secs, node) in &late {
        story.world.nodes[*node].tors.iter_mut().for_each(|tor| tor.lag_secs = *secs);
    }
    late.sort_unstable();
    let until = |story: &Story, secs: u64| ((turn + secs) * 1000).saturating_sub(story.world.wall().as_ms());
    let before = until(story, 0).saturating_sub(1_000);
    story.world.run_for(before);
    // What the HSDirs should hold is nobody's to know until the last tor knows.
    story.world.turmoil = true;
    let dies_at = (story.draw(0, 1) == 0).then(|| story.draw(0, story.count as u64 - 1) as usize);
    let mut dead = None;
    for (at, (secs, node)) in late.into_iter().enumerate() {
        let wait = until(story, secs) + 1;
        story.world.run_for(wait);
        if replaces_points {
            story.world.strike(&Fault::Points { node });
        }
        if dies_at == Some(at)
            && let Some(node) = story.holder()
        {
            story.pause(0, 3_000);
            story.world.strike(&Fault::Kill { node });
            dead = Some(node);
        }
    }
    story.world.turmoil = false;
    story.calm(15_000);
    story.kill_publisher();
    story.calm(5_000);
    if let Some(node) = dead {
        story.world.strike(&Fault::Start { node });
        story.calm(5_000);
    }
}
