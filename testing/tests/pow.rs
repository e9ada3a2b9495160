//! Proof of work on a private tor network, against a crowd that asks for more than is served: fresh clients solve what the
//! service's own tor then verifies, and get through. A tor looks at its queue every 5 minutes, so this takes 10 to 15.

#![allow(clippy::indexing_slicing, reason = "tests: a wrong index is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustbalance_core::control::command;
use rustbalance_core::control::event::{Event, HsDescAction};
use rustbalance_core::hsdesc::{self, Descriptor, PowParams};
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::onion::period::Slot;
use rustbalance_testing::client::Client;
use rustbalance_testing::cluster::{Cluster, Node, plan};
use rustbalance_testing::control::Control;
use rustbalance_testing::crowd;
use rustbalance_testing::hsdir::{self, HsDirReader};
use rustbalance_testing::process::{self, RunDir};
use rustbalance_testing::tor_net::{Rotation, Shape, TorNet};
use rustbalance_testing::visitors::{self, PATIENCE};
use rustbalance_testing::wait::{self, Answer};

const NODES: usize = 3;
/// Of a half of the day, 4 minutes here, what is needed to try all HSDirs and kill a node.
const HALF_LEFT: Duration = Duration::from_secs(160);
/// Circuits to introduction points that break for a client with bad luck: with three points, some for each.
const BROKEN: usize = 9;
/// Fewer than a crowd of any size asks for.
const SERVICE_LINES: &str = "pow = true\npow_queue_rate = 1\npow_queue_burst = 1\n";
/// So many of the crowd wait at once: more than tor calls an empty queue (8), fewer than it holds (61).
const CROWD: usize = 24;
const SETTLE_LIMIT: Duration = Duration::from_secs(180);
/// A tor looks at its queue every 300 s.
const EFFORT_LIMIT: Duration = Duration::from_secs(360);
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
            let visit = Visit::make(&net, &format!("alone{number}"), &address)?;
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
    for (hsdir, owner) in &owners {
        let visit = unlucky(&net, &address, *hsdir)?;
        say(&visit.to_string());
        ensure!(visit.node == *owner, "{hsdir} has the points of {owner}");
        visit.was_proven(&cluster)?;
    }
    cluster.node(NODES - 1)?.kill();
    let owners = wait_apart(&mut reader, &cluster, &address)?;
    say(&format!("after one was killed: {}", in_words(&owners)));

    wait_for_half(&net, Rotation::SharedRandom);
    let holder = cluster.holder(SETTLE_LIMIT)?;
    let status = cluster.wait_for(holder, "the half of the day without", SETTLE_LIMIT, |status| {
        let words = status.publication.pow.clone().unwrap_or_default();
        if words.starts_with("not in the descriptors that clients read until") { Ok(()) } else { Err(words) }
    })?;
    say(&format!("proof of work: {}", status.publication.pow.unwrap_or_default()));
    let points = wait_together(&mut reader, &cluster, &address)?;
    say(&format!("each HSDir that clients read has the same {points} points"));
    let tally = visitors::fresh(&net, &address, 2 * VISITORS, 2)?;
    say(&tally.to_string());
    ensure!(tally.failed.is_empty(), "{tally}");
    dir.good();
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

/// Whose points each HSDir that clients read has.
type Owners = BTreeMap<RelayFingerprint, String>;

/// Waits until each has the points of one running node alone, with that node's own parameters, and each node is on some.
fn wait_apart(reader: &mut HsDirReader, cluster: &Cluster<'_>, address: &str) -> Result<Owners> {
    wait::until("one node's points and parameters on each HSDir", SETTLE_LIMIT, || {
        let copies = reader.read(address)?;
        let mut own = BTreeMap::new();
        for number in cluster.running() {
            let node = cluster.node(number)?;
            own.insert(node.name.clone(), own_pow(&mut node.tor_control()?, address)?);
        }
        let points = cluster.node(cluster.holder(SETTLE_LIMIT)?)?.status()?;
        let owner = |copy: &Descriptor| {
            let member = |name: &&String| points.members.iter().find(|member| member.name == **name);
            let is_owner = |name: &&String| {
                let theirs = member(name).map(|member| plan::points_of(&points.publication.points, &member.node));
                theirs.is_some_and(|theirs| theirs == hsdir::auth_keys(copy)) && copy.pow == own[*name]
            };
            own.keys().find(is_owner).filter(|_| copy.pow.is_some()).cloned()
        };
        let owners: Owners = copies.iter().filter_map(|(hsdir, copy)| Some((*hsdir, owner(copy.as_ref()?)?))).collect();
        let on_some = own.keys().all(|name| owners.values().any(|owner| owner == name));
        let done = owners.len() == copies.len() && on_some;
        let why = || format!("{} of {} so far: {}", owners.len(), copies.len(), in_words(&owners));
        Ok(if done { Answer::Ready(owners) } else { Answer::NotYet(why()) })
    })
}

/// Waits until each HSDir that clients read has the same points, some of each running node, without proof of work. Says
/// how many: where two nodes use one relay, one of them has to do without that point.
fn wait_together(reader: &mut HsDirReader, cluster: &Cluster<'_>, address: &str) -> Result<usize> {
    wait::until("all nodes' points on each HSDir", SETTLE_LIMIT, || {
        let copies = reader.read(address)?;
        let (_, status) = cluster.settled("all nodes in a confirmed plan", SETTLE_LIMIT)?;
        let points = &status.publication.points;
        let planned: BTreeSet<_> = points.iter().map(|point| &point.node).collect();
        let listed = |copy: &Descriptor| {
            let all = planned.iter().all(|node| hsdir::lists_any(copy, &plan::points_of(points, node)));
            (all && copy.pow.is_none()).then(|| hsdir::auth_keys(copy))
        };
        let seen: BTreeSet<_> = copies.values().map(|copy| copy.as_ref().and_then(listed)).collect();
        let same =
            seen.first().cloned().flatten().filter(|_| seen.len() == 1 && planned.len() == cluster.running().len());
        Ok(Answer::from_option(same.map(|points| points.len()), || format!("{} different ones", seen.len())))
    })
}

