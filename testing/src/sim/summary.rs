//! What a campaign adds up to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::clients::Statistics;
use super::mark::Mark;
use super::measure::Measured;
use super::scenario::{Broken, Outcome, Scenario};
use super::traffic::Sent;

/// Sums over the seeds of a campaign so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Seeds.
    pub seeds: u64,
    /// Seeds in which something happened that must never happen.
    pub safety: u64,
    /// Seeds in which something did not happen in time.
    pub liveness: u64,
    /// Seeds that ended in a panic.
    pub crashes: u64,
    steps: u64,
    simulated_ms: u64,
    clients: Statistics,
    /// Times.
    pub measured: Measured,
    others: Sent,
    holder: Sent,
    handshakes: u64,
    marks: BTreeMap<Mark, u64>,
}

/// As printed, one JSON object.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it, and RELIABILITY.md explains them")]
pub struct Summary {
    pub scenario: String,
    pub seeds: u64,
    pub violations: u64,
    pub crashes: u64,
    pub steps: u64,
    pub simulated_seconds: f64,
    pub wall_seconds: f64,
    pub takeovers: usize,
    pub takeover_p50_seconds: Option<f64>,
    pub takeover_p99_seconds: Option<f64>,
    pub takeover_max_seconds: Option<f64>,
    pub excluded_p99_seconds: Option<f64>,
    pub healed_p99_seconds: Option<f64>,
    pub released_p99_seconds: Option<f64>,
    pub graceful_p99_seconds: Option<f64>,
    pub started_p99_seconds: Option<f64>,
    pub false_takeovers: u64,
    #[serde(flatten)]
    pub clients: Statistics,
    pub messages_per_node_per_second: Option<f64>,
    pub bytes_per_node_per_second: Option<f64>,
    pub holder_messages_per_second: Option<f64>,
    pub holder_bytes_per_second: Option<f64>,
    pub handshakes_per_node_per_second: Option<f64>,
    pub marks: BTreeMap<Mark, u64>,
    pub missed_marks: Vec<Mark>,
}

impl Tally {
    /// Adds a seed that ran to its end.
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        match outcome.broken {
            Some(Broken::Safety) => self.safety += 1,
            Some(Broken::Liveness) => self.liveness += 1,
            None => {}
        }
        self.steps += outcome.steps;
        self.simulated_ms += outcome.simulated_ms;
        self.measured.add(&outcome.measured);
        self.clients.add(&outcome.clients);
        self.others.add(outcome.traffic.others);
        self.holder.add(outcome.traffic.holder);
        self.handshakes += outcome.traffic.handshakes;
        for mark in &outcome.marks {
            *self.marks.entry(*mark).or_default() += 1;
        }
    }

    /// Adds a seed that ended in a panic.
    pub fn add_crash(&mut self) {
        self.seeds += 1;
        self.crashes += 1;
    }

    /// Adds what another campaign came to.
    pub fn merge(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.safety += other.safety;
        self.liveness += other.liveness;
        self.crashes += other.crashes;
        self.steps += other.steps;
        self.simulated_ms += other.simulated_ms;
        self.clients.add(&other.clients);
        self.measured.add(&other.measured);
        self.others.add(other.others);
        self.holder.add(other.holder);
        self.handshakes += other.handshakes;
        for (mark, count) in &other.marks {
            *self.marks.entry(*mark).or_default() += count;
        }
    }

    /// What a campaign of `scenario` should have reached with so many seeds, and has not.
    pub fn missed(&self, scenario: &Scenario) -> Vec<Mark> {
        let required = scenario.marks.iter().filter(|(_, seeds)| self.seeds >= *seeds).map(|(mark, _)| *mark);
        required.filter(|mark| !self.marks.contains_key(mark)).collect()
    }

    /// Everything, for printing.
    pub fn summary(&self, scenario: &str, missed_marks: Vec<Mark>, wall_seconds: f64) -> Summary {
        let takeovers = &self.measured.takeovers_ms;
        let (others, holder) = (self.others.rates(), self.holder.rates());
        let seconds = self.others.seconds + self.holder.seconds;
        let handshakes = (seconds > 0).then(|| self.handshakes as f64 / seconds as f64);
        Summary {
            scenario: scenario.to_owned(),
            seeds: self.seeds,
            violations: self.safety + self.liveness,
            crashes: self.crashes,
            steps: self.steps,
            simulated_seconds: self.simulated_ms as f64 / 1000.0,
            wall_seconds,
            takeovers: takeovers.len(),
            takeover_p50_seconds: percentile(takeovers, 50),
            takeover_p99_seconds: percentile(takeovers, 99),
            takeover_max_seconds: percentile(takeovers, 100),
            excluded_p99_seconds: percentile(&self.measured.excluded_ms, 99),
            healed_p99_seconds: percentile(&self.measured.healed_ms, 99),
            released_p99_seconds: percentile(&self.measured.released_ms, 99),
            graceful_p99_seconds: percentile(&self.measured.graceful_ms, 99),
            started_p99_seconds: percentile(&self.measured.started_ms, 99),
            false_takeovers: self.measured.false_takeovers,
            clients: self.clients.clone(),
            messages_per_node_per_second: others.map(|(messages, _)| messages),
            bytes_per_node_per_second: others.map(|(_, bytes)| bytes),
            holder_messages_per_second: holder.map(|(messages, _)| messages),
            holder_bytes_per_second: holder.map(|(_, bytes)| bytes),
            handshakes_per_node_per_second: handshakes,
            marks: self.marks.clone(),
            missed_marks,
        }
    }
}

