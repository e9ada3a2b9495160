//! A node alone whose clock is an hour behind serves, and so does the next to join. Then there are five, one of which is
//! started with a clock that is an hour ahead, another with one that is an hour behind, and these two are to be the
//! publisher: each says so, serves, and does not publish, not even when the publisher dies; no HSDir gets a counter from the
//! future, and visitors notice nothing. With the right clock each becomes the publisher. Takes 6 minutes.

#![allow(clippy::indexing_slicing, reason = "tests: a wrong index is a failed test")]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustbalance_core::status::Status;
use rustbalance_testing::cluster::{Cluster, Node, plan};
use rustbalance_testing::hsdir::HsDirReader;
use rustbalance_testing::process::{self, RunDir};
use rustbalance_testing::takeover::Victim;
use rustbalance_testing::tor_net::{Shape, TorNet};
use rustbalance_testing::visitors::{self, REGULAR_PATIENCE, Regulars, Tally};
use serde_json::Value;

/// With one dead both middle clocks of the four are right.
const NODES: usize = 5;
/// Besides three authorities: nodes whose tors choose the same relays share them, and have fewer points each.
const RELAYS: u8 = 12;
/// The nodes whose clocks are wrong, in the order in which they are to be the publisher.
const WRONG: [Wrong; 2] = [AHEAD, BEHIND];
const AHEAD: Wrong =
    Wrong { node: NODES - 2, ahead_secs: 3600, side: "ahead of", warnings: &UNFIT, hears_others: true };
/// By its consensus it is out of the question as publisher from the first moment on, so nobody need tell it the time.
const BEHIND: Wrong =
    Wrong { node: NODES - 1, ahead_secs: -3600, side: "behind", warnings: &[BEFORE_CONSENSUS], hears_others: false };
/// What a node says whose clock is far from the others'.
const UNFIT: [&str; 2] = ["see that NTP runs", "this node does not publish while another can; set the clock"];
/// What one says whose clock lies before tor's consensus.
const BEFORE_CONSENSUS: &str = "tor has a consensus that begins later";
/// How exactly a node knows how wrong its clock is, and what two clocks may differ by otherwise.
const EXACT_MS: u64 = 5_000;
/// A counter stands for the seconds since a shared random value, which here are fewer than 1000.
const FUTURE_SECS: u64 = 3600;
/// By far longer than whoever has the better priority waits before it asks for the lease, which is a minute.
const PREFERRED: Duration = Duration::from_secs(90);
/// For HSDirs to have what those who are alive publish.
const TAKEN_OVER: Duration = Duration::from_secs(15);
/// Where libfaketime is told to change wall time alone.
const REAL_MONOTONIC: &str = "FAKETIME_DONT_FAKE_MONOTONIC";
const LIMIT: Duration = Duration::from_secs(180);

/// A node that is started with a wrong clock.
struct Wrong {
    node: usize,
    /// How far ahead the clock is; behind, if negative.
    ahead_secs: i64,
    /// The side in words, which are in all its warnings.
    side: &'static str,
    /// What its warnings say, among other things.
    warnings: &'static [&'static str],
    /// It hears most others' clocks, and so knows how wrong its own is.
    hears_others: bool,
}

#[test]
fn nodes_whose_clocks_are_an_hour_ahead_and_behind_do_not_publish_and_harm_nobody() -> Result<()> {
    process::stop_children_on_signals()?;
    let library = faketime()?;
    let mut dir = RunDir::new()?;
    let net = TorNet::start(dir.path(), Shape { relays: RELAYS, ..Shape::default() })?;
    let mut reader = HsDirReader::start(&net)?;
    let mut cluster = Cluster::new(&net, "info")?;
    cluster.add(None)?;
    cluster.wait_for(0, "the first node alone", LIMIT, plan::alone_and_native)?;
    alone_and_behind(&net, &mut cluster, &library)?;
    while cluster.nodes.len() < NODES {
        cluster.add(Some(0))?;
    }
    cluster.settled("all nodes", LIMIT)?;
    prefer_those_with_a_wrong_clock(&cluster)?;
    let regulars = Regulars::start(&net, cluster.address()?, 2)?;

    let holder = start_with_wrong_clocks(&net, &mut cluster, &library)?;
    serve_and_do_not_publish(&net, &cluster, holder)?;
    let takeover = Victim::find(&cluster, &mut reader)?.kill().watch(&mut reader)?;
    let is_wrong = names(&cluster)?.contains(&takeover.publisher_after);
    ensure!(!is_wrong && takeover.takeover <= TAKEN_OVER, "{takeover:?}");
    nothing_from_the_future(&cluster)?;
    visitors_are_served(&net, &cluster, "with wrong clocks and a dead publisher")?;

    cluster.restart(holder)?;
    for wrong in WRONG.iter().rev() {
        stop(&cluster, wrong.node)?;
        cluster.restart(wrong.node)?;
        cluster.wait_for(wrong.node, "the right clock, and the lease", LIMIT, |status| {
            is_well(status)?;
            if plan::is_publisher(status) { Ok(()) } else { Err(status.role.clone()) }
        })?;
    }
    let (now, _) = cluster.settled("all, with the right clock", LIMIT)?;
    ensure!(now == WRONG[0].node, "node {now} publishes");
    visitors_are_served(&net, &cluster, "with the right clock")?;
    let tally = regulars.take_tally()?;
    ensure!(tally.is_good(REGULAR_PATIENCE), "regular visitors: {tally}");
    dir.good();
    Ok(())
}

