//! Runs, replays, shortens and draws seeds of the cluster simulator.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this program's purpose is to print")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use rustbalance_testing::sim::campaign::{Job, Verdict, run_all, threads};
use rustbalance_testing::sim::ci::{Campaign, Size};
use rustbalance_testing::sim::mark::Mark;
use rustbalance_testing::sim::minimise::Regression;
use rustbalance_testing::sim::scenario::{ALL, Outcome, Run, Scenario};
use rustbalance_testing::sim::summary::Tally;
use rustbalance_testing::sim::svg;

/// Runs stories of a cluster under seeds, in a world of virtual time.
///
/// Exit status: 0 all went well, 2 wrong usage, 3 something happened that must never happen, 4 something did not happen
/// in time, 5 a situation that the campaign must reach was not reached, 6 a panic.
#[derive(Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// Which story; all but the long ones if not given.
    #[arg(long, value_parser = ALL.map(|scenario| scenario.name))]
    scenario: Option<String>,
    /// Run what CI runs: chaos and every story, regressions, a sample twice; on fresh seeds without `--from`.
    #[arg(long, conflicts_with_all = ["scenario", "seed", "seeds", "nodes", "minutes", "loss", "schedule", "json", "svg"])]
    ci: bool,
    /// Run this one seed and print what it drew.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Run this many seeds.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them; 0 if not given, or for CI the unix time.
    #[arg(long)]
    from: Option<u64>,
    /// Machines in the cluster, instead of what the story or the seed says.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    nodes: Option<u64>,
    /// Simulated minutes, of stories that can be longer or shorter.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    minutes: Option<u64>,
    /// Datagrams lost, per cent.
    #[arg(long, value_parser = percent)]
    loss: Option<u64>,
    /// In the week, now and then all datagrams are lost for so many milliseconds.
    #[arg(long)]
    burst: Option<u64>,
    /// Replay the faults in this file, as `--minimise` writes it, instead of those that the seed draws.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenario", "seed", "seeds", "from", "nodes", "minutes"])]
    schedule: Option<PathBuf>,
    /// One JSON object a seed and one in summary.
    #[arg(long)]
    json: bool,
    /// Print everything that happens, line by line.
    #[arg(long)]
    trace: bool,
    /// Draw the last run.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Shorten the faults of the seed as long as the same goes wrong, and write them to the file.
    #[arg(long, value_name = "FILE", requires = "seed", num_args = 0..=1, default_missing_value = "regression.json")]
    minimise: Option<PathBuf>,
    /// Seeds that run at the same time.
    #[arg(long, default_value_t = threads())]
    threads: usize,
    /// Name the stories, and what a campaign of each must reach.
    #[arg(long)]
    list: bool,
}

/// Per cent on the command line, per thousand inside.
fn percent(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok((percent * 10.0).round() as u64),
        Ok(_) | Err(_) => Err("from 0 to 100".to_owned()),
    }
}

/// Of wrong usage; see [`Verdict::status`] for the others.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    match simulate() {
        Ok(verdict) => ExitCode::from(verdict.map_or(0, Verdict::status)),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(WRONG_USAGE)
        }
    }
}

/// How badly it ended, if it did.
fn simulate() -> Result<Option<Verdict>> {
    let arguments = Arguments::parse();
    if arguments.list {
        list();
        return Ok(None);
    }
    if arguments.ci {
        return ci(&arguments);
    }
    if let Some(file) = &arguments.minimise {
        return minimise(&arguments, file);
    }
    let campaigns = campaigns(&arguments)?;
    let (since, mut total, mut missed) = (Instant::now(), Tally::default(), Vec::new());
    for (scenario, jobs) in &campaigns {
        let (since, tally) = (Instant::now(), campaign(&arguments, jobs)?);
        let missed_here = tally.missed(scenario);
        print(&arguments, &tally, scenario.name, &missed_here, since);
        total.merge(&tally);
        missed.extend(missed_here);
    }
    if campaigns.len() > 1 {
        print(&arguments, &total, "all", &missed, since);
    }
    let counts = [
        (Verdict::Crash, total.crashes > 0),
        (Verdict::Safety, total.safety > 0),
        (Verdict::Liveness, total.liveness > 0),
        (Verdict::Missed, !missed.is_empty()),
    ];
    Ok(counts.into_iter().find_map(|(verdict, is_so)| is_so.then_some(verdict)))
}

/// Prints a line a story, and what there is to complain about.
fn ci(arguments: &Arguments) -> Result<Option<Verdict>> {
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let from = arguments.from.unwrap_or(now);
    println!("replay: cargo run --release -p rustbalance-testing --bin simulate -- --ci --from {from}");
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/regressions"));
    let (lines, complaints) = Campaign::new(Size::WHOLE, from, arguments.threads).run(folder)?;
    lines.iter().chain(complaints.iter().map(|complaint| &complaint.text)).for_each(|line| println!("{line}"));
    Ok(complaints.iter().map(|complaint| complaint.verdict).max())
}

