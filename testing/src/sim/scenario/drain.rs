//! A node is taken out of service, stays out over restarts, and comes back.

use rustbalance_core::cluster::Order;

use super::story::publishers;
use super::{Mark, Scenario, Story};
use crate::sim::check::plan_complete;
use crate::sim::fault::Fault;
use crate::sim::measure::{is_listed, points_of};

/// Its circuits are closed, and tor has opened others, that nobody knows, milliseconds.
const OUT_MS: u64 = 20_000;
/// From the order until no HSDir lists the node, or all list it again, milliseconds.
const DRAINED_MS_MAX: u64 = 6_000;

pub(super) const DRAIN: Scenario = Scenario {
    name: "drain",
    about: "any of five nodes is drained, the publisher, too: it leaves the descriptor and the election, over a restart, until it is put back",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[(Mark::HolderDrained, 5)],
    tell: |story| {
        story.form();
        story.calm(5_000);
        while story.has_time(7) {
            let Some(node) = story.draw_live() else { return };
            let points = points_of(&story.world, node);
            order(story, node, Order::Drain);
            if story.time_until(DRAINED_MS_MAX, |world| !is_listed(world, &points)).is_none() {
                return story.fail(format!("{node} is listed {DRAINED_MS_MAX} ms after it was drained"));
            }
            story.calm(OUT_MS);
            if publishers(&story.world).any(|publisher| publisher == node) {
                return story.fail(format!("{node} is drained and publishes"));
            }
            if story.draw(0, 1) == 0 {
                restart(story, node);
            }
            order(story, node, Order::Undrain);
            if story.time_until(DRAINED_MS_MAX, |world| plan_complete::missing(world).is_none()).is_none() {
                return story.fail(format!("{node} is not listed {DRAINED_MS_MAX} ms after it was put back"));
            }
            story.pause(1_000, 10_000);
        }
    },
};

/// At the node itself, or at any other.
fn order(story: &mut Story, whom: usize, order: Order) {
    let other = story.draw_live();
    let node = if story.draw(0, 1) == 0 { whom } else { other.unwrap_or(whom) };
    story.world.strike(&Fault::Order { node, whom, order });
}

/// It is killed, or stopped, and comes back as out of service as it was.
fn restart(story: &mut Story, node: usize) {
    let fault = if story.draw(0, 1) == 0 { Fault::Kill { node } } else { Fault::Stop { node } };
    story.world.strike(&fault);
    story.pause(2_000, 8_000);
    story.world.strike(&Fault::Start { node });
    story.ready();
    story.calm(2_000);
    if !story.world.nodes[node].is_draining {
        story.fail(format!("{node} has forgotten that it is drained"));
    }
}
