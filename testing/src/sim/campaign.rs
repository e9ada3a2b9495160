//! Many seeds on all cores. A seed runs on one thread from beginning to end, so threads change nothing in it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::scenario::{Outcome, Run, Scenario};

/// One seed of one story.
#[derive(Clone)]
pub struct Job {
    /// The story.
    pub scenario: &'static Scenario,
    /// How to run it.
    pub run: Run,
}

/// What became of it: an outcome, or what the panic said.
pub type End = Result<Outcome, String>;

/// Lines of the trace shown before a violation.
const LAST_LINES: usize = 40;

impl Job {
    /// Runs it; a panic of the node or of the simulator ends this job only.
    pub fn end(&self) -> End {
        catch_unwind(AssertUnwindSafe(|| self.scenario.run(&self.run))).map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic").to_owned()
        })
    }

    /// The command that replays it.
    pub fn replay(&self) -> String {
        let Run { seed, nodes, minutes, loss_permille, burst_ms, .. } = &self.run;
        let mut command = format!(
            "cargo run --release -p rustbalance-testing --bin simulate -- --scenario {} --seed {seed}",
            self.scenario.name
        );
        for (flag, value) in [("nodes", nodes.map(|nodes| nodes as u64)), ("minutes", *minutes), ("burst", *burst_ms)] {
            command.extend(value.map(|value| format!(" --{flag} {value}")));
        }
        command.extend(loss_permille.map(|permille| format!(" --loss {}", permille as f64 / 10.0)));
        command + " --trace"
    }

    /// The last events before a violation, from a run of its own.
    pub fn last_events(&self) -> Vec<String> {
        let job = Self { run: Run { trace: true, ..self.run.clone() }, ..self.clone() };
        let mut log = job.end().map(|outcome| outcome.log).unwrap_or_default();
        // What goes over control connections would hide the rest.
        log.retain(|line| !line.contains(" < ") && !line.contains(" > "));
        log.split_off(log.len().saturating_sub(LAST_LINES))
    }

    /// All there is to say of a bad end, nothing of a good one.
    pub fn complaint(&self, end: &End) -> Option<String> {
        let what = match end {
            Ok(outcome) => outcome.violation.as_ref()?.clone(),
            Err(panic) => format!("panic: {panic}"),
        };
        let (name, seed, replay) = (self.scenario.name, self.run.seed, self.replay());
        let drawn = end.as_ref().map(|outcome| outcome.drawn.as_str()).unwrap_or_default();
        let events = self.last_events().join("\n    ");
        Some(format!("{name} seed {seed}: {what}\n  {drawn}\n    {events}\n  replay: {replay}"))
    }
}

/// Runs all jobs on so many threads and shows their ends in order.
pub fn run_all(jobs: &[Job], threads: usize, mut each: impl FnMut(&Job, End)) {
    let next = AtomicUsize::new(0);
    let (sender, ends) = channel();
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || work(jobs, next, &sender));
        }
        drop(sender);
        let (mut waiting, mut shown) = (BTreeMap::new(), 0);
        for (at, end) in ends {
            waiting.insert(at, end);
            while let Some(end) = waiting.remove(&shown) {
                each(&jobs[shown], end);
                shown += 1;
            }
        }
    });
}

fn work(jobs: &[Job], next: &AtomicUsize, sender: &Sender<(usize, End)>) {
    while let Some(at) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < jobs.len()) {
        if sender.send((at, jobs[at].end())).is_err() {
            return;
        }
    }
}

/// As many as there are cores.
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
