//! The campaign: every story and chaos on fresh seeds, what was once found, and the same seed twice. All of it runs in a
//! release build (`testing/test.sh`), a sample of it in an ordinary one.
//!
//! Seeds begin at the unix time, so that every run looks somewhere new; `RUSTBALANCE_SIM_SEED` sets the first one.

#![expect(clippy::print_stdout, reason = "the seeds, and what a campaign came to, are for whoever reads along")]

use std::collections::BTreeMap;
use std::time::SystemTime;

use rustbalance_testing::sim::campaign::{Job, run_all, threads};
use rustbalance_testing::sim::mark::Mark;
use rustbalance_testing::sim::minimise::Regression;
use rustbalance_testing::sim::scenario::{ALL, Run, Scenario};
use rustbalance_testing::sim::summary::{Tally, percentile};

/// Whether this build is fast enough for all of it.
const ALL_OF_IT: bool = !cfg!(debug_assertions);
/// Seeds of chaos, and simulated minutes of each.
const CHAOS_SEEDS: u64 = if ALL_OF_IT { 300 } else { 10 };
const CHAOS_MINUTES: u64 = 5;
/// Seeds of every other story, and simulated minutes of those that can be shorter.
const STORY_SEEDS: u64 = if ALL_OF_IT { 10 } else { 1 };
const STORY_MINUTES: u64 = 3;
/// Seeds of those whose times are promised: each has a hundred times to take the 99th percentile of.
const TIMED_SEEDS: u64 = if ALL_OF_IT { 40 } else { 1 };
/// Seeds of each story that are run twice.
const TWICE: u64 = if ALL_OF_IT { 2 } else { 1 };

/// Times of a campaign.
type Times = fn(&Tally) -> &Vec<u64>;

/// The times that are promised (DESIGN section 9): story, times of it, and seconds at the 99th percentile.
const IN_TIME: [(&str, Times, f64); 5] = [
    ("failover-of-five", |tally| &tally.measured.takeovers_ms, 6.0),
    ("any-node-killed", |tally| &tally.measured.excluded_ms, 6.0),
    ("frozen-node", |tally| &tally.measured.excluded_ms, 6.0),
    ("partition-2-3", |tally| &tally.measured.healed_ms, 5.0),
    ("graceful-stop", |tally| &tally.measured.graceful_ms, 1.0),
];

fn first_seed() -> u64 {
    let given = std::env::var("RUSTBALANCE_SIM_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed = given.unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs());
    println!("replay with RUSTBALANCE_SIM_SEED={seed} cargo test --release -p rustbalance-testing --test simulator");
    seed
}

fn jobs(scenario: &'static Scenario, from: u64, seeds: u64, minutes: u64) -> Vec<Job> {
    let run = |seed| Run { seed, minutes: Some(minutes), ..Run::default() };
    (from..from + seeds).map(|seed| Job { scenario, run: run(seed) }).collect()
}

/// Runs all jobs; they end well, and each story reaches what it must.
fn run_well(jobs: &[Job]) -> BTreeMap<&'static str, Tally> {
    let (mut tallies, mut complaints) = (BTreeMap::<_, Tally>::new(), Vec::new());
    run_all(jobs, threads(), |job, end| {
        complaints.extend(job.complaint(&end));
        let tally = tallies.entry(job.scenario.name).or_default();
        match end {
            Ok(outcome) => tally.add(&outcome),
            Err(_) => tally.add_crash(),
        }
    });
    assert!(complaints.is_empty(), "{} bad ends:\n{}", complaints.len(), complaints.join("\n"));
    let mut missed = Vec::new();
    for (name, tally) in &tallies {
        let marks = tally.missed(Scenario::named(name).expect("listed"));
        missed.extend(marks.iter().map(|mark| format!("{name} never met this: {}", mark.about())));
        println!("{}", tally.summary(name, marks, 0.0));
    }
    assert!(missed.is_empty(), "{missed:?}");
    tallies
}

#[test]
fn chaos_ends_well_under_fresh_seeds() {
    let chaos = Scenario::named("chaos").expect("listed");
    run_well(&jobs(chaos, first_seed(), CHAOS_SEEDS, CHAOS_MINUTES));
}

#[test]
fn every_story_ends_well_under_fresh_seeds_and_in_time() {
    let (from, stories) = (first_seed(), ALL.iter().filter(|scenario| scenario.name != "chaos" && !scenario.is_long));
    let is_timed = |scenario: &Scenario| IN_TIME.iter().any(|(name, ..)| *name == scenario.name);
    let seeds = |scenario| if is_timed(scenario) { TIMED_SEEDS } else { STORY_SEEDS };
    let jobs: Vec<Job> = stories.flat_map(|scenario| jobs(scenario, from, seeds(scenario), STORY_MINUTES)).collect();
    let tallies = run_well(&jobs);
    for (name, times, most) in IN_TIME {
        let p99 = percentile(times(&tallies[name]), 99).expect("measured");
        assert!(p99 <= most, "{name}: p99 is {p99} s, at most {most} s are allowed");
    }
}

#[test]
fn what_was_once_found_stays_mended() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions");
    let files = std::fs::read_dir(folder).expect("it is committed").map(|entry| entry.expect("readable").path());
    let jobs: Vec<Job> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("readable");
            let regression: Regression =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let scenario = Scenario::named(&regression.scenario).expect("listed");
            Job { scenario, run: regression.run() }
        })
        .collect();
    run_all(&jobs, threads(), |job, end| assert_eq!(job.complaint(&end), None));
}

#[test]
fn a_seed_replays_byte_for_byte() {
    let from = first_seed();
    let once: Vec<Job> =
        ALL.iter().filter(|scenario| !scenario.is_long).flat_map(|scenario| jobs(scenario, from, TWICE, 3)).collect();
    let twice: Vec<Job> = once.iter().chain(&once).cloned().collect();
    let mut traces = BTreeMap::<_, Vec<_>>::new();
    run_all(&twice, threads(), |job, end| {
        let outcome = end.unwrap_or_else(|panic| panic!("{}: {panic}", job.replay()));
        traces.entry(job.replay()).or_default().push((outcome.trace, outcome.steps));
    });
    for (replay, traces) in traces {
        assert_eq!(traces[0], traces[1], "{replay}");
    }
}

#[test]
fn every_mark_is_asked_for_by_some_story() {
    let asked = |mark: &Mark| ALL.iter().any(|scenario| scenario.marks.iter().any(|(asked, _)| asked == mark));
    let forgotten: Vec<_> = Mark::ALL.into_iter().filter(|mark| !asked(mark)).collect();
    assert_eq!(forgotten, []);
}
