//! Four nodes, one of which is started with a clock that is an hour ahead, and is to be the publisher: it says so, serves,
//! and does not publish, not even when the publisher dies; no HSDir gets a counter from the future, and visitors notice
//! nothing. With the right clock it becomes the publisher. Takes 5 minutes.

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
use rustbalance_testing::visitors::{self, REGULAR_PATIENCE, Regulars};
use serde_json::Value;

/// With one dead and one wrong, two clocks of three are right.
const NODES: usize = 4;
/// The one whose clock is wrong.
const WRONG: usize = NODES - 1;
/// How far ahead it is.
const AHEAD: Duration = Duration::from_secs(3600);
/// How exactly a node knows that of itself, and what the two clocks may differ by otherwise.
const EXACT_MS: u64 = 5_000;
/// By far longer than whoever has the better priority waits before it asks for the lease, which is a minute.
const PREFERRED: Duration = Duration::from_secs(90);
/// For HSDirs to have what two who are alive publish.
const TAKEN_OVER: Duration = Duration::from_secs(15);
/// Where libfaketime is told to change wall time alone.
const REAL_MONOTONIC: &str = "FAKETIME_DONT_FAKE_MONOTONIC";
const LIMIT: Duration = Duration::from_secs(180);

#[test]
fn a_node_whose_clock_is_an_hour_ahead_does_not_publish_and_harms_nobody() -> Result<()> {
    process::stop_children_on_signals()?;
    let library = faketime()?;
    let mut dir = RunDir::new()?;
    let net = TorNet::start(dir.path(), Shape::default())?;
    let mut reader = HsDirReader::start(&net)?;
    let mut cluster = Cluster::new(&net, "info")?;
    cluster.add(None)?;
    cluster.wait_for(0, "the first node alone", LIMIT, plan::alone_and_native)?;
    for _ in 1..NODES {
        cluster.add(Some(0))?;
    }
    if cluster.settled("all nodes", LIMIT)?.0 == WRONG {
        cluster.node(WRONG)?.ask(&["step-down", "--for", "5s"])?;
    }
    let regulars = Regulars::start(&net, cluster.address()?, 2)?;

    let holder = starts_with_a_wrong_clock(&net, &mut cluster, &library)?;
    does_not_publish(&net, &cluster, holder)?;
    let takeover = Victim::find(&cluster, &mut reader)?.kill().watch(&mut reader)?;
    let is_wrong = takeover.publisher_after == cluster.node(WRONG)?.name;
    ensure!(!is_wrong && takeover.takeover <= TAKEN_OVER, "{takeover:?}");
    nothing_from_the_future(&cluster)?;
    visitors_are_served(&net, &cluster, "with a wrong clock and a dead publisher")?;

    ensure!(cluster.node(WRONG)?.terminate(LIMIT)?.success(), "it stops in good order");
    cluster.restart(WRONG)?;
    cluster.restart(holder)?;
    cluster.wait_for(WRONG, "the right clock, and the lease", LIMIT, |status| {
        is_well(status)?;
        if plan::is_publisher(status) { Ok(()) } else { Err(status.role.clone()) }
    })?;
    let (now, _) = cluster.settled("all, with the right clock", LIMIT)?;
    ensure!(now == WRONG, "node {now} publishes");
    visitors_are_served(&net, &cluster, "with the right clock")?;
    let tally = regulars.take_tally()?;
    ensure!(tally.is_good(REGULAR_PATIENCE), "regular visitors: {tally}");
    dir.good();
    Ok(())
}

/// Starts the node anew with a wrong clock, and waits until it says so and serves. Returns the publisher.
fn starts_with_a_wrong_clock(net: &TorNet, cluster: &mut Cluster<'_>, library: &str) -> Result<usize> {
    ensure!(cluster.node(WRONG)?.terminate(LIMIT)?.success(), "it stops in good order");
    let (holder, before) = cluster.settled("the others", LIMIT)?;
    let ahead = format!("+{}s", AHEAD.as_secs());
    wrap_tor(net, cluster.node(WRONG)?)?;
    let variables = [("LD_PRELOAD", library), ("FAKETIME", &ahead), (REAL_MONOTONIC, "1"), ("NO_FAKE_STAT", "1")];
    cluster.restart_with(WRONG, &variables)?;
    says_so(cluster)?;
    let (now, after) = cluster.settled("all, one of them with a wrong clock", LIMIT)?;
    ensure!((now, after.epoch) == (holder, before.epoch), "node {now} in epoch {}, {holder} before", after.epoch);
    nothing_from_the_future(cluster)?;
    Ok(holder)
}

