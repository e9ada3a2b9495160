//! What breaks inside a node is mended by the node.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustbalance_testing::cluster::{Node, plan};
use rustbalance_testing::process;
use rustbalance_testing::wait::{self, Answer};
use rustbalance_testing::web::Web;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open};

use crate::cached::Cached;
use crate::{AFTER_A_KILL, ENCRYPTED, LONG, RELOAD, Scenario};

/// From a tor's death to its successor's points in the plan.
const RESTARTED: Duration = Duration::from_secs(60);
/// From the death of an application until HSDirs have confirmed a plan without its node's points: three probes 5 s apart,
/// one of which may take as long, then the upload.
const NOTICED: Duration = Duration::from_secs(30);
/// From its return until its points are back in the plan: tor opens 28 introduction circuits in five minutes, and may have
/// opened most of them before: at its start, for a new period, and while it was out.
const BACK: Duration = Duration::from_secs(300 + 30);
/// From a plan without a node's points on the HSDirs until it has closed its introduction circuits.
const OUT: Duration = Duration::from_secs(15);
/// What tor does about a closed introduction circuit is over by then.
const REOPENED_SECS: u32 = 4;

impl Scenario<'_> {
    /// The tor of a follower dies.
    pub fn tor_is_killed(&mut self) -> Result<()> {
        let holder = self.cluster.holder(LONG)?;
        let follower = self.cluster.running().into_iter().find(|number| *number != holder).context("no follower")?;
        self.kill_tor_of(follower, "a follower")?;
        let readable = self.cluster.running().into_iter().find(|number| *number != ENCRYPTED).context("no keys")?;
        self.saved_one_differs(readable)
    }

    /// The tor of the publisher dies.
    pub fn publishers_tor_is_killed(&mut self) -> Result<()> {
        let holder = self.cluster.holder(LONG)?;
        self.kill_tor_of(holder, "the publisher")
    }

    fn kill_tor_of(&mut self, number: usize, whose: &str) -> Result<()> {
        let name = self.cluster.node(number)?.name.clone();
        self.report.step(&format!("the tor of {name}, {whose}, is killed"));
        let tor = self.cluster.node(number)?.tor_pid()?;
        let mended = self.replace_tor(number)?;
        self.report.in_time(&format!("{name}'s tor is restarted and its points return"), mended, RESTARTED);
        let restarted = self.cluster.node(number)?.tor_pid()?;
        self.report.expect("it is another process", restarted != tor, &format!("pid {tor}, then {restarted}"));
        self.settle(&format!("after the tor of {whose} was killed"), LONG)?;
        self.fresh_visitors_by(&format!("after the tor of {whose} was killed"), 6, &self.names())?;
        self.regular_visitors(&format!("while the tor of {whose} was down"), AFTER_A_KILL)?;
        Ok(())
    }

    /// Kills a node's tor. Returns how long it took until points of its successor were planned.
    pub fn replace_tor(&self, number: usize) -> Result<Duration> {
        let (tor, points) = (self.cluster.node(number)?.tor_pid()?, self.points_of(number)?);
        process::signal(tor, Signal::KILL);
        let killed = Instant::now();
        wait::until("new points of the restarted tor in the plan", LONG, || {
            let now = self.points_of(number).unwrap_or_default();
            let new = !now.is_empty() && now.is_disjoint(&points);
            Ok(Answer::from_option(new.then(|| killed.elapsed()), || {
                format!("{} points, before {}", now.len(), points.len())
            }))
        })
    }

    /// A node's control connection breaks, as if the kernel had lost it.
    pub fn lost_control_connection(&mut self) -> Result<()> {
        let holder = self.cluster.holder(LONG)?;
        let name = self.cluster.node(holder)?.name.clone();
        self.report.step(&format!("the control connection of {name}, the publisher, breaks"));
        let node = self.cluster.node(holder)?;
        let tor = node.tor_pid()?;
        // Ours, and so not the node's doing: it has to be undone by the node once it is connected again.
        node.tor_control()?.command(b"SETCONF PublishHidServDescriptors=1\r\n")?;
        let before = wait::until("our own control connections to be gone", LONG, || {
            let open = control_connections(node, tor)?;
            Ok(Answer::from_option((open.len() == 1).then(|| open.clone()), || format!("{open:?}")))
        })?;
        for socket in &before {
            break_connection(tor, *socket)?;
        }
        let broken = Instant::now();
        let again = wait::until("another control connection", LONG, || {
            let now = control_connections(node, tor)?;
            let new = now.iter().any(|socket| !before.contains(socket));
            Ok(Answer::from_option(new.then(|| broken.elapsed()), || format!("{now:?}, before {before:?}")))
        })?;
        self.report.in_time("a lost control connection is made again", again, Duration::from_secs(10));
        let reasserted = wait::until("the wanted state to be in force again", LONG, || {
            let publishing = self.cluster.node(holder)?.publishing()?;
            Ok(Answer::from_option(publishing.ends_with("=0").then(|| publishing.clone()), || publishing))
        });
        self.report.check("the wanted state is in force again", reasserted);
        let same = self.cluster.node(holder)?.tor_pid()? == tor;
        self.report.expect("its tor lived on", same, &format!("pid {tor}"));
        self.settle("after the control connection broke", LONG)?;
        self.regular_visitors("while the control connection was down", RELOAD)?;
        Ok(())
    }

    /// The application of a node dies: its tor and its introduction points are well, and still nobody is sent there.
    pub fn target_dies(&mut self) -> Result<()> {
        let number = self.settled_follower()?;
        let name = self.cluster.node(number)?.name.clone();
        self.report.step(&format!("the application of {name} dies"));
        let mut cached = Cached::of(self, "cached-dead", &name)?;
        self.without_target(number, Web::pause)?;
        self.goes_on_to_others(&mut cached, &name)?;
        self.hsdirs_hold_the_plan(self.cluster.holder(LONG)?, "with a dead application")?;
        self.fresh_visitors_by("with a dead application", 6, &self.names_without(&name))?;
        self.with_target_again(number, Web::resume)?;
        self.regular_visitors("while an application was dead", AFTER_A_KILL)
    }

    /// The follower whose tor has run for the longest: it is back soonest.
    fn settled_follower(&self) -> Result<usize> {
        let holder = self.cluster.holder(LONG)?;
        let followers = self.cluster.running().into_iter().filter(|number| *number != holder);
        let began = |number| Ok((process::began(self.cluster.node(number)?.tor_pid()?)?, number));
        let followers: Vec<_> = followers.map(began).collect::<Result<_>>()?;
        Ok(followers.into_iter().min().context("no follower")?.1)
    }

    /// The application of a node lives on, takes connections, and answers nothing but errors.
    pub fn target_answers_errors(&mut self) -> Result<()> {
        let name = self.cluster.node(ENCRYPTED)?.name.clone();
        self.report.step(&format!("the application of {name}, which is asked for a page, answers with errors"));
        self.without_target(ENCRYPTED, |web| web.fail(true))?;
        self.fresh_visitors_by("with an application that fails", 3, &self.names_without(&name))?;
        self.with_target_again(ENCRYPTED, |web| {
            web.fail(false);
            Ok(())
        })?;
        self.regular_visitors("while an application failed", AFTER_A_KILL)
    }

    /// Has the application of a node fail, and checks that HSDirs and the node itself follow.
    fn without_target(&mut self, number: usize, fail: impl FnOnce(&Web)) -> Result<()> {
        // An upload from just before that tor has dropped is waited for a minute (DECISIONS, "Uploads that tor drops").
        self.cluster.settled("before an application fails", LONG)?;
        let (node, relays) = (self.cluster.node(number)?, self.relays_of(number)?);
        fail(node.web());
        let gone = self.left_the_plan(number, Instant::now())?;
        self.report.in_time(&format!("HSDirs have confirmed a plan without {}", node.name), gone, NOTICED);
        let said = node.status()?.target;
        self.report.expect("its status says so", said == "down", &said);
        self.goes_out(number, &relays)
    }

    /// Waits until HSDirs have confirmed, since then, a plan without a node's points. Returns how long that took.
    pub fn left_the_plan(&self, number: usize, since: Instant) -> Result<Duration> {
        let id = &self.cluster.node(number)?.report.node;
        wait::until("HSDirs to confirm a plan without its points", LONG, || {
            let status = self.cluster.node(self.cluster.holder(LONG)?)?.status()?;
            let points = plan::points_of(&status.publication.points, id).len();
            let age = u64::try_from(since.elapsed().as_millis())?;
            let fact = if points > 0 { Err(format!("{points} points")) } else { plan::is_confirmed(&status, age) };
            Ok(fact.map_or_else(Answer::NotYet, |()| Answer::Ready(since.elapsed())))
        })
    }

    /// Has it be well again.
    fn with_target_again(&mut self, number: usize, mend: impl FnOnce(&Web) -> Result<()>) -> Result<()> {
        mend(self.cluster.node(number)?.web())?;
        let mended = Instant::now();
        let back = wait::until("its points to return", BACK, || {
            let back = !self.points_of(number)?.is_empty();
            Ok(Answer::from_option(back.then(|| mended.elapsed()), || "no points".to_owned()))
        })?;
        self.report.in_time("its application is back, and so are its points", back, BACK);
        // It may have opened nearly as many circuits as it may in five minutes, and so lack a point after a rotation.
        self.replace_tor(number)?;
        self.settle("after the application came back", LONG)?;
        Ok(())
    }

    /// Checks that a node which is out of service closes its introduction circuits to these relays, and keeps them closed.
    pub fn goes_out(&mut self, number: usize, relays: &BTreeSet<String>) -> Result<()> {
        let node = self.cluster.node(number)?;
        self.cluster.wait_for(number, "its introduction circuits to be closed", OUT, |status| {
            if status.presence == "out" { Ok(()) } else { Err(status.presence.clone()) }
        })?;
        let open = || -> Result<BTreeSet<_>> {
            let circuits = node.circuits(0, "HS_SERVICE_INTRO", "HSSI_ESTABLISHED")?;
            Ok(circuits.into_iter().filter(|(_, relay)| relays.contains(relay)).collect())
        };
        let (mut before, mut stayed) = (open()?, BTreeSet::new());
        // Tor opens what was closed three times more, each time for an instant.
        for _ in 0..REOPENED_SECS {
            thread::sleep(Duration::from_secs(1));
            let now = open()?;
            stayed.extend(before.intersection(&now).cloned());
            before = now;
        }
        let detail = format!("of circuits to {} relays stayed open: {stayed:?}", relays.len());
        let good = stayed.is_empty() && !relays.is_empty();
        self.report.expect("its introduction circuits are closed and kept closed", good, &detail);
        Ok(())
    }

    /// The relays of a node's points in the publisher's plan.
    pub fn relays_of(&self, number: usize) -> Result<BTreeSet<String>> {
        let status = self.cluster.node(self.cluster.holder(LONG)?)?.status()?;
        let node = &self.cluster.node(number)?.report.node;
        let points = status.publication.points.into_iter().filter(|point| point.node == *node);
        Ok(points.map(|point| point.relay.to_uppercase()).collect())
    }

    pub fn names_without(&self, name: &str) -> Vec<String> {
        self.names().into_iter().filter(|other| other != name).collect()
    }

    /// Points of a node in the publisher's plan.
    pub fn points_of(&self, number: usize) -> Result<BTreeSet<String>> {
        let status = self.cluster.node(self.cluster.holder(LONG)?)?.status()?;
        Ok(plan::points_of(&status.publication.points, &self.cluster.node(number)?.report.node))
    }
}

