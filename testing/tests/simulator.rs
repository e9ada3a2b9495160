//! A sample of the campaign; `simulate --ci`, a release build, runs all of it.
//!
//! The seeds are always the same, so that a change is what makes it fail; `RUSTBALANCE_SIM_SEED` sets another first one.

#![expect(clippy::print_stdout, reason = "the seeds, and what a campaign came to, are for whoever reads along")]

use std::path::Path;
use std::process::{Command, Output};

use rustbalance_testing::sim::campaign::threads;
use rustbalance_testing::sim::ci::{Campaign, Size};
use rustbalance_testing::sim::mark::Mark;
use rustbalance_testing::sim::scenario::ALL;

fn first_seed() -> u64 {
    let seed = std::env::var("RUSTBALANCE_SIM_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    println!("replay with RUSTBALANCE_SIM_SEED={seed}");
    seed
}

#[test]
fn every_story_ends_well() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/regressions"));
    let campaign = Campaign::new(Size::SAMPLE, first_seed(), threads());
    let (lines, complaints) = campaign.run(folder).expect("regressions are committed");
    lines.iter().for_each(|line| println!("{line}"));
    let complaints: Vec<_> = complaints.into_iter().map(|complaint| complaint.text).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// A mark that is asked for within more seeds than are run is never missed.
#[test]
fn ci_asks_for_every_mark() {
    let run_by_ci = || ALL.iter().filter(|scenario| !scenario.is_long);
    let asked = |mark: &Mark| {
        let mut marks = run_by_ci().flat_map(|scenario| scenario.marks.iter().map(move |mark| (scenario, mark)));
        marks.any(|(scenario, (asked, seeds))| asked == mark && *seeds <= Size::WHOLE.seeds(scenario))
    };
    let forgotten: Vec<_> = Mark::ALL.into_iter().filter(|mark| !asked(mark)).collect();
    assert_eq!(forgotten, []);
    // Whatever a story has to reach it reaches so surely that CI stays short.
    let slow =
        run_by_ci().filter(|scenario| scenario.name != "chaos" && Size::WHOLE.seeds(scenario) > Size::WHOLE.timed);
    assert_eq!(slow.map(|scenario| scenario.name).collect::<Vec<_>>(), [""; 0]);
}

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulate")).args(arguments).output().expect("it starts")
}

#[test]
fn json_is_an_object_a_seed_and_a_summary() {
    let output = simulate(&["--scenario", "failover-of-three", "--seeds", "2", "--from", "5", "--json"]);
    let text = String::from_utf8(output.stdout).expect("text");
    let objects: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let [first, second, summary] = objects.as_slice() else { panic!("{text}") };
    assert_eq!((&first["seed"], &second["seed"]), (&5.into(), &6.into()));
    assert!(first["violation"].is_null() && first["takeovers_ms"].is_array(), "{first}");
    assert_eq!((&summary["seeds"], &summary["violations"]), (&2.into(), &0.into()));
    assert!(summary["takeover_p99_seconds"].as_f64() > Some(0.0), "{summary}");
    assert!(output.status.success());
}

#[test]
fn what_cannot_be_told_is_wrong_usage() {
    let refused: [&[&str]; 3] = [
        &["--scenario", "failover-of-five", "--nodes", "1", "--seeds", "1"],
        &["--schedule", "nowhere.json"],
        &["--scenario", "failover-of-three", "--seed", "1", "--minimise", "/nowhere/found.json"],
    ];
    for arguments in refused {
        let output = simulate(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}
