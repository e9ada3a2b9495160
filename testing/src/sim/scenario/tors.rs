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

/// Until a tor without introduction points is started anew, and has some, milliseconds.
const CURED_MS_MAX: u64 = 600_000 + 20_000;

pub(super) const STUCK: Scenario = Scenario {
    name: "stuck-tor",
    about: "a tor loses its introduction points and opens no others: its node starts it anew after ten minutes",
    nodes: Some(3),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        story.form();
        story.calm(2_000);
        let Some(node) = story.draw_live() else { return };
        let process = story.world.nodes[node].tors[0].process;
        story.world.strike(&Fault::Hollow { node, ms: 10 * CURED_MS_MAX });
        if !story.world.run_until(CURED_MS_MAX, |world| world.nodes[node].is_full()) {
            return story.fail(format!("the tor of {node} has no points after {CURED_MS_MAX} ms"));
        }
        let restarts = story.world.nodes[node].tors[0].process - process;
        if restarts != 1 {
            return story.fail(format!("the tor of {node} was started anew {restarts} times"));
        }
        story.calm(5_000);
    },
};

pub(super) const ATTACHED: Scenario = Scenario {
    name: "attached-tors",
    about: "the tors of some nodes are their operators', who restart and reload them: they do not publish beside the others",
    nodes: Some(3),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        let some = story.draw(1, 7);
        (0..story.count).for_each(|node| story.world.nodes[node].is_attached = some >> node & 1 == 1);
        story.form();
        story.calm(2_000);
        for _ in 0..8 {
            let Some(node) = story.draw_live() else { return };
            let fault = match story.draw(0, 3) {
                0 => Fault::Tor { node },
                1 => Fault::Settings { node },
                2 => Fault::Control { node, ms: 500 },
                _ => Fault::Stop { node },
            };
            story.world.strike(&fault);
            story.pause(5_000, 30_000);
            story.world.strike(&Fault::StartAll);
            story.in_turmoil(20_000);
            story.calm(2_000);
        }
    },
};

pub(super) const CONTROL_LOSS: Scenario = Scenario {
    name: "control-loss",
    about: "control connections are lost for up to 2 s while the tors serve on: nothing is uploaded for that",
    nodes: Some(3),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        story.form();
        // Half a minute after it begins a publisher uploads once more.
        story.calm(40_000);
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