/// Its tor, which has to have the wrong clock, too, ends by libfaketime's own fault where that leaves monotonic time alone.
fn wrap_tor(net: &TorNet, node: &Node) -> Result<()> {
    let wrapper = net.dir_of("tor-with-a-wrong-clock");
    fs::write(&wrapper, format!("#!/bin/sh\nunset {REAL_MONOTONIC}\nexec {} \"$@\"\n", net.binary().display()))?;
    fs::set_permissions(&wrapper, Permissions::from_mode(0o755))?;
    let file = node.dir.join("rustbalance.toml");
    let config = fs::read_to_string(&file)?;
    ensure!(config.contains("\n[tor]\n"), "no section for tor: {config}");
    Ok(fs::write(file, config.replace("\n[tor]\n", &format!("\n[tor]\nbinary = '{}'\n", wrapper.display())))?)
}

/// Has the node be preferred as publisher, and visitors come for longer than it would wait.
fn does_not_publish(net: &TorNet, cluster: &Cluster<'_>, holder: usize) -> Result<()> {
    let (wrong, publisher) = (cluster.node(WRONG)?, cluster.node(holder)?);
    let before = publisher.status()?.epoch;
    wrong.ask(&["priority", &wrong.name, "1"])?;
    let ordered = Instant::now();
    while ordered.elapsed() < PREFERRED {
        visitors_are_served(net, cluster, "with a wrong clock")?;
        let status = wrong.status()?;
        ensure!(!plan::is_publisher(&status), "it publishes with a wrong clock, in epoch {}", status.epoch);
    }
    let now = publisher.status()?;
    ensure!(plan::is_publisher(&now) && now.epoch == before, "{} in epoch {}, {before} before", now.role, now.epoch);
    Ok(())
}

/// Debian's library that gives a process another clock.
fn faketime() -> Result<String> {
    const NAME: &str = "faketime/libfaketimeMT.so.1";
    let mut places = fs::read_dir("/usr/lib")?.filter_map(|entry| Some(entry.ok()?.path().join(NAME)));
    let file = places.find(|file| file.exists()).context("no libfaketime: `apt-get install libfaketime` first")?;
    Ok(file.to_str().context("a path in UTF-8")?.to_owned())
}

/// Waits until the node says what is wrong with its clock, and by how much; the log has to say it, too.
fn says_so(cluster: &Cluster<'_>) -> Result<()> {
    let status = cluster.wait_for(WRONG, "a warning of its clock", LIMIT, |status| {
        let words = |part: &str| status.warnings.iter().any(|warning| warning.contains(part));
        let all = words("this node does not publish while another can; set the clock") && words("see that NTP runs");
        if all { Ok(()) } else { Err(format!("{:?}", status.warnings)) }
    })?;
    let ahead = status.clock.ahead_ms.context("its clock beside the others'")?;
    let expected = u64::try_from(AHEAD.as_millis())?;
    ensure!(ahead > 0 && ahead.unsigned_abs().abs_diff(expected) <= EXACT_MS, "{ahead} ms ahead");
    ensure!(status.warnings.iter().all(|warning| warning.contains("ahead of")), "{:?}", status.warnings);
    let log = fs::read_to_string(cluster.node(WRONG)?.log())?;
    let said = |line: &str| line.contains("WARN") && line.contains("this node does not publish while another can");
    ensure!(log.lines().any(said), "its log says nothing of it");
    for (number, node) in cluster.nodes.iter().enumerate().filter(|(number, _)| *number != WRONG) {
        is_well(&node.status()?).map_err(|why| anyhow!("node {number}: {why}"))?;
    }
    Ok(())
}

fn is_well(status: &Status) -> plan::Fact {
    if status.warnings.is_empty() { Ok(()) } else { Err(format!("{:?}", status.warnings)) }
}

/// Checks on every HSDir that clients read that no counter is ahead of true time: it stands for the seconds since a shared
/// random value, which here are fewer than 1000.
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
        ensure!(shown["good"] == true && seconds < AHEAD.as_secs(), "HSDir {hsdir}: second {seconds} {said}");
    }
    Ok(())
}

fn visitors_are_served(net: &TorNet, cluster: &Cluster<'_>, when: &str) -> Result<()> {
    let tally = visitors::fresh(net, cluster.address()?, 6, 3)?;
    ensure!(tally.failed.is_empty() && tally.served() == 6, "{when}: {tally}");
    Ok(())
}
