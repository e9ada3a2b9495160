//! An address moves in from a plain tor and out again, and in from Onionbalance and out again, on a private tor network,
//! while clients visit: at no time does a visit fail that a reload does not cure, in time. The steps are those of
//! OPERATIONS. Both at once take 10 to 20 minutes: what served before runs on until the next time period.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustbalance_core::control::command;
use rustbalance_core::hsdesc::Descriptor;
use rustbalance_core::hsdir::ring::Ring;
use rustbalance_core::onion::period::{Half, TimePeriod};
use rustbalance_testing::cluster::{self, Cluster, plan};
use rustbalance_testing::hsdir::{self, HsDirReader};
use rustbalance_testing::onionbalance::{self, Onionbalance};
use rustbalance_testing::plain::Plain;
use rustbalance_testing::process::{self, RunDir};
use rustbalance_testing::tor::Tor;
use rustbalance_testing::tor_net::{Rotation, Shape, TorNet};
use rustbalance_testing::visitors::{self, PATIENCE, RELOAD, Regulars, reload_with_dead};
use rustbalance_testing::wait::{self, Answer};
use rustbalance_testing::web::Web;

/// HSDirs that Onionbalance may not reach: it does not try again where an upload failed.
const MISSED: usize = 2;
/// Points of a node that has stopped which a regular visitor may find dead: it closes its introduction circuits, but what
/// told one relay so may be lost with its tor.
const LOST_CELLS: u32 = 1;
const LIMIT: Duration = Duration::from_secs(180);
/// A move is over before the next rotation, at which everybody publishes anew: here every four minutes, in life twice a day.
const MOVE: Duration = Duration::from_secs(100);
/// A plain tor and a node's count revisions alike, and take turns in either half. Onionbalance does not: it comes and goes
/// in the half in which nobody publishes for the next time period.
const ROTATIONS: [Rotation; 2] = [Rotation::SharedRandom, Rotation::TimePeriod];
/// More than a time period, and the time until clients know of the next one.
const PERIOD: Duration = Duration::from_secs(600);
/// For so long nobody publishes between Onionbalance and a node. Both count revisions by the seconds since a shared random
/// value, but each with random steps of its own: after n seconds one may be ahead by what the other makes in
/// √(2n) · 0.58, and HSDirs refuse the one behind. That is 18 s at the end of the half in which we move here, and this is
/// four times as much.
const NOBODY: Duration = Duration::from_secs(75);

#[test]
fn an_address_moves_in_from_a_plain_tor_and_out_again() -> Result<()> {
    on_a_network(|line| println!("plain tor {line}"), |net, _dir, say| plain_tor(net, say))
}

#[test]
fn an_address_moves_in_from_onionbalance_and_out_again() -> Result<()> {
    on_a_network(
        |line| println!("Onionbalance {line}"),
        |net, dir, say| onionbalance(net, &onionbalance::install(dir)?, say),
    )
}

