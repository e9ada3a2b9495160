//! What breaks inside a node is mended by the node.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustbalance_testing::cluster::{Node, plan};
use rustbalance_testing::process;
use rustbalance_testing::wait::{self, Answer};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open};

use crate::{AFTER_A_KILL, LONG, RELOAD, Scenario};

/// From a tor's death to its successor's points in the plan.
const RESTARTED: Duration = Duration::from_secs(60);
/// From the death of an application to its node's points being out of the plan, and back: three probes 5 s apart, one of
/// which may take as long, then the upload.
const NOTICED: Duration = Duration::from_secs(30);

impl Scenario<'_> {
    /// The tor of a follower dies.
    pub fn tor_is_killed(&mut self) -> Result<()> {
        let holder = self.cluster.holder(LONG)?;
        let follower = self.cluster.running().into_iter().find(|number| *number != holder).context("no follower")?;
        self.kill_tor_of(follower, "a follower")
    }

    /// The tor of the publisher dies.
    pub fn publishers_tor_is_killed(&mut self) -> Result<()> {
        let holder = self.cluster.holder(LONG)?;
        self.kill_tor_of(holder, "the publisher")
    }

    fn kill_tor_of(&mut self, number: usize, whose: &str) -> Result<()> {
        let name = self.cluster.node(number)?.name.clone();
        self.report.step(&format!("the tor of {name}, {whose}, is killed"));
        let (tor, points) = (self.cluster.node(number)?.tor_pid()?, self.points_of(number)?);
        process::signal(tor, Signal::KILL);
        let killed = Instant::now();
        let mended = wait::until("new points of the restarted tor in the plan", LONG, || {
            let now = self.points_of(number).unwrap_or_default();
            let new = !now.is_empty() && now.is_disjoint(&points);
            Ok(Answer::from_option(new.then(|| killed.elapsed()), || {
                format!("{} points, before {}", now.len(), points.len())
            }))
        })?;
        self.report.in_time(&format!("{name}'s tor is restarted and its points return"), mended, RESTARTED);
        let restarted = self.cluster.node(number)?.tor_pid()?;
        self.report.expect("it is another process", restarted != tor, &format!("pid {tor}, then {restarted}"));
        self.settle(&format!("after the tor of {whose} was killed"), LONG)?;
        self.fresh_visitors_by(&format!("after the tor of {whose} was killed"), 6, &self.names())?;
        self.regular_visitors(&format!("while the tor of {whose} was down"), AFTER_A_KILL)?;
        Ok(())
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
        let holder = self.cluster.holder(LONG)?;
        let number = self.cluster.running().into_iter().find(|number| *number != holder).context("no follower")?;
        let name = self.cluster.node(number)?.name.clone();
        self.report.step(&format!("the application of {name} dies"));
        self.cluster.node(number)?.web().pause();
        let gone = self.wait_points_of(number, "its points to leave the plan", |points| points.is_empty())?;
        self.report.in_time(&format!("the points of {name} leave the plan"), gone, NOTICED);
        let said = self.cluster.node(number)?.status()?.target;
        self.report.expect("its status says so", said == "down", &said);
        let others: Vec<String> = self.names().into_iter().filter(|other| *other != name).collect();
        let holder = self.cluster.holder(LONG)?;
        self.cluster
            .wait_for(holder, "the plan without it, confirmed", LONG, |status| plan::is_confirmed(status, u64::MAX))?;
        self.hsdirs_hold_the_plan(holder, "with a dead application")?;
        self.fresh_visitors_by("with a dead application", 6, &others)?;
        self.cluster.node(number)?.web().resume()?;
        let back = self.wait_points_of(number, "its points to return", |points| !points.is_empty())?;
        self.report.in_time("its application is back, and so are its points", back, NOTICED);
        self.settle("after the application came back", LONG)?;
        self.regular_visitors("while an application was dead", AFTER_A_KILL)
    }

    /// How long until the publisher's plan has such points of a node.
    fn wait_points_of(&self, number: usize, what: &str, such: impl Fn(&BTreeSet<String>) -> bool) -> Result<Duration> {
        let began = Instant::now();
        wait::until(what, LONG, || {
            let points = self.points_of(number)?;
            Ok(Answer::from_option(such(&points).then(|| began.elapsed()), || format!("{} points", points.len())))
        })
    }

    /// Points of a node in the publisher's plan.
    fn points_of(&self, number: usize) -> Result<BTreeSet<String>> {
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
