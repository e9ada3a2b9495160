//! A visitor whose tor knows a descriptor from before.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result};
use rustbalance_testing::client::{Client, Page};
use rustbalance_testing::visitors;

use crate::Scenario;

/// Visits, each over a circuit of its own: far more than it takes to come to one of three nodes.
const VISITS: Range<u32> = 0..60;
/// Visits that must go on to other nodes.
const LATER: usize = 6;
/// A point that nobody has closed costs a client half a minute.
const MOVED_ON: Duration = Duration::from_secs(20);

pub struct Cached {
    client: Client,
    address: String,
    session: u32,
    circuits: Range<u32>,
}

impl Cached {
    /// A client called `client` that has been served by `node`.
    pub fn of(scenario: &Scenario<'_>, client: &str, node: &str) -> Result<Self> {
        let (client, address) = (Client::start(scenario.net, client)?, scenario.cluster.address()?.to_owned());
        let mut circuits = VISITS;
        let session = circuits.find(|circuit| {
            let page = client.load(&address, 80, *circuit, visitors::PATIENCE);
            page.is_ok_and(|page| page.node == node)
        });
        let session = session.with_context(|| format!("no visit of {} came to {node}", VISITS.len()))?;
        Ok(Self { client, address, session, circuits })
    }

    /// A page over the circuit to that node.
    pub fn page_of_its_session(&self) -> Result<Page> {
        self.visit(self.session)
    }

    fn next_page(&mut self) -> Result<Page> {
        let circuit = self.circuits.next().context("too many visits")?;
        self.visit(circuit)
    }

    fn visit(&self, circuit: u32) -> Result<Page> {
        self.client.load(&self.address, 80, circuit, visitors::PATIENCE)
    }
}

impl Scenario<'_> {
    /// Checks that a client which knows the points of a node that is out of service is served by others, and soon.
    pub fn goes_on_to_others(&mut self, cached: &mut Cached, node: &str) -> Result<()> {
        let (mut elsewhere, mut slowest) = (0, Duration::ZERO);
        for _ in 0..LATER {
            let page = cached.next_page()?;
            elsewhere += usize::from(page.node != node);
            slowest = slowest.max(page.took);
        }
        let detail = format!("{elsewhere} of {LATER}, slowest {:.1} s", slowest.as_secs_f32());
        let moved_on = elsewhere == LATER && slowest < MOVED_ON;
        self.report.expect("a client with a cached descriptor goes on to other nodes", moved_on, &detail);
        Ok(())
    }
}
