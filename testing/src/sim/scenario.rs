//! Stories that are run under many seeds.

mod chaos;
mod clocks;
mod failover;
mod growth;
mod partition;
mod restarts;
mod rotation;
mod tors;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rustbalance_core::cluster::Role;
use serde::Serialize;

use super::check::{CONVERGE_MS, plan_complete};
use super::world::{Options, World};

/// A story with a name.
pub struct Scenario {
    /// As on the command line.
    pub name: &'static str,
    /// What happens, in a sentence.
    pub about: &'static str,
    /// Machines.
    nodes: usize,
    tell: fn(&mut Story),
}

/// All of them.
pub const ALL: [Scenario; 15] = [
    failover::OF_FIVE,
    failover::OF_THREE,
    failover::OF_TWO,
    failover::STARVED,
    failover::PAUSED,
    partition::TWO_THREE,
    restarts::COLD_START,
    restarts::ROLLING,
    restarts::FLAPPING,
    growth::ONE_TWO_FIVE_ONE,
    rotation::ROTATION,
    tors::TOR_RESTARTS,
    tors::CONTROL_LOSS,
    clocks::CLOCKS,
    chaos::CHAOS,
];

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Which story.
    pub scenario: &'static str,
    /// The seed that replays it.
    pub seed: u64,
    /// What was violated, if anything.
    pub violation: Option<String>,
    /// From each kill of a publisher until every HSDir of both slots held the survivors' plan, milliseconds.
    pub takeovers_ms: Vec<u64>,
    /// From each healing until there was one publisher, or from a cold start until all were published, milliseconds.
    pub healed_ms: Vec<u64>,
    /// Hash over everything that happened.
    pub trace: String,
    /// Steps taken.
    pub steps: u64,
    /// Simulated time, milliseconds.
    pub simulated_ms: u64,
    /// The readable trace, if it was asked for.
    #[serde(skip)]
    pub log: Vec<String>,
}

impl Scenario {
    /// The one called `name`.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|scenario| scenario.name == name)
    }

    /// Runs it under `seed`, with a readable trace if `log`.
    pub fn run(&self, seed: u64, log: bool) -> Outcome {
        let mut rng = ChaCha20Rng::seed_from_u64(seed ^ 0x5eed);
        let mut world = World::new(seed, self.nodes, options(&mut rng));
        world.log = log.then(Vec::new);
        let mut story = Story { world, rng, takeovers_ms: Vec::new(), healed_ms: Vec::new() };
        (self.tell)(&mut story);
        let Story { mut world, takeovers_ms, healed_ms, .. } = story;
        Outcome {
            scenario: self.name,
            seed,
            violation: world.violation.clone(),
            takeovers_ms,
            healed_ms,
            trace: world.trace_hash(),
            steps: world.steps,
            simulated_ms: world.now,
            log: world.log.take().unwrap_or_default(),
        }
    }
}

impl Outcome {
    /// The command that replays it.
    pub fn replay(&self) -> String {
        let Self { scenario, seed, .. } = self;
        format!("cargo run -p rustbalance-testing --bin simulate -- --scenario {scenario} --seed {seed}")
    }
}

fn options(rng: &mut ChaCha20Rng) -> Options {
    let mut draw = |bound: u64| rng.next_u64() % bound;
    Options {
        loss_permille: [0, 10, 30][draw(3) as usize],
        duplicate_permille: [0, 20][draw(2) as usize],
        delay_ms_max: 5 + draw(80),
        skew_ms_max: draw(1500),
        // Anywhere in a day, but not so near a rotation that one falls into the run.
        start_secs: 1_800_000_000 / 86_400 * 86_400 + 3_600 * draw(24) + draw(2_400),
        late_ms_max: 0,
        starved_ms: None,
        disk_ms_max: 20,
        bootstrap_ms_max: 5_000,
        client_every_ms: 1_000,
    }
}

/// A run being told.
struct Story {
    world: World,
    rng: ChaCha20Rng,
    takeovers_ms: Vec<u64>,
    healed_ms: Vec<u64>,
}

impl Story {
    /// A number from `low` to `high`, both included; not drawn from what drives the world.
    fn draw(&mut self, low: u64, high: u64) -> u64 {
        low + self.rng.next_u64() % (high - low + 1)
    }

    fn fail(&mut self, what: String) {
        self.world.fail(what);
    }

    /// The first `count` machines found and join, some seconds apart.
    fn form(&mut self, count: usize) {
        self.world.found();
        for joiner in 1..count {
            let pause = self.draw(1000, 5000);
            self.world.run_for(pause);
            self.join(joiner);
        }
    }

    fn join(&mut self, joiner: usize) {
        let live: Vec<_> = self.live().collect();
        let via = live[self.draw(0, live.len() as u64 - 1) as usize];
        self.world.join(joiner, via);
        if !self.world.run_until(30_000, |world| world.nodes[joiner].is_live()) {
            self.fail(format!("{joiner} was not admitted within 30 s"));
        }
    }

    /// Long enough for all invariants of calm to hold, and then `ms` in which they are checked.
    fn calm(&mut self, ms: u64) {
        self.world.run_for(CONVERGE_MS + ms);
    }

    fn live(&self) -> impl Iterator<Item = usize> {
        (0..self.world.nodes.len()).filter(|node| self.world.nodes[*node].is_live())
    }

    fn holder(&mut self) -> Option<usize> {
        let holder = publishers(&self.world).next();
        if holder.is_none() {
            self.fail("nobody holds the lease".to_owned());
        }
        holder
    }

    /// Kills the publisher and runs until the survivors' plan is everywhere. Returns who was killed.
    fn kill_publisher(&mut self, bound_ms: u64) -> Option<usize> {
        let holder = self.holder()?;
        self.world.kill(holder);
        let took = self.time_until(bound_ms, |world| plan_complete::missing(world).is_none());
        self.takeovers_ms.extend(took);
        if took.is_none() {
            let missing = plan_complete::missing(&mut self.world).unwrap_or_default();
            self.fail(format!("no takeover within {bound_ms} ms: {missing}"));
        }
        Some(holder)
    }

    /// Milliseconds until `done`, if within `bound_ms` and without a violation.
    fn time_until(&mut self, bound_ms: u64, done: impl Fn(&mut World) -> bool) -> Option<u64> {
        let since = self.world.now;
        while self.world.violation.is_none() && self.world.now < since + bound_ms {
            self.world.run_for(50);
            if done(&mut self.world) {
                return Some(self.world.now - since);
            }
        }
        None
    }
}

/// Live machines that publish.
fn publishers(world: &World) -> impl Iterator<Item = usize> {
    let publishes = |role: Role| matches!(role, Role::Holder { .. } | Role::Alone);
    (0..world.nodes.len()).filter(move |node| world.nodes[*node].is_live() && publishes(world.nodes[*node].role))
}
