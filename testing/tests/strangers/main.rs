//! Somebody else has the master key and uploads descriptors with counters from the future. First to all HSDirs of a node that
//! is alone, whose tor they refuse from then on: it publishes by itself. Then, of two nodes, to an HSDir that clients read,
//! and to one of the other time period, which cannot be read back. Meanwhile another HSDir loses all its copies, as its tor is
//! killed. Each is found, told of, and gets ours again, and no other HSDir anything; visitors are served throughout. HSDirs
//! are read back every 5 to 10 minutes, so all that takes 15 to 25.

#![allow(clippy::indexing_slicing, reason = "tests: a wrong index is a failed test")]

mod stranger;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustbalance_core::control::command;
use rustbalance_core::control::event::Circ;
use rustbalance_core::hsdesc::peek_revision;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::onion::revision::RevisionCounter;
use rustbalance_core::status::Status;
use rustbalance_testing::cluster::{Cluster, Node, plan};
use rustbalance_testing::hsdir::{self, HsDirReader};
use rustbalance_testing::process::{self, RunDir};
use rustbalance_testing::tor_net::{Shape, TorNet};
use rustbalance_testing::visitors::{self, PATIENCE, REGULAR_PATIENCE, Regulars};
use rustbalance_testing::wait::{self, Answer};
use rustix::process::Signal;
use stranger::{Forged, Stranger, other, upload};
use watch::{Key, Watch};

/// Besides three authorities: enough that some HSDir has to do with nothing else.
const RELAYS: u8 = 20;
/// Everything is over by then: a rotation, or another ring, would have everything uploaded anew.
const CALM: Duration = Duration::from_secs(45 * 60);
const LIMIT: Duration = Duration::from_secs(180);
/// A new publisher uploads everything twice, 30 s apart. What has rested for so long was the second time.
const RESTED_MS: u64 = 45_000;
/// Copies are read back after 10 minutes at most; that, and what it takes to serve an HSDir again and read it once more.
const FOUND: Duration = Duration::from_secs(11 * 60);
/// How far ahead of the clock a stranger's counter is: an honest rival's can be by 10 s.
const AHEAD_SECS: u32 = 600;
/// The same where it cannot be read. It is passed in steps of 1, 2 and 4 minutes, each after a wait of a minute at most.
const UNREAD_AHEAD_SECS: u32 = 180;
/// The three refusals before the first step take half a minute; a quarter of each wait is jitter.
const PASSED: Duration = Duration::from_secs(6 * 60);
/// A bad answer of `verify`, by its exit code.
const NO: i32 = 6;
/// What the web application of the stranger answers.
const STRANGER: &str = "stranger";

#[test]
fn strangers_descriptors_and_lost_copies_are_found_told_of_and_replaced_on_those_hsdirs_alone() -> Result<()> {
    process::stop_children_on_signals()?;
    let mut dir = RunDir::new()?;
    let start = Instant::now();
    let say = |what: &str| println!("[{:6.1} s] {what}", start.elapsed().as_secs_f32());
    let net = TorNet::start(dir.path(), Shape { relays: RELAYS, ..Shape::calm_for(CALM) })?;
    let (next, left) = net.next_rotation();
    ensure!(left > CALM, "{next:?} is in {} s, whatever the voting interval: try again after it", left.as_secs());
    say(&format!("a network of {} relays, which rotates nothing for {} s", net.relays(), left.as_secs()));
    let mut cluster = Cluster::new(&net, "info")?;
    cluster.add(None)?;
    cluster.wait_for(0, "the first node alone", LIMIT, plan::alone_and_native)?;
    let stranger = Stranger::start(&net, &cluster)?;
    let mut reader = HsDirReader::start(&net)?;
    a_lone_node_publishes_where_its_tor_is_refused(&cluster, &stranger, &mut reader, &say)?;
    cluster.add(Some(0))?;
    let (holder, _) = cluster.settled("both nodes", LIMIT)?;
    let story = Story {
        regulars: Regulars::start(&net, cluster.address()?, 2)?,
        net: &net,
        reader,
        cluster,
        holder,
        stranger,
        say: &say,
    };
    story.tell()?;
    dir.good();
    Ok(())
}

