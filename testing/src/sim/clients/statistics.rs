//! What came of the visits.

use std::collections::BTreeMap;

use serde::Serialize;

/// Why a visit failed, as the person saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No HSDir had a descriptor that could be read.
    NoDescriptor,
    /// Every point listed failed, and a new descriptor listed no other.
    AllPointsFailed,
    /// The node was reached, its target was not: no client tries another.
    TargetDown,
    /// Two minutes passed: too many nodes in a row accepted introductions and said nothing.
    GaveUp,
    /// No node was there to be found.
    NobodyThere,
}

/// Visits ended, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Visits that ended.
    pub client_fetches: u64,
    /// Those that did not reach a node with a live target.
    pub client_failures: u64,
    /// The failures by their reason.
    pub reasons: BTreeMap<Failure, u64>,
}

impl Statistics {
    pub(super) fn count(&mut self, failure: Option<Failure>) {
        self.client_fetches += 1;
        if let Some(failure) = failure {
            self.client_failures += 1;
            *self.reasons.entry(failure).or_default() += 1;
        }
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.client_fetches += other.client_fetches;
        self.client_failures += other.client_failures;
        for (failure, count) in &other.reasons {
            *self.reasons.entry(*failure).or_default() += count;
        }
    }

    /// Failures per million visits, of those that could have succeeded: where no node was there, none could.
    pub fn failed_per_million(&self) -> u64 {
        let hopeless = self.reasons.get(&Failure::NobodyThere).copied().unwrap_or_default();
        (self.client_failures - hopeless) * 1_000_000 / (self.client_fetches - hopeless).max(1)
    }
}
