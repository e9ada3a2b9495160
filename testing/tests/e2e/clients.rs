//! An address that not everybody may connect to: alone and merged.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustbalance_testing::client::{Client, Page};
use rustbalance_testing::cluster::{Cluster, plan};
use rustbalance_testing::tor_net::TorNet;
use rustbalance_testing::wait::{self, Answer};

use crate::{LONG, Scenario};

/// For one page.
const PAGE: Duration = Duration::from_secs(25);
/// A client that comes too early does not ask the HSDirs again for a while: then the next one tries.
const TRIES: usize = 4;
/// For a change of the plan to be noticed, before one asks whether it is confirmed.
const PLANNED: Duration = Duration::from_secs(1);

impl Scenario<'_> {
    /// Another service, restricted from its first moment on: as long as its node is alone, then with a second one.
    pub fn authorised_clients(&mut self) -> Result<()> {
        self.report.step("another service, for authorised clients alone");
        let begun = Instant::now();
        let target = self.cluster.node(0)?.web().target();
        let mut closed = Cluster::in_front_of(&target, self.net, 2, "info")?;
        closed.add(None)?;
        closed.wait_for(0, "it to answer", LONG, |_| Ok(()))?;
        self.alone(&closed)?;
        self.merged(&mut closed)?;
        for node in [1, 0] {
            closed.node(node)?.terminate(LONG)?;
        }
        self.report.note(&format!("authorised clients took {:.0} s", begun.elapsed().as_secs_f32()));
        Ok(())
    }

    fn alone(&mut self, closed: &Cluster<'_>) -> Result<()> {
        let (node, address) = (closed.node(0)?, closed.address()?);
        let [alice, mallory] = ["alice", "mallory"].map(|name| node.ask(&["clients", "add", name]));
        let (alice, mallory) = (alice?, mallory?);
        closed.wait_for(0, "status says alone and native", LONG, plan::alone_and_native)?;
        self.is_served(address, "alone: a client with a key", Some(&alice))?;
        let removed = self.is_served(address, "alone: another one", Some(&mallory))?;
        self.is_not_served(address, "alone: one without a key", None)?;
        self.is_not_served(address, "alone: one with a wrong key", Some(&wrong_key(&alice)))?;

        let tor = node.tor_pid()?;
        node.ask(&["clients", "remove", "mallory"])?;
        wait_for_another_tor(closed, 0, tor)?;
        self.is_served(address, "after a removal: the client that stays", Some(&alice))?;
        self.is_not_served(address, "after a removal: a fresh client with the removed key", Some(&mallory))?;
        let page = removed.load(address, 80, 1, PAGE);
        let name = "after a removal: the removed client that still has the old descriptor is not served";
        self.report.expect(name, page.is_err(), &said(&page));
        Ok(())
    }

    fn merged(&mut self, closed: &mut Cluster<'_>) -> Result<()> {
        closed.add(Some(0))?;
        settle(closed, "a merged plan of both")?;
        let address = closed.address()?;
        let alice = closed.node(0)?.ask(&["clients", "list", "--json"])?;
        self.report.expect("merged: the list is still there", alice.contains("\"alice\""), &alice);
        let bob = closed.node(1)?.ask(&["clients", "add", "bob"])?;
        wait_for_clients(closed, 2)?;
        settle(closed, "the plan for both clients")?;
        self.is_served(address, "merged: a client added at the second node", Some(&bob))?;
        self.is_not_served(address, "merged: one without a key", None)?;

        closed.node(0)?.ask(&["clients", "remove", "bob"])?;
        wait_for_clients(closed, 1)?;
        settle(closed, "the plan without bob")?;
        self.is_not_served(address, "merged: a client that the first node removed", Some(&bob))?;
        closed.node(1)?.ask(&["clients", "open"])?;
        wait_for_clients(closed, 0)?;
        settle(closed, "the plan for everybody")?;
        self.is_served(address, "opened: one without a key", None)?;
        Ok(())
    }

    pub fn is_served(&mut self, address: &str, who: &str, key: Option<&str>) -> Result<Client> {
        let mut tries = 0;
        loop {
            let client = fresh(self.net, key)?;
            tries += 1;
            let page = client.load(address, 80, 0, PAGE);
            if page.is_ok() || tries == TRIES {
                self.report.expect(&format!("{who} is served"), page.is_ok(), &format!("{}, try {tries}", said(&page)));
                return Ok(client);
            }
        }
    }

    pub fn is_not_served(&mut self, address: &str, who: &str, key: Option<&str>) -> Result<()> {
        let page = fresh(self.net, key)?.load(address, 80, 0, PAGE);
        self.report.expect(&format!("{who} is not served"), page.is_err(), &said(&page));
        Ok(())
    }
}

fn said(page: &Result<Page>) -> String {
    page.as_ref().map_or_else(|error| format!("{error:#}"), |page| format!("{page:?}"))
}

/// A client that has never heard of the service.
fn fresh(net: &TorNet, key: Option<&str>) -> Result<Client> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    Client::start_with_key(net, &format!("authorised{}", COUNT.fetch_add(1, Ordering::Relaxed)), key)
}

/// The line with another secret.
fn wrong_key(line: &str) -> String {
    let (start, secret) = line.trim().rsplit_once(':').unwrap_or_default();
    format!("{start}:{}\n", secret.chars().rev().collect::<String>())
}

fn settle(closed: &Cluster<'_>, what: &str) -> Result<()> {
    thread::sleep(PLANNED);
    let names: Vec<&str> = closed.nodes.iter().map(|node| node.name.as_str()).collect();
    wait::until(what, LONG, || {
        let holder = closed.holder(LONG)?;
        let status = closed.node(holder)?.status()?;
        let fact = plan::has_points_of(&status, &names).and_then(|()| plan::is_confirmed(&status, u64::MAX));
        Ok(fact.map_or_else(Answer::NotYet, Answer::Ready))
    })
}

fn wait_for_clients(closed: &Cluster<'_>, count: usize) -> Result<()> {
    for number in 0..closed.nodes.len() {
        closed.wait_for(number, "the new list", LONG, |status| {
            let access = &status.access;
            (access.clients == count).then_some(()).ok_or_else(|| format!("{access:?}"))
        })?;
    }
    Ok(())
}

fn wait_for_another_tor(closed: &Cluster<'_>, number: usize, before: u32) -> Result<()> {
    let node = closed.node(number)?;
    wait::until("another tor", LONG, || {
        let pid = node.tor_pid().unwrap_or(before);
        Ok(Answer::from_option((pid != before).then_some(()), || format!("still {before}")))
    })
    .with_context(|| node.log_tail(12))
}
