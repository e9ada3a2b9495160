//! Delta debugging: the shortest schedule that still shows what the long one showed (Zeller's `ddmin`).

use serde::{Deserialize, Serialize};

use super::campaign::{End, Job};
use super::scenario::{Run, Scenario, without_numbers};
use super::schedule::Schedule;

/// A schedule that once showed a violation, as it is committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regression {
    /// What it showed.
    pub showed: String,
    /// The story.
    pub scenario: String,
    /// Everything but the faults comes from it.
    pub seed: u64,
    /// Machines in the cluster.
    pub nodes: Option<usize>,
    /// Simulated minutes.
    pub minutes: Option<u64>,
    /// Datagrams lost, per thousand.
    pub loss_permille: Option<u64>,
    /// The faults.
    pub schedule: Schedule,
}

impl Regression {
    /// How to run it again.
    pub fn run(&self) -> Run {
        Run {
            seed: self.seed,
            nodes: self.nodes,
            minutes: self.minutes,
            loss_permille: self.loss_permille,
            schedule: Some(self.schedule.clone()),
            ..Run::default()
        }
    }

    /// The shortest schedule that shows what `run` shows, a violation or a panic; `None` if that shows nothing.
    pub fn found(scenario: &'static Scenario, run: &Run) -> Option<Self> {
        let end = |run: Run| Job { scenario, run, file: None }.end();
        let (kind, showed) = shown(&end(run.clone()))?;
        let fails = |schedule: &Schedule| {
            let shorter = end(Run { schedule: Some(schedule.clone()), ..run.clone() });
            shown(&shorter).is_some_and(|(again, _)| again == kind)
        };
        let schedule = minimise(&scenario.schedule(run), fails);
        let Run { seed, nodes, minutes, loss_permille, .. } = *run;
        Some(Self { showed, scenario: scenario.name.to_owned(), seed, nodes, minutes, loss_permille, schedule })
    }
}

/// What went wrong, without the numbers that differ from run to run, and with them.
fn shown(end: &End) -> Option<(String, String)> {
    match end {
        Ok(outcome) => outcome.kind().zip(outcome.violation.clone()),
        Err(panic) => Some((without_numbers(panic), format!("panic: {panic}"))),
    }
}

/// Leaves out of `schedule` whatever `fails` does not need. `fails` is asked of shorter schedules only.
pub fn minimise(schedule: &Schedule, mut fails: impl FnMut(&Schedule) -> bool) -> Schedule {
    let mut best = schedule.clone();
    let mut parts = 2;
    while !best.0.is_empty() {
        match without_a_part(&best, parts, &mut fails) {
            Some(shorter) => (best, parts) = (shorter, (parts - 1).max(2)),
            None if parts >= best.0.len() => break,
            None => parts = (parts * 2).min(best.0.len()),
        }
    }
    best
}

/// The first schedule that fails with one of `parts` equal parts left out.
fn without_a_part(schedule: &Schedule, parts: usize, fails: &mut impl FnMut(&Schedule) -> bool) -> Option<Schedule> {
    let size = schedule.0.len().div_ceil(parts).max(1);
    let starts = (0..schedule.0.len()).step_by(size);
    starts.map(|start| schedule.only(|at| at < start || at >= start + size)).find(|shorter| fails(shorter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::fault::Fault;
    use crate::sim::schedule::Step;

    fn of(nodes: impl IntoIterator<Item = usize>) -> Schedule {
        Schedule(nodes.into_iter().map(|node| Step(10, Fault::Kill { node })).collect())
    }

    fn has(schedule: &Schedule, node: usize) -> bool {
        schedule.0.iter().any(|step| step.1 == Fault::Kill { node })
    }

    #[test]
    fn what_matters_is_left() {
        let shortest = minimise(&of(0..100), |schedule| has(schedule, 3) && has(schedule, 77));
        assert_eq!(
            shortest.0.iter().map(|step| &step.1).collect::<Vec<_>>(),
            [&Fault::Kill { node: 3 }, &Fault::Kill { node: 77 }]
        );
        assert_eq!(shortest.0.iter().map(|step| step.0).sum::<u64>(), 780, "each strikes when it did");
    }

    #[test]
    fn a_panic_is_shown_as_a_violation_is() {
        let (kind, showed) = shown(&Err("index 7 of 3".to_owned())).unwrap();
        assert_eq!((kind.as_str(), showed.as_str()), ("index of", "panic: index 7 of 3"));
    }

    #[test]
    fn nothing_is_left_of_what_fails_anyway() {
        assert_eq!(minimise(&of(0..5), |_| true), Schedule::default());
        assert_eq!(minimise(&of(0..5), |_| false), of(0..5));
    }
}