fn in_words(owners: &Owners) -> String {
    owners.values().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// A fresh client that reads this HSDir, and whose first circuits to introduction points break: then tor makes an effort
/// without being asked to.
fn unlucky(net: &TorNet, address: &str, hsdir: RelayFingerprint) -> Result<Visit> {
    let onion: OnionAddress = address.parse().map_err(|error| anyhow!("{address}: {error}"))?;
    for attempt in 0..3 {
        let client = Client::start(net, &format!("unlucky{hsdir}{attempt}"))?;
        let mut control = client.tor().control()?;
        control.command(&command::set_events(&["HS_DESC"]))?;
        control.command(&command::hs_fetch(&onion, Some(hsdir)))?;
        let deadline = Instant::now() + PATIENCE;
        let received = |event: &Event| matches!(event, Event::HsDesc(news) if news.action == HsDescAction::Received);
        while !received(&control.event(deadline)?.context("the HSDir does not answer")?) {}
        let page = thread::scope(|scope| {
            let page = scope.spawn(|| client.load(address, 80, 0, PATIENCE));
            break_circuits(&mut control, || page.is_finished())?;
            page.join().map_err(|_| anyhow!("the visitor panicked"))?
        })?;
        if let Some(effort) = efforts(&mut control, "HS_CLIENT_REND")?.into_iter().max() {
            return Ok(Visit { node: page.node, took: page.took, effort, _client: client });
        }
    }
    bail!("three clients had to make no effort")
}

/// Breaks the first [`BROKEN`] circuits to introduction points while they are being built, unless one got through. Those
/// without a first hop yet are left alone: their end would be held against the client's guard.
fn break_circuits(control: &mut Control, is_through: impl Fn() -> bool) -> Result<()> {
    let mut broken = BTreeSet::new();
    while broken.len() < BROKEN && !is_through() {
        let circuits = control.get_info_text("circuit-status")?;
        let building = |line: &&str| line.contains(" EXTENDED $") && line.contains("PURPOSE=HS_CLIENT_INTRO");
        for id in circuits.lines().filter(building).filter_map(|line| line.split(' ').next()) {
            // It may be gone by now.
            let closed = control.command(&command::close_circuit(id)).is_ok();
            if closed {
                broken.insert(id.to_owned());
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A fresh client's page, and what it solved for it.
struct Visit {
    /// Lives on: the service forgets what it has verified with the circuit.
    _client: Client,
    node: String,
    took: Duration,
    effort: u32,
}

impl Visit {
    fn make(net: &TorNet, name: &str, address: &str) -> Result<Self> {
        let client = Client::start(net, name)?;
        let page = client.load(address, 80, 0, PATIENCE).with_context(|| format!("{name}, in a crowd"))?;
        let effort = efforts(&mut client.tor().control()?, "HS_CLIENT_REND")?.into_iter().max();
        let effort = effort.context("it has solved nothing")?;
        Ok(Self { node: page.node, took: page.took, effort, _client: client })
    }

    /// The node that served has verified a solution of that effort.
    fn was_proven(&self, cluster: &Cluster<'_>) -> Result<()> {
        let node = cluster.nodes.iter().find(|node| node.name == self.node).context("an unknown node")?;
        let verified = efforts(&mut node.tor_control()?, "HS_SERVICE_REND")?;
        ensure!(self.effort >= 1 && verified.contains(&self.effort), "{self}, but {verified:?} were verified");
        Ok(())
    }
}

impl std::fmt::Display for Visit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { node, took, effort, .. } = self;
        write!(
            f,
            "{node} served a page after {:.1} s to a client that solved an effort of {effort}",
            took.as_secs_f32()
        )
    }
}

/// The efforts on circuits of this purpose. A client's names what it has solved, a service's what it has verified.
fn efforts(control: &mut Control, purpose: &str) -> Result<Vec<u32>> {
    let circuits = control.get_info_text("circuit-status")?;
    let solved = circuits.lines().filter(|line| line.contains(&format!("PURPOSE={purpose}")));
    Ok(solved.filter_map(|line| line.split_once("HS_POW=v1,")?.1.split(' ').next()?.parse().ok()).collect())
}

/// Waits until the node's tor suggests an effort.
fn wait_for_effort(node: &Node, address: &str) -> Result<u32> {
    wait::until(&format!("an effort suggested by {}", node.name), EFFORT_LIMIT, || {
        let pow = own_pow(&mut node.tor_control()?, address)?;
        Ok(Answer::from_option(pow.map(|pow| pow.effort).filter(|effort| *effort > 0), || format!("{pow:?}")))
    })
}

/// What tor's own descriptor says of proof of work; nothing while it is between two periods.
fn own_pow(control: &mut Control, address: &str) -> Result<Option<PowParams>> {
    let address: OnionAddress = address.parse().map_err(|error| anyhow!("{address}: {error}"))?;
    let ring = hsdir::ring(control)?;
    let periods = [Slot::First, Slot::Second].map(|slot| ring.slot_period(slot));
    let text = control.get_info(&format!("hs/service/desc/id/{}", address.host()))?;
    Ok(hsdesc::open(&text, address.id(), &periods, None, hsdir::wall_now()).ok().and_then(|descriptor| descriptor.pow))
}
