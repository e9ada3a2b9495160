//! Midnight brings a new shared random value, noon a new time period; consensuses reach tors at different times.

use super::{Scenario, Story};

pub(super) const ROTATION: Scenario = Scenario {
    name: "rotation",
    about: "midnight, when tors also replace their introduction points, then noon, each tor at its own time",
    nodes: 3,
    tell: |story| {
        let midnight = (story.world.options.start_secs / 86_400 + 1) * 86_400;
        let at_noon = story.draw(0, 1) == 1;
        let turn = if at_noon { midnight + 43_200 } else { midnight };
        story.world.options.start_secs = turn - 90;
        story.form(3);
        story.calm(1_000);
        cross(story, turn, !at_noon);
        story.calm(15_000);
        story.kill_publisher(10_000);
        story.calm(5_000);
    },
};

/// Passes `turn`, each tor up to 50 s late.
fn cross(story: &mut Story, turn: u64, replaces_points: bool) {
    let mut late: Vec<(u64, usize)> = (0..3).map(|node| (story.draw(0, 50), node)).collect();
    for (secs, node) in &late {
        story.world.nodes[*node].tor.lag_secs = *secs;
    }
    late.sort_unstable();
    // What the HSDirs should hold is nobody's to know until the last tor knows.
    let until = |story: &Story, secs: u64| ((turn + secs) * 1000).saturating_sub(story.world.wall().as_ms());
    let before = until(story, 0).saturating_sub(1000);
    story.world.run_for(before);
    story.world.turmoil = true;
    for (secs, node) in late {
        let wait = until(story, secs) + 1;
        story.world.run_for(wait);
        if replaces_points {
            story.world.replace_points(node);
        }
    }
    story.world.turmoil = false;
}
