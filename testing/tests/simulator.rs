//! A sample of the campaign; `simulate --ci`, a release build, runs all of it.
//!
//! The seeds are always the same, so that a change is what makes it fail; `RUSTBALANCE_SIM_SEED` sets another first one.

#![expect(clippy::print_stdout, reason = "the seeds, and what a campaign came to, are for whoever reads along")]

use std::path::Path;

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
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_mark_is_asked_for_by_some_story() {
    let asked = |mark: &Mark| ALL.iter().any(|scenario| scenario.marks.iter().any(|(asked, _)| asked == mark));
    let forgotten: Vec<_> = Mark::ALL.into_iter().filter(|mark| !asked(mark)).collect();
    assert_eq!(forgotten, []);
}
