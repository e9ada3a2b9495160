//! Nodes stop and start, one by one, all at once, or again and again.

use rustbalance_core::Command;

use super::{Scenario, publishers};
use crate::sim::check::plan_complete;

/// A graceful stop is taken over within (DESIGN section 9, with the upload's own time), milliseconds.
const GRACEFUL_MS_MAX: u64 = 3_000;

pub(super) const COLD_START: Scenario = Scenario {
    name: "cold-start",
    about: "five nodes lose power at once and start together from their disks",
    nodes: 5,
    tell: |story| {
        story.form(5);
        story.calm(1_000);
        (0..5).for_each(|node| story.world.kill(node));
        story.world.run_for(2_000);
        for node in 0..5 {
            let pause = story.draw(0, 300);
            story.world.run_for(pause);
            story.world.start(node);
        }
        // Two may claim at once: while a rival is remembered, uploads to a slot are 30 s apart.
        story.world.turmoil = true;
        let took = story.time_until(45_000, |world| {
            world.nodes.iter().all(|node| !node.tor.points.is_empty()) && plan_complete::missing(world).is_none()
        });
        if took.is_none() {
            story.fail("not all nodes are published 45 s after a cold start".to_owned());
        }
        story.healed_ms.extend(took);
        story.world.turmoil = false;
        story.calm(10_000);
    },
};

pub(super) const ROLLING: Scenario = Scenario {
    name: "rolling-restart",
    about: "each of five nodes is stopped as an operator stops it, and started again",
    nodes: 5,
    tell: |story| {
        story.form(5);
        story.calm(1_000);
        for node in 0..5 {
            let held = story.holder() == Some(node);
            story.world.command(node, Command::Shutdown);
            if held {
                let took = story.time_until(GRACEFUL_MS_MAX, |world| {
                    publishers(world).count() == 1 && plan_complete::missing(world).is_none()
                });
                if took.is_none() {
                    story.fail(format!("{node} stopped, and its points or its lease stayed {GRACEFUL_MS_MAX} ms"));
                }
                story.takeovers_ms.extend(took);
            }
            story.world.run_until(10_000, |world| !world.nodes[node].is_live());
            if story.world.nodes[node].is_live() {
                story.fail(format!("{node} does not stop within 10 s"));
            }
            let pause = story.draw(500, 5_000);
            story.world.run_for(pause);
            story.world.start(node);
            story.calm(2_000);
        }
    },
};

pub(super) const FLAPPING: Scenario = Scenario {
    name: "flapping-node",
    about: "one of five nodes is killed and restarted again and again, then left alone",
    nodes: 5,
    tell: |story| {
        story.form(5);
        story.calm(1_000);
        let node = story.draw(0, 4) as usize;
        for _ in 0..8 {
            story.world.kill(node);
            let pause = story.draw(100, 8_000);
            story.world.run_for(pause);
            story.world.start(node);
            let pause = story.draw(100, 12_000);
            story.world.run_for(pause);
        }
        story.calm(10_000);
    },
};
