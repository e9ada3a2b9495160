//! Measures how the cluster's cost grows with its size: the very same `Node` as in the binary, simulated.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use rustbalance_testing::sim::scale::{Calm, assembled, cold_start, measure, settle};
use serde_json::json;

/// How much more per node and second a cluster may send than a smaller or larger one.
const FLAT: f64 = 1.5;
/// From a start of all nodes at once until all know each other, seconds.
const COLD_START_SECS_MAX: f64 = 15.0;

/// Messages and bytes that nodes of a calm cluster send, how long all of them need to find each other after they
/// started at once, and how fast that is simulated. 1 % loss, round trips up to 100 ms.
#[derive(Parser)]
#[command(name = "scale")]
struct Arguments {
    /// Cluster sizes.
    #[arg(long, value_delimiter = ',', default_values_t = [5, 50, 100, 500])]
    nodes: Vec<usize>,
    /// How long the calm cluster is measured, simulated seconds: sessions last for two minutes.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Decides everything.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One JSON object per size.
    #[arg(long)]
    json: bool,
    /// Fail unless messages and bytes per node and second are the same for all sizes but for a factor of 1.5, and all nodes
    /// know each other within 15 s of a cold start.
    #[arg(long)]
    check: bool,
}

/// What was measured of one size.
struct Measured {
    nodes: usize,
    cold_start_s: Option<f64>,
    calm: Calm,
    /// Simulated seconds a second.
    speed_starting: f64,
    speed_calm: f64,
}

#[expect(clippy::print_stdout, reason = "this program's purpose is to print")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.json {
        println!(
            "        messages/s          bytes/s       handshakes/s   holder            cold     simulated s per s"
        );
        println!(
            "nodes   mean     max     mean     max     mean    max    messages  bytes  start s   starting     calm"
        );
    }
    let mut sizes = Vec::new();
    for nodes in &arguments.nodes {
        let measured = measured(*nodes, &arguments);
        println!("{}", if arguments.json { measured.json() } else { measured.line() });
        sizes.push(measured);
    }
    let complaints = if arguments.check { complaints(&sizes) } else { Vec::new() };
    complaints.iter().for_each(|complaint| println!("{complaint}"));
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn complaints(sizes: &[Measured]) -> Vec<String> {
    let slow = sizes.iter().filter(|size| size.cold_start_s.is_none_or(|seconds| seconds > COLD_START_SECS_MAX));
    let slow = slow.map(|size| {
        format!(
            "{} nodes: {:?} s from a cold start, at most {COLD_START_SECS_MAX} s are promised",
            size.nodes, size.cold_start_s
        )
    });
    let rates = |rate: fn(&Measured) -> f64| sizes.iter().map(rate).collect::<Vec<_>>();
    let all = [("messages", rates(|size| size.calm.mean.messages)), ("bytes", rates(|size| size.calm.mean.bytes))];
    let uneven = all.into_iter().filter_map(|(name, rates)| {
        let (least, most) =
            rates.iter().fold((f64::MAX, 0.0_f64), |(low, high), rate| (low.min(*rate), high.max(*rate)));
        (most > FLAT * least).then(|| format!("{least:.1} to {most:.1} {name} per node and second: not flat"))
    });
    slow.chain(uneven).collect()
}

fn measured(nodes: usize, arguments: &Arguments) -> Measured {
    let mut world = assembled(arguments.seed, nodes);
    let (since, from) = (Instant::now(), world.now);
    let cold_start_s = cold_start(&mut world).map(|ms| ms as f64 / 1000.0);
    let speed_starting = (world.now - from) as f64 / 1000.0 / since.elapsed().as_secs_f64();
    settle(&mut world);
    let since = Instant::now();
    let calm = measure(&mut world, arguments.seconds * 1000);
    let speed_calm = arguments.seconds as f64 / since.elapsed().as_secs_f64();
    Measured { nodes, cold_start_s, calm, speed_starting, speed_calm }
}

impl Measured {
    fn json(&self) -> String {
        let Calm { mean, max, holder } = self.calm;
        json!({
            "nodes": self.nodes, "messages_mean": mean.messages, "messages_max": max.messages, "bytes_mean": mean.bytes,
            "bytes_max": max.bytes, "handshakes_mean": mean.handshakes, "handshakes_max": max.handshakes,
            "holder_messages": holder.messages, "holder_bytes": holder.bytes,
            "cold_start_seconds": self.cold_start_s, "speed_starting": self.speed_starting,
            "speed_calm": self.speed_calm,
        })
        .to_string()
    }

    fn line(&self) -> String {
        let (Self { nodes, speed_starting, speed_calm, .. }, Calm { mean, max, holder }) = (self, self.calm);
        let cold_start = self.cold_start_s.map_or("never".to_owned(), |seconds| format!("{seconds:.1}"));
        format!(
            "{nodes:5} {:6.1}  {:6.1} {:8.0}{:8.0}  {:7.2}{:7.2}{:12.1}{:7.0}{cold_start:>9}{speed_starting:11.2}{speed_calm:9.2}",
            mean.messages,
            max.messages,
            mean.bytes,
            max.bytes,
            mean.handshakes,
            max.handshakes,
            holder.messages,
            holder.bytes
        )
    }
}
