//! Proof of work on a private tor network, against a crowd that asks for more than is served: fresh clients solve what
//! the tor of a node alone, or of each of three, then verifies, and get through. A tor looks at its queue every 5
//! minutes, so this takes 15 to 20.

#![allow(clippy::indexing_slicing, reason = "tests: a wrong index is a failed test")]

mod descriptors;
mod visit;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use descriptors::{Owners, in_words, wait_apart, wait_for_effort, wait_for_efforts, wait_for_period};
use rustbalance_testing::client::Client;
use rustbalance_testing::cluster::{Cluster, plan};
use rustbalance_testing::crowd;
use rustbalance_testing::hsdir::HsDirReader;
use rustbalance_testing::process::{self, RunDir};
use rustbalance_testing::tor_net::{Rotation, Shape, TorNet};
use rustbalance_testing::visitors;
use visit::{Visit, holding, unlucky};

const NODES: usize = 3;
/// Of a half of the day, 4 minutes here, what is needed to try all HSDirs and kill a node.
const HALF_LEFT: Duration = Duration::from_secs(160);
/// Fewer than a crowd of any size asks for.
const SERVICE_LINES: &str = "pow = true\npow_queue_rate = 1\npow_queue_burst = 1\n";
/// A half of the day in which three tors look at their queues, and clients come.
const CALM: Duration = Duration::from_secs(25 * 60);
/// So many of the crowd wait at once: more than tor calls an empty queue (8), fewer than it holds (61).
const CROWD: usize = 24;
const SETTLE_LIMIT: Duration = Duration::from_secs(180);
/// Fresh clients while the crowd waits.
const VISITORS: usize = 3;

#[test]
fn who_solves_gets_through_a_crowd() -> Result<()> {
    process::stop_children_on_signals()?;
    let mut dir = RunDir::new()?;
    let start = Instant::now();
    let say = |what: &str| println!("[{:6.1} s] {what}", start.elapsed().as_secs_f32());
    let net = TorNet::start(dir.path(), Shape::default())?;
    let cluster = found(&net)?;
    let address = cluster.address()?.to_owned();
    let crowd = Client::start_some(&net, "crowd", 1)?;
    say("one node alone, a crowd begins");
    let ((), pages) = crowd::during(&crowd, &address, CROWD, || {
        let effort = wait_for_effort(cluster.node(0)?, &address)?;
        say(&format!("its tor suggests an effort of {effort}"));
        (0..VISITORS).try_for_each(|number| {
            let visit = Visit::make(Client::start(&net, &format!("alone{number}"))?, &address)?;
            say(&visit.to_string());
            visit.was_proven(&cluster)
        })
    })?;
    say(&format!("the crowd got {} pages, and {} it did not get", pages[0], pages[1]));
    dir.good();
    Ok(())
}

#[test]
fn each_of_three_nodes_verifies_what_is_solved_for_it() -> Result<()> {
    process::stop_children_on_signals()?;
    let mut dir = RunDir::new()?;
    let start = Instant::now();
    let say = |what: &str| println!("[{:6.1} s] {what}", start.elapsed().as_secs_f32());
    let net = TorNet::start(dir.path(), Shape::default())?;
    let mut cluster = found(&net)?;
    let address = cluster.address()?.to_owned();
    grow(&mut cluster)?;
    wait_for_half(&net, Rotation::TimePeriod);
    let mut reader = HsDirReader::start(&net)?;
    let owners = wait_apart(&mut reader, &cluster, &address)?;
    say(&format!("each HSDir that clients read has one node's points and seed: {}", in_words(&owners)));
    solve_at_each(&net, &cluster, "shown", &owners, &say)?;
    cluster.node(NODES - 1)?.kill();
    let owners = wait_apart(&mut reader, &cluster, &address)?;
    say(&format!("after one was killed: {}", in_words(&owners)));

    let shown = wait_for_period(&cluster, 0)?;
    wait_for_half(&net, Rotation::SharedRandom);
    wait_for_period(&cluster, shown + 1)?;
    let owners = wait_apart(&mut reader, &cluster, &address)?;
    say(&format!("in the half of the day whose points no tor shows: {}", in_words(&owners)));
    solve_at_each(&net, &cluster, "hidden", &owners, &say)?;
    let tally = visitors::fresh(&net, &address, 2 * VISITORS, 2)?;
    say(&tally.to_string());
    ensure!(tally.failed.is_empty(), "{tally}");
    dir.good();
    Ok(())
}

