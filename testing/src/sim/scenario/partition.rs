//! The mesh falls apart and comes together.

use super::story::{has_one_publisher, publishers};
use super::{Mark, Scenario, Story};
use crate::sim::fault::Fault;

/// From healing to one publisher (`docs/RELIABILITY.md`), milliseconds, in a single run.
const HEALED_MS_MAX: u64 = 10_000;

pub(super) const TWO_THREE: Scenario = Scenario {
    name: "partition-2-3",
    about: "five nodes part into two and three for 10 to 120 s, or for longer than a session; the two overwrite nothing; one publisher after healing",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[(Mark::MutualDown, 20), (Mark::SessionsOutlived, 20)],
    tell: |story| {
        story.form();
        story.calm(3_000);
        while story.has_time(10) {
            let first = story.draw(0, story.count as u64 - 1) as usize;
            let minority: Vec<_> = (0..story.count / 2).map(|next| (first + next) % story.count).collect();
            part(story, minority);
            // Sessions are good for 180 s: after that both sides must find each other anew.
            match story.draw(0, 2) {
                0 => story.pause(200_000, 300_000),
                _ => story.pause(10_000, 120_000),
            }
            heal(story);
        }
    },
};

pub(super) const MINORITY: Scenario = Scenario {
    name: "minority-publisher",
    about: "the publisher of five nodes is parted with a minority: it leaves the HSDirs alone, or uploads the union",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[(Mark::MinorityQuiet, 10), (Mark::MinorityUnion, 20)],
    tell: |story| {
        story.form();
        story.calm(3_000);
        while story.has_time(10) {
            let Some(holder) = story.holder() else { return };
            let others = story.draw(0, 1) as usize;
            part(story, (0..=others).map(|next| (holder + next) % story.count).collect());
            story.pause(10_000, 20_000);
            if story.draw(0, 1) == 0 {
                // The majority has never seen these.
                story.world.strike(&Fault::Points { node: holder });
            }
            story.pause(20_000, 60_000);
            heal(story);
        }
    },
};

pub(super) const DEAF: Scenario = Scenario {
    name: "deaf-holder",
    about: "the publisher hears nobody any more, and is heard: it is replaced, and steps down once it hears again",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[(Mark::DeafHolderReplaced, 5)],
    tell: |story| {
        story.form();
        story.calm(3_000);
        while story.has_time(5) {
            let Some(node) = story.holder() else { return };
            story.world.strike(&Fault::Deaf { node });
            let replaced = |world: &super::World| publishers(world).any(|publisher| publisher != node);
            if !story.world.run_until(DEAF_MS_MAX, replaced) {
                return story.fail(format!("{node} hears nobody and still publishes after {DEAF_MS_MAX} ms"));
            }
            story.pause(1_000, 20_000);
            heal(story);
        }
    },
};

/// A TTL without being heard, half a beat, the back-off of the ranks, and the claim, milliseconds.
const DEAF_MS_MAX: u64 = 10_000;

fn part(story: &mut Story, minority: Vec<usize>) {
    let majority = (0..story.count).filter(|node| !minority.contains(node)).collect();
    story.world.strike(&Fault::Partition { left: minority, right: majority });
}

/// Heals, and measures how long it takes until there is one publisher.
fn heal(story: &mut Story) {
    let since = story.world.now;
    story.world.strike(&Fault::Heal);
    if story.world.run_until(HEALED_MS_MAX, has_one_publisher) {
        story.measured.healed_ms.push(story.world.now - since);
    } else {
        let count = publishers(&story.world).count();
        story.fail(format!("{count} publishers {HEALED_MS_MAX} ms after healing"));
    }
    // While a rival is remembered, uploads to a slot are 30 s apart.
    story.in_turmoil(35_000);
    story.calm(10_000);
}
