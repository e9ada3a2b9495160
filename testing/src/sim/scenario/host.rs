//! What a machine's own state does to the lease.

use super::story::{has_one_publisher, publishers};
use super::{Scenario, World};
use crate::sim::fault::Fault;

/// A full disk is measured within 10 s and the lease then passed on, milliseconds.
const PASSED_ON_MS_MAX: u64 = 12_000;

pub(super) const FULL_DISK: Scenario = Scenario {
    name: "full-disk",
    about: "the publisher's disk is full: it passes the lease on to one that can write, and serves on",
    nodes: Some(5),
    spare: 0,
    is_long: false,
    marks: &[],
    tell: |story| {
        story.form();
        story.calm(2_000);
        while story.has_time(8) {
            let Some(node) = story.holder() else { return };
            story.world.strike(&Fault::Disk { node, fails: true });
            let is_passed_on =
                |world: &World| has_one_publisher(world) && publishers(world).all(|publisher| publisher != node);
            if !story.world.run_until(PASSED_ON_MS_MAX, is_passed_on) {
                return story.fail(format!("{node} still publishes {PASSED_ON_MS_MAX} ms after its disk was full"));
            }
            // That all, this one's points too, are listed is checked in calm.
            story.calm(20_000);
            story.world.strike(&Fault::Disk { node, fails: false });
            story.calm(5_000);
        }
    },
};
