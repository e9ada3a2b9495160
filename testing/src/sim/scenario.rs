//! Stories that are run under many seeds.

mod chaos;
mod clocks;
mod clones;
mod drain;
mod failover;
mod growth;
mod host;
mod hsdirs;
mod long;
mod partition;
mod pause;
mod priority;
mod restarts;
mod rotation;
mod spread;
mod story;
mod tokens;
mod tors;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde::Serialize;

use self::story::Story;
use super::clients::Statistics;
use super::history::History;
use super::mark::Mark;
use super::measure::Measured;
use super::options::{DAY_SECS, Options};
use super::schedule::Schedule;
use super::traffic::Traffic;
use super::witness::Witness;
use super::world::World;

/// A story with a name.
pub struct Scenario {
    /// As on the command line.
    pub name: &'static str,
    /// What happens, in a sentence.
    pub about: &'static str,
    /// Machines, unless the command line says otherwise; `None`: the seed draws 2 to 7.
    nodes: Option<usize>,
    /// Machines that are not in the cluster at first.
    spare: usize,
    /// Run only when asked for.
    pub is_long: bool,
    /// What a campaign of so many seeds must have reached.
    pub marks: &'static [(Mark, u64)],
    tell: fn(&mut Story),
}

/// All of them.
pub const ALL: [Scenario; 42] = [
    failover::OF_FIVE,
    failover::OF_THREE,
    failover::OF_TWO,
    failover::STARVED,
    failover::PAUSED,
    failover::ANY_KILLED,
    failover::FROZEN,
    failover::TARGET_DOWN,
    partition::TWO_THREE,
    partition::MINORITY,
    partition::DEAF,
    restarts::COLD_START,
    restarts::ROLLING,
    restarts::FLAPPING,
    restarts::GRACEFUL,
    growth::ONE_TWO_FIVE_ONE,
    priority::PREEMPTION,
    priority::CUT,
    rotation::MIDNIGHT,
    rotation::NOON,
    tors::TOR_RESTARTS,
    tors::CONTROL_LOSS,
    tors::TWO_TORS,
    tors::STUCK,
    tors::ATTACHED,
    hsdirs::LOST_COPIES,
    hsdirs::RELAYS_LEAVE,
    spread::OF_TWELVE,
    clocks::CLOCKS,
    clocks::TOGETHER,
    host::FULL_DISK,
    drain::DRAIN,
    pause::PAUSE,
    tokens::ROTATE,
    tokens::REMOVE,
    tokens::AGE,
    clones::CLONED,
    clones::UPGRADE,
    long::HOUR,
    long::WEEK,
    spread::OF_SIXTY,
    chaos::CHAOS,
];

/// Stories that can be told of one machine.
const ALONE: [&str; 1] = ["chaos"];

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// It decides everything else.
    pub seed: u64,
    /// Machines in the cluster.
    pub nodes: Option<usize>,
    /// Simulated minutes, for stories that can be longer or shorter.
    pub minutes: Option<u64>,
    /// Datagrams lost, per thousand.
    pub loss_permille: Option<u64>,
    /// Every now and then all datagrams are lost for so long, milliseconds; in the week.
    pub burst_ms: Option<u64>,
    /// Faults instead of those that the seed draws.
    pub schedule: Option<Schedule>,
    /// Keep a readable trace.
    pub trace: bool,
}

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Broken {
    /// Something happened that must never happen.
    Safety,
    /// Something did not happen in time.
    Liveness,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Which story.
    pub scenario: &'static str,
    /// The seed that replays it.
    pub seed: u64,
    /// Machines, those that may join included.
    pub nodes: usize,
    /// What was violated, if anything.
    pub violation: Option<String>,
    /// Which promise that was.
    pub broken: Option<Broken>,
    /// Times.
    #[serde(flatten)]
    pub measured: Measured,
    /// Datagrams in calm.
    #[serde(skip)]
    pub traffic: Traffic,
    /// What clients met.
    #[serde(flatten)]
    pub clients: Statistics,
    /// Situations reached.
    pub marks: Vec<Mark>,
    /// Hash over everything that happened.
    pub trace: String,
    /// Steps taken.
    pub steps: u64,
    /// Simulated time, milliseconds.
    pub simulated_ms: u64,
    /// What the seed drew, in words.
    pub drawn: String,
    /// The faults of a story that has a schedule.
    #[serde(skip)]
    pub schedule: Schedule,
    /// The readable trace, if it was asked for.
    #[serde(skip)]
    pub log: Vec<String>,
    /// What can be drawn.
    #[serde(skip)]
    pub history: History,
}