fn list() {
    for scenario in &ALL {
        println!("{}: {}", scenario.name, scenario.about);
        for (mark, seeds) in scenario.marks {
            println!("    within {seeds} seeds: {}", mark.about());
        }
    }
}

/// What is to be run, by story.
fn campaigns(arguments: &Arguments) -> Result<Vec<(&'static Scenario, Vec<Job>)>> {
    if let Some(file) = &arguments.schedule {
        let (scenario, run) = read(file)?;
        let run = Run { trace: arguments.trace, ..run };
        return Ok(vec![(scenario, vec![Job { scenario, run, file: Some(file.clone()) }])]);
    }
    let is_chosen = |scenario: &&Scenario| match &arguments.scenario {
        Some(name) => name == scenario.name,
        None => !scenario.is_long && arguments.nodes.is_none_or(|nodes| nodes as usize >= scenario.nodes_min()),
    };
    if let Some((scenario, nodes)) =
        ALL.iter().find(|it| arguments.scenario.as_deref() == Some(it.name)).zip(arguments.nodes)
        && (nodes as usize) < scenario.nodes_min()
    {
        bail!("{} takes {} nodes at least", scenario.name, scenario.nodes_min());
    }
    let from = arguments.from.unwrap_or(0);
    let seeds = || arguments.seed.map_or(from..from + arguments.seeds, |seed| seed..seed + 1);
    let jobs = |scenario| seeds().map(|seed| Job { scenario, run: run(arguments, seed), file: None }).collect();
    Ok(ALL.iter().filter(is_chosen).map(|scenario| (scenario, jobs(scenario))).collect())
}

fn run(arguments: &Arguments, seed: u64) -> Run {
    Run {
        seed,
        nodes: arguments.nodes.map(|nodes| nodes as usize),
        minutes: arguments.minutes,
        loss_permille: arguments.loss,
        burst_ms: arguments.burst,
        schedule: None,
        trace: arguments.trace,
    }
}

fn read(file: &PathBuf) -> Result<(&'static Scenario, Run)> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let regression: Regression = serde_json::from_str(&text).with_context(|| format!("in {}", file.display()))?;
    let scenario = Scenario::named(&regression.scenario).context("no story of that name")?;
    Ok((scenario, regression.run()))
}

fn campaign(arguments: &Arguments, jobs: &[Job]) -> Result<Tally> {
    let (mut tally, mut last) = (Tally::default(), None);
    run_all(jobs, arguments.threads, |job, end| {
        if !arguments.json
            && let Some(complaint) = job.complaint(&end)
        {
            println!("{}", complaint.text);
        }
        match end {
            Ok(outcome) => {
                tally.add(&outcome);
                show(arguments, job, &outcome);
                last = Some(outcome);
            }
            Err(panic) => {
                tally.add_crash();
                if arguments.json {
                    let (scenario, seed) = (job.scenario.name, job.run.seed);
                    println!("{}", serde_json::json!({ "scenario": scenario, "seed": seed, "panic": panic }));
                }
            }
        }
    });
    if let Some((file, outcome)) = arguments.svg.as_ref().zip(last) {
        std::fs::write(file, svg::draw(&outcome)).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(tally)
}

/// What is printed of one seed.
fn show(arguments: &Arguments, job: &Job, outcome: &Outcome) {
    if arguments.json {
        println!("{}", serde_json::to_string(outcome).expect("plain values"));
        return;
    }
    outcome.log.iter().for_each(|line| println!("{line}"));
    if arguments.seed.is_some() || arguments.schedule.is_some() {
        println!("{} seed {}: {}", job.scenario.name, job.run.seed, outcome.drawn);
        print!("{}", outcome.schedule);
        let reached: Vec<String> = outcome.marks.iter().copied().map(Mark::name).collect();
        println!("  reached: {}", reached.join(", "));
        println!("  trace {}, {} steps", outcome.trace, outcome.steps);
    }
}

fn print(arguments: &Arguments, tally: &Tally, name: &str, missed: &[Mark], since: Instant) {
    let summary = tally.summary(name, missed.to_vec(), since.elapsed().as_secs_f64());
    if arguments.json {
        println!("{}", serde_json::to_string(&summary).expect("plain values"));
    } else {
        println!("{summary}");
    }
}

fn minimise(arguments: &Arguments, file: &PathBuf) -> Result<Option<Verdict>> {
    let name = arguments.scenario.as_deref().unwrap_or("chaos");
    let scenario = Scenario::named(name).context("no story of that name")?;
    let run = run(arguments, arguments.seed.context("--minimise needs --seed")?);
    let Some(regression) = Regression::found(scenario, &run) else {
        bail!("{name} seed {} goes well: there is nothing to shorten", run.seed);
    };
    let text = serde_json::to_string_pretty(&regression).expect("plain values");
    std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    println!("{}\n{}written to {}", regression.showed, regression.schedule, file.display());
    Ok(None)
}
