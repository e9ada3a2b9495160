//! Shows the main job on real parts: several nodes serve one onion address, the publisher is killed, the service goes on.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is there to be watched")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use rustbalance_testing::client::Client;
use rustbalance_testing::cluster::{Cluster, plan};
use rustbalance_testing::hsdir::HsDirReader;
use rustbalance_testing::process::{self, RunDir};
use rustbalance_testing::takeover::{Takeover, Victim};
use rustbalance_testing::tor_net::{Shape, TorNet};
use rustbalance_testing::visitors::{self, Tally};
use serde_json::json;

/// Some more than the least that works: nodes whose tors choose the same relays share them, and have fewer points each.
const RELAYS: u8 = 12;
/// Fresh visitors before the publisher is killed.
const CLIENTS_BEFORE: usize = 30;
/// Fresh visitors from the kill on.
const CLIENTS_AFTER: usize = 24;
/// Visitors at once: more would measure this machine and not the service.
const AT_ONCE: usize = 4;
/// For the nodes to come up and agree.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// For everything: if the service fails, so many visitors would wait for longer than anybody watches.
const LIMIT: Duration = Duration::from_secs(235);

/// Several nodes, one onion address, and the publisher killed: on a private tor network on this machine.
#[derive(Parser)]
#[command(name = "demo.sh")]
struct Arguments {
    /// Nodes to run.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=6))]
    nodes: u8,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Keep the logs of all processes even if all goes well.
    #[arg(long)]
    keep_logs: bool,
}

/// What happened.
struct Outcome {
    introduction_points: usize,
    before: Tally,
    takeover: Takeover,
    after: Tally,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(outcome) if outcome.before.failed.is_empty() && outcome.after.failed.is_empty() => ExitCode::SUCCESS,
        Ok(_) => {
            eprintln!("FAILED: some visitors did not get their page");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Outcome> {
    process::stop_children_on_signals()?;
    process::end_after(LIMIT)?;
    let mut dir = RunDir::new()?;
    let outcome = show(&dir, usize::from(arguments.nodes), &Progress { start: Instant::now() })?;
    if !arguments.keep_logs {
        dir.good();
    }
    print_table(&outcome);
    if arguments.json {
        println!("{}", as_json(arguments.nodes, &outcome));
    }
    Ok(outcome)
}

fn show(dir: &RunDir, nodes: usize, progress: &Progress) -> Result<Outcome> {
    let shape = Shape { relays: RELAYS, ..Shape::default() };
    progress.say(&format!("starting a private tor network: {} authorities, {RELAYS} relays", shape.authorities));
    let net = TorNet::start(dir.path(), shape)?;
    progress.say("network up; a page of node1's web application will say \"node1\"");

    let mut cluster = Cluster::new(&net, "info")?;
    cluster.add(None)?;
    let address = cluster.address()?.to_owned();
    progress.say(&format!("node1 runs and serves {address}"));
    let mut reader = HsDirReader::start(&net)?;
    cluster.wait_for(0, "node1 alone, published by its own tor", SETTLE_LIMIT, plan::alone_and_native)?;
    reader.wait_published(&address, SETTLE_LIMIT)?;
    let visitor = Client::start(&net, "first")?;
    let page = visitor.load(&address, 80, 0, visitors::PATIENCE).context("the first visitor")?;
    progress.say(&format!("node1 is alone, its tor publishes; the first visitor was served by {}", page.node));
    drop(visitor);

    for _ in 1..nodes {
        let invite = cluster.invite(0, &format!("node{}", cluster.nodes.len() + 1))?;
        let number = cluster.add_invited(&invite)?;
        progress.say(&format!("{} has joined through tor, with an invite of node1", cluster.node(number)?.name));
    }
    let (_, status) = cluster.settled("all nodes in one confirmed plan", SETTLE_LIMIT)?;
    let introduction_points = status.publication.points.len();
    progress.say(&format!(
        "{} publishes one descriptor with {introduction_points} introduction points of {nodes} nodes; every HSDir has it",
        status.name
    ));

    progress.say(&format!("{CLIENTS_BEFORE} fresh visitors, each with a tor client that never heard of the service"));
    let before = visitors::fresh(&net, &address, CLIENTS_BEFORE, AT_ONCE)?;
    progress.say(&before.to_string());

    let victim = Victim::find(&cluster, &mut reader)?;
    progress.say(&format!("SIGKILL for {}, the publisher; then {CLIENTS_AFTER} more fresh visitors", status.name));
    let killed = victim.kill();
    let (takeover, after) = std::thread::scope(|scope| {
        let takeover = scope.spawn(|| killed.watch(&mut reader));
        let after = visitors::fresh(&net, &address, CLIENTS_AFTER, AT_ONCE);
        (takeover.join(), after)
    });
    let (takeover, after) = (takeover.ok().context("watching the takeover panicked")??, after?);
    progress.say(&after.to_string());
    ensure!(takeover.publisher_after != takeover.publisher_before, "the dead node still publishes");
    Ok(Outcome { introduction_points, before, takeover, after })
}

/// Tells the time of each step.
struct Progress {
    start: Instant,
}

impl Progress {
    fn say(&self, what: &str) {
        println!("{:6.1} s  {what}", self.start.elapsed().as_secs_f32());
    }
}

fn print_table(outcome: &Outcome) {
    let Outcome { introduction_points, before, takeover, after } = outcome;
    let mut nodes: Vec<&String> = before.served_by.keys().chain(after.served_by.keys()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    println!("\n  {:<38} {:>10} {:>10}", "", "before", "after");
    println!("  {:<38} {:>10} {:>10}", "publisher", takeover.publisher_before, takeover.publisher_after);
    println!("  {:<38} {:>10} {:>10}", "fresh visitors served", before.served(), after.served());
    println!("  {:<38} {:>10} {:>10}", "fresh visitors failed", before.failed.len(), after.failed.len());
    for node in nodes {
        let of = |tally: &Tally| tally.served_by.get(node).copied().unwrap_or_default();
        println!("  {:<38} {:>10} {:>10}", format!("served by {node}"), of(before), of(after));
    }
    let slowest = |tally: &Tally| format!("{:.1} s", tally.slowest.as_secs_f32());
    println!("  {:<38} {:>10} {:>10}", "slowest page", slowest(before), slowest(after));
    println!("  {:<38} {:>10}", "introduction points", introduction_points);
    let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f32());
    let tor_gone = takeover.tor_gone.map_or("never".into(), seconds);
    println!("  {:<38} {:>10} {:>10}", "kill to its tor gone too", "", tor_gone);
    println!("  {:<38} {:>10} {:>10}", "kill to new plan on every HSDir", "", seconds(takeover.takeover));
    println!(
        "  {:<38} {:>10} {:>10}\n",
        "kill to dead points gone for clients",
        "",
        seconds(takeover.dead_points_gone)
    );
}

fn as_json(nodes: u8, outcome: &Outcome) -> serde_json::Value {
    let Outcome { introduction_points, before, takeover, after } = outcome;
    json!({
        "nodes": nodes,
        "introduction_points": introduction_points,
        "clients": before.served() + before.failed.len(),
        "failed": before.failed.len(),
        "served_by": before.served_by,
        "publisher_before": takeover.publisher_before,
        "publisher_after": takeover.publisher_after,
        "takeover_seconds": rounded(takeover.takeover),
        "dead_points_gone_seconds": rounded(takeover.dead_points_gone),
        "clients_after": after.served() + after.failed.len(),
        "failed_after": after.failed.len(),
        "served_by_after": after.served_by,
    })
}

/// Seconds with two decimals.
fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100.0).round() / 100.0
}