impl Scenario {
    /// The one called `name`.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|scenario| scenario.name == name)
    }

    /// How many machines there must be for its sentence to be true.
    pub fn nodes_min(&self) -> usize {
        if ALONE.contains(&self.name) { 1 } else { 2 }
    }

    /// The faults that `run` draws up front; none, if the story has no schedule.
    pub fn schedule(&self, run: &Run) -> Schedule {
        let machines = self.count(run, &mut Self::rng(run)) + self.spare;
        let drawn = || if self.name == chaos::CHAOS.name { chaos::drawn(run, machines).0 } else { Schedule::default() };
        run.schedule.clone().unwrap_or_else(drawn)
    }

    fn rng(run: &Run) -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(run.seed ^ 0x5eed)
    }

    /// Machines in the cluster.
    fn count(&self, run: &Run, rng: &mut ChaCha20Rng) -> usize {
        let drawn = 2 + (rng.next_u64() % 6) as usize;
        run.nodes.or(self.nodes).unwrap_or(drawn)
    }

    /// Runs it.
    pub fn run(&self, run: &Run) -> Outcome {
        let mut rng = Self::rng(run);
        let count = self.count(run, &mut rng);
        let mut options = moderate(&mut rng);
        options.loss_permille = run.loss_permille.unwrap_or(options.loss_permille);
        let mut world = World::new(run.seed, count + self.spare, options);
        world.log = run.trace.then(Vec::new);
        world.witness = Some(Box::default());
        let mut story = Story::new(world, rng, count, run);
        (self.tell)(&mut story);
        self.outcome(story)
    }

    fn outcome(&self, story: Story) -> Outcome {
        let drawn = story.drawn();
        let Story { mut world, measured, schedule, run, .. } = story;
        let Witness { history, marks, traffic } =
            world.witness.take().map_or_else(Witness::default, |witness| *witness);
        let broken = if world.is_late { Broken::Liveness } else { Broken::Safety };
        Outcome {
            scenario: self.name,
            seed: run.seed,
            nodes: world.nodes.len(),
            violation: world.violation.clone(),
            broken: world.violation.is_some().then_some(broken),
            measured,
            traffic,
            clients: world.clients.statistics.clone(),
            marks: marks.reached().iter().copied().collect(),
            trace: world.trace_hash(),
            steps: world.steps,
            simulated_ms: world.now,
            drawn,
            schedule,
            log: world.log.take().unwrap_or_default(),
            history,
        }
    }
}

impl Outcome {
    /// What was violated, without the numbers that differ from run to run.
    pub fn kind(&self) -> Option<String> {
        let (_, what) = self.violation.as_ref()?.split_once(": ")?;
        Some(without_numbers(what))
    }
}

/// The words without digits.
pub(super) fn without_numbers(text: &str) -> String {
    let plain = |word: &&str| !word.contains(|letter: char| letter.is_ascii_digit());
    text.split(' ').filter(plain).collect::<Vec<_>>().join(" ")
}

/// The conditions that the numbers to reach are for (`docs/RELIABILITY.md`): 1 % loss, 100 ms there and back.
fn moderate(rng: &mut ChaCha20Rng) -> Options {
    let mut draw = |bound: u64| rng.next_u64() % bound;
    Options {
        loss_permille: 10,
        duplicate_permille: [0, 20][draw(2) as usize],
        delay_ms_max: 90,
        skew_ms_max: draw(1500),
        // Anywhere in a day, but not so near a rotation that one falls into the run.
        start_secs: DAY_SECS + 43_200 * draw(2) + 1_800 + draw(36_000),
        bootstrap_ms_max: 5_000,
        client_every_ms: 1_000,
        ..Options::default()
    }
}
