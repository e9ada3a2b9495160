//! Schedules of faults: drawn up front from a seed, so that they can be printed, stored, replayed and shortened.
//!
//! Swarm testing: a seed leaves about half of the kinds of fault out and turns others up. Where everything may happen
//! at once, little of it happens for long enough.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rustbalance_core::cluster::Order;
use rustbalance_core::output::DATAGRAM_MAX;
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Lie, UploadFault};

/// A fault and how long the world runs before it strikes, milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step(pub u64, pub Fault);

/// Faults in their order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schedule(pub Vec<Step>);

/// Faults in one schedule.
const FAULTS_MAX: usize = 400;
/// How often a kind is turned up at most, against one that is merely on.
const WEIGHT_MAX: u64 = 8;

/// Kinds of fault that this seed's world suffers from, with their weights.
pub struct Swarm(Vec<(Kind, u64)>);

/// A name, and how one of the kind is drawn.
type Kind = (&'static str, fn(&mut Dice<'_>) -> Fault);

/// What draws numbers.
struct Dice<'a> {
    rng: &'a mut ChaCha20Rng,
    /// Members, and those that may join.
    machines: usize,
}

impl Dice<'_> {
    /// From `low` to `high`, both included.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.rng.next_u64() % (high - low + 1)
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.between(0, items.len() as u64 - 1) as usize]
    }

    /// Any machine; those that may join are hit, too, once they have.
    fn node(&mut self) -> usize {
        self.between(0, self.machines as u64 - 1) as usize
    }

    fn relay(&mut self) -> usize {
        self.between(0, 15) as usize
    }

    /// Up to `most` either way, often little and now and then all of it.
    fn either_way(&mut self, most: i64) -> i64 {
        let size = match self.between(0, 2) {
            0 => most,
            1 => most / 20,
            _ => most / 400,
        };
        if self.between(0, 1) == 0 { size } else { -size }
    }

    fn groups(&mut self) -> Fault {
        let (left, right) = (0..self.machines).partition(|_| self.between(0, 1) == 0);
        Fault::Partition { left, right }
    }
}

/// What undoes a fault: always on, or a seed without it would end where it began.
const UNDOING: [Kind; 3] = [
    ("heal", |_| Fault::Heal),
    ("start-all", |_| Fault::StartAll),
    ("start", |dice| Fault::Start { node: dice.node() }),
];

