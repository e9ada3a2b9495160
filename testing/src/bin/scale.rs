//! Measures how the cluster's cost grows with its size: the very same `Node` as in the binary, simulated.

use std::time::Instant;

use clap::Parser;
use rustbalance_testing::sim::scale::{Calm, assembled, cold_start, measure, settle};
use serde_json::json;

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
}

#[expect(clippy::print_stdout, reason = "this program's purpose is to print")]
fn main() {
    let arguments = Arguments::parse();
    if !arguments.json {
        println!(
            "        messages/s          bytes/s       handshakes/s   holder            cold     simulated s per s"
        );
        println!(
            "nodes   mean     max     mean     max     mean    max    messages  bytes  start s   starting     calm"
        );
    }
    for nodes in &arguments.nodes {
        println!("{}", line(*nodes, &arguments));
    }
}

fn line(nodes: usize, arguments: &Arguments) -> String {
    let mut world = assembled(arguments.seed, nodes);
    let (since, from) = (Instant::now(), world.now);
    let cold_start_s = cold_start(&mut world).map(|ms| ms as f64 / 1000.0);
    let starting = (world.now - from) as f64 / 1000.0 / since.elapsed().as_secs_f64();
    settle(&mut world);
    let since = Instant::now();
    let Calm { mean, max, holder } = measure(&mut world, arguments.seconds * 1000);
    let calm = arguments.seconds as f64 / since.elapsed().as_secs_f64();
    if arguments.json {
        return json!({
            "nodes": nodes, "messages_mean": mean.messages, "messages_max": max.messages, "bytes_mean": mean.bytes,
            "bytes_max": max.bytes, "handshakes_mean": mean.handshakes, "handshakes_max": max.handshakes,
            "holder_messages": holder.messages, "holder_bytes": holder.bytes,
            "cold_start_seconds": cold_start_s, "speed_starting": starting, "speed_calm": calm,
        })
        .to_string();
    }
    let cold_start = cold_start_s.map_or("never".to_owned(), |seconds| format!("{seconds:.1}"));
    format!(
        "{nodes:5} {:6.1}  {:6.1} {:8.0}{:8.0}  {:7.2}{:7.2}{:12.1}{:7.0}{cold_start:>9}{starting:11.2}{calm:9.2}",
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
