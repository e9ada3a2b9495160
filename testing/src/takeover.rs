//! The main promise, measured: the publisher dies or is stopped, and how long until everybody has what replaces its
//! descriptor.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use crate::cluster::{Cluster, Node, plan};
use crate::hsdir::{self, HsDirReader};
use crate::process;
use crate::wait::{self, Answer};

/// Far beyond the 10 s that are promised, so that a slow takeover is reported as a number.
const LIMIT: Duration = Duration::from_secs(90);

/// What a takeover took, from the SIGKILL or SIGTERM on.
#[derive(Clone, Debug)]
pub struct Takeover {
    /// The node that got the signal.
    pub publisher_before: String,
    /// The node that took over.
    pub publisher_after: String,
    /// Until its tor was gone too; `None` if that lived on for 5 s after the node.
    pub tor_gone: Option<Duration>,
    /// Until another node said that it publishes.
    pub claimed: Duration,
    /// Until the last responsible HSDir of both slots has answered UPLOADED to the new publisher's complete plan, as that
    /// node's `status` says.
    pub takeover: Duration,
    /// Until every HSDir that clients read returned, to an independent HSFETCH, a descriptor without a
    /// point of the dead node.
    pub dead_points_gone: Duration,
}

/// The publisher, found and about to be killed or stopped.
pub struct Victim<'a> {
    cluster: &'a Cluster<'a>,
    node: &'a Node,
    epoch: u64,
    points: BTreeSet<String>,
    survivors: Vec<&'a Node>,
}

impl<'a> Victim<'a> {
    /// Finds the publisher and makes sure that HSDirs list points of it.
    ///
    /// # Errors
    /// If there is no publisher, or no HSDir lists a point of it.
    pub fn find(cluster: &'a Cluster<'a>, reader: &mut HsDirReader) -> Result<Self> {
        let publisher = cluster.holder(Duration::from_secs(10))?;
        let node = cluster.node(publisher)?;
        let survivors = cluster.running().into_iter().filter(|number| *number != publisher);
        let survivors = survivors.map(|number| cluster.node(number)).collect::<Result<_>>()?;
        let status = node.status()?;
        let points = plan::points_of(&status.publication.points, &status.node);
        let copies = reader.read(cluster.address()?)?;
        let listed = copies.values().flatten().any(|copy| hsdir::lists_any(copy, &points));
        ensure!(listed, "no HSDir lists a point of {} before it is killed", node.name);
        Ok(Self { cluster, node, epoch: status.epoch, points, survivors })
    }

    /// SIGKILL. Its tor is its own affair.
    pub fn kill(self) -> Killed<'a> {
        let at = Instant::now();
        self.node.kill();
        Killed { tor_gone: self.wait_tor_gone(at), victim: self, at }
    }

    /// SIGTERM. Watches the survivors and the HSDirs from that moment on, not only once it has stopped.
    ///
    /// # Errors
    /// If it goes on for `limit`, or does not end well; after 90 s, saying what is still missing.
    pub fn stop(self, limit: Duration, reader: &mut HsDirReader) -> Result<Takeover> {
        let at = Instant::now();
        thread::scope(|scope| {
            let stopping = scope.spawn(|| {
                let status = self.node.terminate(limit)?;
                ensure!(status.success(), "{} ended with {status}", self.node.name);
                Ok(self.wait_tor_gone(at))
            });
            let takeover = self.watch(at, reader);
            let tor_gone = stopping.join().map_err(|_| anyhow!("stopping the publisher panicked"))??;
            Ok(Takeover { tor_gone, ..takeover? })
        })
    }

    fn wait_tor_gone(&self, at: Instant) -> Option<Duration> {
        let tor_is_gone = || process::processes_in(&self.node.dir).is_empty().then(|| at.elapsed());
        let tor_gone = wait::until("the dead node's tor to be gone", Duration::from_secs(5), || {
            Ok(Answer::from_option(tor_is_gone(), || "it lives".into()))
        });
        tor_gone.ok()
    }

    fn watch(&self, at: Instant, reader: &mut HsDirReader) -> Result<Takeover> {
        let address = self.cluster.address()?;
        let (taken_over, gone) = thread::scope(|scope| {
            let survivors = scope.spawn(|| self.wait_taken_over(at));
            let gone = wait::until("dead points to be gone from every HSDir", LIMIT, || {
                let left = still_listed(reader, address, &self.points)?;
                Ok(left.map_or(Answer::Ready(at.elapsed()), Answer::NotYet))
            });
            (survivors.join(), gone)
        });
        let taken_over = taken_over.map_err(|_| anyhow!("watching the survivors panicked"))??;
        Ok(Takeover { dead_points_gone: gone?, ..taken_over })
    }

    /// Waits until a survivor of a newer epoch has its complete plan confirmed by every HSDir of both slots.
    fn wait_taken_over(&self, at: Instant) -> Result<Takeover> {
        let names: Vec<_> = self.survivors.iter().map(|node| node.name.as_str()).collect();
        let mut claimed = None;
        wait::until("the survivors' complete plan on every HSDir", LIMIT, || {
            let mut reasons = Vec::new();
            for node in &self.survivors {
                ensure!(!node.has_ended(), "{} has ended too:\n{}", node.name, node.log_tail(12));
                let status = node.status()?;
                let since = u64::try_from(at.elapsed().as_millis())?;
                if !plan::is_publisher(&status) || status.epoch <= self.epoch {
                    reasons.push(format!("{}: is {} in epoch {}", node.name, status.role, status.epoch));
                    continue;
                }
                let claimed = *claimed.get_or_insert_with(|| at.elapsed());
                let fact = plan::has_points_of(&status, &names).and_then(|()| plan::is_confirmed(&status, since));
                if let Err(reason) = fact {
                    reasons.push(format!("{}: {reason}", node.name));
                    continue;
                }
                let (publisher_before, publisher_after) = (self.node.name.clone(), node.name.clone());
                let takeover = at.elapsed();
                return Ok(Answer::Ready(Takeover {
                    publisher_before,
                    publisher_after,
                    tor_gone: None,
                    claimed,
                    takeover,
                    dead_points_gone: Duration::MAX,
                }));
            }
            Ok(Answer::NotYet(reasons.join("; ")))
        })
    }
}

/// The publisher, killed.
pub struct Killed<'a> {
    victim: Victim<'a>,
    at: Instant,
    tor_gone: Option<Duration>,
}

impl Killed<'_> {
    /// Watches the survivors and the HSDirs until all is well again.
    ///
    /// # Errors
    /// After 90 s, saying what is still missing.
    pub fn watch(&self, reader: &mut HsDirReader) -> Result<Takeover> {
        Ok(Takeover { tor_gone: self.tor_gone, ..self.victim.watch(self.at, reader)? })
    }
}

/// Why not every HSDir that clients read is free of `points`: it has one, or has no descriptor at all.
fn still_listed(reader: &mut HsDirReader, address: &str, points: &BTreeSet<String>) -> Result<Option<String>> {
    let copies = reader.read(address)?;
    Ok(copies.into_iter().find_map(|(hsdir, copy)| match copy {
        None => Some(format!("{hsdir} has no descriptor")),
        Some(copy) => hsdir::lists_any(&copy, points).then(|| format!("{hsdir} lists a dead point")),
    }))
}
