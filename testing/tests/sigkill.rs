//! `kill -9` of a node that serves, of its tor, or of both, at any moment, also while they start again: three nodes on a
//! private tor network, the keys of one of them encrypted, and never more than one of them down. Whoever is killed comes back
//! with all that it had said to have done, leaves no tor without a node and no secret where it does not belong, the
//! descriptor has everybody's new points and no old ones, and visitors notice nothing that a reload would not cure. Takes 6
//! to 8 minutes.
//!
//! `RUSTBALANCE_KILLS` sets how often that happens; the seed is printed, and `RUSTBALANCE_SEED` replays who is killed when.

#![allow(clippy::indexing_slicing, reason = "tests: a wrong index is a failed test")]
#![expect(clippy::print_stdout, reason = "a test that takes minutes must show where it is")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rand_core::Rng as _;
use rustbalance_core::rng::{Rng, Seed};
use rustbalance_core::status::Status;
use rustbalance_testing::cluster::{Cluster, plan};
use rustbalance_testing::hsdir::HsDirReader;
use rustbalance_testing::process::{self, RunDir};
use rustbalance_testing::secrets::{self, Secrets};
use rustbalance_testing::tor_net::{Shape, TorNet};
use rustbalance_testing::visitors::{self, REGULAR_PATIENCE, Regulars, Tally};
use rustbalance_testing::wait::{self, Answer};
use rustix::process::Signal;

/// The last that joins has encrypted keys.
const NODES: usize = 3;
/// Rounds unless told otherwise.
const ROUNDS: u64 = 20;
/// For things without a promised time.
const LIMIT: Duration = Duration::from_secs(180);
/// For a round on the average, by far: it takes 15 s.
const ROUND_LIMIT: Duration = Duration::from_secs(60);
/// For a tor to be gone once its node is.
const ORPHANED: Duration = Duration::from_secs(5);

/// What is killed of a node, in this order.
const WAYS: [&[Part]; 4] = [&[Part::Daemon], &[Part::Tor], &[Part::Daemon, Part::Tor], &[Part::Tor, Part::Daemon]];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Daemon,
    Tor,
}

/// One SIGKILL or two at once.
#[derive(Debug)]
struct Strike {
    /// How long after what was before: an order to the node, or its start.
    after: Duration,
    way: &'static [Part],
    /// How long the node stays down, if it is the daemon's end.
    down: Duration,
}

/// What happens to one node before all is to be well again.
#[derive(Debug)]
struct Round {
    node: usize,
    /// A weight that it is given before the first strike.
    weight: u32,
    strikes: Vec<Strike>,
}

impl Round {
    /// Of two strikes, one falls while a node starts, which takes it some seconds. It is down for less or for more than the
    /// others take to notice.
    fn draw(rng: &mut Rng) -> Self {
        let (node, weight) = (rng.next_u32() as usize % NODES, 50 + rng.next_u32() % 100);
        let mut strikes = vec![Strike::draw(rng, Duration::from_secs(2))];
        while strikes.len() < 3 && rng.next_u32().is_multiple_of(2) {
            strikes.push(Strike::draw(rng, Duration::from_secs(8)));
        }
        Self { node, weight, strikes }
    }
}

impl Strike {
    fn draw(rng: &mut Rng, latest: Duration) -> Self {
        let mut up_to = |longest: Duration| Duration::from_micros(rng.next_u64() % longest.as_micros() as u64);
        let (after, down) = (up_to(latest), up_to(Duration::from_secs(6)));
        Self { after, way: WAYS[rng.next_u32() as usize % WAYS.len()], down }
    }
}

#[test]
fn nodes_that_serve_are_killed_at_any_moment_and_visitors_do_not_notice() -> Result<()> {
    process::stop_children_on_signals()?;
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>()).transpose();
    let seed = number("RUSTBALANCE_SEED")?.unwrap_or(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
    let rounds = number("RUSTBALANCE_KILLS")?.unwrap_or(ROUNDS);
    println!("RUSTBALANCE_SEED={seed}");
    process::end_after(3 * LIMIT + ROUND_LIMIT * u32::try_from(rounds)?)?;
    let mut dir = RunDir::new()?;
    let net = TorNet::start(dir.path(), Shape::default())?;
    let mut cluster = Cluster::new(&net, "info")?;
    cluster.add(None)?;
    cluster.wait_for(0, "the first node alone", LIMIT, plan::alone_and_native)?;
    for joining in 1..NODES {
        cluster.encrypted = joining == NODES - 1;
        cluster.add(Some(0))?;
    }
    cluster.settled("all nodes", LIMIT)?;
    let mut story = Story::begin(&net, cluster)?;
    for round in 0..rounds {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&round.to_le_bytes());
        let drawn = Round::draw(&mut Seed::new(bytes).fork("sigkill"));
        story.round(&drawn).with_context(|| format!("round {round} of RUSTBALANCE_SEED={seed}: {drawn:?}"))?;
    }
    story.end()?;
    dir.good();
    Ok(())
}