/// Seconds below which `percent` of the times lie, by nearest rank.
pub fn percentile(times_ms: &[u64], percent: usize) -> Option<f64> {
    let mut sorted = times_ms.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map(|ms| *ms as f64 / 1000.0)
}

impl core::fmt::Display for Summary {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { scenario, seeds, violations, simulated_seconds, wall_seconds, .. } = self;
        write!(f, "{scenario}: {seeds} seeds, {violations} violations, {simulated_seconds:.0} s")?;
        if *wall_seconds > 0.0 {
            write!(f, " in {wall_seconds:.1} s ({:.0} x real time)", simulated_seconds / wall_seconds)?;
        }
        if self.crashes > 0 {
            write!(f, ", {} crashes", self.crashes)?;
        }
        if let (Some(p50), Some(p99), Some(max)) =
            (self.takeover_p50_seconds, self.takeover_p99_seconds, self.takeover_max_seconds)
        {
            write!(f, "; takeover p50 {p50:.2} s, p99 {p99:.2} s, max {max:.2} s of {}", self.takeovers)?;
        }
        for (name, p99) in [
            ("excluded", self.excluded_p99_seconds),
            ("healed", self.healed_p99_seconds),
            ("lease released", self.released_p99_seconds),
            ("graceful stop", self.graceful_p99_seconds),
            ("cold start", self.started_p99_seconds),
        ] {
            if let Some(p99) = p99 {
                write!(f, "; {name} p99 {p99:.2} s")?;
            }
        }
        if self.false_takeovers > 0 {
            write!(f, "; {} false takeovers", self.false_takeovers)?;
        }
        if let (Some(messages), Some(bytes)) = (self.messages_per_node_per_second, self.bytes_per_node_per_second) {
            write!(f, "; {messages:.1} messages and {bytes:.0} B a node and second in calm")?;
        }
        if self.clients.client_fetches > 0 {
            let Statistics { client_fetches, client_failures, reasons } = &self.clients;
            write!(f, "; {client_failures} of {client_fetches} client visits failed {reasons:?}")?;
        }
        for mark in &self.missed_marks {
            write!(f, "\n  MISSED {}: {}", mark.name(), mark.about())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Others read these: a name that goes, or means something else, is a change that they must hear of.
    #[test]
    fn the_summary_has_these_fields() {
        let summary = serde_json::to_value(Tally::default().summary("chaos", Vec::new(), 1.0)).unwrap();
        let names: Vec<_> = summary.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = [
            "scenario",
            "seeds",
            "violations",
            "crashes",
            "steps",
            "simulated_seconds",
            "wall_seconds",
            "takeovers",
            "takeover_p50_seconds",
            "takeover_p99_seconds",
            "takeover_max_seconds",
            "excluded_p99_seconds",
            "healed_p99_seconds",
            "released_p99_seconds",
            "graceful_p99_seconds",
            "started_p99_seconds",
            "false_takeovers",
            "client_fetches",
            "client_failures",
            "reasons",
            "messages_per_node_per_second",
            "bytes_per_node_per_second",
            "holder_messages_per_second",
            "holder_bytes_per_second",
            "handshakes_per_node_per_second",
            "marks",
            "missed_marks",
        ];
        expected.sort_unstable();
        assert_eq!(names, expected);
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let times: Vec<u64> = (1..=100).map(|at| at * 1000).collect();
        assert_eq!(percentile(&times, 50), Some(50.0));
        assert_eq!(percentile(&times, 99), Some(99.0));
        assert_eq!(percentile(&times, 100), Some(100.0));
        assert_eq!(percentile(&[7000], 50), Some(7.0));
        assert_eq!(percentile(&[], 50), None);
    }
}
