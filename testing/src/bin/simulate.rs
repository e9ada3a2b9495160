//! Replays or searches seeds in the cluster simulator.

use std::time::Instant;

use clap::Parser;
use rustbalance_testing::sim::scenario::{ALL, Outcome, Scenario};

/// Runs stories of a cluster under seeds; exits 1 at a violation.
#[derive(Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// Which story; all if not given.
    #[arg(long, value_parser = ALL.map(|scenario| scenario.name))]
    scenario: Option<String>,
    /// Replay this one seed and print its trace.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run this many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One JSON object a seed and one in summary.
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stdout, reason = "this program's purpose is to print")]
fn main() {
    let arguments = Arguments::parse();
    let chosen = ALL.iter().filter(|scenario| arguments.scenario.as_ref().is_none_or(|name| name == scenario.name));
    let mut violations = 0;
    for scenario in chosen {
        let seeds = arguments.seed.map_or(arguments.from..arguments.from + arguments.seeds, |seed| seed..seed + 1);
        let since = Instant::now();
        let outcomes: Vec<Outcome> = seeds.map(|seed| run(scenario, seed, &arguments)).collect();
        violations += outcomes.iter().filter(|outcome| outcome.violation.is_some()).count();
        println!("{}", summary(scenario, &outcomes, since, arguments.json));
    }
    std::process::exit(i32::from(violations > 0));
}

#[expect(clippy::print_stdout, reason = "this program's purpose is to print")]
fn run(scenario: &Scenario, seed: u64, arguments: &Arguments) -> Outcome {
    let mut outcome = scenario.run(seed, arguments.seed.is_some() && !arguments.json);
    outcome.log.drain(..).for_each(|line| println!("{line}"));
    if arguments.json {
        println!("{}", serde_json::to_string(&outcome).expect("plain values"));
    } else if let Some(violation) = &outcome.violation {
        println!("{} seed {seed} {violation}\n  replay: {}", scenario.name, outcome.replay());
    }
    outcome
}

fn summary(scenario: &Scenario, outcomes: &[Outcome], since: Instant, json: bool) -> String {
    let sorted = |of: fn(&Outcome) -> &Vec<u64>| {
        let mut all: Vec<u64> = outcomes.iter().flat_map(of).copied().collect();
        all.sort_unstable();
        [50, 99, 100].map(|percent| all.get(all.len().saturating_sub(1) * percent / 100).copied())
    };
    let (takeover, healed) = (sorted(|outcome| &outcome.takeovers_ms), sorted(|outcome| &outcome.healed_ms));
    let violations = outcomes.iter().filter(|outcome| outcome.violation.is_some()).count();
    let steps: u64 = outcomes.iter().map(|outcome| outcome.steps).sum();
    let simulated = outcomes.iter().map(|outcome| outcome.simulated_ms).sum::<u64>() / 1000;
    let wall = since.elapsed().as_secs_f64();
    if json {
        return serde_json::json!({
            "scenario": scenario.name, "seeds": outcomes.len(), "violations": violations, "steps": steps,
            "simulated_seconds": simulated, "wall_seconds": wall, "takeover_p50_p99_max_ms": takeover,
            "healed_p50_p99_max_ms": healed,
        })
        .to_string();
    }
    let times = |name: &str, times: [Option<u64>; 3]| match times {
        [Some(p50), Some(p99), Some(max)] => format!("; {name} p50 {p50} ms, p99 {p99} ms, max {max} ms"),
        _ => String::new(),
    };
    let (name, seeds) = (scenario.name, outcomes.len());
    let times = times("takeover", takeover) + &times("healed", healed);
    format!("{name}: {seeds} seeds, {violations} violations, {simulated} s simulated in {wall:.0} s{times}")
}
