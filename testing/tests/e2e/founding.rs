//! One node alone, then more that join while clients visit.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustbalance_testing::client::Client;
use rustbalance_testing::cluster::{Node, plan};
use rustbalance_testing::native;
use rustbalance_testing::visitors::{PATIENCE, Regulars};
use rustbalance_testing::wait::{self, Answer};

use crate::{LONG, RELOAD, Scenario};

/// From the first node's tor being bootstrapped to the first page.
const FIRST_PAGE: Duration = Duration::from_secs(10);
/// From a joining node's tor being bootstrapped to its points in the plan.
const JOINED: Duration = Duration::from_secs(15);
/// Clients that wait for the first node. A client that came too early does not ask the HSDirs again for a while, so each
/// tries only once, one after the other.
const FIRST_CLIENTS: usize = 8;
/// Between their tries.
const FIRST_CLIENTS_APART: Duration = Duration::from_millis(1250);

impl Scenario<'_> {
    /// The first node serves alone, published by its own tor.
    pub fn first_node(&mut self) -> Result<()> {
        self.report.step("the first node, alone");
        let clients = Client::start_some(self.net, "early", FIRST_CLIENTS)?;
        self.cluster.add(None)?;
        wait_tor_bootstrapped(self.cluster.node(0)?)?;
        let bootstrapped = Instant::now();
        let first_page = first_page(&clients, self.cluster.address()?);
        match first_page {
            Some(at) => self.report.in_time("first page after the first tor is up", at - bootstrapped, FIRST_PAGE),
            None => self.report.expect("first page after the first tor is up", false, "no client was served"),
        }
        let status = self.cluster.wait_for(0, "status says alone and native", LONG, plan::alone_and_native);
        self.report.check("a node by itself is alone, its tor publishes", status).context("not alone")?;
        let publishing = self.cluster.node(0)?.publishing()?;
        self.report.expect("its tor says so too", publishing.ends_with("=1"), &publishing);
        let address = self.cluster.address()?;
        let copies = self.reader.wait_published(address, LONG);
        self.report.check("every HSDir that clients read has the descriptor", copies).context("not published")?;
        self.regulars = Some(Regulars::start(self.net, address, 2)?);
        Ok(())
    }

    /// Ring, counters and layout of a service that tor publishes by itself.
    pub fn tor_does_as_we_do(&mut self) -> Result<()> {
        self.report.step("a service that tor publishes by itself");
        for (what, good, detail) in native::compare(&mut self.reader.tor().control()?)? {
            self.report.expect(what, good, &detail);
        }
        Ok(())
    }

    /// Node `number`, just started, becomes part of the service.
    pub fn has_joined(&mut self, number: usize) -> Result<()> {
        let name = self.cluster.node(number)?.name.clone();
        wait_tor_bootstrapped(self.cluster.node(number)?)?;
        let bootstrapped = Instant::now();
        let names = self.names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let holder = self.cluster.holder(LONG)?;
        self.cluster.wait_for(holder, "its points in the plan", LONG, |status| plan::has_points_of(status, &names))?;
        self.report.in_time(&format!("{name}'s points are in the plan"), bootstrapped.elapsed(), JOINED);
        let holder = self.settle(&format!("{name} joined"), LONG)?;
        let mode = self.cluster.node(holder)?.status()?.mode;
        self.report.expect("the cluster publishes merged by itself", mode == "merged", &mode);
        for number in self.cluster.running() {
            let publishing = self.cluster.node(number)?.publishing()?;
            let name = self.cluster.node(number)?.name.clone();
            let off = publishing.ends_with("=0");
            self.report.expect(&format!("the tor of {name} itself publishes nothing"), off, &publishing);
        }
        self.regular_visitors(&format!("while {name} joined"), RELOAD)?;
        Ok(())
    }

    /// Fresh visitors land on all nodes.
    pub fn all_serve(&mut self) -> Result<()> {
        self.report.step("all nodes serve");
        self.fresh_visitors_by_all("three nodes", 24)
    }
}

/// Has each client try once, and returns when the first page came.
fn first_page(clients: &[Client], address: &str) -> Option<Instant> {
    thread::scope(|scope| {
        let tries: Vec<_> = clients
            .iter()
            .zip(0u32..)
            .map(|(client, number)| {
                scope.spawn(move || {
                    thread::sleep(FIRST_CLIENTS_APART * number);
                    client.load(address, 80, 0, PATIENCE).ok().map(|_| Instant::now())
                })
            })
            .collect();
        tries.into_iter().filter_map(|one| one.join().ok().flatten()).min()
    })
}

/// Waits until a node's tor says that it is bootstrapped.
fn wait_tor_bootstrapped(node: &Node) -> Result<()> {
    wait::until(&format!("the tor of {} to bootstrap", node.name), LONG, || {
        let phase = node.tor_control().and_then(|mut control| control.get_info_text("status/bootstrap-phase"));
        Ok(match phase {
            Ok(phase) if phase.contains("PROGRESS=100") => Answer::Ready(()),
            Ok(phase) => Answer::NotYet(phase),
            Err(error) => Answer::NotYet(format!("{error:#}; its log ends:\n{}", node.log_tail(10))),
        })
    })
}
