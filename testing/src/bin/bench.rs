//! Measures RustBalance beside its peers, and its simulator.

use std::time::Duration;

use clap::{Parser, Subcommand};
use rustbalance_testing::bench::{node, ring, simulator};
use serde_json::{Map, Value};

/// Prints medians and how many times as fast as the peer each part is; the machine may be busy, ratios hold anyway.
/// `descriptor` needs the feature `arti`.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    part: Part,
    /// End with the ratios as one JSON object on a line of its own.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Part {
    /// The cluster simulator: simulated seconds per second of one core.
    Simulator {
        /// Seeds of the failover of five nodes, checkers on, trace off.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
        /// Sizes of the clusters that start at once and then rest.
        #[arg(long, value_delimiter = ',', default_values_t = [5, 50, 500])]
        nodes: Vec<usize>,
        /// How long they rest, simulated seconds.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Descriptors beside Arti's tor-netdoc; built with `--features arti` alone.
    Descriptor {
        /// How often everything is done in turns.
        #[arg(long, default_value_t = 300)]
        rounds: usize,
    },
    /// The HSDir ring of 8,000 relays beside Onionbalance 0.2.4, which is installed for it, and the memory of a node that
    /// has it.
    Ring {
        /// How often everything is done in turns.
        #[arg(long, default_value_t = 9)]
        rounds: usize,
        /// When memory is measured, seconds after loading.
        #[arg(long, default_value_t = 60)]
        settle_secs: u64,
    },
    /// The memory of a node with 8,000 relays alone, which `ring` measures, too.
    Memory {
        /// When memory is measured, seconds after loading.
        #[arg(long, default_value_t = 60)]
        settle_secs: u64,
    },
}

#[expect(clippy::print_stdout, reason = "this program's purpose is to print")]
fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let ratios = match arguments.part {
        Part::Simulator { seeds, nodes, seconds } => simulator::run(seeds, &nodes, seconds)?,
        Part::Descriptor { rounds } => descriptor(rounds)?,
        Part::Ring { rounds, settle_secs } => ring::run(rounds, Duration::from_secs(settle_secs))?,
        Part::Memory { settle_secs } => node::run(Duration::from_secs(settle_secs))?,
    };
    if arguments.json {
        println!("{}", Value::Object(ratios));
    } else {
        ratios.iter().for_each(|(name, ratio)| println!("{name} {ratio}"));
    }
    Ok(())
}

#[cfg(feature = "arti")]
fn descriptor(rounds: usize) -> anyhow::Result<Map<String, Value>> {
    rustbalance_testing::bench::descriptor::run(rounds)
}

#[cfg(not(feature = "arti"))]
fn descriptor(_rounds: usize) -> anyhow::Result<Map<String, Value>> {
    anyhow::bail!("descriptors are measured beside Arti, which this program was built without: add `--features arti`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_known_whatever_was_built_in() {
        for part in ["simulator", "descriptor", "ring", "memory"] {
            assert!(Arguments::try_parse_from(["bench", part, "--json"]).is_ok(), "{part}");
        }
    }

    #[cfg(not(feature = "arti"))]
    #[test]
    fn a_part_that_was_not_built_in_names_the_feature() {
        assert!(descriptor(1).is_err_and(|error| error.to_string().contains("--features arti")));
    }
}
