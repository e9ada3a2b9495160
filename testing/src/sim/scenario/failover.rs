//! The publisher dies, or any node; or one is slow without dying.

use super::story::{TAKEOVER_MS_MAX, publishers};
use super::{Mark, Scenario, Story};
use crate::sim::check::plan_complete;
use crate::sim::fault::Fault;
use crate::sim::measure::{is_listed, points_of};
use crate::sim::world::World;

pub(super) const OF_FIVE: Scenario = Scenario {
    name: "failover-of-five",
    about: "the publisher of five nodes dies, the others carry on, it comes back; again and again",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[(Mark::ChunksAskedAgain, 10)],
    tell: |story| {
        story.form();
        story.calm(5_000);
        while story.has_time(10) {
            let Some(node) = story.kill_publisher() else { return };
            story.calm(5_000);
            story.world.strike(&Fault::Start { node });
            story.calm(5_000);
        }
    },
};

pub(super) const OF_THREE: Scenario = Scenario {
    name: "failover-of-three",
    about: "three nodes join, and soon, perhaps at once after a change, the publisher dies",
    nodes: Some(3),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: soon,
};

pub(super) const OF_TWO: Scenario = Scenario {
    name: "failover-of-two",
    about: "two nodes join, and soon the publisher dies: the survivor sees half",
    nodes: Some(2),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: soon,
};

/// The publisher dies 0 to 30 s after the joins, or within a second of the last tor's readiness or of a change of
/// publisher. Takeover counts from the moment when a survivor could publish.
fn soon(story: &mut Story) {
    story.world.options.bootstrap_ms_max = story.draw(1_500, 15_000);
    story.form();
    match story.draw(0, 2) {
        0 => story.pause(0, 30_000),
        1 => {
            story.ready();
            story.pause(0, 1_000);
        }
        _ => after_a_change(story),
    }
    // Somebody publishes unless no tor is ready yet or the lease is just changing hands.
    story.world.run_until(30_000, |world| publishers(world).count() == 1);
    let Some(node) = story.holder() else { return };
    story.world.strike(&Fault::Kill { node });
    let killed_at = story.world.now;
    story.ready();
    // A survivor whose tor was not ready in time could not do better.
    let waited = story.world.now - killed_at;
    story.await_plan(if waited > 1_000 { story.world.now } else { killed_at });
    story.calm(3_000);
}

fn after_a_change(story: &mut Story) {
    story.ready();
    story.calm(1_000);
    let Some(node) = story.kill_publisher() else { return };
    story.measured.takeovers_ms.clear();
    story.world.strike(&Fault::Start { node });
    if story.count > 2 {
        story.world.run_until(20_000, |world| world.nodes[node].is_full());
        story.pause(0, 1_000);
    } else {
        story.ready();
        story.pause(0, 5_000);
    }
}

/// Both survivors may claim at once. The winner then answers its rival at once with the plan that it has, which may list the
/// dead node still, and uploads to no slot again for so long, milliseconds.
const RIVALS_APART_MS: u64 = 30_000;

pub(super) const STARVED: Scenario = Scenario {
    name: "failover-starved",
    about: "as failover-of-three, on machines that stand still for up to a second at random",
    nodes: Some(3),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        story.world.options.late_ms_max = story.draw(0, 1_000);
        let (still, runs) = (story.draw(100, 1_000), story.draw(100, 2_000));
        story.world.options.starved_ms = Some((still, runs));
        // Calm as others know it is out of reach, a takeover is not.
        story.world.turmoil = true;
        story.form();
        story.ready();
        story.calm(10_000);
        let Some(node) = story.holder() else { return };
        let (killed_at, rivals_until) = (story.world.now, story.world.rivals_until);
        story.world.strike(&Fault::Kill { node });
        let spacing = |world: &World| if world.rivals_until > rivals_until { RIVALS_APART_MS } else { 0 };
        story.await_plan_within(|world| TAKEOVER_MS_MAX + spacing(world), killed_at);
    },
};

pub(super) const PAUSED: Scenario = Scenario {
    name: "holder-paused",
    about: "the publisher stands still for 0.5 to 2 s again and again, and keeps its lease",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        story.form();
        story.calm(3_000);
        for _ in 0..10 {
            let Some(holder) = story.holder() else { return };
            let role = story.world.nodes[holder].role;
            let pause = story.draw(500, 2_000);
            story.world.stand_still(holder, pause);
            story.world.run_for(pause);
            story.pause(2_000, 10_000);
            if story.world.nodes[holder].role != role {
                return story.fail(format!("{holder} lost its lease by a pause of {pause} ms"));
            }
        }
    },
};

pub(super) const ANY_KILLED: Scenario = Scenario {
    name: "any-node-killed",
    about: "any of five nodes dies: its points leave every HSDir; it comes back; again and again",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        story.form();
        story.calm(5_000);
        while story.has_time(10) {
            let Some(node) = story.draw_live() else { return };
            story.strike_down(node, &Fault::Kill { node });
            story.calm(2_000);
            story.world.strike(&Fault::Start { node });
            story.calm(5_000);
        }
    },
};

pub(super) const FROZEN: Scenario = Scenario {
    name: "frozen-node",
    about: "any of five nodes freezes with its points alive: they leave every HSDir; it thaws; again and again",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        story.form();
        story.calm(5_000);
        while story.has_time(10) {
            let Some(node) = story.draw_live() else { return };
            let ms = story.draw(15_000, 40_000);
            let thaws_at = story.world.now + ms;
            story.strike_down(node, &Fault::Freeze { node, ms });
            story.world.run_for(thaws_at.saturating_sub(story.world.now + 1));
            // It answers all that has waited; and if it held the lease it is a rival: uploads to a slot are 30 s apart.
            story.in_turmoil(35_000);
            story.calm(5_000);
        }
    },
};

pub(super) const TARGET_DOWN: Scenario = Scenario {
    name: "target-down",
    about: "the application behind any of five nodes dies: the node leaves the descriptor, and comes back with it",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        story.form();
        story.calm(5_000);
        while story.has_time(5) {
            let Some(node) = story.draw_live() else { return };
            let points = points_of(&story.world, node);
            story.world.strike(&Fault::Target { node, up: false });
            let out = |world: &mut World| !is_listed(world, &points);
            if story.time_until(TAKEOVER_MS_MAX, out).is_none() {
                return story.fail(format!("{node} is listed {TAKEOVER_MS_MAX} ms after its target died"));
            }
            story.pause(1_000, 20_000);
            story.world.strike(&Fault::Target { node, up: true });
            if story.time_until(TAKEOVER_MS_MAX, |world| plan_complete::missing(world).is_none()).is_none() {
                return story.fail(format!("{node} is not listed {TAKEOVER_MS_MAX} ms after its target came back"));
            }
            story.pause(1_000, 20_000);
        }
    },
};
