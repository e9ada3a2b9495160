//! Anything may fail, in any order; each seed leaves some faults out and turns others up. Then all heals, and
//! everything must converge.

use std::collections::BTreeSet;

use super::{Mark, Run, Scenario, Story, World};
use crate::sim::fault::Fault;
use crate::sim::options::Options;
use crate::sim::schedule::{Schedule, Step, Swarm};
use crate::sim::tunnel::REJECT_AFTER_MS;

/// Simulated minutes, unless the command line says otherwise.
const MINUTES: u64 = 10;
/// What forming the cluster and healing it take of them, milliseconds.
const FORM_AND_HEAL_MS: u64 = 150_000;
/// By then it is formed, and faults strike, seconds.
const FORM_SECS: u64 = 60;
/// The slowest rule's time: a rival is remembered for 30 s, and the first uploads after that follow 30 s later.
const HEALING_MS: u64 = 60_000;
/// A node that was told to stop has stopped, milliseconds.
const STOPPING_MS: u64 = 15_000;
/// A counter from a clock that was ahead is passed in growing steps, each after half a minute of refusals.
const POISON_MS: u64 = 600_000;
/// A counter is poisoned from so far ahead of true time on, seconds.
const POISON_SECS: u64 = 10;
/// A clock is ahead from so many milliseconds on: handshakes follow each other more slowly.
const AHEAD_MS: i64 = 5_000;
/// One seed in so many has short descriptors, so that few nodes are many already.
const SHORT_EVERY: u64 = 4;
const SHORT_PLACES: u8 = 3;
/// Of so many seeds the second gives every node two tors.
const TWO_TORS_EVERY: u64 = 8;
/// Of so many seeds the sixth gives some nodes tors that are somebody else's.
const ATTACHED_EVERY: u64 = 8;
/// Of so many seeds the third passes a full hour, and with it a new consensus, while faults strike.
const HOUR_EVERY: u64 = 5;
/// Between two consensuses, seconds.
const HOUR_SECS: u64 = 3_600;
/// What a healed world still loses, per thousand.
const HEALED_LOSS_PERMILLE: u64 = 10;

pub(super) const CHAOS: Scenario = Scenario {
    name: "chaos",
    about: "faults of a selection of kinds in a schedule drawn up front, then healing, then everything converges",
    nodes: None,
    spare: 2,
    is_long: false,
    marks: &[
        (Mark::DuelingClaim, 100),
        (Mark::EqualCounter, 100),
        (Mark::MinorityQuiet, 100),
        (Mark::MinorityUnion, 100),
        (Mark::ClaimCancelled, 100),
        (Mark::MutualDown, 100),
        (Mark::ChunksAskedAgain, 50),
        (Mark::Released, 100),
        (Mark::DiskRefused, 50),
        (Mark::HolderWithoutTor, 100),
        (Mark::AdmissionUnderFire, 100),
        (Mark::CounterFarBehind, 100),
        (Mark::StallDiscarded, 100),
        (Mark::AbsurdEpochRefused, 100),
        (Mark::StrangerRefused, 100),
        (Mark::ForgeryRefused, 100),
        (Mark::OldTokenRefused, 100),
        (Mark::UnknownKindRefused, 100),
        (Mark::TokenRotated, 100),
        (Mark::DistinctContents, 20),
        (Mark::HsDirLeft, 100),
        (Mark::PathTooNarrow, 50),
        (Mark::UploadBrokenOff, 50),
    ],
    tell: |story| {
        draw_conditions(story);
        draw_hour(story);
        let (schedule, swarm) = drawn(&story.run, story.world.nodes.len());
        let Options { places, tors, .. } = &story.world.options;
        story.drew = format!("; {places} points a descriptor, tors a node: {tors}; faults: {swarm}");
        story.schedule = story.run.schedule.clone().unwrap_or(schedule);
        story.form();
        story.calm(1_000);
        story.world.turmoil = true;
        for Step(pause, fault) in story.schedule.0.clone() {
            story.world.run_for(pause);
            // Who leaves and cannot tell the others leaves them with what it has published (RELIABILITY.md).
            let is_mute = matches!(fault, Fault::Leave { .. }) && !story.world.cut.is_empty();
            if !is_mute {
                story.world.strike(&fault);
            }
        }
        heal(story);
        story.calm(20_000);
    },
};