struct Story<'a> {
    net: &'a TorNet,
    /// Gone before the nodes are: they would wait for a page.
    regulars: Regulars,
    cluster: Cluster<'a>,
    reader: HsDirReader,
    fresh: Tally,
    sought: Secrets,
    /// Where programs put what they leave outside of their own directories.
    outside: PathBuf,
    /// What each node must be for ever.
    known: Vec<Known>,
    epoch: u64,
    began: Instant,
}

/// What no SIGKILL may change.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    id: String,
    address: String,
    members: BTreeSet<String>,
    /// What the node was ordered, and has said to have done.
    ordered: Vec<String>,
}

impl Known {
    fn of(status: &Status) -> Self {
        let members = status.members.iter().map(|member| member.node.clone()).collect();
        let (id, address, ordered) = (status.node.clone(), status.address.clone(), status.ordered.clone());
        Self { id, address, members, ordered }
    }
}

impl<'a> Story<'a> {
    fn begin(net: &'a TorNet, cluster: Cluster<'a>) -> Result<Self> {
        let outside = net.dir_of("outside");
        fs::create_dir(&outside)?;
        let known: Vec<_> = cluster.nodes.iter().map(|node| Ok(Known::of(&node.status()?))).collect::<Result<_>>()?;
        ensure!(known.iter().all(|known| known.members.len() == NODES), "{known:?}");
        let sought = Secrets::of(&cluster.nodes)?;
        let missed: Vec<_> =
            secrets::key_files(&cluster.nodes)?.into_iter().filter(|file| !sought.are_in(file)).collect();
        ensure!(missed.is_empty(), "the search finds no keys in {missed:?}");
        Ok(Self {
            net,
            reader: HsDirReader::start(net)?,
            regulars: Regulars::start(net, cluster.address()?, 2)?,
            fresh: Tally::default(),
            sought,
            outside,
            known,
            epoch: 0,
            began: Instant::now(),
            cluster,
        })
    }

    fn round(&mut self, round: &Round) -> Result<()> {
        let began = Instant::now();
        let node = self.cluster.node(round.node)?;
        let (name, was_publisher) = (node.name.clone(), plan::is_publisher(&node.status()?));
        node.ask(&["weight", &name, &round.weight.to_string()])?;
        self.known[round.node].ordered = vec![format!("weight {}", round.weight)];
        let mut dead = BTreeSet::new();
        for strike in &round.strikes {
            thread::sleep(strike.after);
            self.strike(round.node, strike)?;
            dead.extend(self.points_of(round.node));
            if strike.way.contains(&Part::Daemon) {
                thread::sleep(strike.down);
                self.start(round.node)?;
            }
        }
        ensure!(!dead.is_empty(), "nobody knows of points of {name}");
        let last = Instant::now();
        let publisher = self.all_is_well(round.node, &dead)?;
        let who = if was_publisher { "the publisher" } else { "a follower" };
        let struck: Vec<_> = round.strikes.iter().map(|strike| format!("{:?}", strike.way)).collect();
        println!(
            "[{:5.1} s] {name}, {who}: {}; well after {:.1} s, {publisher} publishes in epoch {}; {:.1} s in all",
            self.began.elapsed().as_secs_f32(),
            struck.join(", "),
            last.elapsed().as_secs_f32(),
            self.epoch,
            began.elapsed().as_secs_f32()
        );
        Ok(())
    }

    /// Kills, and checks that nothing is left that should not be.
    fn strike(&self, number: usize, strike: &Strike) -> Result<()> {
        let node = self.cluster.node(number)?;
        let daemon = node.pid().context("it does not run")?;
        // One that only looks at its configuration is among them.
        let tors: Vec<_> = process::processes_in(&node.dir).into_iter().filter(|pid| *pid != daemon).collect();
        for part in strike.way {
            match part {
                Part::Daemon => process::signal(daemon, Signal::KILL),
                Part::Tor => tors.iter().for_each(|tor| process::signal(*tor, Signal::KILL)),
            }
        }
        if strike.way.contains(&Part::Daemon) {
            node.kill();
            wait::until("the end of the tor of a node that was killed", ORPHANED, || {
                let left = process::processes_in(&node.dir);
                Ok(Answer::from_option(left.is_empty().then_some(()), || format!("pids {left:?}")))
            })?;
            let open = secrets::open_to_others(node)?;
            ensure!(open.is_empty(), "open to others: {open:?}");
        }
        Ok(())
    }

