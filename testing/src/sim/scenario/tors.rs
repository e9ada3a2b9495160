//! Tors die, and control connections are lost.

use super::story::EXCLUDED_MS_MAX;
use super::{Mark, Scenario, Story};
use crate::sim::fault::Fault;
use crate::sim::measure::{is_listed, points_of};

pub(super) const TOR_RESTARTS: Scenario = Scenario {
    name: "tor-restarts",
    about: "tors of three nodes are killed at random and control connections lost; then calm",
    nodes: Some(3),
    spare: 0,
    is_long: false,
    marks: &[(Mark::HolderWithoutTor, 10)],
    tell: |story| {
        story.form();
        story.calm(2_000);
        for _ in 0..10 {
            let node = story.draw(0, story.count as u64 - 1) as usize;
            let ms = story.draw(10, 8_000);
            let fault = if story.draw(0, 1) == 0 { Fault::Tor { node } } else { Fault::Control { node, ms } };
            story.world.strike(&fault);
            story.pause(100, 15_000);
        }
        story.in_turmoil(15_000);
        story.calm(10_000);
    },
};

pub(super) const TWO_TORS: Scenario = Scenario {
    name: "two-tors",
    about: "nodes with two tors each, alone and then three: one of them is killed, and its points leave while its node serves on",
    nodes: Some(3),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        story.world.options.tors = 2;
        story.world.found();
        story.ready();
        story.calm(2_000);
        lose_one_tor(story, 0);
        for joiner in 1..story.count {
            story.join(joiner);
        }
        story.ready();
        story.calm(2_000);
        for _ in 0..6 {
            let node = story.draw(0, story.count as u64 - 1) as usize;
            lose_one_tor(story, node);
        }
    },
};

/// One tor of `node` dies: HSDirs list its points no more, and go on listing those of the other one.
fn lose_one_tor(story: &mut Story, node: usize) {
    let before = points_of(&story.world, node);
    story.world.strike(&Fault::Tor { node });
    let left = points_of(&story.world, node);
    let lost: Vec<_> = before.into_iter().filter(|point| !left.contains(point)).collect();
    if left.is_empty() || lost.is_empty() {
        return story.fail(format!("{} points left and {} lost with one tor of {node}", left.len(), lost.len()));
    }
    let stays = core::cell::Cell::new(true);
    let took = story.time_until(EXCLUDED_MS_MAX, |world| {
        stays.set(stays.get() && is_listed(world, &left));
        !is_listed(world, &lost)
    });
    match took {
        Some(took) if stays.get() => story.measured.excluded_ms.push(took),
        Some(_) => story.fail(format!("the points of {node}'s other tor were taken out, too")),
        None => story.fail(format!("points of a dead tor of {node} stay on an HSDir for {EXCLUDED_MS_MAX} ms")),
    }
    story.ready();
    story.calm(2_000);
}

pub(super) const CONTROL_LOSS: Scenario = Scenario {
    name: "control-loss",
    about: "control connections are lost for up to 2 s while the tors serve on: nothing is uploaded for that",
    nodes: Some(3),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        story.form();
        story.calm(10_000);
        for _ in 0..6 {
            let Some(holder) = story.holder() else { return };
            let node = (holder + 1 + story.draw(0, story.count as u64 - 2) as usize) % story.count;
            let accepted = story.world.hsdirs.accepted;
            let ms = story.draw(10, 2_000);
            story.world.strike(&Fault::Control { node, ms });
            story.pause(4_000, 10_000);
            let uploads = story.world.hsdirs.accepted - accepted;
            if uploads > 0 {
                return story.fail(format!("{uploads} uploads for a control connection of {node} lost for {ms} ms"));
            }
        }
        story.calm(2_000);
    },
};