fn on_a_network(print: impl Fn(&str), test: impl FnOnce(&TorNet, &Path, Say<'_>) -> Result<()>) -> Result<()> {
    process::stop_children_on_signals()?;
    let mut dir = RunDir::new()?;
    let start = Instant::now();
    let say = |what: &str| print(&format!("[{:6.1} s] {what}", start.elapsed().as_secs_f32()));
    let net = TorNet::start(dir.path(), Shape::default())?;
    test(&net, dir.path(), &say)?;
    dir.good();
    Ok(())
}

/// Says how far it is.
type Say<'a> = &'a dyn Fn(&str);

fn plain_tor(net: &TorNet, say: Say<'_>) -> Result<()> {
    let before = Plain::start(net, "before", None)?;
    let mut story = Story::begin(net, before.address()?, 0, say)?;
    story.visited("served by a plain tor", &["before"], PATIENCE)?;

    story.wait_for_calm(MOVE, &ROTATIONS)?;
    before.tor().control()?.command(&command::set_conf(&[("PublishHidServDescriptors", "0")]))?;
    let mut cluster = Cluster::new(net, "info")?;
    story.moves(|| found(&mut cluster, before.service()))?;
    story.visited("moved in", &["node1"], RELOAD)?;
    story.wait_for_another_period()?;
    before.stop()?;
    story.visited("the tor from before is gone", &["node1"], RELOAD)?;

    story.wait_for_calm(MOVE, &ROTATIONS)?;
    let service = net.dir_of("exported");
    cluster.node(0)?.ask(&["key", "export", "--format", "service", "--out", in_words(&service)?])?;
    let after = story.moves(|| Plain::start(net, "after", Some(&service)))?;
    ensure!(cluster.node(0)?.terminate(LIMIT)?.success(), "it stops in good order");
    story.visited("moved out", &["after"], reload_with_dead(LOST_CELLS))?;
    after.stop()
}

fn onionbalance(net: &TorNet, programs: &Path, say: Say<'_>) -> Result<()> {
    let key = net.dir_of("key.pem");
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&key).status()?;
    ensure!(made.success(), "openssl makes a key");
    let shown = Command::new(cluster::binary()?).args(["key", "show", "--file"]).arg(&key).output()?;
    let shown = String::from_utf8(shown.stdout)?;
    let address = shown.split_whitespace().find(|word| word.ends_with(".onion")).context("an address")?.to_owned();

    let balance = |name: &str| balance(net, programs, &key, &address, name);
    let (balancer, backends) = balance("first")?;
    let mut story = Story::begin(net, address.clone(), MISSED, say)?;
    story.visited("served by Onionbalance", &["first1", "first2"], PATIENCE)?;

    story.wait_for_calm(NOBODY + MOVE, &[Rotation::SharedRandom])?;
    drop(balancer);
    thread::sleep(NOBODY);
    let web = Web::start("node")?;
    let mut cluster = Cluster::in_front_of(&web.target(), net, 1, "info")?;
    story.moves(|| found(&mut cluster, &key))?;
    story.visited("moved in from Onionbalance", &["node"], RELOAD)?;
    story.wait_for_another_period()?;
    backends.into_iter().try_for_each(Plain::stop)?;
    story.visited("the backends are gone", &["node"], RELOAD)?;

    story.wait_for_calm(MOVE, &[Rotation::SharedRandom])?;
    let (_balancer, _backends) = story.moves(|| balance("second"))?;
    ensure!(cluster.node(0)?.terminate(LIMIT)?.success(), "it stops in good order");
    story.visited("moved out to Onionbalance", &["second1", "second2"], reload_with_dead(LOST_CELLS))
}

/// An Onionbalance with two backends.
fn balance(net: &TorNet, programs: &Path, key: &Path, address: &str, name: &str) -> Result<(Onionbalance, Vec<Plain>)> {
    let backends: Vec<_> =
        (1..=2).map(|number| Plain::start_behind(net, &format!("{name}{number}"), address)).collect::<Result<_>>()?;
    let addresses: Vec<_> = backends.iter().map(Plain::address).collect::<Result<_>>()?;
    Ok((Onionbalance::start(net, name, programs, key, &addresses)?, backends))
}

/// Founds a cluster of one node with this key.
fn found(cluster: &mut Cluster<'_>, key: &Path) -> Result<()> {
    let number = cluster.add_with(&["init".to_owned(), "--import-key".to_owned(), in_words(key)?.to_owned()])?;
    cluster.wait_for(number, "the node alone", LIMIT, plan::alone_and_native).map(|_| ())
}

fn in_words(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// Clients of one address, all the time.
struct Story<'a> {
    net: &'a TorNet,
    address: String,
    reader: HsDirReader,
    regulars: Regulars,
    /// So many HSDirs may not follow.
    missed: usize,
    say: Say<'a>,
}

impl<'a> Story<'a> {
    /// Begins when every HSDir that clients read has a descriptor, but for so many.
    fn begin(net: &'a TorNet, address: String, missed: usize, say: Say<'a>) -> Result<Self> {
        let mut reader = HsDirReader::start(net)?;
        wait::until("a descriptor on HSDirs that clients read", LIMIT, || {
            let copies = reader.read(&address)?;
            let lacking = copies.values().filter(|copy| copy.is_none()).count();
            Ok(Answer::from_option((lacking <= missed).then_some(()), || format!("{lacking} have none")))
        })?;
        let regulars = Regulars::start(net, &address, 2)?;
        Ok(Self { net, address, reader, regulars, missed, say })
    }

