//! Nodes stop and start, one by one, all at once, or again and again.

use super::story::has_one_publisher;
use super::{Mark, Scenario, Story};
use crate::sim::check::plan_complete;
use crate::sim::fault::Fault;
use crate::sim::measure::{is_listed, points_of};

/// A node has stopped within, milliseconds: its introduction circuits are closed after ten seconds, though the newest plan
/// has not reached every HSDir.
const STOPPED_MS_MAX: u64 = 14_000;
/// A graceful stop is taken over within, milliseconds, in a single run; `docs/RELIABILITY.md` promises a second, 99 of 100 times.
const RELEASED_MS_MAX: u64 = 3_000;
/// The points of who stopped are gone within, in a single run: as those of who dies, milliseconds.
const GRACEFUL_MS_MAX: u64 = 6_000;
/// From a start of all nodes at once until all are published, at the worst: two may claim at once, and while a rival
/// is remembered, uploads to a slot are 30 s apart.
const COLD_START_MS_MAX: u64 = 45_000;

pub(super) const COLD_START: Scenario = Scenario {
    name: "cold-start",
    about: "all nodes lose power at once and start together from their disks",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        story.form();
        story.calm(1_000);
        (0..story.count).for_each(|node| story.world.strike(&Fault::Kill { node }));
        story.world.run_for(2_000);
        let since = story.world.now;
        for node in 0..story.count {
            story.pause(0, 1_500 / story.count as u64);
            story.world.strike(&Fault::Start { node });
        }
        story.world.turmoil = true;
        let is_published = |world: &mut super::World| {
            world.nodes.iter().all(|node| !node.is_pointless()) && plan_complete::missing(world).is_none()
        };
        match story.time_until(COLD_START_MS_MAX, is_published) {
            Some(_) => story.measured.started_ms.push(story.world.now - since),
            None => story.fail(format!("not all nodes are published {COLD_START_MS_MAX} ms after a cold start")),
        }
        story.world.turmoil = false;
        story.calm(10_000);
    },
};

pub(super) const ROLLING: Scenario = Scenario {
    name: "rolling-restart",
    about: "each of five nodes is stopped as an operator stops it, and started again",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[(Mark::Released, 5)],
    tell: |story| {
        story.form();
        story.calm(1_000);
        for node in 0..story.count {
            stop(story, node);
            story.pause(500, 5_000);
            story.world.strike(&Fault::Start { node });
            story.calm(2_000);
        }
    },
};

pub(super) const GRACEFUL: Scenario = Scenario {
    name: "graceful-stop",
    about: "the publisher of five nodes is stopped as an operator stops it, and started again; again and again",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[(Mark::Released, 5)],
    tell: |story| {
        story.form();
        story.calm(5_000);
        while story.has_time(10) {
            let Some(node) = story.holder() else { return };
            stop(story, node);
            story.calm(2_000);
            story.world.strike(&Fault::Start { node });
            story.calm(5_000);
        }
    },
};

/// Stops a node; if it is the publisher, the lease and the plan pass on at once.
fn stop(story: &mut Story, node: usize) {
    let (since, is_publisher) = (story.world.now, story.holder() == Some(node));
    let points = points_of(&story.world, node);
    story.world.strike(&Fault::Stop { node });
    if is_publisher {
        let is_passed_on = |world: &super::World| {
            has_one_publisher(world) && !super::story::publishers(world).any(|other| other == node)
        };
        if !story.world.run_until(RELEASED_MS_MAX, is_passed_on) {
            return story.fail(format!("{node} stopped, and nobody else publishes after {RELEASED_MS_MAX} ms"));
        }
        story.measured.released_ms.push(story.world.now - since);
        let bound = (since + GRACEFUL_MS_MAX).saturating_sub(story.world.now);
        // A descriptor without its points is the others' plan.
        if story.time_until(bound, |world| is_passed_on(world) && !is_listed(world, &points)).is_none() {
            return story.fail(format!("{node} stopped, and its points stay for {GRACEFUL_MS_MAX} ms"));
        }
        story.measured.graceful_ms.push(story.world.now - since);
    }
    if !story.world.run_until(STOPPED_MS_MAX, |world| !world.nodes[node].is_live()) {
        story.fail(format!("{node} does not stop within {STOPPED_MS_MAX} ms"));
    }
}

pub(super) const FLAPPING: Scenario = Scenario {
    name: "flapping-node",
    about: "one of five nodes is killed and restarted again and again, then left alone",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        story.form();
        story.calm(1_000);
        let node = story.draw(0, story.count as u64 - 1) as usize;
        for _ in 0..8 {
            story.world.strike(&Fault::Kill { node });
            story.pause(100, 8_000);
            story.world.strike(&Fault::Start { node });
            story.pause(100, 12_000);
        }
        story.calm(10_000);
    },
};
