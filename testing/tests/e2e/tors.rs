//! A node with two tors, in front of the service of the others, which it reaches through its own tors: when one of them is
//! killed, visitors come by the other, and who is there stays.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustbalance_core::status::Status;
use rustbalance_testing::client::{Client, Session};
use rustbalance_testing::cluster::{Cluster, Node, plan};
use rustbalance_testing::process;
use rustbalance_testing::report::Report;
use rustbalance_testing::visitors;
use rustix::process::Signal;

use crate::{FRESH, LONG, POINTS, Scenario};

/// From a tor's death to a plan without its points, on every HSDir.
const LEFT: Duration = Duration::from_secs(15);
/// From a tor's death to the points of its successor in the plan.
const RESTARTED: Duration = Duration::from_secs(60);
/// Half of all sessions come and go by the same tor.
const TRIES: u32 = 24;

impl Scenario<'_> {
    /// Another service, of one node with two tors, whose target is this onion.
    pub fn onion_target_of_two_tors(&mut self) -> Result<()> {
        self.report.step("another service, of a node with two tors, whose target is this onion");
        let mut outer = Cluster::in_front_of(&format!("{}:80", self.cluster.address()?), self.net, 1, "info")?;
        outer.tors = 2;
        outer.add(None)?;
        let up = |status: &Status| if status.target == "up" { both_are_listed(status) } else { Err("target".into()) };
        let status = outer.wait_for(0, "its target to answer and its tors to be listed", LONG, up);
        self.report.check("alone, it publishes the points of both tors", status).context("no points")?;
        self.reader.wait_published(outer.address()?, LONG)?;
        let tally = visitors::fresh(self.net, outer.address()?, 4, 2)?;
        let served = tally.is_good(FRESH) && self.serve(&tally);
        self.report.expect("its visitors get the pages of this one", served, &tally.to_string());

        let client = Client::start(self.net, "held")?;
        let (mut session, kept) = held_session(&client, outer.node(0)?, outer.address()?, self.cluster.address()?)?;
        let pids = [outer.node(0)?.tor_pid_of(0)?, outer.node(0)?.tor_pid_of(1)?];
        let killed = 1 - kept;
        let (at, left) = self.tor_of_two_is_killed(&outer, killed, |report| {
            let page = session.page(FRESH);
            let detail = page.as_ref().map_or_else(|error| format!("{error:#}"), Clone::clone);
            report.expect("a session by the other tor goes on", page.is_ok(), &detail);
        })?;
        let page = session.page(FRESH);
        self.report.expect("and goes on once the points have left", page.is_ok(), &format!("{page:?}"));
        let status = outer.wait_for(0, "the points of both tors in the plan", LONG, both_are_listed)?;
        self.report.in_time("the points of its successor are listed with the others", at.elapsed(), RESTARTED);
        let stayed = keys(&status).intersection(&left).count();
        self.report.expect("the other tor's points stayed", stayed > 0, &format!("{stayed} of {}", left.len()));
        let now = [outer.node(0)?.tor_pid_of(0)?, outer.node(0)?.tor_pid_of(1)?];
        let good =
            now[usize::from(killed)] != pids[usize::from(killed)] && now[usize::from(kept)] == pids[usize::from(kept)];
        self.report.expect("one tor is another process", good, &format!("{pids:?}, then {now:?}"));

        // The node has reached its target through this one.
        self.tor_of_two_is_killed(&outer, kept, |_| ())?;
        let status = outer.node(0)?.terminate(LONG)?;
        self.report.expect("it stops in good order", status.success(), &status.to_string());
        Ok(())
    }

    /// Kills one of the tors, does `meanwhile`, and has visitors come by the other. Returns when it was killed, and what is
    /// planned without it.
    fn tor_of_two_is_killed(
        &mut self,
        outer: &Cluster<'_>,
        killed: u8,
        meanwhile: impl FnOnce(&mut Report),
    ) -> Result<(Instant, BTreeSet<String>)> {
        process::signal(outer.node(0)?.tor_pid_of(killed)?, Signal::KILL);
        let at = Instant::now();
        meanwhile(self.report);
        let one_left = |status: &Status| {
            plan::is_confirmed(status, u64::MAX)?;
            let points = status.publication.points.len();
            if points <= POINTS as usize { Ok(()) } else { Err(format!("{points} points")) }
        };
        let left = keys(&outer.wait_for(0, "the plan without the points of the killed tor", LONG, one_left)?);
        self.report.in_time("the points of a killed tor leave the HSDirs", at.elapsed(), LEFT);
        let tally = visitors::fresh(self.net, outer.address()?, 2, 2)?;
        self.report.expect("visitors come by the other tor", tally.is_good(FRESH), &tally.to_string());
        Ok((at, left))
    }

    /// Whether nobody but this service's nodes served.
    fn serve(&self, tally: &visitors::Tally) -> bool {
        tally.served_by.keys().all(|node| self.names().contains(node))
    }
}

