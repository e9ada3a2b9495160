//! Whether the operator's application answers: a connection to it now and then.

use std::time::Duration;

use rustbalance_core::TargetHealth;
use smol::channel::Sender;
use tracing::{debug, info, warn};

use crate::clock;
use crate::proxy::Connector;

/// Connects to the target every `interval`. Sends the first outcome at once, then only changes: down after
/// `failures` failed probes in a row, up after one success. Ends when nobody listens any more.
pub async fn watch(connector: Connector, interval: Duration, failures: u32, changes: Sender<TargetHealth>) {
    let mut tracker = Tracker { failures_to_down: failures, failures: 0, health: None };
    loop {
        let next = clock::mono().plus(interval);
        let outcome = connector.probe(interval).await;
        if let Err(error) = &outcome {
            debug!(%error, "the target does not answer the probe");
        }
        if let Some(health) = tracker.record(outcome.is_ok()) {
            match &outcome {
                Ok(()) => info!("the application answers"),
                Err(error) => {
                    warn!("the application does not answer: {error}; start it, or correct service.target");
                }
            }
            if changes.send(health).await.is_err() {
                return;
            }
        }
        clock::sleep_until(Some(next)).await;
    }
}

/// Turns outcomes into changes.
struct Tracker {
    failures_to_down: u32,
    failures: u32,
    health: Option<TargetHealth>,
}

impl Tracker {
    /// The new health, if this outcome changes it.
    fn record(&mut self, answered: bool) -> Option<TargetHealth> {
        self.failures = if answered { 0 } else { self.failures.saturating_add(1) };
        let seen = match self.health {
            _ if answered => TargetHealth::Up,
            Some(TargetHealth::Up) if self.failures < self.failures_to_down => TargetHealth::Up,
            Some(_) | None => TargetHealth::Down,
        };
        (self.health.replace(seen) != Some(seen)).then_some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(outcomes: &str) -> Vec<Option<TargetHealth>> {
        let mut tracker = Tracker { failures_to_down: 3, failures: 0, health: None };
        outcomes.chars().map(|outcome| tracker.record(outcome == '+')).collect()
    }

    #[test]
    fn the_first_outcome_is_always_reported() {
        assert_eq!(changes("+"), [Some(TargetHealth::Up)]);
        assert_eq!(changes("-"), [Some(TargetHealth::Down)]);
    }

    #[test]
    fn only_failures_in_a_row_mean_down() {
        assert_eq!(changes("+--+--"), [Some(TargetHealth::Up), None, None, None, None, None]);
        assert_eq!(changes("+----").get(1..), Some([None, None, Some(TargetHealth::Down), None].as_slice()));
    }

    #[test]
    fn one_success_means_up() {
        assert_eq!(changes("-+-"), [Some(TargetHealth::Down), Some(TargetHealth::Up), None]);
    }
}