    /// Waits until there is so much time before one of these rotations, and the reader knows of the last one: each period
    /// has points of its own, and those of this one must not pass for a newcomer's because the reader has just read the
    /// one before.
    fn wait_for_calm(&self, time: Duration, before: &[Rotation]) -> Result<()> {
        wait::until("no rotation near", PERIOD, || {
            let (next, left) = self.net.next_rotation();
            let calm = left >= time && before.contains(&next) && self.is_before(next)?;
            Ok(Answer::from_option(calm.then_some(()), || format!("{next:?} in {} s", left.as_secs())))
        })
    }

    /// Whether the reader, too, awaits this rotation next.
    fn is_before(&self, next: Rotation) -> Result<bool> {
        let ring = self.ring()?;
        let end = match ring.params().half(ring.valid_after()) {
            Half::SrvToTp => Rotation::TimePeriod,
            Half::TpToSrv => Rotation::SharedRandom,
        };
        Ok(end == next)
    }

    /// The ring as the reader knows it.
    fn ring(&self) -> Result<Ring> {
        hsdir::ring(&mut self.reader.tor().control()?)
    }

    /// Waits until every regular visitor's tor knows of a later time period: none goes by a descriptor of this one then.
    /// Until then one of Onionbalance's may hold them: it lists two points on one relay, if its backends have them there,
    /// and a client whose points are all dead tries those two for ever, instead of fetching another descriptor.
    fn wait_for_another_period(&self) -> Result<()> {
        let before = self.period()?;
        wait::until("a time period that all know of", PERIOD, || {
            let periods = self.regulars.tors().map(period_of).collect::<Result<Vec<_>>>()?;
            let lagging = periods.iter().filter(|period| **period <= before).count();
            Ok(Answer::from_option((lagging == 0).then_some(()), || format!("{lagging} do not yet")))
        })?;
        (self.say)("another time period, for all visitors");
        Ok(())
    }

    /// The period whose descriptors the reader reads.
    fn period(&self) -> Result<TimePeriod> {
        period_of(self.reader.tor())
    }

    /// Does `step`, and waits until no HSDir that clients read tells of a point from before, but for those that may not follow.
    fn moves<T>(&mut self, step: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let period = self.period()?;
        let copies = self.reader.read(&self.address)?;
        let before: BTreeSet<_> = copies.values().flatten().flat_map(hsdir::auth_keys).collect();
        let done = step()?;
        wait::until("new points on every HSDir that clients read", LIMIT, || {
            let copies = self.reader.read(&self.address)?;
            ensure!(self.period()? == period, "a new period, whose points are others in any case");
            let is_new = |copy: &Descriptor| !hsdir::lists_any(copy, &before);
            let lacking = copies.values().filter(|copy| !copy.as_ref().is_some_and(is_new)).count();
            Ok(Answer::from_option((lacking <= self.missed).then_some(()), || format!("{lacking} have none")))
        })?;
        (self.say)(&format!("other points on the HSDirs, {:.1} s after the step began", begun.elapsed().as_secs_f32()));
        Ok(done)
    }

    /// Fresh visitors all get the page of one of `names`; regular ones waited no longer than `limit` for any.
    fn visited(&self, when: &str, names: &[&str], limit: Duration) -> Result<()> {
        let fresh = visitors::fresh(self.net, &self.address, 6, 3)?;
        (self.say)(&format!("{when}: fresh visitors: {fresh}"));
        ensure!(fresh.is_good(PATIENCE) && fresh.served_by.keys().all(|name| names.contains(&&**name)), "{fresh}");
        let regular = self.regulars.take_tally()?;
        (self.say)(&format!("{when}: regular ones, {} reloads: {regular}", regular.reloads));
        ensure!(regular.is_good(limit), "{when}: none may wait for more than {} s: {regular}", limit.as_secs());
        Ok(())
    }
}

/// The period whose descriptors this tor reads.
fn period_of(tor: &Tor) -> Result<TimePeriod> {
    let ring = hsdir::ring(&mut tor.control()?)?;
    Ok(ring.params().client_period(ring.valid_after()))
}
