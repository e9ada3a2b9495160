//! The cluster token is replaced, and members are removed, in calm and on both sides of a partition.

use std::time::Duration;

use super::story::publishers;
use super::{Mark, Scenario, Story};
use crate::sim::fault::Fault;

/// A new token reaches everybody who can be reached within, milliseconds.
const ROTATED_MS_MAX: u64 = 10_000;
/// The same where rivals made one each, or one has to be made again since a removed member knows it.
const UNITED_MS_MAX: u64 = 45_000;
/// A removed member that can be reached is told at once, milliseconds.
const QUIET_MS_MAX: u64 = 900;

/// See [`AGE`].
const AGE_MAX: Duration = Duration::from_secs(180);
/// A token is looked at a minute after a node's start, and then every minute, milliseconds.
const AGED_MS_MAX: u64 = 180_000 + 2 * 60_000 + ROTATED_MS_MAX;

pub(super) const ROTATE: Scenario = Scenario {
    name: "rotate-token",
    about: "five nodes part into two and three, one side or both make a new token; after healing all have one, and the old one admits nobody",
    nodes: Some(5),
    spare: 2,
    is_long: false,
    marks: &[(Mark::OldTokenRefused, 3), (Mark::TokenRotated, 3), (Mark::RivalTokens, 10)],
    tell: |story| {
        story.form();
        story.calm(2_000);
        let old = story.world.nodes[0].token;
        let first = story.draw(0, 4) as usize;
        let side = |story: &Story, at: usize| (first + at) % story.count;
        let (left, right) = (0..story.count)
            .map(|at| side(story, at))
            .partition::<Vec<_>, _>(|node| *node == side(story, 0) || *node == side(story, 1));
        story.world.strike(&Fault::Partition { left: left.clone(), right: right.clone() });
        story.pause(0, 10_000);
        let both = story.draw(0, 1) == 0;
        rotate(story, &left);
        if both {
            story.pause(0, 5_000);
            rotate(story, &right);
        }
        story.pause(1_000, 10_000);
        story.world.strike(&Fault::Heal);
        await_one_token(story, old, if both { UNITED_MS_MAX } else { ROTATED_MS_MAX });
        story.in_turmoil(35_000);
        story.calm(2_000);
        let Some(via) = story.draw_live() else { return };
        story.world.ask_with(story.count, via, old);
        story.pause(3_000, 3_000);
        if story.world.nodes[story.count].is_live() {
            return story.fail("the old token admits somebody".to_owned());
        }
        story.join(story.count + 1);
        story.calm(5_000);
    },
};

pub(super) const REMOVE: Scenario = Scenario {
    name: "remove-node",
    about: "a node is removed, perhaps the publisher, perhaps while it is dead, or one on each side of a partition; it stays out, and all others have a new token",
    nodes: Some(6),
    spare: 1,
    is_long: false,
    marks: &[(Mark::RemovedHolderQuiet, 15), (Mark::TokenRotated, 3)],
    tell: |story| {
        story.form();
        story.calm(2_000);
        let old = story.world.nodes[0].token;
        match story.draw(0, 4) {
            0 | 1 => remove_holder(story),
            2 => remove_dead(story),
            _ => remove_on_both_sides(story),
        }
        await_one_token(story, old, UNITED_MS_MAX);
        story.in_turmoil(40_000);
        story.calm(5_000);
        // Who was removed is a stranger, and may be made anew.
        let Some(gone) = story.world.nodes.iter().position(|node| node.is_removed) else {
            return story.fail("nobody was removed".to_owned());
        };
        story.join(gone);
        story.calm(5_000);
    },
};

pub(super) const AGE: Scenario = Scenario {
    name: "token-age",
    about: "a token that has been in force for three minutes is replaced by the publisher, but not while a member cannot hear of it",
    nodes: Some(3),
    spare: 1,
    is_long: false,
    marks: &[(Mark::TokenRotated, 3)],
    tell: |story| {
        story.world.options.token_age_max = Some(AGE_MAX);
        story.form();
        let old = story.world.nodes[0].token;
        story.calm(2_000);
        await_one_token(story, old, AGED_MS_MAX);
        story.calm(2_000);
        let second = story.world.nodes[0].token;
        let Some(absent) = story.draw_live() else { return };
        story.world.strike(&Fault::Kill { node: absent });
        story.world.run_for(AGED_MS_MAX);
        if story.world.nodes.iter().any(|node| node.is_member && node.token != second) {
            return story.fail(format!("a token was replaced while {absent} could not hear of it"));
        }
        story.world.strike(&Fault::Start { node: absent });
        await_one_token(story, second, AGED_MS_MAX);
        story.calm(2_000);
        story.join(story.count);
        story.calm(2_000);
    },
};

/// One of `nodes` makes a new token.
fn rotate(story: &mut Story, nodes: &[usize]) {
    let at = story.draw(0, nodes.len() as u64 - 1) as usize;
    story.world.strike(&Fault::RotateToken { node: nodes[at] });
}

fn remove_holder(story: &mut Story) {
    let Some(whom) = story.holder() else { return };
    let node = (whom + 1 + story.draw(0, 4) as usize) % story.count;
    story.world.strike(&Fault::Remove { node, whom });
    story.world.turmoil = true;
    let is_quiet = |world: &super::World| publishers(world).all(|publisher| publisher != whom);
    if !story.world.run_until(QUIET_MS_MAX, is_quiet) {
        story.fail(format!("{whom} was removed and still publishes after {QUIET_MS_MAX} ms"));
    }
}

fn remove_dead(story: &mut Story) {
    let whom = story.draw(0, 5) as usize;
    story.world.strike(&Fault::Kill { node: whom });
    story.pause(0, 15_000);
    let Some(node) = story.draw_live() else { return };
    story.world.strike(&Fault::Remove { node, whom });
    story.world.turmoil = true;
}

/// Each side removes one of the other. Who was removed is switched off before it can know.
fn remove_on_both_sides(story: &mut Story) {
    let (left, right) = ([0, 1, 2], [3, 4, 5]);
    story.world.turmoil = true;
    story.world.strike(&Fault::Partition { left: left.to_vec(), right: right.to_vec() });
    story.pause(0, 10_000);
    let (here, there) = (story.draw(0, 2) as usize, story.draw(0, 2) as usize);
    for (node, whom) in [(left[here], right[there]), (right[(there + 1) % 3], left[(here + 1) % 3])] {
        story.world.strike(&Fault::Remove { node, whom });
        story.pause(0, 4_000);
    }
    story.pause(1_000, 10_000);
    story.world.strike(&Fault::Heal);
}

/// Until all live members have one token, which is not `old`.
fn await_one_token(story: &mut Story, old: [u8; 32], within_ms: u64) {
    let is_one = |world: &super::World| {
        let mut tokens = world.nodes.iter().filter(|node| node.is_live() && node.is_member).map(|node| node.token);
        let first = tokens.next();
        first != Some(old) && tokens.all(|token| Some(token) == first)
    };
    if !story.world.run_until(within_ms, is_one) {
        story.fail(format!("not all have one new token after {within_ms} ms"));
    }
}