/// Tor, which publishes for a node that is alone, would try again in an hour or two. The node goes back to that later.
fn a_lone_node_publishes_where_its_tor_is_refused(
    cluster: &Cluster<'_>,
    stranger: &Stranger,
    reader: &mut HsDirReader,
    say: &dyn Fn(&str),
) -> Result<()> {
    let mut control = reader.tor().control()?;
    let ring = hsdir::ring(&mut control)?;
    let current = ring.params().current_slot(ring.valid_after());
    for (slot, hsdirs) in [current, other(current)].into_iter().zip(stranger.responsible(&ring)) {
        let forged = stranger.forge(&ring, slot, UNREAD_AHEAD_SECS)?;
        for hsdir in hsdirs {
            let refusal = upload(&mut control, hsdir, &stranger.address, &forged.text)?;
            ensure!(refusal.is_none(), "{hsdir} does not take the stranger's: {refusal:?}");
        }
    }
    let node = cluster.node(0)?;
    say(&format!("all HSDirs have a stranger's copy, {UNREAD_AHEAD_SECS} s ahead; the tor of {} is killed", node.name));
    process::signal(node.tor_pid()?, Signal::KILL);
    let (begun, named) = (Instant::now(), [node.name.as_str()]);
    cluster.wait_for(0, "its own descriptors on all HSDirs", LIMIT + PASSED, |status| {
        plan::has_points_of(status, &named)?;
        plan::is_confirmed(status, u64::MAX)
    })?;
    say(&format!("all have the node's own after {:.1} s", begun.elapsed().as_secs_f32()));
    let held = reader.compare(cluster, 0, LIMIT)?;
    ensure!(held.is_good(), "HSDirs do not hold the plan: {held}");
    let log = fs::read_to_string(node.log())?;
    let told =
        log.lines().filter(|line| line.contains(" WARN ") && line.contains("refuses what tor publishes by itself"));
    ensure!(told.count() == 1, "the log tells of it once");
    ensure!(node.status()?.role == "alone", "it is alone");
    Ok(())
}

struct Story<'a> {
    /// Dropped first: they would wait for minutes for pages of a service that is gone.
    regulars: Regulars,
    net: &'a TorNet,
    cluster: Cluster<'a>,
    /// The node that publishes.
    holder: usize,
    stranger: Stranger,
    reader: HsDirReader,
    say: &'a (dyn Fn(&str) + Sync),
}

