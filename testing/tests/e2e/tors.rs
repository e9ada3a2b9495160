//! A node with two tors, in front of the service of the others, which it reaches through its own tors: when one of them is
//! killed, visitors come by the other.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustbalance_core::status::Status;
use rustbalance_testing::cluster::{Cluster, plan};
use rustbalance_testing::process;
use rustbalance_testing::visitors::{self, PATIENCE};
use rustix::process::Signal;

use crate::{LONG, POINTS, Scenario};

/// From a tor's death to a plan without its points, on every HSDir.
const LEFT: Duration = Duration::from_secs(15);
/// From a tor's death to the points of its successor in the plan.
const RESTARTED: Duration = Duration::from_secs(60);

impl Scenario<'_> {
    /// Another service, of one node with two tors, whose target is this onion.
    pub fn onion_target_of_two_tors(&mut self) -> Result<()> {
        self.report.step("another service, of a node with two tors, whose target is this onion");
        let mut outer = Cluster::in_front_of(&format!("{}:80", self.cluster.address()?), self.net, 1, "info")?;
        outer.tors = 2;
        outer.add(None)?;
        let up = |status: &Status| if status.target == "up" { both_are_listed(status) } else { Err("target".into()) };
        let status = outer.wait_for(0, "its target to answer and its tors to be listed", LONG, up);
        self.report.check("alone, it publishes the points of both tors", status).context("no points")?;
        self.reader.wait_published(outer.address()?, LONG)?;
        let tally = visitors::fresh(self.net, outer.address()?, 4, 2)?;
        let served = tally.is_good(PATIENCE) && self.serve(&tally);
        self.report.expect("its visitors get the pages of this one", served, &tally.to_string());

        let (killed, other) = (outer.node(0)?.tor_pid_of(0)?, outer.node(0)?.tor_pid_of(1)?);
        process::signal(killed, Signal::KILL);
        let at = Instant::now();
        let one_left = |status: &Status| {
            plan::is_confirmed(status, u64::MAX)?;
            let points = status.publication.points.len();
            if points <= POINTS as usize { Ok(()) } else { Err(format!("{points} points")) }
        };
        let left = keys(&outer.wait_for(0, "the plan without the points of the killed tor", LONG, one_left)?);
        self.report.in_time("the points of a killed tor leave the HSDirs", at.elapsed(), LEFT);
        let tally = visitors::fresh(self.net, outer.address()?, 2, 2)?;
        self.report.expect("visitors come by the other tor", tally.is_good(PATIENCE), &tally.to_string());
        let status = outer.wait_for(0, "the points of both tors in the plan", LONG, both_are_listed)?;
        self.report.in_time("the points of its successor are listed with the others", at.elapsed(), RESTARTED);
        let kept = keys(&status).intersection(&left).count();
        self.report.expect("the other tor's points stayed", kept > 0, &format!("{kept} of {}", left.len()));
        let pids = (outer.node(0)?.tor_pid_of(0)?, outer.node(0)?.tor_pid_of(1)?);
        let good = pids.0 != killed && pids.1 == other;
        self.report.expect("one tor is another process", good, &format!("{killed}, {other}, then {pids:?}"));
        let status = outer.node(0)?.terminate(LONG)?;
        self.report.expect("it stops in good order", status.success(), &status.to_string());
        Ok(())
    }

    /// Whether nobody but this service's nodes served.
    fn serve(&self, tally: &visitors::Tally) -> bool {
        tally.served_by.keys().all(|node| self.names().contains(node))
    }
}

/// Both tors are ready, and all their points are in the plan, but for those that share a relay with another.
fn both_are_listed(status: &Status) -> Result<(), String> {
    let member = status.members.first().ok_or("no member")?;
    let (offered, tors) = (member.introduction_points, &status.tors);
    if tors.iter().any(|tor| tor != "ready") || offered < 2 * POINTS as usize {
        return Err(format!("tors {tors:?}, {offered} points"));
    }
    plan::has_points_of(status, &[&member.name])?;
    plan::is_confirmed(status, u64::MAX)
}

/// What is planned.
fn keys(status: &Status) -> BTreeSet<String> {
    status.publication.points.iter().map(|point| point.auth_key.clone()).collect()
}
