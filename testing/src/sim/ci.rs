//! What CI runs: every story and chaos, in time and with what must be reached; what was once found; and a
//! sample of the seeds a second time, whose traces must be the same.

use std::collections::BTreeMap;
use std::path::Path;

use super::campaign::{Complaint, Job, Verdict, run_all};
use super::minimise::Regression;
use super::scenario::{ALL, Run, Scenario};
use super::summary::{Tally, percentile};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Seeds of chaos.
    pub chaos: u64,
    /// Seeds of every other story.
    pub story: u64,
    /// Seeds of those whose times are promised.
    pub timed: u64,
    /// Seeds of each story that are run twice.
    pub twice: u64,
    /// Of each story as many seeds at least as it may take until it has reached what it must.
    pub reaches: bool,
}

impl Size {
    /// All of it, for a release build. A story whose times are promised has a hundred to take the percentile of.
    pub const WHOLE: Self = Self { chaos: 300, story: 10, timed: 40, twice: 2, reaches: true };
    /// A sample, for an ordinary build.
    pub const SAMPLE: Self = Self { chaos: 10, story: 1, timed: 1, twice: 1, reaches: false };

    /// Seeds of this story.
    pub fn seeds(self, scenario: &Scenario) -> u64 {
        let seeds = match scenario.name {
            "chaos" => self.chaos,
            name if IN_TIME.iter().any(|(timed, ..)| *timed == name) => self.timed,
            _ => self.story,
        };
        let marks = scenario.marks.iter().map(|(_, seeds)| *seeds).max().filter(|_| self.reaches);
        seeds.max(marks.unwrap_or_default())
    }
}

/// Simulated minutes of chaos.
const CHAOS_MINUTES: u64 = 5;
/// Simulated minutes of the stories that can be shorter.
const STORY_MINUTES: u64 = 3;

/// Times of a campaign.
type Times = fn(&Tally) -> &Vec<u64>;

/// The times that are promised (`docs/RELIABILITY.md`): story, times of it, and seconds at the 99th percentile.
const IN_TIME: [(&str, Times, f64); 6] = [
    ("failover-of-five", |tally| &tally.measured.takeovers_ms, 6.0),
    ("any-node-killed", |tally| &tally.measured.excluded_ms, 6.0),
    ("frozen-node", |tally| &tally.measured.excluded_ms, 6.0),
    ("partition-2-3", |tally| &tally.measured.healed_ms, 5.0),
    ("graceful-stop", |tally| &tally.measured.released_ms, 1.0),
    ("graceful-stop", |tally| &tally.measured.graceful_ms, 1.0),
];

/// The campaign, and what there is to complain about.
pub struct Campaign {
    size: Size,
    from: u64,
    threads: usize,
    tallies: BTreeMap<&'static str, Tally>,
    traces: BTreeMap<String, String>,
    complaints: Vec<Complaint>,
}

impl Campaign {
    /// Of seeds that begin with `from`.
    pub fn new(size: Size, from: u64, threads: usize) -> Self {
        let (tallies, traces) = (BTreeMap::new(), BTreeMap::new());
        Self { size, from, threads, tallies, traces, complaints: Vec::new() }
    }

    /// Everything; `folder` holds regressions. Returns a line a story, and the complaints.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn run(mut self, folder: &Path) -> std::io::Result<(Vec<String>, Vec<Complaint>)> {
        self.run_fresh();
        self.run_again();
        self.run_regressions(folder)?;
        Ok((self.conclude(), self.complaints))
    }

    fn run_fresh(&mut self) {
        let jobs: Vec<Job> = stories().flat_map(|scenario| self.jobs(scenario, self.size.seeds(scenario))).collect();
        run_all(&jobs, self.threads, |job, end| {
            self.complaints.extend(job.complaint(&end));
            let tally = self.tallies.entry(job.scenario.name).or_default();
            match end {
                Ok(outcome) => {
                    tally.add(&outcome);
                    self.traces.insert(job.replay(), outcome.trace);
                }
                Err(_) => tally.add_crash(),
            }
        });
    }

    /// A sample of the seeds once more.
    fn run_again(&mut self) {
        let jobs: Vec<Job> = stories().flat_map(|scenario| self.jobs(scenario, self.size.twice)).collect();
        run_all(&jobs, self.threads, |job, end| {
            let trace = end.ok().map(|outcome| outcome.trace);
            if trace.as_ref() != self.traces.get(&job.replay()) {
                self.complain(Verdict::Safety, format!("two runs of one seed differ: {}", job.replay()));
            }
        });
    }

    fn run_regressions(&mut self, folder: &Path) -> std::io::Result<()> {
        let mut jobs = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let regression: Option<Regression> = serde_json::from_str(&std::fs::read_to_string(&path)?).ok();
            let scenario = regression.as_ref().and_then(|regression| Scenario::named(&regression.scenario));
            match regression.zip(scenario) {
                Some((regression, scenario)) => jobs.push(Job { scenario, run: regression.run(), file: Some(path) }),
                None => self.complain(Verdict::Missed, format!("{} is no regression", path.display())),
            }
        }
        run_all(&jobs, self.threads, |job, end| self.complaints.extend(job.complaint(&end)));
        Ok(())
    }

    /// What was reached, and how long it took.
    fn conclude(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for scenario in stories() {
            let tally = &self.tallies[scenario.name];
            lines.push(tally.summary(scenario.name, Vec::new(), 0.0).to_string());
            for mark in tally.missed(scenario) {
                self.complain(Verdict::Missed, format!("{} never met this: {}", scenario.name, mark.about()));
            }
        }
        for (name, times, most) in IN_TIME {
            match percentile(times(&self.tallies[name]), 99) {
                Some(p99) if p99 <= most => {}
                p99 => {
                    self.complain(
                        Verdict::Liveness,
                        format!("{name}: p99 is {p99:?} s, at most {most} s are promised"),
                    );
                }
            }
        }
        lines
    }

    fn complain(&mut self, verdict: Verdict, text: String) {
        self.complaints.push(Complaint { verdict, text });
    }

    fn jobs(&self, scenario: &'static Scenario, seeds: u64) -> Vec<Job> {
        let minutes = if scenario.name == "chaos" { CHAOS_MINUTES } else { STORY_MINUTES };
        let run = |seed| Run { seed, minutes: Some(minutes), ..Run::default() };
        (self.from..self.from + seeds).map(|seed| Job { scenario, run: run(seed), file: None }).collect()
    }
}

fn stories() -> impl Iterator<Item = &'static Scenario> {
    ALL.iter().filter(|scenario| !scenario.is_long)
}
