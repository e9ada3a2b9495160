//! Nodes die, come back and leave, until one is left.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustbalance_testing::process;
use rustbalance_testing::takeover::Victim;
use rustbalance_testing::visitors;
use rustbalance_testing::wait::{self, Answer};

use crate::cached::Cached;
use crate::{AFTER_A_KILL, ENCRYPTED, LONG, POINTS, RELOAD, Scenario};

/// From the publisher's death to the survivors' plan on every HSDir.
const TAKEN_OVER: Duration = Duration::from_secs(10);
/// From SIGTERM to the publisher until another node says that it publishes. In the simulator it has then been published,
/// too, within a second, 99 of 100 times; the other second is for asking two nodes in turn, with a program that is started
/// for each answer.
const CLAIMED: Duration = Duration::from_secs(2);
/// From that SIGTERM until the complete plan is on every HSDir: besides, building it, uploading it over circuits that are made
/// for that, and reading it back.
const HANDED_OVER: Duration = Duration::from_secs(5);
/// For a node to stop in good order.
const STOPPED: Duration = Duration::from_secs(15);
/// Points of a node that has left which a regular visitor may find dead, besides those of the publisher that was killed
/// before: it closes its introduction circuits, but what told one relay so may be lost with its tor.
const LOST_CELLS: u32 = 1;

