//! How fresh clients fall on the nodes, on a private tor network of many relays: three nodes in one descriptor, then
//! twelve, whose introduction points need several. Takes about 5 minutes.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustbalance_core::status::Status;
use rustbalance_testing::cluster::{Cluster, plan};
use rustbalance_testing::process::{self, RunDir};
use rustbalance_testing::tor_net::{Shape, TorNet};
use rustbalance_testing::visitors::{self, Tally};

/// Besides three authorities.
const RELAYS: u8 = 23;
/// Points in a descriptor of the many. Tors choose the same relays rather often: not 20 of their points can stand together.
const PLACES: usize = 10;
const FEW: usize = 3;
const MANY: usize = 12;
/// Fresh clients of the few.
const CLIENTS: usize = 60;
/// Fresh clients of the many until each node has served one.
const CLIENTS_MAX: usize = 300;
/// Clients at once: more would measure this machine.
const AT_ONCE: usize = 4;
const SETTLE_LIMIT: Duration = Duration::from_secs(180);
/// As unlikely as that, and it is not chance.
const CHANCE_MIN: f64 = 1e-6;

#[test]
fn fresh_clients_fall_on_three_nodes_and_on_twelve_by_chance_alone() -> Result<()> {
    process::stop_children_on_signals()?;
    let mut dir = RunDir::new()?;
    let start = Instant::now();
    let say = |what: &str| println!("[{:6.1} s] {what}", start.elapsed().as_secs_f32());
    let net = TorNet::start(dir.path(), Shape { relays: RELAYS, ..Shape::default() })?;
    say(&format!("a network of {} relays", net.relays()));
    let mut cluster = Cluster::new(&net, "info")?;

    let status = grow(&mut cluster, FEW)?;
    say(&format!("{FEW} nodes: {}", in_words(&status)));
    ensure!(status.publication.descriptors == 1, "all have room in one descriptor");
    let tally = visitors::fresh(&net, cluster.address()?, CLIENTS, AT_ONCE)?;
    let chance = chance_of_three(&tally);
    say(&format!("{tally}; as far or further from equal shares by chance: p = {chance:.3}"));
    ensure!(tally.failed.is_empty() && chance >= CHANCE_MIN, "{tally}");

    grow(&mut cluster, MANY)?;
    shorten_descriptors(&mut cluster)?;
    let status = settle(&cluster)?;
    say(&format!("{MANY} nodes: {}", in_words(&status)));
    ensure!(status.publication.descriptors > 1, "they have no room in one descriptor");
    ensure!(status.publication.shares.len() == MANY, "every node has a share: {:?}", status.publication.shares);
    let tally = until_all_have_served(&net, cluster.address()?)?;
    say(&format!("{} of {MANY} nodes have served: {tally}", tally.served_by.len()));
    ensure!(tally.failed.is_empty() && tally.served_by.len() == MANY, "{tally}");
    dir.good();
    Ok(())
}

/// Adds nodes until there are `count`.
fn grow(cluster: &mut Cluster<'_>, count: usize) -> Result<Status> {
    while cluster.nodes.len() < count {
        let through = (!cluster.nodes.is_empty()).then_some(0);
        cluster.add(through)?;
        if through.is_none() {
            cluster.wait_for(0, "the first node alone", SETTLE_LIMIT, plan::alone_and_native)?;
        }
    }
    settle(cluster)
}

/// Writes `publish.points` into every node's configuration, and restarts it.
fn shorten_descriptors(cluster: &mut Cluster<'_>) -> Result<()> {
    for number in 0..cluster.nodes.len() {
        let node = cluster.node(number)?;
        ensure!(node.terminate(SETTLE_LIMIT)?.success(), "{} stops in good order", node.name);
        let mut file = OpenOptions::new().append(true).open(node.dir.join("rustbalance.toml"))?;
        write!(file, "\n[publish]\npoints = {PLACES}\n")?;
        cluster.restart(number)?;
    }
    Ok(())
}

/// Waits until what is published has all nodes.
fn settle(cluster: &Cluster<'_>) -> Result<Status> {
    cluster.settled("all nodes in a confirmed plan", SETTLE_LIMIT).map(|(_, status)| status)
}

fn in_words(status: &Status) -> String {
    let publication = &status.publication;
    let shares: Vec<_> =
        publication.shares.values().map(|share| format!("{:.1}", f64::from(*share) / 10_000.0)).collect();
    format!(
        "{} points in {} descriptors; shares of the clients, percent: {}",
        publication.points.len(),
        publication.descriptors,
        shares.join(" ")
    )
}

/// Fresh clients until each node has served one, some at a time.
fn until_all_have_served(net: &TorNet, address: &str) -> Result<Tally> {
    let mut all = Tally::default();
    while all.served_by.len() < MANY && all.served() + all.failed.len() < CLIENTS_MAX {
        all.add(visitors::fresh(net, address, 2 * AT_ONCE, AT_ONCE)?);
    }
    Ok(all)
}

/// How likely equal shares are to give numbers as unequal as these: chi-square with two degrees of freedom.
fn chance_of_three(tally: &Tally) -> f64 {
    let due = tally.served() as f64 / FEW as f64;
    let missing = FEW.saturating_sub(tally.served_by.len()) as f64 * due;
    let chi_square: f64 = tally.served_by.values().map(|pages| (*pages as f64 - due).powi(2) / due).sum();
    (-(chi_square + missing) / 2.0).exp()
}
