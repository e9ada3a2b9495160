//! The memory of nodes of a cluster: two real ones, of which one publishes, with stand-ins for their tors and a network as
//! large as the public one.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::net::UdpSocket;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use rustbalance_core::status::Status;
use serde_json::{Map, Value};

use super::consensus::{HOUR_SECS, Network};
use super::ring::RELAYS;
use super::stand_in::{StandIn, Surroundings, lock};
use super::stopwatch::round;
use crate::cluster::{self, Report};
use crate::process::{self, Process, RunDir};
use crate::wait::{self, Answer};
use crate::web::Web;

/// Consensuses that the nodes read, one after the other.
const HOURS: usize = 6;
/// Introduction points of each node: together as many as a descriptor can have.
const POINTS: usize = 10;
/// HSDirs of a slot: two replicas, on four relays each.
const HSDIRS: usize = 8;
/// How long the nodes may take to read a consensus, and to publish.
const LIMIT: Duration = Duration::from_secs(60);

/// Starts the nodes, has them read the consensuses of six hours, one after the other, and looks at their memory `settle`
/// later.
///
/// # Errors
/// `rustbalance` was not built, or a node does not load the network and publish, with the end of its log.
#[expect(clippy::print_stdout, reason = "a bench prints")]
pub fn run(settle: Duration) -> Result<Map<String, Value>> {
    let binary = cluster::binary().context("the memory of a node cannot be measured")?;
    let mut run_dir = RunDir::new()?;
    // Each hour has one relay more, so that nodes read all microdescriptors again.
    let first = SystemTime::UNIX_EPOCH.elapsed()?.as_secs() - (HOURS as u64 - 1) * HOUR_SECS;
    let hours = (0..=HOURS).map(|hour| Network::new(RELAYS + hour, first + hour as u64 * HOUR_SECS));
    let surroundings = Arc::new(Mutex::new(Surroundings::new(hours)));
    let web = Web::start("node")?;
    let mut nodes: Vec<Node> = Vec::new();
    for name in ["first", "second"] {
        let mut node = Node::found(&binary, &run_dir.path().join(name), &web.target(), nodes.first())?;
        node.start(&surroundings)?;
        nodes.push(node);
    }
    for hour in 0..HOURS {
        let what = format!("load the network of hour {hour} and publish");
        nodes.iter().try_for_each(|node| node.wait(&what, hour + 1))?;
        lock(&surroundings).move_on();
    }
    thread::sleep(settle);
    nodes.iter().try_for_each(|node| node.wait("still publish", HOURS))?;
    let memory = nodes.iter().map(Node::memory).collect::<Result<Vec<_>>>()?;
    for (node, memory) in nodes.iter().zip(&memory) {
        println!(
            "memory of a {} with {RELAYS} relays, {} s later, MiB: {memory}",
            node.status()?.role,
            settle.as_secs()
        );
    }
    run_dir.good();
    let most = |field: fn(&Memory) -> f64| round(memory.iter().map(field).fold(0.0, f64::max)).into();
    Ok(Map::from_iter([
        ("rss_mib_8000_relays".to_owned(), most(|memory| memory.resident)),
        ("peak_rss_mib_8000_relays".to_owned(), most(|memory| memory.peak)),
    ]))
}

/// A node.
struct Node {
    binary: PathBuf,
    /// Holds its state directory, `node`, and the files of its stand-in.
    dir: PathBuf,
    endpoint: String,
    report: Report,
    running: Option<(Process, Arc<StandIn>)>,
}