/// The descriptors and inodes of the control connections that a node's tor has accepted.
fn control_connections(node: &Node, tor: u32) -> Result<Vec<Socket>> {
    // Num RefCount Protocol Flags Type St Inode Path; St 03 is connected.
    let path = node.dir.join("run/control.sock").display().to_string();
    let table = fs::read_to_string("/proc/net/unix")?;
    let connected = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.get(5) == Some(&"03") && words.get(7) == Some(&path.as_str()))
            .then(|| words.get(6)?.parse().ok())
            .flatten()
    });
    let inodes: BTreeSet<u64> = connected.collect();
    let mut sockets = Vec::new();
    for entry in fs::read_dir(format!("/proc/{tor}/fd"))? {
        let entry = entry?;
        let target = fs::read_link(entry.path()).unwrap_or_default().display().to_string();
        let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')?.parse().ok());
        if let Some(inode) = inode.filter(|inode| inodes.contains(inode)) {
            let descriptor = entry.file_name().to_string_lossy().parse()?;
            sockets.push(Socket { descriptor, inode });
        }
    }
    Ok(sockets)
}

/// A socket as its process names it, and as the system does: only that stays the same when a number is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    descriptor: i32,
    inode: u64,
}

/// Shuts another process' socket down from outside.
fn break_connection(process: u32, socket: Socket) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(process)?).context("no pid")?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let copy = pidfd_getfd(process, socket.descriptor, PidfdGetfdFlags::empty()).context("needs to trace the tor")?;
    rustix::net::shutdown(&copy, rustix::net::Shutdown::Both)?;
    Ok(())
}