#[test]
fn who_solves_gets_through_a_crowd_to_each_of_three_nodes() -> Result<()> {
    process::stop_children_on_signals()?;
    let mut dir = RunDir::new()?;
    let start = Instant::now();
    let say = |what: &str| println!("[{:6.1} s] {what}", start.elapsed().as_secs_f32());
    let net = TorNet::start(dir.path(), Shape::calm_before(Rotation::TimePeriod, CALM))?;
    let (next, left) = net.next_rotation();
    let is_calm = next == Rotation::TimePeriod && left > CALM;
    ensure!(is_calm, "{next:?} is in {} s, whatever the voting interval: try again after it", left.as_secs());
    let mut cluster = found(&net)?;
    let address = cluster.address()?.to_owned();
    grow(&mut cluster)?;
    let mut reader = HsDirReader::start(&net)?;
    let owners = wait_apart(&mut reader, &cluster, &address)?;
    say(&format!("three nodes, whose points the HSDirs have: {}; a crowd for each begins", in_words(&owners)));
    let crowds = cluster.nodes.iter().map(|node| {
        let hsdir = owners.iter().find(|(_, owner)| **owner == node.name).context("a node without an HSDir")?.0;
        holding(&net, &format!("crowd-{}", node.name), &address, *hsdir, 0)
    });
    let crowds = crowds.collect::<Result<Vec<_>>>()?;
    let ((), pages) = crowd::during(&crowds, &address, CROWD, || {
        wait_for_efforts(&mut reader, &cluster, &address, &say)?;
        let owners = wait_apart(&mut reader, &cluster, &address)?;
        let mut served = BTreeSet::new();
        for (hsdir, owner) in &owners {
            let visit = Visit::make(holding(&net, &format!("fresh{hsdir}"), &address, *hsdir, 0)?, &address)?;
            say(&format!("{visit}; what it read was of {owner}"));
            visit.was_proven(&cluster)?;
            served.insert(visit.node);
        }
        ensure!(served.len() == NODES, "only {served:?} served");
        (0..VISITORS).try_for_each(|number| {
            let visit = Visit::make(Client::start(&net, &format!("any{number}"))?, &address)?;
            say(&format!("{visit}; it read what it came upon"));
            visit.was_proven(&cluster)
        })
    })?;
    say(&format!("the crowds got {} pages, and {} they did not get", pages[0], pages[1]));
    dir.good();
    Ok(())
}

/// A fresh client for each of these HSDirs solves what it reads there, and the node whose points these are verifies that.
/// `points` tells clients from those before: one that has run before may hold an older consensus.
fn solve_at_each(net: &TorNet, cluster: &Cluster<'_>, points: &str, owners: &Owners, say: &dyn Fn(&str)) -> Result<()> {
    let (address, period) = (cluster.address()?, wait_for_period(cluster, 0)?);
    for (hsdir, owner) in owners {
        let visit = unlucky(net, points, address, *hsdir, period)?;
        say(&visit.to_string());
        ensure!(visit.node == *owner, "{hsdir} has the points of {owner}");
        visit.was_proven(cluster)?;
    }
    Ok(())
}

/// A cluster of one node, which its tor publishes.
fn found(net: &TorNet) -> Result<Cluster<'_>> {
    let mut cluster = Cluster::new(net, "info")?;
    cluster.service_lines = SERVICE_LINES.to_owned();
    cluster.add(None)?;
    cluster.wait_for(0, "the first node alone", SETTLE_LIMIT, plan::alone_and_native)?;
    Ok(cluster)
}

/// Adds nodes until there are [`NODES`], and waits until all are published.
fn grow(cluster: &mut Cluster<'_>) -> Result<()> {
    while cluster.nodes.len() < NODES {
        cluster.add(Some(0))?;
    }
    cluster.settled("all nodes in a confirmed plan", SETTLE_LIMIT).map(drop)
}

/// Waits until a half of the day that ends with this rotation has begun, and is not about to end.
fn wait_for_half(net: &TorNet, end: Rotation) {
    while net.next_rotation().0 != end || net.next_rotation().1 < HALF_LEFT {
        std::thread::sleep(Duration::from_secs(1));
    }
}
