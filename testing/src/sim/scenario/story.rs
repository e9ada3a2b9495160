//! A run being told: what stories are made of.

use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;
use rustbalance_core::cluster::Role;
use rustbalance_core::time::Wall;

use super::Run;
use crate::sim::check::{CONVERGE_MS, plan_complete};
use crate::sim::fault::Fault;
use crate::sim::machine::SimNode;
use crate::sim::measure::{Measured, is_listed, points_of};
use crate::sim::schedule::Schedule;
use crate::sim::world::World;

/// The worst takeover allowed in a single run (`docs/RELIABILITY.md`), milliseconds; the numbers of a campaign are lower.
pub(super) const TAKEOVER_MS_MAX: u64 = 10_000;
/// The same for the points of any node.
pub(super) const EXCLUDED_MS_MAX: u64 = 10_000;
/// Nothing is waited for longer, milliseconds.
const PATIENCE_MS: u64 = 3_600_000;
/// What waits for HSDirs looks again after this long at the latest, milliseconds.
const LOOK_MS: u64 = 50;

/// A run, and what was measured in it.
pub(super) struct Story {
    pub world: World,
    pub measured: Measured,
    /// The faults, if it has a schedule.
    pub schedule: Schedule,
    pub run: Run,
    /// Machines in the cluster; others are spare.
    pub count: usize,
    /// What else the seed drew, in words.
    pub drew: String,
    rng: ChaCha20Rng,
}

impl Story {
    pub(super) fn new(world: World, rng: ChaCha20Rng, count: usize, run: &Run) -> Self {
        let (measured, schedule, drew) = (Measured::default(), Schedule::default(), String::new());
        Self { world, measured, schedule, run: run.clone(), count, drew, rng }
    }

    /// What the seed drew, in words.
    pub(super) fn drawn(&self) -> String {
        let options = &self.world.options;
        format!(
            "{} nodes and {} spare, {} % loss, {} % twice, up to {} ms one way, clocks up to {} ms off, from {} UTC{}",
            self.count,
            self.world.nodes.len() - self.count,
            options.loss_permille as f64 / 10.0,
            options.duplicate_permille as f64 / 10.0,
            options.delay_ms_max,
            options.skew_ms_max,
            Wall::from_secs(options.start_secs),
            self.drew,
        )
    }

    /// A number from `low` to `high`, both included; not drawn from what drives the world.
    pub(super) fn draw(&mut self, low: u64, high: u64) -> u64 {
        low + self.rng.next_u64() % (high - low + 1)
    }

    /// One of the machines that live.
    pub(super) fn draw_live(&mut self) -> Option<usize> {
        let live: Vec<_> = self.live().collect();
        let last = live.len().checked_sub(1)?;
        let at = self.draw(0, last as u64) as usize;
        Some(live[at])
    }

    /// Something that should have come about has not.
    pub(super) fn fail(&mut self, what: String) {
        if self.world.violation.is_none() {
            self.world.is_late = true;
        }
        self.world.fail(what);
    }

    /// Whether there is time for one more round; `minutes` unless the command line says otherwise.
    pub(super) fn has_time(&self, minutes: u64) -> bool {
        self.world.violation.is_none() && self.world.now < self.run.minutes.unwrap_or(minutes) * 60_000
    }

    /// All machines but the spare ones found and join, some seconds apart.
    pub(super) fn form(&mut self) {
        self.world.found();
        for joiner in 1..self.count {
            let pause = self.draw(1_000, 5_000);
            self.world.run_for(pause);
            self.join(joiner);
        }
    }

    pub(super) fn join(&mut self, joiner: usize) {
        let Some(via) = self.draw_live() else { return self.fail(format!("nobody is there to admit {joiner}")) };
        self.world.strike(&Fault::Join { node: joiner, via });
        if !self.world.run_until(30_000, |world| world.nodes[joiner].is_live()) {
            self.fail(format!("{joiner} was not admitted within 30 s"));
        }
    }

    /// Long enough for all invariants of calm to hold, and then `ms` in which they are checked.
    pub(super) fn calm(&mut self, ms: u64) {
        self.world.run_for(CONVERGE_MS + ms);
    }