    fn start(&mut self, number: usize) -> Result<()> {
        let outside = self.outside.to_str().context("a path in UTF-8")?;
        self.cluster.restart_with(number, &["TMPDIR", "HOME", "XDG_RUNTIME_DIR"].map(|name| (name, outside)))
    }

    /// The points of a node that any other thinks are planned.
    fn points_of(&self, number: usize) -> BTreeSet<String> {
        let all = self.cluster.running().into_iter().filter_map(|number| self.cluster.node(number).ok()?.status().ok());
        all.flat_map(|status| plan::points_of(&status.publication.points, &self.known[number].id)).collect()
    }

    /// Waits until the cluster has recovered, then looks at everything. Returns the publisher's name.
    fn all_is_well(&mut self, struck: usize, dead: &BTreeSet<String>) -> Result<String> {
        let ready = |status: &Status| if status.tors == ["ready"] { Ok(()) } else { Err(status.tors.join(", ")) };
        self.cluster.wait_for(struck, "its tor to be ready", LIMIT, ready)?;
        let id = &self.known[struck].id;
        let (holder, status) = wait::until("the new points of the node in the plan", LIMIT, || {
            let (holder, status) = self.cluster.settled("everybody's points on every HSDir", LIMIT)?;
            let points = plan::points_of(&status.publication.points, id);
            let is_new = !points.is_empty() && points.is_disjoint(dead);
            Ok(Answer::from_option(is_new.then_some((holder, status)), || format!("{points:?}, dead are {dead:?}")))
        })?;
        ensure!(status.epoch >= self.epoch, "epoch {} after {}", status.epoch, self.epoch);
        self.epoch = status.epoch;
        let held = self.reader.compare(&self.cluster, holder, LIMIT)?;
        ensure!(held.is_good(), "HSDirs do not hold the plan: {held}");
        let tally = visitors::fresh(self.net, self.cluster.address()?, 3, 3)?;
        ensure!(tally.failed.is_empty() && tally.served() == 3, "fresh visitors: {tally}");
        self.fresh.add(tally);
        for (number, known) in self.known.iter().enumerate() {
            self.cluster.wait_for(number, "its state, as it was", LIMIT, |status| {
                let now = Known::of(status);
                let is_whole = now == *known && status.unsaved.is_empty();
                if is_whole { Ok(()) } else { Err(format!("{now:?} and not {known:?}, unsaved {:?}", status.unsaved)) }
            })?;
        }
        self.nothing_is_left_behind()?;
        Ok(status.name)
    }

    fn nothing_is_left_behind(&self) -> Result<()> {
        let nodes = &self.cluster.nodes;
        for node in nodes {
            let own = [node.pid().context("it does not run")?, node.tor_pid()?];
            // Somebody may just be looking at its files.
            wait::until("nobody there but a node and its tor", ORPHANED, || {
                let others = process::processes_in(&node.dir).into_iter().filter(|pid| !own.contains(pid));
                let others: Vec<_> = others.map(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline"))).collect();
                Ok(Answer::from_option(others.is_empty().then_some(()), || format!("{others:?}")))
            })?;
            let open = secrets::open_to_others(node)?;
            ensure!(open.is_empty(), "open to others: {open:?}");
            let log = fs::read_to_string(node.log())?;
            ensure!(!log.contains("panicked"), "{} panicked", node.name);
        }
        let leaks = secrets::forbidden_places(nodes)?.into_iter().filter(|place| self.sought.are_in(place));
        let leaks: Vec<_> = leaks.collect();
        ensure!(leaks.is_empty(), "secrets in {leaks:?}");
        let outside: Vec<_> = fs::read_dir(&self.outside)?.flatten().map(|entry| entry.path()).collect();
        ensure!(outside.is_empty(), "left outside: {outside:?}");
        Ok(())
    }

    /// How visitors fared, and the end of all nodes.
    fn end(self) -> Result<()> {
        let Self { regulars, fresh, cluster, .. } = self;
        let tally = regulars.take_tally()?;
        println!("fresh visitors: {fresh}\nregular visitors: {tally}");
        ensure!(tally.is_good(REGULAR_PATIENCE), "regular visitors: {tally}");
        drop(regulars);
        for node in &cluster.nodes {
            ensure!(fresh.served_by.contains_key(&node.name), "{} served no fresh visitor", node.name);
            ensure!(node.terminate(LIMIT)?.success(), "{} stops in good order", node.name);
            ensure!(process::processes_in(&node.dir).is_empty(), "a process of {} is left", node.name);
            let memory = node.memory().map(fs::read_dir).transpose()?;
            ensure!(memory.is_none_or(|mut files| files.next().is_none()), "the key of {} is left", node.name);
        }
        Ok(())
    }
}
