//! Whether the operator's application answers: a connection to it now and then, and a request over it if it is to be
//! asked for a page.

#[doc(hidden)]
pub mod exercise;
mod http;

use std::io;

use rustbalance_core::TargetHealth;
use rustbalance_core::onion::address::OnionAddress;
use smol::channel::Sender;
use tracing::{debug, info, warn};

use crate::clock;
use crate::proxy::{Connector, Isolation};
use crate::settings::{ProbeRequest, ProbeSettings, Statuses, Target};

/// Probes the target.
pub struct Probe {
    connector: Connector,
    settings: ProbeSettings,
    /// The `Host` where the settings have none.
    default_host: String,
}

/// The `Host` that `target` is asked for unless the settings name one: its own if it is an onion service, else ours, at
/// `address`, as visitors ask for it.
pub fn default_host(target: &Target, address: &OnionAddress) -> String {
    match target {
        Target::Onion { host, port: 80 } => host.clone(),
        Target::Onion { host, port } => format!("{host}:{port}"),
        Target::Tcp(_) | Target::Unix(_) => address.to_string(),
    }
}

/// Why the target is not well, in words for the operator.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("does not answer: {0}; start it, or correct service.target")]
    Connect(io::Error),
    #[error("takes connections and does not answer GET {path}: {source}; look at its log, or correct proxy.probe")]
    NoAnswer { path: String, source: io::Error },
    #[error("answers GET {0} with something else than HTTP; correct proxy.probe or service.target")]
    NotHttp(String),
    #[error(
        "answers GET {path} with status {status}, which is not {wanted}; look at its log, or correct proxy.probe_status"
    )]
    Status { path: String, status: u16, wanted: Statuses },
}

impl Probe {
    /// Of what `connector` reaches; a `Host` that `settings` do not name is `default_host`.
    pub fn new(connector: &Connector, settings: &ProbeSettings, default_host: &str) -> Self {
        let connector = connector.hastened(settings.interval);
        Self { connector, settings: settings.clone(), default_host: default_host.to_owned() }
    }

    /// Probes again and again. Sends the first outcome at once, then only changes: down after so many failures in a row,
    /// up after so many successes. Ends when nobody listens any more.
    ///
    /// Through tor, one circuit that no visitor shares serves all probes, until one of them fails: it may be the circuit
    /// that is broken, so the next probe gets another.
    pub async fn watch(self, changes: Sender<TargetHealth>) {
        let mut tracker = Tracker::new(&self.settings);
        let mut isolation = Isolation::unique();
        loop {
            let next = clock::mono().plus(self.settings.interval);
            let outcome = self.attempt(isolation).await;
            if let Err(failure) = &outcome {
                debug!("a probe failed: the application {failure}");
                isolation = Isolation::unique();
            }
            if let Some(health) = tracker.record(outcome.is_ok()) {
                match &outcome {
                    Ok(Some(status)) => info!("the application answers, with status {status}"),
                    Ok(None) => info!("the application answers"),
                    Err(failure) => warn!("the application {failure}"),
                }
                if changes.send(health).await.is_err() {
                    return;
                }
            }
            clock::sleep_until(Some(next)).await;
        }
    }

    /// One probe; the status, if it was asked for a page.
    async fn attempt(&self, isolation: Isolation) -> Result<Option<u16>, Failure> {
        let ProbeSettings { request, statuses, host, .. } = &self.settings;
        let stream = self.connector.connect(isolation).await.map_err(Failure::Connect)?;
        let ProbeRequest::Http(path) = request else { return Ok(None) };
        let get = http::get(&stream, path, host.as_ref().unwrap_or(&self.default_host));
        match self.connector.limit(get).await {
            Ok(Some(status)) if statuses.contains(status) => Ok(Some(status)),
            Ok(Some(status)) => Err(Failure::Status { path: path.clone(), status, wanted: *statuses }),
            Ok(None) => Err(Failure::NotHttp(path.clone())),
            Err(source) => Err(Failure::NoAnswer { path: path.clone(), source }),
        }
    }
}

/// Turns outcomes into changes.
struct Tracker {
    failures_to_down: u32,
    successes_to_up: u32,
    /// Outcomes in a row that speak against `health`.
    against: u32,
    health: Option<TargetHealth>,
}

impl Tracker {
    fn new(settings: &ProbeSettings) -> Self {
        let ProbeSettings { failures, successes, .. } = *settings;
        Self { failures_to_down: failures, successes_to_up: successes, against: 0, health: None }
    }

    /// The new health, if this outcome changes it.
    fn record(&mut self, answered: bool) -> Option<TargetHealth> {
        let seen = if answered { TargetHealth::Up } else { TargetHealth::Down };
        let needed = match self.health {
            None => 1,
            Some(TargetHealth::Up) => self.failures_to_down,
            Some(TargetHealth::Down) => self.successes_to_up,
        };
        self.against = if self.health == Some(seen) { 0 } else { self.against.saturating_add(1) };
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.health = Some(seen);
        self.health
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(failures: u32, successes: u32, outcomes: &str) -> String {
        let mut tracker = Tracker::new(&ProbeSettings { failures, successes, ..ProbeSettings::default() });
        let change = |outcome| match tracker.record(outcome == '+') {
            None => '.',
            Some(TargetHealth::Up) => 'U',
            Some(TargetHealth::Down) => 'D',
        };
        outcomes.chars().map(change).collect()
    }

    #[test]
    fn an_onion_service_is_asked_for_itself_and_anything_else_for_the_address_of_this_one() {
        let address = "dbj6lvx6ilzhqxguu4pn2qrb4kewhsz3mlvqzrbyoai3hj4ygn42wayd.onion";
        let host = |target| default_host(&target, &address.parse().unwrap());
        let onion = |port| Target::Onion { host: "www.other.onion".to_owned(), port };
        assert_eq!((host(onion(80)).as_str(), host(onion(8080)).as_str()), ("www.other.onion", "www.other.onion:8080"));
        assert_eq!(
            (host(Target::Tcp("web:80".to_owned())), host(Target::Unix("/web".into()))),
            (address.to_owned(), address.to_owned())
        );
    }

    #[test]
    fn the_first_outcome_is_always_reported() {
        assert_eq!(changes(3, 3, "+"), "U");
        assert_eq!(changes(3, 3, "-"), "D");
    }

    #[test]
    fn only_failures_in_a_row_mean_down() {
        assert_eq!(changes(3, 1, "+--+--"), "U.....");
        assert_eq!(changes(3, 1, "+-----"), "U..D..");
        assert_eq!(changes(1, 1, "+-"), "UD");
    }

    #[test]
    fn only_successes_in_a_row_mean_up_again() {
        assert_eq!(changes(3, 1, "-+-"), "DU.");
        assert_eq!(changes(1, 3, "-++-+++-"), "D.....UD");
    }
}