impl Story<'_> {
    fn tell(mut self) -> Result<()> {
        let nodes: Vec<String> = self.cluster.nodes.iter().map(|node| node.name.clone()).collect();
        let lost = self.spare_hsdir()?;
        self.visited("before", &nodes)?;
        let foreign = self.found_where_clients_read(lost, &nodes)?;
        self.found_where_nobody_can_read(foreign, &nodes)?;
        let tally = self.regulars.take_tally()?;
        (self.say)(&format!("regular visitors: {tally}"));
        ensure!(tally.is_good(REGULAR_PATIENCE), "regular visitors: {tally}");
        Ok(())
    }

    /// An HSDir loses its copy, another is given the stranger's. Returns the latter, and what was uploaded.
    fn found_where_clients_read(
        &mut self,
        lost: RelayFingerprint,
        nodes: &[String],
    ) -> Result<(RelayFingerprint, Forged)> {
        let ring = hsdir::ring(&mut self.reader.tor().control()?)?;
        let slot = ring.params().current_slot(ring.valid_after());
        let [hsdirs, others] = self.stranger.responsible(&ring);
        let fetched = self.stranger.fetched(&ring, slot);
        let spare = |hsdir: &&RelayFingerprint| **hsdir != lost && !others.contains(hsdir);
        let target = *fetched.iter().find(spare).context("an HSDir of one time period alone")?;
        let before = self.revisions(&hsdirs)?;
        let log = self.log()?.len();
        let planned = planned(&self.node()?.status()?);
        let mut watch = Watch::begin(self.node()?)?;

        let forged = self.stranger.forge(&ring, slot, AHEAD_SECS)?;
        self.taken(target, &forged.text, true)?;
        self.net.relay(lost)?.restart()?;
        ensure!(
            self.reader.text(self.cluster.address()?, &lost.to_string())?.trim_ascii().is_empty(),
            "{lost} lost nothing"
        );
        (self.say)(&format!("{lost} has lost its copy, {target} has a stranger's, {AHEAD_SECS} s ahead"));
        let begun = Instant::now();
        let with_stranger = [nodes, &[STRANGER.to_owned()]].concat();
        let watched = thread::scope(|scope| {
            let visits = scope.spawn(|| self.visited("meanwhile", &with_stranger));
            let watched = watch.until("both served again, and read back", FOUND, self.node()?, |watch| {
                [lost, target].iter().all(|hsdir| watch.uploads(slot, *hsdir) == 1) && watch.proven
            });
            visits.join().map_err(|_| anyhow!("the visitors panicked"))?.and(watched)
        });
        (self.say)(&format!("after {:.1} s:\n{watch}", begun.elapsed().as_secs_f32()));
        watched?;

        ensure!(planned == self::planned(&self.node()?.status()?), "the plan has changed meanwhile");
        // Who holds nothing of one time period lost what it had of the other, too.
        watch.only(&[(slot, lost), (other(slot), lost), (slot, target)])?;
        for (hsdir, state) in [(lost, "gone"), (target, "foreign")] {
            let states = &watch.seen[&(slot, hsdir)].states;
            ensure!(states.contains(state) && states.contains("verified"), "{hsdir} was seen {states:?}");
        }
        let after = self.revisions(&hsdirs)?;
        ensure!(after[&target] > forged.revision && after[&lost] > before[&lost], "{before:?}, then {after:?}");
        let kept = |hsdir: &&RelayFingerprint| ![lost, target].contains(hsdir);
        let changed = hsdirs.iter().filter(kept).find(|hsdir| before[hsdir] != after[hsdir]);
        ensure!(changed.is_none(), "{changed:?} was uploaded to: {before:?}, then {after:?}");
        for (hsdir, copy) in self.reader.read(self.cluster.address()?)? {
            let copy = copy.with_context(|| format!("{hsdir} holds nothing"))?;
            ensure!(hsdir::auth_keys(&copy) == planned, "{hsdir} holds another plan: {:?}", hsdir::auth_keys(&copy));
        }
        self.is_told(log, &format!("HSDir {target} holds a descriptor"), "somebody else publishes with its key")?;
        self.visited("afterwards", nodes)?;
        Ok((target, forged))
    }

    /// An HSDir of the other time period is given the stranger's copy: it is not noticed before the next upload, here when a
    /// node is drained, and is passed then.
    fn found_where_nobody_can_read(&mut self, (read, was): (RelayFingerprint, Forged), nodes: &[String]) -> Result<()> {
        let ring = hsdir::ring(&mut self.reader.tor().control()?)?;
        let slot = other(ring.params().current_slot(ring.valid_after()));
        let [hsdirs, others] = self.stranger.responsible(&ring);
        let target =
            *others.iter().find(|hsdir| !hsdirs.contains(hsdir)).context("an HSDir of one time period alone")?;
        let log = self.log()?.len();
        let forged = self.stranger.forge(&ring, slot, UNREAD_AHEAD_SECS)?;
        self.taken(target, &forged.text, true)?;
        let mut watch = Watch::begin(self.node()?)?;
        let drained = (0..self.cluster.nodes.len()).find(|number| *number != self.holder).context("another node")?;
        self.cluster.node(drained)?.ask(&["drain"])?;
        (self.say)(&format!(
            "{target} has a stranger's copy, {UNREAD_AHEAD_SECS} s ahead; {} is drained",
            nodes[drained]
        ));
        let begun = Instant::now();
        let is_target = |key: &Key| *key == (slot, target);
        watch.until("a new plan on all other HSDirs, and a refusal", LIMIT, self.node()?, |watch| {
            let all = watch.seen.iter().all(|(key, seen)| is_target(key) || (seen.uploads > 0 && seen.is_well()));
            all && watch.seen[&(slot, target)].states.contains("refused")
        })?;
        wait::until("verify names it", LIMIT, || {
            let (code, _, said) = self.node()?.run(&["verify"])?;
            let good = code == Some(NO) && said.contains(&format!("one HSDir lacks it: {target} is refused"));
            Ok(Answer::from_option(good.then_some(()), || format!("{code:?} {said}")))
        })?;
        let counts = watch.counts();
        let serving = [nodes[self.holder].clone()];
        let watched = thread::scope(|scope| {
            let visits = scope.spawn(|| self.visited("while it refuses", &serving));
            let watched = watch.until("it has taken ours", PASSED, self.node()?, |watch| watch.proven);
            visits.join().map_err(|_| anyhow!("the visitors panicked"))?.and(watched)
        });
        (self.say)(&format!("after {:.1} s:\n{watch}", begun.elapsed().as_secs_f32()));
        watched?;
        let again = watch.counts().into_iter().find(|(key, count)| !is_target(key) && counts[key] != *count);
        ensure!(again.is_none(), "{again:?} was uploaded to again");

        self.is_told(log, &format!("HSDir {target}, and perhaps others, refuses"), "perhaps somebody else publishes")?;
        self.taken(target, &forged.text, false)?;
        self.taken(read, &was.text, false)?;
        for (hsdir, revision) in self.revisions(&hsdirs)?.into_iter().filter(|(hsdir, _)| *hsdir != read) {
            let (n, now) = self.stranger.seconds(&ring, other(slot), revision);
            ensure!(n <= now, "{hsdir}: counter of second {n}, and this is {now}");
        }
        self.visited("at the end", &serving)
    }

    fn node(&self) -> Result<&Node> {
        self.cluster.node(self.holder)
    }

    /// Waits until all is proven, and rests. Returns an HSDir of the time period that clients use which no introduction
    /// circuit of a node goes by: those would be built anew without it, and the plan would change. If there is none, the
    /// circuits that go by one are closed.
    fn spare_hsdir(&mut self) -> Result<RelayFingerprint> {
        const TRIES: usize = 6;
        for _ in 0..TRIES {
            self.cluster.wait_for(self.holder, "everything proven and at rest", LIMIT, is_at_rest)?;
            let ring = hsdir::ring(&mut self.reader.tor().control()?)?;
            let [hsdirs, _] = self.stranger.responsible(&ring);
            let circuits = self.intro_circuits()?;
            let by =
                |hsdir: RelayFingerprint| circuits.iter().filter(move |(_, circuit)| circuit.path.contains(&hsdir));
            let ends = |hsdir: &&RelayFingerprint| by(**hsdir).any(|(_, circuit)| circuit.path.last() == Some(*hsdir));
            let candidates = hsdirs.iter().filter(|hsdir| !ends(hsdir));
            let best =
                *candidates.min_by_key(|hsdir| by(**hsdir).count()).context("an HSDir that is nobody's point")?;
            if by(best).next().is_none() {
                return Ok(best);
            }
            for (number, circuit) in by(best) {
                let _gone = self.cluster.node(*number)?.tor_control()?.command(&command::close_circuit(&circuit.id));
            }
            wait::until("as many introduction circuits as before", LIMIT, || {
                let standing = self.intro_circuits()?.len();
                Ok(Answer::from_option((standing >= circuits.len()).then_some(()), || format!("{standing}")))
            })?;
        }
        bail!("introduction circuits go by every HSDir")
    }

    /// Every node's that are established, with its number.
    fn intro_circuits(&self) -> Result<Vec<(usize, Circ)>> {
        let address: OnionAddress = self.cluster.address()?.parse().map_err(|error| anyhow!("{error}"))?;
        let mut all = Vec::new();
        for number in self.cluster.running() {
            let lines = self.cluster.node(number)?.tor_control()?.get_info_text("circuit-status")?;
            let circuits =
                lines.lines().filter_map(Circ::parse).filter(|circuit| circuit.is_established_intro(&address.host()));
            all.extend(circuits.map(|circuit| (number, circuit)));
        }
        Ok(all)
    }

    /// The counters that these HSDirs hold.
    fn revisions(&mut self, hsdirs: &[RelayFingerprint]) -> Result<BTreeMap<RelayFingerprint, RevisionCounter>> {
        let address = self.cluster.address()?;
        let mut read = |hsdir: &RelayFingerprint| {
            let text = self.reader.text(address, &hsdir.to_string())?;
            Ok((*hsdir, peek_revision(&text).with_context(|| format!("{hsdir} holds nothing"))?))
        };
        hsdirs.iter().map(&mut read).collect()
    }

    /// Uploads `text` to an HSDir, which has to take it, or to refuse it.
    fn taken(&self, hsdir: RelayFingerprint, text: &str, expected: bool) -> Result<()> {
        let mut control = self.reader.tor().control()?;
        let answer = upload(&mut control, hsdir, &self.stranger.address, text)?;
        let refused = answer.as_deref() == Some("UPLOAD_REJECTED");
        let good = if expected { answer.is_none() } else { refused };
        ensure!(good, "{hsdir}, from which {expected} was expected, answered {answer:?}");
        Ok(())
    }

    fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.node()?.log())?)
    }

    /// Checks that the publisher's log warns once of these things, and of nothing else, after its first bytes, or that it had
    /// done so before: it does not again for ten minutes. And that status tells of them.
    fn is_told(&self, skip: usize, first: &str, then: &str) -> Result<()> {
        let is_it = |line: &str| line.contains(first) && line.contains(then);
        let log = self.log()?;
        let warnings: Vec<_> = log[skip..].lines().filter(|line| line.contains(" WARN ")).collect();
        let is_good = match &warnings[..] {
            [] => log[..skip].lines().any(|line| line.contains(" WARN ") && line.contains(then)),
            [only] => is_it(only),
            _ => false,
        };
        ensure!(is_good, "the log: {warnings:?}");
        let shown = self.node()?.status()?.warnings;
        let shown = shown.iter().find(|line| is_it(line)).with_context(|| format!("status: {shown:?}"))?;
        (self.say)(&format!("status: {shown}"));
        Ok(())
    }

    fn visited(&self, when: &str, names: &[String]) -> Result<()> {
        let tally = visitors::fresh(self.net, self.cluster.address()?, 6, 2)?;
        (self.say)(&format!("{when}: fresh visitors: {tally}"));
        ensure!(tally.is_good(PATIENCE) && tally.served_by.keys().all(|name| names.contains(name)), "{when}: {tally}");
        Ok(())
    }
}

/// All is proven, and was uploaded long enough ago that no further round is to come.
fn is_at_rest(status: &Status) -> plan::Fact {
    plan::is_confirmed(status, u64::MAX)?;
    let hsdirs = || status.publication.slots.iter().flat_map(|slot| &slot.hsdirs);
    let fresh = hsdirs().filter_map(|hsdir| hsdir.confirmed_ms).min().is_none_or(|age| age < RESTED_MS);
    if status.publication.proven && !fresh {
        Ok(())
    } else {
        Err(format!("proven: {}, of late: {fresh}", status.publication.proven))
    }
}

/// The auth keys of the plan.
fn planned(status: &Status) -> BTreeSet<String> {
    status.publication.points.iter().map(|point| point.auth_key.clone()).collect()
}