/// How long faults strike, milliseconds.
fn struck_ms(run: &Run) -> u64 {
    (run.minutes.unwrap_or(MINUTES) * 60_000).saturating_sub(FORM_AND_HEAL_MS)
}

/// What the seed does to so many machines.
pub(super) fn drawn(run: &Run, machines: usize) -> (Schedule, Swarm) {
    Schedule::drawn(run.seed, machines, struck_ms(run))
}

/// What the seed makes of the world before anything fails.
fn draw_conditions(story: &mut Story) {
    let loss = [0, 10, 30, 100][story.draw(0, 3) as usize];
    story.world.options.loss_permille = story.run.loss_permille.unwrap_or(loss);
    story.world.options.delay_ms_max = story.draw(5, 250);
    if story.run.seed.is_multiple_of(SHORT_EVERY) {
        story.world.options.places = SHORT_PLACES;
    }
    if story.run.seed % TWO_TORS_EVERY == 1 {
        story.world.options.tors = 2;
    }
    for node in 0..story.world.nodes.len() {
        if story.run.seed % ATTACHED_EVERY == 5 {
            story.world.nodes[node].is_attached = story.draw(0, 1) == 0;
        }
        if story.draw(0, 3) == 0 {
            story.world.nodes[node].priority = [10, 50, 200][story.draw(0, 2) as usize];
        }
    }
}

/// When the world begins, if that is shortly before a new consensus.
fn draw_hour(story: &mut Story) {
    let secs = struck_ms(&story.run) / 1000;
    let (seed, start) = (story.run.seed, &mut story.world.options.start_secs);
    if seed % HOUR_EVERY == 2 {
        let hour = (*start / HOUR_SECS + 1) * HOUR_SECS;
        *start = hour - FORM_SECS - seed / HOUR_EVERY % secs.max(1);
    }
}

/// Mends everything and gives the slowest rule its time.
fn heal(story: &mut Story) {
    let set_back = story.world.nodes.iter().any(|node| node.clock.skew_ms(story.world.now) > AHEAD_MS);
    // They take no handshake from each other until their sessions have ended and they are silent.
    let sessions = if set_back { REJECT_AFTER_MS } else { 0 };
    story.world.strike(&Fault::Heal);
    let options = &mut story.world.options;
    options.loss_permille = options.loss_permille.min(HEALED_LOSS_PERMILLE);
    for node in 0..story.world.nodes.len() {
        story.world.strike(&Fault::Correct { node });
        story.world.strike(&Fault::Target { node, up: true });
    }
    for node in to_be_restarted(story) {
        story.world.strike(&Fault::Kill { node });
    }
    story.world.strike(&Fault::StartAll);
    // By then whoever was on its way down is down.
    story.world.run_for(STOPPING_MS);
    story.world.strike(&Fault::StartAll);
    // What stands still may do so for longer than the healing takes.
    let lasts = story.world.calm_since.saturating_sub(story.world.now);
    let poisoned = if is_poisoned(&mut story.world) { POISON_MS } else { 0 };
    story.world.run_for(lasts + HEALING_MS + sessions.max(poisoned));
    story.world.turmoil = false;
}

/// Machines that come round by a restart only: liars, for what one says of itself is heeded.
fn to_be_restarted(story: &Story) -> BTreeSet<usize> {
    let liar = |Step(_, fault): &Step| if let Fault::Lie { node, .. } = fault { Some(*node) } else { None };
    story.schedule.0.iter().filter_map(liar).collect()
}

/// Whether an HSDir holds a counter that is far ahead of true time.
fn is_poisoned(world: &mut World) -> bool {
    let (layout, secs) = (world.layout(), world.wall().as_secs() + POISON_SECS);
    layout.hsdirs().any(|(slot, relay)| {
        let stored = world.hsdirs.get(relay, slot.blind);
        stored.is_some_and(|stored| slot.counter(secs).is_some_and(|limit| stored.revision > limit))
    })
}
