//! From one node to five and back.

use rustbalance_core::Command;

use super::Scenario;

pub(super) const ONE_TWO_FIVE_ONE: Scenario = Scenario {
    name: "one-two-five-one",
    about: "one node, two, five; then they leave or die, until one is left",
    nodes: 5,
    tell: |story| {
        story.world.found();
        story.calm(2_000);
        story.join(1);
        story.calm(2_000);
        for joiner in 2..5 {
            let pause = story.draw(0, 3_000);
            story.world.run_for(pause);
            story.join(joiner);
        }
        story.calm(2_000);
        for _ in 0..4 {
            let live: Vec<_> = story.live().collect();
            if live.is_empty() {
                return story.fail("nobody is left".to_owned());
            }
            let node = live[story.draw(0, live.len() as u64 - 1) as usize];
            if story.draw(0, 1) == 0 {
                story.world.kill(node);
            } else {
                story.world.command(node, Command::Leave);
                if !story.world.run_until(10_000, |world| !world.nodes[node].is_live()) {
                    story.fail(format!("{node} does not leave within 10 s"));
                }
            }
            story.calm(2_000);
        }
    },
};
