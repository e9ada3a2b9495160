//! The main promise, measured: the publisher dies, and how long until everybody has what replaces its descriptor.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};

use crate::cluster::{Cluster, Node, plan};
use crate::hsdir::{self, HsDirReader};
use crate::process;
use crate::wait::{self, Answer};

/// Far beyond the 10 s that are promised, so that a slow takeover is reported as a number.
const LIMIT: Duration = Duration::from_secs(90);

/// What a takeover took.
#[derive(Clone, Debug)]
pub struct Takeover {
    /// The node that was killed.
    pub publisher_before: String,
    /// The node that took over.
    pub publisher_after: String,
    /// From the SIGKILL of the node until its tor was gone too; `None` if that lived on for 5 s.
    pub tor_gone: Option<Duration>,
    /// From the SIGKILL until the last responsible HSDir of both slots has answered UPLOADED to the new publisher's
    /// complete plan, as that node's `status` says.
    pub takeover: Duration,
    /// From the SIGKILL until every HSDir that clients read returned, to an independent HSFETCH, a descriptor without a
    /// point of the dead node.
    pub dead_points_gone: Duration,
}

/// The publisher, found and about to be killed.
pub struct Victim<'a> {
    cluster: &'a Cluster<'a>,
    node: &'a Node,
    epoch: u64,
    points: BTreeSet<String>,
}

impl<'a> Victim<'a> {
    /// Finds the publisher and makes sure that HSDirs list points of it.
    ///
    /// # Errors
    /// If there is no publisher, or no HSDir lists a point of it.
    pub fn find(cluster: &'a Cluster<'a>, reader: &mut HsDirReader) -> Result<Self> {
        let node = cluster.node(cluster.holder(Duration::from_secs(10))?)?;
        let status = node.status()?;
        let points = plan::points_of(&status.publication.points, &status.node);
        let copies = reader.read(cluster.address()?)?;
        let listed = copies.values().flatten().any(|copy| hsdir::lists_any(copy, &points));
        ensure!(listed, "no HSDir lists a point of {} before it is killed", node.name);
        Ok(Self { cluster, node, epoch: status.epoch, points })
    }

    /// SIGKILL. Its tor is its own affair.
    pub fn kill(self) -> Killed<'a> {
        let at = Instant::now();
        self.node.kill();
        self.gone(at)
    }

    /// SIGTERM, and waits until it has stopped.
    ///
    /// # Errors
    /// If it goes on for `limit`, or does not end well.
    pub fn stop(self, limit: Duration) -> Result<Killed<'a>> {
        let at = Instant::now();
        let status = self.node.terminate(limit)?;
        ensure!(status.success(), "{} ended with {status}", self.node.name);
        Ok(self.gone(at))
    }

    fn gone(self, at: Instant) -> Killed<'a> {
        let tor_is_gone = || process::processes_in(&self.node.dir).is_empty().then(|| at.elapsed());
        let tor_gone = wait::until("the dead node's tor to be gone", Duration::from_secs(5), || {
            Ok(Answer::from_option(tor_is_gone(), || "it lives".into()))
        });
        Killed { tor_gone: tor_gone.ok(), victim: self, at }
    }
}

/// The publisher, killed or stopped.
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
        let Victim { cluster, node, epoch, points } = &self.victim;
        let address = cluster.address()?;
        let (taken_over, gone) = thread::scope(|scope| {
            let survivors = scope.spawn(|| wait_taken_over(cluster, *epoch, self.at));
            let gone = wait::until("dead points to be gone from every HSDir", LIMIT, || {
                let left = still_listed(reader, address, points)?;
                Ok(left.map_or(Answer::Ready(self.at.elapsed()), Answer::NotYet))
            });
            (survivors.join(), gone)
        });
        let (publisher_after, takeover) = taken_over.map_err(|_| anyhow!("watching the survivors panicked"))??;
        let publisher_before = node.name.clone();
        let tor_gone = self.tor_gone;
        Ok(Takeover { publisher_before, publisher_after, tor_gone, takeover, dead_points_gone: gone? })
    }
}

/// Waits until a survivor of a newer epoch has its complete plan confirmed by every HSDir of both slots.
fn wait_taken_over(cluster: &Cluster<'_>, epoch: u64, killed: Instant) -> Result<(String, Duration)> {
    let survivors = cluster.running();
    let names: Vec<_> = survivors.iter().filter_map(|number| Some(cluster.node(*number).ok()?.name.as_str())).collect();
    wait::until("the survivors' complete plan on every HSDir", LIMIT, || {
        let mut reasons = Vec::new();
        for number in &survivors {
            let node = cluster.node(*number)?;
            if node.has_ended() {
                bail!("{} has ended too:\n{}", node.name, node.log_tail(12));
            }
            let status = node.status()?;
            let since_kill = u64::try_from(killed.elapsed().as_millis())?;
            let fact = match (plan::is_publisher(&status), status.epoch > epoch) {
                (true, true) => {
                    plan::has_points_of(&status, &names).and_then(|()| plan::is_confirmed(&status, since_kill))
                }
                _ => Err(format!("is {} in epoch {}", status.role, status.epoch)),
            };
            match fact {
                Ok(()) => return Ok(Answer::Ready((node.name.clone(), killed.elapsed()))),
                Err(reason) => reasons.push(format!("{}: {reason}", node.name)),
            }
        }
        Ok(Answer::NotYet(reasons.join("; ")))
    })
}

/// Why not every HSDir that clients read is free of `points`: it has one, or has no descriptor at all.
fn still_listed(reader: &mut HsDirReader, address: &str, points: &BTreeSet<String>) -> Result<Option<String>> {
    let copies = reader.read(address)?;
    Ok(copies.into_iter().find_map(|(hsdir, copy)| match copy {
        None => Some(format!("{hsdir} has no descriptor")),
        Some(copy) => hsdir::lists_any(&copy, points).then(|| format!("{hsdir} lists a dead point")),
    }))
}
