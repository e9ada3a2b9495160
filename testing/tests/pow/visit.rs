//! A fresh client's visit: what it solves, and who verifies it.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustbalance_core::control::command;
use rustbalance_core::control::event::{Event, HsDescAction};
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_testing::client::Client;
use rustbalance_testing::cluster::Cluster;
use rustbalance_testing::control::Control;
use rustbalance_testing::hsdir;
use rustbalance_testing::tor_net::TorNet;
use rustbalance_testing::visitors::PATIENCE;
use rustbalance_testing::wait::{self, Answer};

/// Circuits to introduction points that break for a client with bad luck: with three points, some for each.
const BROKEN: usize = 9;
/// Clients that are to have bad luck, until one has: most circuits are built before they can be broken.
const CLIENTS: usize = 10;

/// A fresh client that has read the descriptor of this time period, or a later one, that this HSDir holds.
pub fn holding(net: &TorNet, name: &str, address: &str, hsdir: RelayFingerprint, period: u64) -> Result<Client> {
    let onion: OnionAddress = address.parse().map_err(|error| anyhow!("{address}: {error}"))?;
    let client = Client::start(net, name)?;
    let mut control = client.tor().control()?;
    wait::until("a consensus of the time period", PATIENCE, || {
        let Ok(ring) = hsdir::ring(&mut control) else { return Ok(Answer::NotYet("none".to_owned())) };
        let current = ring.params().client_period(ring.valid_after()).number;
        Ok(Answer::from_option((current >= period).then_some(()), || format!("one of {current}")))
    })?;
    control.command(&command::set_events(&["HS_DESC"]))?;
    control.command(&command::hs_fetch(&onion, Some(hsdir)))?;
    let deadline = Instant::now() + PATIENCE;
    let received = |event: &Event| matches!(event, Event::HsDesc(news) if news.action == HsDescAction::Received);
    while !received(&control.event(deadline)?.context("the HSDir does not answer")?) {}
    Ok(client)
}

/// A fresh client that reads this HSDir, and whose first circuits to introduction points break: then tor makes an effort
/// without being asked to.
pub fn unlucky(net: &TorNet, name: &str, address: &str, hsdir: RelayFingerprint, period: u64) -> Result<Visit> {
    for attempt in 0..CLIENTS {
        let client = holding(net, &format!("{name}{hsdir}{attempt}"), address, hsdir, period)?;
        let mut control = client.tor().control()?;
        let page = thread::scope(|scope| {
            let page = scope.spawn(|| client.load(address, 80, 0, PATIENCE));
            break_circuits(&mut control, || page.is_finished())?;
            page.join().map_err(|_| anyhow!("the visitor panicked"))?
        })?;
        if let Some(effort) = efforts(&mut control, "HS_CLIENT_REND")?.into_iter().max() {
            return Ok(Visit { node: page.node, took: page.took, effort, _client: client });
        }
    }
    bail!("{CLIENTS} clients had to make no effort")
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
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A fresh client's page, and what it solved for it.
pub struct Visit {
    /// Lives on: the service forgets what it has verified with the circuit.
    _client: Client,
    pub node: String,
    took: Duration,
    effort: u32,
}

impl Visit {
    /// Of a client that makes an effort because its descriptor asks for one.
    pub fn make(client: Client, address: &str) -> Result<Self> {
        let page = client.load(address, 80, 0, PATIENCE).context("a fresh client in a crowd")?;
        let effort = efforts(&mut client.tor().control()?, "HS_CLIENT_REND")?.into_iter().max();
        let effort = effort.context("it has solved nothing")?;
        Ok(Self { node: page.node, took: page.took, effort, _client: client })
    }

    /// The node that served has verified a solution of that effort.
    pub fn was_proven(&self, cluster: &Cluster<'_>) -> Result<()> {
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
