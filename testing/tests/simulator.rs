//! A sample of the campaign; `simulate --ci`, a release build, runs all of it.
//!
//! Seeds begin at the unix time, so that every run looks somewhere new; `RUSTBALANCE_SIM_SEED` sets the first one.

#![expect(clippy::print_stdout, reason = "the seeds, and what a campaign came to, are for whoever reads along")]

use std::path::Path;
use std::time::SystemTime;

use rustbalance_testing::sim::campaign::threads;
use rustbalance_testing::sim::ci::{Campaign, Size};
use rustbalance_testing::sim::mark::Mark;
use rustbalance_testing::sim::scenario::ALL;

fn first_seed() -> u64 {
    let given = std::env::var("RUSTBALANCE_SIM_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed = given.unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs());
    println!("replay with RUSTBALANCE_SIM_SEED={seed}");
    seed
}

#[test]
fn every_story_ends_well_under_fresh_seeds() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/regressions"));
    let campaign = Campaign::new(Size::SAMPLE, first_seed(), threads());
    let (lines, complaints) = campaign.run(folder).expect("regressions are committed");
    lines.iter().for_each(|line| println!("{line}"));
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_mark_is_asked_for_by_some_story() {
    let asked = |mark: &Mark| ALL.iter().any(|scenario| scenario.marks.iter().any(|(asked, _)| asked == mark));
    let forgotten: Vec<_> = Mark::ALL.into_iter().filter(|mark| !asked(mark)).collect();
    assert_eq!(forgotten, []);
}
