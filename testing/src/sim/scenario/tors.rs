//! Tors die, and control connections are lost.

use super::Scenario;

pub(super) const TOR_RESTARTS: Scenario = Scenario {
    name: "tor-restarts",
    about: "tors of three nodes are killed at random and control connections lost; then calm",
    nodes: 3,
    tell: |story| {
        story.form(3);
        story.calm(2_000);
        for _ in 0..10 {
            let node = story.draw(0, 2) as usize;
            if story.draw(0, 1) == 0 {
                story.world.kill_tor(node);
            } else {
                let ms = story.draw(10, 8_000);
                story.world.lose_control(node, ms);
            }
            let pause = story.draw(100, 15_000);
            story.world.run_for(pause);
        }
        story.world.turmoil = true;
        story.world.run_for(15_000);
        story.world.turmoil = false;
        story.calm(10_000);
    },
};

pub(super) const CONTROL_LOSS: Scenario = Scenario {
    name: "control-loss",
    about: "control connections are lost for up to 2 s while the tors serve on: nothing is uploaded for that",
    nodes: 3,
    tell: |story| {
        story.form(3);
        story.calm(10_000);
        for _ in 0..6 {
            let Some(holder) = story.holder() else { return };
            let others: Vec<_> = (0..3).filter(|node| *node != holder).collect();
            let node = others[story.draw(0, 1) as usize];
            let accepted = story.world.hsdirs.accepted;
            let (ms, pause) = (story.draw(10, 2_000), story.draw(4_000, 10_000));
            story.world.lose_control(node, ms);
            story.world.run_for(pause);
            let uploads = story.world.hsdirs.accepted - accepted;
            if uploads > 0 {
                return story.fail(format!("{uploads} uploads for a control connection of {node} lost for {ms} ms"));
            }
        }
        story.calm(2_000);
    },
};
