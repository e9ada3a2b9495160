//! What a test of some minutes has checked, told as it happens.

#![expect(clippy::print_stdout, reason = "a test that takes minutes must show where it is")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

/// All checks so far.
pub struct Report {
    start: Instant,
    passed: usize,
    failed: Vec<String>,
}

impl Default for Report {
    /// An empty one.
    fn default() -> Self {
        Self { start: Instant::now(), passed: 0, failed: Vec::new() }
    }
}

impl Report {
    /// A new step of the story.
    pub fn step(&self, title: &str) {
        println!("\n== {title} [{:.0} s]", self.start.elapsed().as_secs_f32());
    }

    /// Says something that is no check.
    pub fn note(&self, what: &str) {
        println!("       {what}");
    }

    /// Records whether `name` holds.
    pub fn expect(&mut self, name: &str, holds: bool, detail: &str) {
        let verdict = if holds { "ok" } else { "FAILED" };
        println!("{verdict:>6} {name}: {detail}");
        if holds {
            self.passed += 1;
        } else {
            self.failed.push(name.to_owned());
        }
    }

    /// Records `name` as passed if `outcome` is a value, which is returned.
    pub fn check<T>(&mut self, name: &str, outcome: Result<T>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.expect(name, true, "yes");
                Some(value)
            }
            Err(error) => {
                self.expect(name, false, &format!("{error:#}"));
                None
            }
        }
    }

    /// Records that something took no longer than promised.
    pub fn in_time(&mut self, name: &str, took: Duration, promised: Duration) {
        let detail = format!("{:.1} s of {} s", took.as_secs_f32(), promised.as_secs());
        self.expect(name, took <= promised, &detail);
    }

    /// Nothing has failed.
    pub fn all_good(&self) -> bool {
        self.failed.is_empty()
    }

    /// Prints the total.
    pub fn finish(self) -> ExitCode {
        self.failed.iter().for_each(|name| println!("failed: {name}"));
        let (passed, failed, took) = (self.passed, self.failed.len(), self.start.elapsed().as_secs());
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        println!("\ntest result: {verdict}. {passed} passed; {failed} failed; finished in {took} s");
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