/// A session that came by one of the node's tors and goes on to the target through the same, and which of them that is: what
/// happens to the other is none of its business.
fn held_session(client: &Client, node: &Node, address: &str, target: &str) -> Result<(Session, u8)> {
    for circuit in 0..TRIES {
        let before = Ways::of(node, target)?;
        let mut session = client.session(address, 80, circuit, FRESH)?;
        session.page(FRESH)?;
        let first = Ways::of(node, target)?;
        // Probes of the target are over by then, and so is what was left of earlier visitors.
        thread::sleep(Duration::from_secs(1));
        session.page(FRESH)?;
        let second = Ways::of(node, target)?;
        let new = |ways: fn(&Ways) -> &BTreeSet<(u8, String)>| -> Vec<u8> {
            let both = ways(&first).intersection(ways(&second));
            both.filter(|way| !ways(&before).contains(way)).map(|(tor, _)| *tor).collect()
        };
        if let ([inward], [outward]) = (&*new(|ways| &ways.inward), &*new(|ways| &ways.outward))
            && inward == outward
        {
            return Ok((session, *inward));
        }
    }
    bail!("no session of {TRIES} came and went by the same tor")
}

/// By which of a node's tors visitors come, and by which it reaches its target: each with what it calls that.
struct Ways {
    inward: BTreeSet<(u8, String)>,
    outward: BTreeSet<(u8, String)>,
}

impl Ways {
    fn of(node: &Node, target: &str) -> Result<Self> {
        let (mut inward, mut outward) = (BTreeSet::new(), BTreeSet::new());
        for tor in [0, 1] {
            let circuits = node.circuits(tor, "HS_SERVICE_REND", "HSSR_JOINED")?;
            inward.extend(circuits.into_iter().map(|(circuit, _)| (tor, circuit)));
            // Number, state, circuit, target.
            let streams = node.tor_control_of(tor)?.get_info_text("stream-status")?;
            let streams = streams.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            let open = streams.filter(|words| words.get(1) == Some(&"SUCCEEDED"));
            let open = open.filter(|words| words.get(3).is_some_and(|to| to.starts_with(target)));
            outward.extend(open.filter_map(|words| Some((tor, words.first()?.to_string()))));
        }
        Ok(Self { inward, outward })
    }
}

/// Both tors are ready, and all their points are in the plan, but for those that share a relay with another.
fn both_are_listed(status: &Status) -> Result<(), String> {
    let member = status.members.first().ok_or("no member")?;
    let (offered, tors) = (member.introduction_points, &status.tors);
    if tors.iter().any(|tor| tor != "ready") || offered < 2 * POINTS as usize {
        return Err(format!("tors {tors:?}, {offered} points"));
    }
    plan::has_points_of(status, &[&member.name])?;
    plan::is_confirmed(status, u64::MAX)
}

/// What is planned.
fn keys(status: &Status) -> BTreeSet<String> {
    status.publication.points.iter().map(|point| point.auth_key.clone()).collect()
}
