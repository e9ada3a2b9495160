//! Tors die, and control connections are lost.

use super::{Mark, Scenario};
use crate::sim::fault::Fault;

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
