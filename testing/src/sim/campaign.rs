//! Many seeds on all cores. A seed runs on one thread from beginning to end, so threads change nothing in it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::scenario::{Broken, Outcome, Run, Scenario};

/// One seed of one story.
#[derive(Clone)]
pub struct Job {
    /// The story.
    pub scenario: &'static Scenario,
    /// How to run it.
    pub run: Run,
    /// Where its schedule is written, if it is.
    pub file: Option<PathBuf>,
}

/// How badly something ended, the worse the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// A situation was not reached that must be.
    Missed,
    /// Something did not happen in time.
    Liveness,
    /// Something happened that must never happen.
    Safety,
    /// A panic.
    Crash,
}

/// Something to complain about.
#[derive(Clone, Debug)]
pub struct Complaint {
    /// How bad it is.
    pub verdict: Verdict,
    /// All there is to say of it.
    pub text: String,
}

impl Verdict {
    /// The exit status that says so; 0 is that all went well, and 2 wrong usage.
    pub const fn status(self) -> u8 {
        match self {
            Self::Safety => 3,
            Self::Liveness => 4,
            Self::Missed => 5,
            Self::Crash => 6,
        }
    }

    /// Of one run, if it ended badly.
    pub fn of(end: &End) -> Option<Self> {
        match end {
            Ok(outcome) => outcome.broken.map(|broken| match broken {
                Broken::Safety => Self::Safety,
                Broken::Liveness => Self::Liveness,
            }),
            Err(_) => Some(Self::Crash),
        }
    }
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
        let program = "cargo run --release -p rustbalance-testing --bin simulate --";
        if let Some(file) = &self.file {
            return format!("{program} --schedule {} --trace", file.display());
        }
        let Run { seed, nodes, minutes, loss_permille, burst_ms, .. } = &self.run;
        let mut command = format!("{program} --scenario {} --seed {seed}", self.scenario.name);
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
    pub fn complaint(&self, end: &End) -> Option<Complaint> {
        let verdict = Verdict::of(end)?;
        let what = match end {
            Ok(outcome) => outcome.violation.as_ref()?.clone(),
            Err(panic) => format!("panic: {panic}"),
        };
        let (name, seed, replay) = (self.scenario.name, self.run.seed, self.replay());
        let drawn = end.as_ref().map(|outcome| outcome.drawn.as_str()).unwrap_or_default();
        let events = self.last_events().join("\n    ");
        let text = format!("{name} seed {seed}: {what}\n  {drawn}\n    {events}\n  replay: {replay}");
        Some(Complaint { verdict, text })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_a_file_is_replayed_from_it() {
        let scenario = Scenario::named("chaos").unwrap();
        let run = Run { seed: 7, minutes: Some(2), loss_permille: Some(15), ..Run::default() };
        let drawn = Job { scenario, run: run.clone(), file: None }.replay();
        assert!(drawn.ends_with("--scenario chaos --seed 7 --minutes 2 --loss 1.5 --trace"), "{drawn}");
        let written = Job { scenario, run, file: Some("found.json".into()) }.replay();
        assert!(written.ends_with("-- --schedule found.json --trace"), "{written}");
    }

    #[test]
    fn the_worst_is_what_the_exit_status_says() {
        let all = [Verdict::Safety, Verdict::Crash, Verdict::Missed, Verdict::Liveness];
        let worst = |count: usize| all.iter().take(count).max().map(|verdict| verdict.status());
        assert_eq!((worst(0), worst(1), worst(2)), (None, Some(3), Some(6)));
        assert_eq!(all[2..].iter().max().map(|verdict| verdict.status()), Some(4));
    }
}
