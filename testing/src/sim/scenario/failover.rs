//! The publisher dies, or is slow without dying.

use super::{Scenario, Story, publishers};

/// The worst takeover allowed (DESIGN section 9), milliseconds.
const TAKEOVER_MS_MAX: u64 = 10_000;

pub(super) const OF_FIVE: Scenario = Scenario {
    name: "failover-of-five",
    about: "five nodes join, the publisher dies, the others carry on, it comes back",
    nodes: 5,
    tell: |story| {
        story.form(5);
        story.calm(5_000);
        let dead = story.kill_publisher(TAKEOVER_MS_MAX);
        story.calm(5_000);
        if let Some(dead) = dead {
            story.world.start(dead);
            story.calm(5_000);
        }
    },
};

pub(super) const OF_THREE: Scenario = Scenario {
    name: "failover-of-three",
    about: "three nodes join, and soon, perhaps at once after a change, the publisher dies",
    nodes: 3,
    tell: |story| soon(story, 3),
};

pub(super) const OF_TWO: Scenario = Scenario {
    name: "failover-of-two",
    about: "two nodes join, and soon the publisher dies: the survivor sees half",
    nodes: 2,
    tell: |story| soon(story, 2),
};

/// The publisher dies 0 to 30 s after the joins, or within a second of the last tor's readiness or of a change of
/// publisher. Takeover counts from the moment when a survivor could publish.
fn soon(story: &mut Story, count: usize) {
    story.world.options.bootstrap_ms_max = story.draw(1_500, 15_000);
    story.form(count);
    match story.draw(0, 2) {
        0 => {
            let pause = story.draw(0, 30_000);
            story.world.run_for(pause);
        }
        1 => {
            ready(story);
            let pause = story.draw(0, 1_000);
            story.world.run_for(pause);
        }
        _ => {
            ready(story);
            story.calm(1_000);
            let killed = story.kill_publisher(TAKEOVER_MS_MAX);
            story.takeovers_ms.clear();
            if let Some(killed) = killed.filter(|_| count > 2) {
                story.world.start(killed);
                story
                    .world
                    .run_until(20_000, |world| world.nodes[killed].tor.points.len() == super::super::world::POINTS);
                let pause = story.draw(0, 1_000);
                story.world.run_for(pause);
            } else if let Some(killed) = killed {
                story.world.start(killed);
                ready(story);
                let pause = story.draw(0, 5_000);
                story.world.run_for(pause);
            }
        }
    }
    // Somebody publishes unless no tor is ready yet or the lease is just changing hands.
    story.world.run_until(30_000, |world| publishers(world).count() == 1);
    let Some(holder) = story.holder() else { return };
    story.world.kill(holder);
    let killed_at = story.world.now;
    ready(story);
    let waited = story.world.now - killed_at;
    let done = |world: &mut super::World| super::plan_complete::missing(world).is_none();
    match story.time_until(TAKEOVER_MS_MAX, done) {
        // A survivor whose tor was not ready in time could not do better.
        Some(took) => story.takeovers_ms.push(if waited > 1000 { took } else { waited + took }),
        None => {
            let missing = super::plan_complete::missing(&mut story.world).unwrap_or_default();
            story.fail(format!("no takeover within {TAKEOVER_MS_MAX} ms: {missing}"));
        }
    }
    story.calm(3_000);
}

/// Until every live node's tor has its points.
fn ready(story: &mut Story) {
    let ready =
        |world: &super::World| world.nodes.iter().filter(|node| node.is_live()).all(|node| !node.tor.points.is_empty());
    if !story.world.run_until(60_000, ready) {
        story.fail("a tor is not ready after 60 s".to_owned());
    }
}

pub(super) const STARVED: Scenario = Scenario {
    name: "failover-starved",
    about: "as failover-of-three, on machines that stand still for up to a second at random",
    nodes: 3,
    tell: |story| {
        story.world.options.late_ms_max = story.draw(0, 1_000);
        let (still, runs) = (story.draw(100, 1_000), story.draw(100, 2_000));
        story.world.options.starved_ms = Some((still, runs));
        // Calm as others know it is out of reach, a takeover is not.
        story.world.turmoil = true;
        story.form(3);
        ready(story);
        story.calm(10_000);
        story.kill_publisher(TAKEOVER_MS_MAX);
    },
};

pub(super) const PAUSED: Scenario = Scenario {
    name: "holder-paused",
    about: "the publisher stands still for 0.5 to 2 s again and again, and keeps its lease",
    nodes: 5,
    tell: |story| {
        story.world.options.loss_permille = story.world.options.loss_permille.min(10);
        story.form(5);
        story.calm(3_000);
        for _ in 0..10 {
            let Some(holder) = story.holder() else { return };
            let role = story.world.nodes[holder].role;
            let (pause, run) = (story.draw(500, 2_000), story.draw(2_000, 10_000));
            story.world.stand_still(holder, pause);
            story.world.run_for(pause + run);
            if story.world.nodes[holder].role != role {
                return story.fail(format!("{holder} lost its lease by a pause of {pause} ms"));
            }
        }
    },
};
