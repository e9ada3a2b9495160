//! Nodes die, come back and leave, until one is left.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustbalance_testing::process;
use rustbalance_testing::takeover::Victim;
use rustbalance_testing::wait::{self, Answer};

use crate::{LONG, Scenario};

/// From the publisher's death to the survivors' plan on every HSDir.
const TAKEN_OVER: Duration = Duration::from_secs(10);
/// For a node to stop in good order.
const STOPPED: Duration = Duration::from_secs(15);

impl Scenario<'_> {
    /// The publisher is killed.
    pub fn publisher_is_killed(&mut self) -> Result<()> {
        self.report.step("the publisher is killed");
        let killed = Victim::find(&self.cluster, &mut self.reader)?.kill();
        let takeover = killed.watch(&mut self.reader)?;
        self.report.note(&format!("{takeover:?}"));
        let gone = takeover.tor_gone.unwrap_or(Duration::MAX);
        self.report.in_time("its tor goes with it", gone, Duration::from_secs(1));
        let plan_name = "the survivors' complete plan is on every HSDir of both slots";
        self.report.in_time(plan_name, takeover.takeover, TAKEN_OVER);
        self.report.in_time("no HSDir lists a dead point", takeover.dead_points_gone, TAKEN_OVER);
        self.fresh_visitors("after the kill", 12, false)?;
        self.regular_visitors("through the kill");
        Ok(())
    }

    /// The killed node starts again.
    pub fn killed_node_comes_back(&mut self) -> Result<()> {
        let dead = (0..self.cluster.nodes.len()).find(|number| !self.cluster.running().contains(number));
        let dead = dead.context("nobody is dead")?;
        let name = self.cluster.node(dead)?.name.clone();
        self.report.step(&format!("{name} comes back"));
        self.cluster.restart(dead)?;
        let started = Instant::now();
        self.settle(&format!("{name} is back"), LONG)?;
        self.report.in_time("a killed node comes back", started.elapsed(), Duration::from_secs(60));
        self.regular_visitors("while it came back");
        Ok(())
    }

    /// A node that does not publish leaves for good.
    pub fn node_leaves(&mut self) -> Result<()> {
        let holder = self.cluster.holder(LONG)?;
        let leaver = self.cluster.running().into_iter().find(|number| *number != holder).context("nobody to leave")?;
        let name = self.cluster.node(leaver)?.name.clone();
        self.report.step(&format!("{name} leaves"));
        let status = self.cluster.node(leaver)?.leave(STOPPED)?;
        self.report.expect("leave ends the node", status.success(), &status.to_string());
        let holder = self.settle(&format!("{name} has left"), LONG)?;
        let members = self.cluster.node(holder)?.status()?.members;
        let listed = members.iter().any(|member| member.name == name);
        self.report.expect("who has left is no member", !listed, &format!("{} members", members.len()));
        self.regular_visitors("while a node left");
        Ok(())
    }

    /// The publisher is killed again: one node is left.
    pub fn last_one_serves_alone(&mut self) -> Result<()> {
        self.report.step("one more is killed; one is left");
        let killed = Victim::find(&self.cluster, &mut self.reader)?.kill();
        let takeover = killed.watch(&mut self.reader)?;
        self.report.note(&format!("{takeover:?}"));
        self.report.in_time("the last one's plan is on every HSDir", takeover.takeover, TAKEN_OVER);
        self.settle("one node left", LONG)?;
        self.fresh_visitors("one node left", 6, true)?;
        self.regular_visitors("with one node left");
        Ok(())
    }

    /// The last node stops in good order, and nothing is left of any.
    pub fn clean_stop(&mut self) -> Result<()> {
        self.report.step("the last node stops");
        self.regulars = None;
        let last = *self.cluster.running().first().context("nobody left")?;
        let before = Instant::now();
        let status = self.cluster.node(last)?.terminate(STOPPED)?;
        let detail = format!("{status} after {:.1} s", before.elapsed().as_secs_f32());
        self.report.expect("SIGTERM stops a node in good order", status.success(), &detail);
        let nothing = wait::until("no process of any node", Duration::from_secs(5), || {
            let left: Vec<u32> = self.cluster.nodes.iter().flat_map(|node| process::processes_in(&node.dir)).collect();
            Ok(Answer::from_option(left.is_empty().then_some(()), || format!("pids {left:?}")))
        });
        self.report.check("no process of any node is left", nothing);
        Ok(())
    }
}