const KINDS: [Kind; 55] = [
    ("kill", |dice| Fault::Kill { node: dice.node() }),
    ("lose-disk", |dice| Fault::LoseDisk { node: dice.node() }),
    ("stop", |dice| Fault::Stop { node: dice.node() }),
    ("leave", |dice| Fault::Leave { node: dice.node() }),
    ("drain", |dice| match dice.between(0, 1) {
        0 => Fault::Drain { node: dice.node() },
        _ => Fault::Undrain { node: dice.node() },
    }),
    ("order", |dice| {
        let order = match dice.between(0, 4) {
            0 => Order::Drain,
            1 => Order::Undrain,
            2 => Order::Weight(dice.one_of(&[None, Some(1), Some(1000)])),
            3 => Order::Priority(dice.one_of(&[None, Some(10), Some(200)])),
            _ => Order::StepDown(dice.one_of(&[1, 30, 600])),
        };
        Fault::Order { node: dice.node(), whom: dice.node(), order }
    }),
    ("pause", |dice| Fault::Pause { node: dice.node(), secs: dice.one_of(&[0, 5, 20, 40]) }),
    ("rotate-token", |dice| Fault::RotateToken { node: dice.node() }),
    ("remove", |dice| Fault::Remove { node: dice.node(), whom: dice.node() }),
    ("jump-all", |dice| Fault::JumpAll { ms: dice.either_way(3_600_000) }),
    ("upgrade", |dice| Fault::Upgrade { node: dice.node() }),
    ("join", |dice| Fault::Join { node: dice.node(), via: dice.node() }),
    ("snapshot", |dice| Fault::Snapshot { node: dice.node() }),
    ("rollback", |dice| Fault::Rollback { node: dice.node() }),
    ("freeze", |dice| Fault::Freeze { node: dice.node(), ms: dice.between(300, 20_000) }),
    ("freeze-tor", |dice| Fault::FreezeTor { node: dice.node(), ms: dice.between(300, 20_000) }),
    ("freeze-daemon", |dice| Fault::FreezeDaemon { node: dice.node(), ms: dice.between(300, 20_000) }),
    ("suspend", |dice| Fault::Suspend { node: dice.node(), ms: dice.between(300, 120_000) }),
    ("jump", |dice| Fault::Jump { node: dice.node(), ms: dice.either_way(3_600_000) }),
    ("drift", |dice| Fault::Drift {
        node: dice.node(),
        wall_ppm: dice.either_way(20_000),
        mono_ppm: dice.either_way(2_000),
    }),
    ("correct", |dice| Fault::Correct { node: dice.node() }),
    ("disk-fails", |dice| Fault::Disk { node: dice.node(), fails: true }),
    ("disk-works", |dice| Fault::Disk { node: dice.node(), fails: false }),
    ("slow-disk", |dice| Fault::SlowDisk { node: dice.node(), ms: dice.between(50, 2_000) }),
    ("partition", |dice| dice.groups()),
    ("mute", |dice| Fault::Mute { from: dice.node(), to: dice.node() }),
    ("deaf", |dice| Fault::Deaf { node: dice.node() }),
    ("dumb", |dice| Fault::Dumb { node: dice.node() }),
    ("loss", |dice| Fault::Loss { permille: dice.one_of(&[20, 50, 100, 300]) }),
    ("burst", |dice| Fault::Burst { ms: dice.between(100, 5_000) }),
    ("burst-at", |dice| Fault::BurstAt { node: dice.node(), ms: dice.between(100, 8_000) }),
    ("handshakes", |dice| Fault::Handshakes { permille: dice.one_of(&[100, 500, 900]) }),
    ("duplicate", |dice| Fault::Duplicate { permille: dice.one_of(&[20, 300]) }),
    ("reorder", |dice| Fault::Reorder { permille: dice.one_of(&[20, 300]), ms: dice.between(100, 5_000) }),
    ("corrupt", |dice| Fault::Corrupt { permille: dice.one_of(&[10, 100]) }),
    // A bit below the longest; too little for parts of long items, for beacons, for heartbeats, for handshakes.
    ("mtu", |dice| Fault::Mtu { bytes: dice.one_of(&[DATAGRAM_MAX - 8, 600, 200, 64, 40]) }),
    ("move", |dice| Fault::Move { node: dice.node() }),
    ("tor", |dice| Fault::Tor { node: dice.node() }),
    ("tor-dead", |dice| Fault::TorDead { node: dice.node(), ms: dice.between(1_000, 60_000) }),
    ("control", |dice| Fault::Control { node: dice.node(), ms: dice.between(10, 8_000) }),
    ("points", |dice| Fault::Points { node: dice.node() }),
    ("point", |dice| Fault::Point { node: dice.node(), point: dice.between(0, 2) as usize }),
    ("hollow", |dice| Fault::Hollow { node: dice.node(), ms: dice.between(500, 30_000) }),
    ("settings", |dice| Fault::Settings { node: dice.node() }),
    ("uploads", |dice| {
        let how = dice.one_of(&[UploadFault::Silent, UploadFault::Late, UploadFault::Lost, UploadFault::Failed]);
        Fault::Uploads { node: dice.node(), how, ms: dice.between(1_000, 60_000) }
    }),
    ("forget", |dice| Fault::Forget { relay: dice.relay() }),
    ("refuse", |dice| Fault::Refuse { relay: dice.relay(), ms: dice.between(1_000, 60_000) }),
    ("late", |dice| Fault::Late { relay: dice.relay(), ms: dice.between(1_000, 60_000) }),
    ("relay-leaves", |dice| Fault::RelayLeaves { relay: dice.relay() }),
    ("relay-enters", |_| Fault::RelayEnters),
    ("poison", |dice| Fault::Poison { relay: dice.relay(), ahead_secs: dice.one_of(&[20, 60, 600, 7_200]) }),
    ("foreign", |dice| Fault::Foreign { relay: dice.relay() }),
    ("target", |dice| Fault::Target { node: dice.node(), up: dice.between(0, 1) == 0 }),
    ("lie", |dice| {
        let lie = dice.one_of(&[
            Lie::ForgedRecord,
            Lie::ForeignPoints,
            // More often than the others: only where a beacon is at hand is it met at all.
            Lie::AbsurdEpoch,
            Lie::AbsurdEpoch,
            Lie::HighEpoch,
            Lie::AbsurdFloors,
            Lie::ForgedPlan,
            Lie::ForgedTombstone,
            Lie::ForgedRotation,
            Lie::ForgedAccess,
            Lie::ForgedPause,
            Lie::Flood,
            Lie::Replay,
            Lie::UnknownKinds,
        ]);
        Fault::Lie { node: dice.node(), lie }
    }),
    ("strangers", |dice| match dice.between(0, 1) {
        0 => Fault::Former { node: dice.node() },
        _ => Fault::Stranger { via: dice.node() },
    }),
];

