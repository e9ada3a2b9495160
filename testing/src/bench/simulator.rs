//! How fast the cluster simulator is, in simulated seconds per second of one core. Processor time of this thread counts,
//! so that other programs on the machine matter little.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Map, Value};

use super::stopwatch::{processor_time, round};
use crate::sim::scale::{assembled, cold_start, measure, settle};
use crate::sim::scenario::{Run, Scenario};

/// The story that speed is wanted for: five nodes, checkers after every step, no trace.
const STORY: &str = "failover-of-five";

/// Simulated time and what it cost.
#[derive(Clone, Copy, Debug, Default)]
struct Speed {
    simulated_ms: u64,
    took: Duration,
}

impl Speed {
    /// Does something that returns how long it was in simulated milliseconds.
    fn of(run: impl FnOnce() -> u64) -> Self {
        let since = processor_time();
        Self { simulated_ms: run(), took: processor_time() - since }
    }

    fn times_real_time(self) -> f64 {
        self.simulated_ms as f64 / 1000.0 / self.took.as_secs_f64()
    }
}

/// The story under seeds 0 to `seeds`, then clusters of `nodes` starting all at once and at rest for `seconds`.
///
/// # Errors
/// An invariant was violated, or a cluster did not find itself.
pub fn run(seeds: u64, nodes: &[usize], seconds: u64) -> anyhow::Result<Map<String, Value>> {
    let mut speeds = vec![(STORY.to_owned(), story(seeds)?)];
    for count in nodes {
        let mut world = assembled(1, *count);
        let mut took = None;
        let start = Speed::of(|| {
            took = cold_start(&mut world);
            took.unwrap_or_default()
        });
        ensure!(took.is_some(), "{count} nodes did not find each other");
        settle(&mut world);
        let calm = Speed::of(|| {
            measure(&mut world, seconds * 1000);
            seconds * 1000
        });
        speeds.extend([(format!("start-of-{count}"), start), (format!("calm-of-{count}"), calm)]);
    }
    Ok(speeds.into_iter().map(|(name, speed)| (name, round(speed.times_real_time()).into())).collect())
}

fn story(seeds: u64) -> anyhow::Result<Speed> {
    let scenario = Scenario::named(STORY).context("the story is gone")?;
    let mut violation = None;
    let speed = Speed::of(|| {
        let outcomes = (0..seeds).map(|seed| scenario.run(&Run { seed, ..Run::default() }));
        outcomes
            .inspect(|outcome| violation = violation.take().or(outcome.violation.clone()))
            .map(|o| o.simulated_ms)
            .sum()
    });
    violation.map_or(Ok(speed), |what| anyhow::bail!("{STORY}: {what}"))
}
