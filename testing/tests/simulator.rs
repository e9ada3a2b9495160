//! The campaign: every story under some seeds, all invariants hold, and a seed replays byte for byte.

use rustbalance_testing::sim::scenario::{ALL, Outcome, Scenario};

/// A takeover must be done within this long at the 99th percentile (DESIGN section 9), milliseconds.
const TAKEOVER_P99_MS: u64 = 6_000;
/// More seeds for what is most often hit.
const SEEDS: u64 = 12;
const CHAOS_SEEDS: u64 = 40;

fn run(scenario: &Scenario, seed: u64) -> Outcome {
    let outcome = scenario.run(seed, false);
    assert_eq!(outcome.violation, None, "replay: {}", outcome.replay());
    outcome
}

#[test]
fn every_story_ends_well_under_every_seed() {
    for scenario in &ALL {
        let seeds = if scenario.name == "chaos" { CHAOS_SEEDS } else { SEEDS };
        let outcomes: Vec<_> = (0..seeds).map(|seed| run(scenario, seed)).collect();
        let mut takeovers: Vec<_> = outcomes.iter().flat_map(|outcome| &outcome.takeovers_ms).copied().collect();
        takeovers.sort_unstable();
        println!("{}: {seeds} seeds, takeovers {takeovers:?} ms", scenario.name);
    }
}

#[test]
fn five_nodes_replace_their_publisher_within_six_seconds() {
    let five = Scenario::named("failover-of-five").expect("listed");
    let mut takeovers: Vec<_> = (1000..1100).flat_map(|seed| run(five, seed).takeovers_ms).collect();
    takeovers.sort_unstable();
    assert_eq!(takeovers.len(), 100);
    println!("takeover p50 {} ms, p99 {} ms, max {} ms", takeovers[50], takeovers[98], takeovers[99]);
    assert!(takeovers[98] <= TAKEOVER_P99_MS, "p99 is {} ms", takeovers[98]);
}

#[test]
fn a_seed_replays_byte_for_byte() {
    for scenario in &ALL {
        let (first, second) = (scenario.run(3, false), scenario.run(3, false));
        assert_eq!((first.trace, first.steps), (second.trace, second.steps), "{}", scenario.name);
    }
}
