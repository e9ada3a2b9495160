//! The cluster is paused for maintenance, and things die all the same.

use super::story::{EXCLUDED_MS_MAX, has_one_publisher};
use super::{Scenario, Story};
use crate::sim::fault::Fault;
use crate::sim::measure::{is_listed, points_of};

/// Until all have heard of it, milliseconds.
const HEARD_MS: u64 = 3_000;
/// How long what is down stays listed, milliseconds: longer than any silence is borne otherwise.
const KEPT_MS: u64 = 90_000;

pub(super) const PAUSE: Scenario = Scenario {
    name: "pause",
    about: "five nodes are paused while any of them dies or its application fails: nobody is taken out until the pause ends",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        story.form();
        story.calm(5_000);
        while story.has_time(8) {
            round(story);
        }
    },
};

fn round(story: &mut Story) {
    let Some(by) = story.draw_live() else { return };
    let ends_by_itself = story.draw(0, 1) == 0;
    story.world.turmoil = true;
    let secs = if ends_by_itself { (HEARD_MS + KEPT_MS) / 1000 + 2 } else { 3_600 };
    story.world.strike(&Fault::Pause { node: by, secs: secs as u32 });
    story.world.run_for(HEARD_MS);
    let Some(victim) = story.draw_live() else { return };
    let points = points_of(&story.world, victim);
    let fault = match story.draw(0, 1) {
        0 => Fault::Kill { node: victim },
        _ => Fault::Target { node: victim, up: false },
    };
    story.world.strike(&fault);
    story.world.run_for(KEPT_MS);
    if !is_listed(&mut story.world, &points) {
        return story.fail(format!("{victim} was taken out while the cluster was paused"));
    }
    if !has_one_publisher(&story.world) {
        return story.fail("nobody publishes while the cluster is paused".to_owned());
    }
    if !ends_by_itself {
        let Some(node) = story.draw_live() else { return };
        story.world.strike(&Fault::Pause { node, secs: 0 });
    }
    let excluded = story.time_until(HEARD_MS + EXCLUDED_MS_MAX, |world| !is_listed(world, &points));
    if excluded.is_none() {
        return story.fail(format!("{victim} is still listed when the pause is over"));
    }
    story.world.strike(&Fault::Start { node: victim });
    story.world.strike(&Fault::Target { node: victim, up: true });
    story.world.turmoil = false;
    story.ready();
    story.calm(20_000);
}