/// Has the first node be alone with a clock that is behind, until another joins: it serves, and what it leaves on HSDirs does
/// not keep them from taking what the other publishes.
fn alone_and_behind(net: &TorNet, cluster: &mut Cluster<'_>, library: &str) -> Result<()> {
    stop(cluster, 0)?;
    start_with_clock(net, cluster, library, 0, BEHIND.ahead_secs)?;
    cluster.wait_for(0, "a warning of its clock, and its points on every HSDir", LIMIT, |status| {
        let is_said = status.warnings.iter().any(|warning| warning.contains(BEFORE_CONSENSUS));
        if is_said { plan::is_confirmed(status, u64::MAX) } else { Err(format!("{:?}", status.warnings)) }
    })?;
    visitors_are_served(net, cluster, "by one that is alone with its clock")?;
    cluster.add(Some(0))?;
    let (holder, _) = cluster.settled("the one that was alone with its clock, and another", LIMIT)?;
    ensure!(holder == 1, "node {holder} publishes");
    stop(cluster, 0)?;
    cluster.restart(0)
}

/// So they hear all others' clocks, as the publisher and the next two in rank do: who stands behind those may know none.
fn prefer_those_with_a_wrong_clock(cluster: &Cluster<'_>) -> Result<()> {
    for (priority, wrong) in (1..).zip(&WRONG) {
        let node = cluster.node(wrong.node)?;
        node.ask(&["priority", &node.name, &priority.to_string()])?;
    }
    Ok(())
}

/// Starts the nodes anew with wrong clocks, and waits until they say so and serve. Returns the publisher.
fn start_with_wrong_clocks(net: &TorNet, cluster: &mut Cluster<'_>, library: &str) -> Result<usize> {
    for wrong in &WRONG {
        stop(cluster, wrong.node)?;
    }
    let (holder, before) = cluster.settled("the others", LIMIT)?;
    for wrong in &WRONG {
        start_with_clock(net, cluster, library, wrong.node, wrong.ahead_secs)?;
    }
    for wrong in &WRONG {
        says_so(cluster, wrong)?;
    }
    for (number, node) in cluster.nodes.iter().enumerate().take(WRONG[0].node) {
        is_well(&node.status()?).map_err(|why| anyhow!("node {number}: {why}"))?;
    }
    let (now, after) = cluster.settled("all, two of them with wrong clocks", LIMIT)?;
    ensure!((now, after.epoch) == (holder, before.epoch), "node {now} in epoch {}, {holder} before", after.epoch);
    nothing_from_the_future(cluster)?;
    Ok(holder)
}

fn stop(cluster: &Cluster<'_>, number: usize) -> Result<()> {
    ensure!(cluster.node(number)?.terminate(LIMIT)?.success(), "node {number} stops in good order");
    Ok(())
}

/// Starts a node whose clock is so far ahead, and its tor's.
fn start_with_clock(
    net: &TorNet,
    cluster: &mut Cluster<'_>,
    library: &str,
    number: usize,
    ahead_secs: i64,
) -> Result<()> {
    wrap_tor(net, cluster.node(number)?)?;
    let offset = format!("{ahead_secs:+}s");
    let variables = [("LD_PRELOAD", library), ("FAKETIME", &offset), (REAL_MONOTONIC, "1"), ("NO_FAKE_STAT", "1")];
    cluster.restart_with(number, &variables)
}

/// Its tor, which has to have the wrong clock, too, ends by libfaketime's own fault where that leaves monotonic time alone.
fn wrap_tor(net: &TorNet, node: &Node) -> Result<()> {
    let wrapper = net.dir_of(&format!("tor-of-{}", node.name));
    fs::write(&wrapper, format!("#!/bin/sh\nunset {REAL_MONOTONIC}\nexec {} \"$@\"\n", net.binary().display()))?;
    fs::set_permissions(&wrapper, Permissions::from_mode(0o755))?;
    let file = node.dir.join("rustbalance.toml");
    let config = fs::read_to_string(&file)?;
    ensure!(config.contains("\n[tor]\n"), "no section for tor: {config}");
    Ok(fs::write(file, config.replace("\n[tor]\n", &format!("\n[tor]\nbinary = '{}'\n", wrapper.display())))?)
}

