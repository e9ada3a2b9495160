//! Long runs: an hour of deaths as clients see them, and weeks in which nobody dies.

use rustbalance_core::cluster::Role;

use super::{Scenario, Story, World};
use crate::sim::fault::Fault;

/// Between two deaths of the hour, milliseconds.
const DEATH_EVERY_MS: u64 = 300_000;
/// A dead machine is back after this long at most, milliseconds.
const BACK_MS_MAX: u64 = 150_000;
/// Bursts are this far apart on average, milliseconds.
const BURST_EVERY_MS: u64 = 60_000;
/// False takeovers that a week may see where more than 1 % is lost.
const FALSE_TAKEOVERS_MAX: u64 = 1;
/// After a new shared random value all tors have their points, and whoever publishes then goes on to, milliseconds.
const MIDNIGHT_MS: u64 = 10_000;
/// The week is looked at so often, milliseconds.
const LOOK_MS: u64 = 1_000;

pub(super) const HOUR: Scenario = Scenario {
    name: "hour",
    about: "one of five nodes is killed every five minutes and comes back; what clients notice is counted",
    nodes: Some(5),
    spare: 0,
    is_long: true,
    marks: &[],
    tell: |story| {
        story.form();
        story.calm(5_000);
        while story.has_time(60) {
            let next = story.world.now + DEATH_EVERY_MS;
            let Some(node) = story.draw_live() else { return };
            story.strike_down(node, &Fault::Kill { node });
            story.pause(10_000, BACK_MS_MAX);
            story.world.strike(&Fault::Start { node });
            story.world.run_for(next.saturating_sub(story.world.now));
        }
    },
};

pub(super) const WEEK: Scenario = Scenario {
    name: "week",
    about: "nobody dies: whoever loses the lease loses it falsely; --minutes 10080 is the week, --loss and --burst what it suffers",
    nodes: Some(5),
    spare: 0,
    is_long: true,
    marks: &[],
    tell: |story| {
        story.form();
        story.calm(5_000);
        let mut epoch = newest_epoch(&story.world);
        let mut burst_at = next_burst(story);
        let mut midnight = next_midnight(story);
        while story.has_time(10) {
            if story.world.wall().as_ms() + LOOK_MS >= midnight {
                pass_midnight(story);
                midnight = next_midnight(story);
                epoch = newest_epoch(&story.world);
            }
            story.world.run_for(LOOK_MS);
            // Whoever claims the lease does so under a new epoch: one that is lost and taken back within a second counts.
            let newest = newest_epoch(&story.world);
            story.measured.false_takeovers += newest.saturating_sub(epoch);
            epoch = epoch.max(newest);
            if burst_at.is_some_and(|at| story.world.now >= at) {
                let ms = story.run.burst_ms.unwrap_or_default();
                story.world.strike(&Fault::Burst { ms });
                burst_at = next_burst(story);
            }
        }
        let is_harsh = story.world.options.loss_permille > 10 || story.run.burst_ms.is_some();
        let (most, count) = (if is_harsh { FALSE_TAKEOVERS_MAX } else { 0 }, story.measured.false_takeovers);
        if count > most {
            story.fail(format!("{count} false takeovers"));
        }
    },
};

/// The newest epoch that anybody holds the lease under.
fn newest_epoch(world: &World) -> u64 {
    let epoch = |role: Role| if let Role::Holder { epoch } = role { epoch } else { 0 };
    world.nodes.iter().filter(|node| node.is_live()).map(|node| epoch(node.role)).max().unwrap_or_default()
}

/// In milliseconds of unix time.
fn next_midnight(story: &Story) -> u64 {
    (story.world.wall().as_secs() / 86_400 + 1) * 86_400_000
}

/// A new shared random value: every tor replaces its points, and other HSDirs are responsible. A publisher whose tor takes
/// longer than a second for that hands the lease over, as it should: that is no false takeover.
fn pass_midnight(story: &mut Story) {
    // What they should hold is nobody's to know until the last tor has its points.
    story.in_turmoil(2 * LOOK_MS);
    (0..story.count).for_each(|node| story.world.strike(&Fault::Points { node }));
    story.world.run_for(MIDNIGHT_MS);
}

fn next_burst(story: &mut Story) -> Option<u64> {
    story.run.burst_ms?;
    Some(story.world.now + story.draw(0, 2 * BURST_EVERY_MS))
}