impl Swarm {
    /// What this seed's world suffers from.
    fn drawn(dice: &mut Dice<'_>) -> Self {
        let mut kinds: Vec<(Kind, u64)> = UNDOING.into_iter().map(|kind| (kind, WEIGHT_MAX / 2)).collect();
        for kind in KINDS {
            if dice.between(0, 1) == 0 {
                let weight = dice.between(1, WEIGHT_MAX);
                kinds.push((kind, weight));
            }
        }
        Self(kinds)
    }

    fn fault(&self, dice: &mut Dice<'_>) -> Fault {
        let total: u64 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut left = dice.between(0, total - 1);
        for ((_, draw), weight) in &self.0 {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return draw(dice),
            }
        }
        Fault::Heal
    }
}

impl core::fmt::Display for Swarm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let kinds: Vec<String> = self.0.iter().map(|((name, _), weight)| format!("{name} {weight}")).collect();
        f.write_str(&kinds.join(", "))
    }
}

impl Schedule {
    /// What `seed` does to so many machines within `ms`, and from which kinds of fault it was drawn.
    pub fn drawn(seed: u64, machines: usize, ms: u64) -> (Self, Swarm) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed ^ 0x5c4e_d01e);
        let mut dice = Dice { rng: &mut rng, machines };
        let swarm = Swarm::drawn(&mut dice);
        let hurry = dice.one_of(&[1_000, 4_000, 10_000, 30_000]);
        let (mut steps, mut left) = (Vec::new(), ms);
        while steps.len() < FAULTS_MAX {
            // Now and then long enough for a lease to be preempted.
            let pause = if dice.between(0, 24) == 0 { dice.between(60_000, 100_000) } else { dice.between(0, hurry) };
            match left.checked_sub(pause) {
                Some(rest) => left = rest,
                None => break,
            }
            steps.push(Step(pause, swarm.fault(&mut dice)));
        }
        (Self(steps), swarm)
    }

    /// Without the steps for which `keep` says no; the time they took is left to the next.
    pub fn only(&self, keep: impl Fn(usize) -> bool) -> Self {
        let (mut steps, mut waited) = (Vec::new(), 0);
        for (at, Step(pause, fault)) in self.0.iter().enumerate() {
            waited += pause;
            if keep(at) {
                steps.push(Step(core::mem::take(&mut waited), fault.clone()));
            }
        }
        Self(steps)
    }
}

impl core::fmt::Display for Schedule {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut at = 0;
        for Step(pause, fault) in &self.0 {
            at += pause;
            writeln!(f, "{:9.3} s  {fault:?}", at as f64 / 1000.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINES: usize = 7;

    #[test]
    fn a_seed_draws_one_schedule_that_fits_its_time() {
        let (first, _) = Schedule::drawn(1, MACHINES, 120_000);
        let (second, _) = Schedule::drawn(1, MACHINES, 120_000);
        assert_eq!(first, second);
        assert!(first.0.iter().map(|Step(pause, _)| pause).sum::<u64>() <= 120_000);
        assert_ne!(first, Schedule::drawn(2, MACHINES, 120_000).0);
    }

    #[test]
    fn what_is_left_keeps_its_time() {
        let schedule = Schedule([10, 20, 30].map(|pause| Step(pause, Fault::Heal)).to_vec());
        let shorter = schedule.only(|at| at != 1);
        assert_eq!(shorter.0.iter().map(|Step(pause, _)| *pause).collect::<Vec<_>>(), [10, 50]);
    }

    #[test]
    fn it_is_stored_as_json() {
        let (schedule, _) = Schedule::drawn(3, MACHINES, 60_000);
        let json = serde_json::to_string(&schedule).unwrap();
        assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
    }

    #[test]
    fn every_seed_can_undo_what_it_does() {
        let kinds = (0..50).map(|seed| Schedule::drawn(seed, MACHINES, 1_000).1.to_string());
        assert!(kinds.into_iter().all(|kinds| kinds.starts_with("heal 4, start-all 4, start 4")));
    }
}