impl Node {
    /// Founds a cluster, or joins it through `through`, which runs.
    fn found(binary: &Path, dir: &Path, target: &str, through: Option<&Self>) -> Result<Self> {
        let state = dir.join("node");
        DirBuilder::new().recursive(true).mode(0o700).create(&state)?;
        let endpoint = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr())?.to_string();
        let config = format!(
            "mesh.listen = '{endpoint}'\nmesh.endpoint = '{endpoint}'\nservice.target = '{target}'\n\
             service.introduction_points = {POINTS}\ntor.binary = '{}'\n",
            dir.join("tor").display()
        );
        fs::write(state.join("rustbalance.toml"), config)?;
        let arguments = through.map_or(vec!["init".to_owned()], |other| other.report.join_arguments(&other.endpoint));
        let said = cluster::output(command(binary, dir).args(arguments).arg("--json"))?;
        let report = serde_json::from_str(&said).with_context(|| format!("unexpected report: {said}"))?;
        Ok(Self { binary: binary.to_owned(), dir: dir.to_owned(), endpoint, report, running: None })
    }

    fn start(&mut self, surroundings: &Arc<Mutex<Surroundings>>) -> Result<()> {
        let key_file = fs::read(&self.report.master_key_file)?;
        let stand_in = StandIn::start(&self.dir, &key_file, POINTS, surroundings)?;
        let run = process::dying_with_us(command(&self.binary, &self.dir).arg("run"));
        let log = self.dir.join("log");
        let process = Process::spawn("node", &mut { run }, &log)?;
        self.running = Some((process, stand_in));
        wait::until("a node's status", LIMIT, || {
            Ok(self.status().map_or_else(|error| Answer::NotYet(format!("{error:#}")), Answer::Ready))
        })
        .with_context(|| process::tail(&log, 15))?;
        Ok(())
    }

    fn running(&self) -> Result<&(Process, Arc<StandIn>)> {
        self.running.as_ref().context("it was not started")
    }

    fn status(&self) -> Result<Status> {
        let said = cluster::output(command(&self.binary, &self.dir).args(["status", "--json"]))?;
        serde_json::from_str(&said).with_context(|| format!("unexpected status: {said}"))
    }

    /// Waits until it has read all microdescriptors so often and the descriptor is published.
    fn wait(&self, what: &str, times: usize) -> Result<()> {
        let (process, stand_in) = self.running()?;
        let outcome = wait::until(&format!("a node to {what}"), LIMIT, || {
            let status = self.status()?;
            let problem = problem(&status, stand_in.microdescs_told(), times);
            Ok(problem.map_or(Answer::Ready(()), Answer::NotYet))
        });
        outcome.with_context(|| format!("its log ends:\n{}", process.log_tail(15)))
    }

    fn memory(&self) -> Result<Memory> {
        Memory::read(self.running()?.0.pid())
    }
}

/// `rustbalance --dir DIR/node`, to be completed.
fn command(binary: &Path, dir: &Path) -> Command {
    let mut command = Command::new(binary);
    command.arg("--dir").arg(dir.join("node"));
    command
}

/// Why it cannot be measured yet.
fn problem(status: &Status, told: usize, wanted: usize) -> Option<String> {
    let publication = &status.publication;
    let hsdirs: Vec<_> = publication.slots.iter().map(|slot| slot.hsdirs.len()).collect();
    let is_done = match status.role.as_str() {
        "holder" => publication.confirmed && hsdirs == [HSDIRS; 2] && publication.points.len() == 2 * POINTS,
        "follower" => publication.period.is_some() && publication.points.len() == 2 * POINTS,
        _ => false,
    };
    (!is_done || told < wanted).then(|| {
        let (role, points, confirmed) = (&status.role, publication.points.len(), publication.confirmed);
        format!(
            "microdescriptors read {told} times, {role}, tor {}, {points} points, on HSDirs {hsdirs:?}, confirmed: {confirmed}",
            status.tors.join(", ")
        )
    })
}

/// Of a process, MiB.
struct Memory {
    resident: f64,
    peak: f64,
    anonymous: f64,
    file: f64,
    locked: f64,
}

impl Memory {
    fn read(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let mib = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).context("a field of its status")?;
            let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
            anyhow::Ok(kib / 1024.0)
        };
        let [resident, peak] = [mib("VmRSS:")?, mib("VmHWM:")?];
        Ok(Self { resident, peak, anonymous: mib("RssAnon:")?, file: mib("RssFile:")?, locked: mib("VmLck:")? })
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident, peak, anonymous, file, locked } = self;
        write!(
            f,
            "{resident:.1} (its own {anonymous:.1}, pages of the program and libraries {file:.1}), at most {peak:.1}; \
             locked {locked:.1}"
        )
    }
}