impl Scenario<'_> {
    /// The publisher is killed.
    pub fn publisher_is_killed(&mut self) -> Result<()> {
        self.report.step("the publisher is killed");
        let killed = Victim::find(&self.cluster, &mut self.reader)?.kill();
        let takeover = killed.watch(&mut self.reader)?;
        self.report.note(&format!("{takeover:?}"));
        let gone = takeover.tor_gone.unwrap_or(Duration::MAX);
        self.report.in_time("its tor goes with it", gone, Duration::from_secs(5));
        let plan_name = "the survivors' complete plan is on every HSDir of both slots";
        self.report.in_time(plan_name, takeover.takeover, TAKEN_OVER);
        self.report.in_time("no HSDir lists a dead point", takeover.dead_points_gone, TAKEN_OVER);
        self.fresh_visitors_by("after the kill", 12, &self.names())?;
        self.regular_visitors("through the kill", AFTER_A_KILL)?;
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
        self.regular_visitors("while it came back", RELOAD)?;
        Ok(())
    }

    /// The publisher is stopped in good order: nobody has to wait for a silence.
    pub fn publisher_stops(&mut self) -> Result<()> {
        let holder = self.cluster.holder(LONG)?;
        let name = self.cluster.node(holder)?.name.clone();
        self.report.step(&format!("{name}, the publisher, is stopped in good order"));
        let victim = Victim::find(&self.cluster, &mut self.reader)?;
        let takeover = victim.stop(STOPPED, &mut self.reader)?;
        self.report.note(&format!("{takeover:?}"));
        self.report.expect("its tor ends with it", takeover.tor_gone.is_some(), &format!("{:?}", takeover.tor_gone));
        self.report.in_time("another one publishes", takeover.claimed, CLAIMED);
        self.report.in_time("another one has published its complete plan", takeover.takeover, HANDED_OVER);
        self.report.in_time("no HSDir lists a point of it", takeover.dead_points_gone, HANDED_OVER);
        self.fresh_visitors_by("after the stop", 6, &self.names())?;
        self.cluster.restart(holder)?;
        self.settle(&format!("{name} is back"), LONG)?;
        self.regular_visitors("while the publisher was stopped and came back", AFTER_A_KILL)
    }

    /// Two of three die at once: the last one is a minority, which takes nothing away from a majority that it merely
    /// cannot hear. The address is served all the same: clients go on from a dead point to a live one.
    pub fn two_die_at_once(&mut self) -> Result<()> {
        let survivor = *self.cluster.running().first().context("nobody runs")?;
        let name = self.cluster.node(survivor)?.name.clone();
        self.report.step(&format!("all but {name} die at once"));
        let dead: Vec<usize> = self.cluster.running().into_iter().filter(|number| *number != survivor).collect();
        for number in &dead {
            self.cluster.node(*number)?.kill();
        }
        self.cluster.wait_for(survivor, "the survivor to know that it is alone", LONG, |status| {
            let live = status.members.iter().filter(|member| member.liveness != "down").count();
            if live == 1 { Ok(()) } else { Err(format!("{live} members are not down")) }
        })?;
        let tally = visitors::fresh(self.net, self.cluster.address()?, 8, 4)?;
        let good = tally.is_good(visitors::PATIENCE) && tally.served_by.keys().all(|node| *node == name);
        self.report.expect("the one that is left serves everybody", good, &tally.to_string());
        for number in dead {
            self.cluster.restart(number)?;
        }
        self.settle("all are back", LONG)?;
        self.fresh_visitors_by("all are back", 6, &self.names())?;
        self.regular_visitors("while two of three were dead", AFTER_A_KILL)
    }

    /// A node that does not publish is drained by an order at the one that does, and put back; the publisher steps down; and
    /// the cluster token is replaced.
    pub fn node_is_drained(&mut self) -> Result<()> {
        let holder = self.cluster.holder(LONG)?;
        let drained = self.cluster.running().into_iter().find(|number| *number != holder).context("nobody to drain")?;
        let (name, token) = (self.cluster.node(drained)?.name.clone(), self.cluster.node(drained)?.token()?);
        self.report.step(&format!("{name} is drained, and put back"));
        let mut cached = Cached::of(self, "cached", &name)?;
        let relays = self.relays_of(drained)?;
        let said = self.cluster.node(holder)?.ask(&["drain", &name, "--wait"])?;
        self.report.note(&said);
        self.goes_out(drained, &relays)?;
        self.goes_on_to_others(&mut cached, &name)?;
        let page = cached.page_of_its_session()?;
        self.report.expect("its open session goes on", page.node == name, &page.node);
        drop(cached);
        let others: Vec<String> = self.names().into_iter().filter(|other| *other != name).collect();
        self.fresh_visitors_by("a drained node gets no new visitors", 6, &others)?;
        let put_back = Instant::now();
        let said = self.cluster.node(holder)?.ask(&["undrain", &name, "--wait"])?;
        self.report.note(&said);
        self.report.in_time("a node that is put back is planned at once", put_back.elapsed(), Duration::from_secs(10));
        self.settle(&format!("{name} is back"), LONG)?;
        self.regular_visitors("while a node was drained", RELOAD)?;

        let said = self.cluster.node(drained)?.ask(&["step-down", "--for", "5s"])?;
        self.report.note(&said);
        let now = self.settle("the publisher has stepped down", LONG)?;
        self.report.expect("another node publishes", now != holder, &said);

        let said = self.cluster.node(drained)?.ask(&["token", "rotate"])?;
        self.report.note(&said);
        wait::until("all nodes have the new token", LONG, || {
            let running = self.cluster.running();
            let tokens: Result<BTreeSet<_>> =
                running.into_iter().map(|number| self.cluster.node(number)?.token()).collect();
            let tokens = tokens?;
            let new = (tokens.len() == 1 && !tokens.contains(&token)).then_some(());
            Ok(Answer::from_option(new, || format!("{} different ones", tokens.len())))
        })
    }

    /// A node that does not publish leaves for good, and not the one with encrypted keys, which is to be the last.
    pub fn node_leaves(&mut self) -> Result<()> {
        let holder = self.cluster.holder(LONG)?;
        let mut running = self.cluster.running().into_iter();
        let leaver = running.find(|number| ![holder, ENCRYPTED].contains(number)).context("nobody to leave")?;
        let name = self.cluster.node(leaver)?.name.clone();
        self.report.step(&format!("{name} leaves"));
        let status = self.cluster.node(leaver)?.leave(STOPPED)?;
        self.report.expect("leave ends the node", status.success(), &status.to_string());
        let holder = self.settle(&format!("{name} has left"), LONG)?;
        let members = self.cluster.node(holder)?.status()?.members;
        let listed = members.iter().any(|member| member.name == name);
        self.report.expect("who has left is no member", !listed, &format!("{} members", members.len()));
        self.regular_visitors("while a node left", visitors::reload_with_dead(POINTS + LOST_CELLS))?;
        Ok(())
    }

    /// The publisher is killed again: one node is left, whose keys are encrypted, and takes over.
    pub fn last_one_serves_alone(&mut self) -> Result<()> {
        self.report.step("one more is killed; one is left");
        if self.cluster.holder(LONG)? == ENCRYPTED {
            let said = self.cluster.node(ENCRYPTED)?.ask(&["step-down", "--for", "5s"])?;
            self.report.note(&said);
            self.settle("the other one publishes", LONG)?;
        }
        let killed = Victim::find(&self.cluster, &mut self.reader)?.kill();
        let takeover = killed.watch(&mut self.reader)?;
        self.report.note(&format!("{takeover:?}"));
        self.report.in_time("the last one's plan is on every HSDir", takeover.takeover, TAKEN_OVER);
        let (encrypted, now) = (&self.cluster.node(ENCRYPTED)?.name, &takeover.publisher_after);
        self.report.expect("it is the one with encrypted keys", now == encrypted, now);
        self.settle("one node left", LONG)?;
        self.fresh_visitors_by_all("one node left", 6)?;
        self.regular_visitors("with one node left", AFTER_A_KILL)?;
        Ok(())
    }

    /// The dead node is taken off the roster.
    pub fn dead_node_is_removed(&mut self) -> Result<()> {
        let last = self.cluster.holder(LONG)?;
        let node = self.cluster.node(last)?;
        let members = node.status()?.members;
        let dead = members.into_iter().find(|member| member.liveness == "down").context("nobody is down")?;
        self.report.step(&format!("{} is removed", dead.name));
        let said = node.ask(&["remove", &dead.name])?;
        self.report.note(&said);
        let members = node.status()?.members;
        self.report.expect("who was removed is no member", members.len() == 1, &format!("{} members", members.len()));
        self.fresh_visitors_by_all("the last member", 6)
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
        let memory = self.cluster.node(last)?.memory().context("encrypted keys")?;
        let left = fs::read_dir(memory)?.count();
        self.report.expect("tor's copy of the address' key is gone from memory", left == 0, &format!("{left} files"));
        let nothing = wait::until("no process of any node", Duration::from_secs(5), || {
            let left: Vec<u32> = self.cluster.nodes.iter().flat_map(|node| process::processes_in(&node.dir)).collect();
            Ok(Answer::from_option(left.is_empty().then_some(()), || format!("pids {left:?}")))
        });
        self.report.check("no process of any node is left", nothing);
        Ok(())
    }
}
