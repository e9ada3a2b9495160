//! The whole thing on a private tor network, from the first node to the last: one network, one cluster, one story. Each
//! step prints what it checked as it passes. Takes about 13 minutes, most of them waiting for tor's rotations.

#![allow(clippy::indexing_slicing, reason = "tests: a wrong index is a failed test")]

mod backup;
mod cached;
mod clients;
mod founding;
mod hung;
mod invites;
mod mistakes;
mod proof;
mod repair;
mod rotation;
mod secrets;
mod shrinking;
mod tors;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use rustbalance_testing::cluster::Cluster;
use rustbalance_testing::hsdir::HsDirReader;
use rustbalance_testing::process::{self, RunDir};
use rustbalance_testing::report::Report;
use rustbalance_testing::tor_net::{Shape, TorNet};
use rustbalance_testing::visitors::{self, REGULAR_PATIENCE, RELOAD, Regulars, Tally};

/// Nodes in the cluster.
const NODES: usize = 3;
/// The node whose keys are encrypted, and whose application is probed by asking it for a page: the last that joins.
const ENCRYPTED: usize = NODES - 1;
/// For things without a promised time.
const LONG: Duration = Duration::from_secs(90);
/// The longest a fresh visitor may wait where nobody is dead: less than the 31 s of a client that took a dead point.
const FRESH: Duration = Duration::from_secs(25);
/// The introduction points that a descriptor has of one node.
const POINTS: u32 = 3;

/// The longest a regular visitor may wait where something was killed: all its patience. Its old circuit looks alive, then
/// no relay tells that the points it knows are dead (one whose descriptor is from the time of the first node knows no
/// others), and its tor waits half a minute for each, for some twice. What the service itself has to do is over long before,
/// as the HSDirs and fresh visitors show.
const AFTER_A_KILL: Duration = REGULAR_PATIENCE;

fn main() -> ExitCode {
    let mut report = Report::default();
    if let Err(error) = run(&mut report) {
        report.check::<()>("the steps so far could go on", Err(error));
    }
    report.finish()
}

fn run(report: &mut Report) -> Result<()> {
    process::stop_children_on_signals()?;
    let mut dir = RunDir::new()?;
    report.step("a private tor network");
    let net = TorNet::start(dir.path(), Shape::default())?;
    let mut scenario = Scenario {
        net: &net,
        cluster: Cluster::new(&net, "trace")?,
        reader: HsDirReader::start(&net)?,
        regulars: None,
        report,
    };
    scenario.tell()?;
    if scenario.report.all_good() {
        dir.good();
    }
    Ok(())
}

/// Everything the steps share.
struct Scenario<'a> {
    net: &'a TorNet,
    cluster: Cluster<'a>,
    reader: HsDirReader,
    /// From the first node on.
    regulars: Option<Regulars>,
    report: &'a mut Report,
}

impl Scenario<'_> {
    fn tell(&mut self) -> Result<()> {
        self.first_node()?;
        self.tor_does_as_we_do()?;
        self.node_is_invited()?;
        (self.cluster.encrypted, self.cluster.probe) = (true, Some("http:/".to_owned()));
        self.node_is_let_in_by_another()?;
        self.all_serve()?;
        self.what_is_published_is_checked()?;
        self.lost_service_is_restored()?;
        self.live_through_rotations()?;
        self.secrets_stay_secret()?;
        self.publisher_is_killed()?;
        self.killed_node_comes_back()?;
        self.node_is_drained()?;
        self.node_leaves()?;
        self.last_one_serves_alone()?;
        self.dead_node_is_removed()?;
        self.secrets_stay_secret()?;
        self.clean_stop()
    }

    /// The names of the running nodes.
    fn names(&self) -> Vec<String> {
        let running = self.cluster.running();
        running.iter().filter_map(|number| Some(self.cluster.node(*number).ok()?.name.clone())).collect()
    }

    /// Waits until what is published is settled; then reads it back. Returns the publisher's number.
    fn settle(&mut self, what: &str, limit: Duration) -> Result<usize> {
        let (holder, _) = self.cluster.settled(what, limit)?;
        self.hsdirs_hold_the_plan(holder, what)?;
        Ok(holder)
    }

    /// Checks that an independent reader finds exactly the plan's points on every HSDir that clients read.
    fn hsdirs_hold_the_plan(&mut self, holder: usize, when: &str) -> Result<()> {
        let held = self.reader.compare(&self.cluster, holder, LONG)?;
        self.report.expect(
            &format!("{when}: HSDirs hold the plan that status shows"),
            held.is_good(),
            &held.to_string(),
        );
        Ok(())
    }

    /// Checks that `count` fresh visitors are all served, and that every running node serves some of them.
    fn fresh_visitors_by_all(&mut self, when: &str, count: usize) -> Result<()> {
        let tally = self.fresh_visitors_by(when, count, &self.names())?;
        let idle: Vec<_> = self.names().into_iter().filter(|node| !tally.served_by.contains_key(node)).collect();
        self.report.expect(&format!("{when}: every node serves some"), idle.is_empty(), &format!("idle: {idle:?}"));
        Ok(())
    }

    /// Checks that `count` fresh visitors are all served, and by nobody but `nodes`.
    fn fresh_visitors_by(&mut self, when: &str, count: usize, nodes: &[String]) -> Result<Tally> {
        let tally = visitors::fresh(self.net, self.cluster.address()?, count, 4)?;
        let good = tally.is_good(FRESH) && tally.served_by.keys().all(|node| nodes.contains(node));
        self.report.expect(&format!("{when}: fresh visitors are served"), good, &tally.to_string());
        Ok(tally)
    }

    /// Checks how the regular visitors fared since the last time: none waited longer than `limit` for a page.
    fn regular_visitors(&mut self, when: &str, limit: Duration) -> Result<()> {
        let Some(regulars) = &self.regulars else { return Ok(()) };
        let tally = regulars.take_tally()?;
        let what = format!("{when}: regular visitors get each page within {} s", limit.as_secs());
        self.report.expect(&what, tally.is_good(limit), &tally.to_string());
        Ok(())
    }
}
