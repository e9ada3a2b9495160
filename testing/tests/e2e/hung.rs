//! A tor that hangs: its process and its introduction points live, and nobody answers there. Its node puts another in its
//! place, and the others' visitors do not notice.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustbalance_testing::process;
use rustbalance_testing::wait::{self, Answer};
use rustix::process::Signal;

use crate::cached::Cached;
use crate::{AFTER_A_KILL, LONG, Scenario};

/// From a tor's last word to a plan without its points on every HSDir: it is given 20 s to answer, and the points linger for
/// 3 s; the rest is the upload.
const LEFT: Duration = Duration::from_secs(35);
/// To its end: besides the 20 s, up to 40 s to give another control connection, and 5 s to end by itself.
const KILLED: Duration = Duration::from_secs(75);

impl Scenario<'_> {
    /// The tor of a follower is stopped (SIGSTOP). Its node takes a minute to be sure: meanwhile another service is tried.
    pub fn tor_hangs(&mut self) -> Result<()> {
        let holder = self.cluster.holder(LONG)?;
        let number = self.cluster.running().into_iter().find(|number| *number != holder).context("no follower")?;
        let (name, publisher) = (self.cluster.node(number)?.name.clone(), self.cluster.node(holder)?.name.clone());
        self.report.step(&format!("the tor of {name} hangs"));
        let cached = Cached::of(self, "cached-hung", &publisher)?;
        let (tor, points) = (self.cluster.node(number)?.tor_pid()?, self.points_of(number)?);
        process::signal(tor, Signal::STOP);
        let hung = Instant::now();
        let killed = thread::spawn(move || gone(tor, hung));
        let left = self.left_the_plan(number, hung)?;
        self.report.in_time(&format!("the points of {name} leave the HSDirs"), left, LEFT);
        let said = self.cluster.node(number)?.status()?.tors.join(", ");
        self.report.expect("its status says that its tor does not answer", said.starts_with("disconnected"), &said);
        let page = cached.page_of_its_session()?;
        self.report.expect("a session by another node goes on", page.node == publisher, &page.node);
        drop(cached);
        self.fresh_visitors_by("while a tor hangs", 4, &self.names_without(&name))?;

        self.authorised_clients()?;

        let killed = killed.join().map_err(|_| anyhow!("waiting for the end of a tor panicked"))??;
        self.report.in_time(&format!("{name} kills the tor that hangs"), killed, KILLED);
        self.another_serves(number, tor, &points)?;
        self.regular_visitors("while a tor hung", AFTER_A_KILL)
    }

    /// Checks that a node has another tor than that one, with points of its own, has said why, and has nothing else.
    fn another_serves(&mut self, number: usize, before: u32, points: &BTreeSet<String>) -> Result<()> {
        self.cluster.wait_for(number, "its new tor to be ready", LONG, |status| {
            if status.tors == ["ready"] { Ok(()) } else { Err(status.tors.join(", ")) }
        })?;
        self.settle("after a tor hung", LONG)?;
        let node = self.cluster.node(number)?;
        let (now, new) = (node.tor_pid()?, self.points_of(number)?);
        let detail = format!("pid {before}, then {now}; points {}, then {}", points.len(), new.len());
        let replaced = now != before && new.is_disjoint(points) && !new.is_empty();
        self.report.expect("another tor serves, by points of its own", replaced, &detail);
        let log = fs::read_to_string(node.log())?;
        let line = log.lines().rev().find(|line| line.contains("tor is down: it gives no control connection"));
        self.report.expect("the log says what was wrong", line.is_some(), line.unwrap_or("nothing of it"));
        let (mut here, mut wanted) = (process::processes_in(&node.dir), vec![node.pid().context("no node")?, now]);
        here.sort_unstable();
        wanted.sort_unstable();
        self.report.expect("it has itself and that tor, and no other process", here == wanted, &format!("{here:?}"));
        Ok(())
    }
}

/// Waits until a process is gone. Returns how long after that instant it was.
fn gone(pid: u32, since: Instant) -> Result<Duration> {
    let path = format!("/proc/{pid}");
    wait::until("the end of a tor that hangs", KILLED + LONG, || {
        let gone = !Path::new(&path).exists();
        Ok(Answer::from_option(gone.then(|| since.elapsed()), || format!("process {pid} lives")))
    })
}