    /// Runs for a time from `low` to `high` milliseconds.
    pub(super) fn pause(&mut self, low: u64, high: u64) {
        let pause = self.draw(low, high);
        self.world.run_for(pause);
    }

    /// Runs for a while in which nothing need converge.
    pub(super) fn in_turmoil(&mut self, ms: u64) {
        self.world.turmoil = true;
        self.world.run_for(ms);
        self.world.turmoil = false;
    }

    pub(super) fn live(&self) -> impl Iterator<Item = usize> {
        (0..self.world.nodes.len()).filter(|node| self.world.nodes[*node].is_live())
    }

    pub(super) fn holder(&mut self) -> Option<usize> {
        let holder = publishers(&self.world).next();
        if holder.is_none() {
            self.fail("nobody holds the lease".to_owned());
        }
        holder
    }

    /// Strikes `node` down and runs until it is out of every HSDir and, if it was the publisher, the survivors' plan
    /// is everywhere. Measures both.
    pub(super) fn strike_down(&mut self, node: usize, fault: &Fault) {
        let (points, since) = (points_of(&self.world, node), self.world.now);
        let was_publisher = publishers(&self.world).any(|publisher| publisher == node);
        self.world.strike(fault);
        match self.time_until(EXCLUDED_MS_MAX, |world| !is_listed(world, &points)) {
            Some(took) => self.measured.excluded_ms.push(took),
            None => self.fail(format!("points of {node} stay on an HSDir for {EXCLUDED_MS_MAX} ms")),
        }
        if was_publisher {
            self.await_plan(since);
        }
    }

    /// Kills the publisher and runs until the survivors' plan is everywhere. Returns who was killed.
    pub(super) fn kill_publisher(&mut self) -> Option<usize> {
        let (node, since) = (self.holder()?, self.world.now);
        self.world.strike(&Fault::Kill { node });
        self.await_plan(since);
        Some(node)
    }

    /// Until the survivors' plan is everywhere, a takeover that began at `since`.
    pub(super) fn await_plan(&mut self, since: u64) {
        self.await_plan_within(|_| TAKEOVER_MS_MAX, since);
    }

    /// The same, within what milliseconds from now the world allows as it goes.
    pub(super) fn await_plan_within(&mut self, allowed_ms: impl Fn(&World) -> u64, since: u64) {
        let began = self.world.now;
        let is_late = |world: &World| world.now >= began + allowed_ms(world);
        self.time_until(PATIENCE_MS, |world| plan_complete::missing(world).is_none() || is_late(world));
        match plan_complete::missing(&mut self.world) {
            None => self.measured.takeovers_ms.push(self.world.now - since),
            Some(missing) => self.fail(format!("no takeover within {} ms: {missing}", self.world.now - began)),
        }
    }

    /// Milliseconds until `done`, which depends on what HSDirs hold; if within `bound_ms` and without a violation.
    pub(super) fn time_until(&mut self, bound_ms: u64, done: impl Fn(&mut World) -> bool) -> Option<u64> {
        let since = self.world.now;
        while self.world.violation.is_none() && self.world.now < since + bound_ms {
            let (accepted, next) = (self.world.hsdirs.accepted, self.world.now + LOOK_MS);
            let is_news = |world: &World| world.hsdirs.accepted != accepted || world.now >= next;
            if !self.world.run_until(LOOK_MS, is_news) {
                self.world.now = self.world.now.max(next);
            }
            if done(&mut self.world) {
                return Some(self.world.now - since);
            }
        }
        None
    }

    /// Until all tors of live nodes have their points.
    pub(super) fn ready(&mut self) {
        let is_ready = |world: &World| world.nodes.iter().filter(|node| node.is_live()).all(SimNode::is_full);
        if !self.world.run_until(60_000, is_ready) {
            self.fail("a tor is not ready after 60 s".to_owned());
        }
    }
}

/// Live machines that publish.
pub(super) fn publishers(world: &World) -> impl Iterator<Item = usize> {
    let publishes = |role: Role| matches!(role, Role::Holder { .. } | Role::Alone);
    (0..world.nodes.len()).filter(move |node| world.nodes[*node].is_live() && publishes(world.nodes[*node].role))
}

/// Whether there is exactly one.
pub(super) fn has_one_publisher(world: &World) -> bool {
    publishers(world).count() == 1
}