/// Has visitors come for longer than the nodes would wait that are preferred as publisher.
fn serve_and_do_not_publish(net: &TorNet, cluster: &Cluster<'_>, holder: usize) -> Result<()> {
    let publisher = cluster.node(holder)?;
    let before = publisher.status()?.epoch;
    let (began, mut tally) = (Instant::now(), Tally::default());
    while began.elapsed() < PREFERRED {
        tally.add(visitors_are_served(net, cluster, "with wrong clocks")?);
        for wrong in &WRONG {
            let status = cluster.node(wrong.node)?.status()?;
            let (name, epoch) = (&status.name, status.epoch);
            ensure!(!plan::is_publisher(&status), "{name} publishes with a wrong clock, in epoch {epoch}");
        }
    }
    let names = names(cluster)?;
    ensure!(names.iter().all(|name| tally.served_by.contains_key(name)), "{names:?} are to serve, too: {tally}");
    let now = publisher.status()?;
    ensure!(plan::is_publisher(&now) && now.epoch == before, "{} in epoch {}, {before} before", now.role, now.epoch);
    Ok(())
}

/// Those of the nodes with a wrong clock.
fn names(cluster: &Cluster<'_>) -> Result<Vec<String>> {
    WRONG.iter().map(|wrong| Ok(cluster.node(wrong.node)?.name.clone())).collect()
}

/// Debian's library that gives a process another clock.
fn faketime() -> Result<String> {
    const NAME: &str = "faketime/libfaketimeMT.so.1";
    let mut places = fs::read_dir("/usr/lib")?.filter_map(|entry| Some(entry.ok()?.path().join(NAME)));
    let file = places.find(|file| file.exists()).context("no libfaketime: `apt-get install libfaketime` first")?;
    Ok(file.to_str().context("a path in UTF-8")?.to_owned())
}

/// Waits until the node says what is wrong with its clock, and by how much; the log has to say it, too.
fn says_so(cluster: &Cluster<'_>, wrong: &Wrong) -> Result<()> {
    let status = cluster.wait_for(wrong.node, "all warnings of its clock", LIMIT, |status| {
        let is_said = |part: &&str| status.warnings.iter().any(|warning| warning.contains(part));
        let all = wrong.warnings.iter().all(is_said);
        if all { Ok(()) } else { Err(format!("{:?}", status.warnings)) }
    })?;
    let is_exact = |ahead: i64| ahead.abs_diff(1000 * wrong.ahead_secs) <= EXACT_MS;
    ensure!(!wrong.hears_others || status.clock.ahead_ms.is_some_and(is_exact), "{:?}", status.clock);
    ensure!(status.warnings.iter().all(|warning| warning.contains(wrong.side)), "{:?}", status.warnings);
    let log = fs::read_to_string(cluster.node(wrong.node)?.log())?;
    for part in wrong.warnings {
        let is_said = log.lines().any(|line| line.contains("WARN") && line.contains(part));
        ensure!(is_said, "the log of node {} does not say {part:?}", wrong.node);
    }
    Ok(())
}

fn is_well(status: &Status) -> plan::Fact {
    if status.warnings.is_empty() { Ok(()) } else { Err(format!("{:?}", status.warnings)) }
}

/// Checks on every HSDir that clients read that no counter is ahead of true time.
fn nothing_from_the_future(cluster: &Cluster<'_>) -> Result<()> {
    let node = cluster.node(cluster.holder(LIMIT)?)?;
    let slots = node.status()?.publication.slots;
    let hsdirs = slots.iter().filter(|slot| slot.current).flat_map(|slot| &slot.hsdirs);
    let hsdirs: BTreeSet<_> = hsdirs.map(|hsdir| hsdir.relay.as_str()).collect();
    ensure!(!hsdirs.is_empty(), "{} names no HSDirs", node.name);
    for hsdir in hsdirs {
        let (_, text, said) = node.run(&["descriptor", "show", "--live", "--json", "--hsdir", hsdir])?;
        let shown: Value = serde_json::from_str(&text).with_context(|| format!("{text}{said}"))?;
        let seconds = shown["outer"]["revision_seconds"].as_u64().with_context(|| format!("no seconds: {text}"))?;
        ensure!(shown["good"] == true && seconds < FUTURE_SECS, "HSDir {hsdir}: second {seconds} {said}");
    }
    Ok(())
}

fn visitors_are_served(net: &TorNet, cluster: &Cluster<'_>, when: &str) -> Result<Tally> {
    let tally = visitors::fresh(net, cluster.address()?, 6, 3)?;
    ensure!(tally.failed.is_empty() && tally.served() == 6, "{when}: {tally}");
    Ok(tally)
}
