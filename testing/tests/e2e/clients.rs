//! An address that not everybody may connect to: alone and merged.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustbalance_testing::client::{Client, Page};
use rustbalance_testing::cluster::{Cluster, Node, plan, write_secret};
use rustbalance_testing::tor_net::TorNet;
use rustbalance_testing::visitors;
use rustbalance_testing::wait::{self, Answer};
use serde_json::Value;

use crate::{LONG, Scenario};

/// Exit code of `descriptor show` for one that a client cannot use.
pub const BAD: i32 = 7;
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
        let alice = self.alone(&closed)?;
        self.merged(&mut closed, &alice)?;
        for node in [1, 0] {
            closed.node(node)?.terminate(LONG)?;
        }
        self.report.note(&format!("authorised clients took {:.0} s", begun.elapsed().as_secs_f32()));
        Ok(())
    }

    /// Returns the key of the client that stays.
    fn alone(&mut self, closed: &Cluster<'_>) -> Result<String> {
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
        Ok(alice)
    }

    fn merged(&mut self, closed: &mut Cluster<'_>, alice: &str) -> Result<()> {
        closed.add(Some(0))?;
        settle(closed, "a merged plan of both")?;
        let address = closed.address()?;
        let list = closed.node(0)?.ask(&["clients", "list", "--json"])?;
        self.report.expect("merged: the list is still there", list.contains("\"alice\""), &list);
        let bob = closed.node(1)?.ask(&["clients", "add", "bob"])?;
        wait_for_clients(closed, 2)?;
        settle(closed, "the plan for both clients")?;
        let removed = self.is_served(address, "merged: a client added at the second node", Some(&bob))?;
        let stays = self.is_served(address, "merged: the client from before", Some(alice))?;
        self.is_not_served(address, "merged: one without a key", None)?;
        self.key_shows_what_an_hsdir_holds(closed, ("alice", alice), true)?;

        let before = Planned::of(closed)?;
        closed.node(0)?.ask(&["clients", "remove", "bob"])?;
        wait_for_clients(closed, 1)?;
        for (number, tor) in before.tors.iter().enumerate() {
            wait_for_another_tor(closed, number, *tor)?;
        }
        settle(closed, "the plan without bob")?;
        let left = Planned::of(closed)?.points.intersection(&before.points).count();
        let name = "merged: after a removal no introduction point of before is in the plan";
        self.report.expect(name, left == 0, &format!("{left} of {}", before.points.len()));
        // Both have the old descriptor: where the relays do not tell, a tor waits for each point of it.
        let page = thread::scope(|scope| {
            let stays = scope.spawn(|| {
                let page = stays.load(address, 80, 1, visitors::PATIENCE);
                page.or_else(|_| stays.load(address, 80, 2, visitors::PATIENCE))
            });
            let page = removed.load(address, 80, 1, PAGE);
            let name = "merged: the removed client that still has the old descriptor is not served";
            self.report.expect(name, page.is_err(), &said(&page));
            self.is_not_served(address, "merged: a client that the first node removed", Some(&bob))?;
            self.is_served(address, "merged: the client that stays, begun anew,", Some(alice))?;
            self.key_shows_what_an_hsdir_holds(closed, ("bob", &bob), false)?;
            stays.join().map_err(|_| anyhow!("the client that stays panicked"))
        })?;
        let name = "merged: the client that stays is served, with the old descriptor to begin with";
        self.report.expect(name, page.is_ok(), &said(&page));
        closed.node(1)?.ask(&["clients", "open"])?;
        wait_for_clients(closed, 0)?;
        settle(closed, "the plan for everybody")?;
        self.is_served(address, "opened: one without a key", None)?;
        Ok(())
    }

    /// Has an operator look at what an HSDir holds with a client's key, from a machine that has no other key of that
    /// address: a client that is listed reads all of it, another one as far as HSDirs do.
    fn key_shows_what_an_hsdir_holds(
        &mut self,
        closed: &Cluster<'_>,
        (name, line): (&str, &str),
        is_listed: bool,
    ) -> Result<()> {
        let file = self.net.dir_of(&format!("{name}.auth_private"));
        write_secret(&file, line)?;
        let file = file.to_str().context("a path in UTF-8")?;
        let elsewhere = self.cluster.node(self.cluster.holder(LONG)?)?;
        let (code, text, words) = elsewhere.run(&["descriptor", "show", "--live", "--json", "--client-key", file])?;
        let shown: Value = serde_json::from_str(&text).with_context(|| format!("{text}{words}"))?;
        let points = shown["inner"]["points"].as_array();
        let keys = points.into_iter().flatten().filter_map(|point| point["auth_cert"]["key"].as_str());
        let keys: BTreeSet<_> = keys.map(str::to_owned).collect();
        let good = shown["address"] == closed.address()?
            && shown["middle"]["client_listed"] == is_listed
            && if is_listed {
                code == Some(0) && keys == Planned::of(closed)?.points && shown["middle"]["auth_clients"] != 0
            } else {
                code == Some(BAD) && keys.is_empty() && words.contains("authorised clients only")
            };
        let detail = format!("{code:?}, {} points, {} {}", keys.len(), shown["source"], words.trim());
        let what = if is_listed { "all" } else { "nothing" };
        self.report.expect(&format!("descriptor show --live --client-key shows {what} to {name}"), good, &detail);
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

/// What changes when a client is removed.
struct Planned {
    /// The pids of the nodes' tors.
    tors: Vec<u32>,
    /// The introduction points.
    points: BTreeSet<String>,
}

impl Planned {
    fn of(closed: &Cluster<'_>) -> Result<Self> {
        let points = closed.node(closed.holder(LONG)?)?.status()?.publication.points;
        let tors = closed.nodes.iter().map(Node::tor_pid).collect::<Result<_>>()?;
        Ok(Self { tors, points: points.into_iter().map(|point| point.auth_key).collect() })
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
