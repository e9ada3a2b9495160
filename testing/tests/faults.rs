//! Every fault may strike at any time; once all is healed, everything converges. The seed is printed; `FAULTS_SEED`
//! replays one, with its trace.

#![allow(clippy::indexing_slicing, reason = "tests: a wrong index is a failed test")]

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rustbalance_core::cluster::Role;
use rustbalance_testing::sim::check::{CONVERGE_MS, plan_complete};
use rustbalance_testing::sim::fault::{Fault, Lie, UploadFault};
use rustbalance_testing::sim::mark::Mark;
use rustbalance_testing::sim::options::{DAY_SECS, Options};
use rustbalance_testing::sim::world::World;

/// Machines that found the cluster; as many again may join.
const NODES: usize = 4;
const SEEDS: u64 = 15;
/// After healing: a rival is remembered for 30 s, a tor that was frozen noticed after 20 s, and a counter that was
/// poisoned by an hour passed within some minutes.
const HEAL_MS: u64 = 60_000;

fn options() -> Options {
    Options {
        loss_permille: 10,
        duplicate_permille: 10,
        delay_ms_max: 80,
        skew_ms_max: 500,
        bootstrap_ms_max: 4_000,
        client_every_ms: 1_000,
        // A new consensus comes while faults strike.
        start_secs: DAY_SECS + 3 * 3_600 - 90,
        ..Options::default()
    }
}

const LIES: [Lie; 14] = [
    Lie::ForgedRecord,
    Lie::ForeignPoints,
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
    Lie::Garble,
    Lie::UnknownKinds,
];

/// A fault of any kind, and whether this seed may have it at all is drawn by its number.
fn fault(rng: &mut ChaCha20Rng, allowed: u64) -> Fault {
    loop {
        let kind = rng.next_u64() % 51;
        if allowed & (1 << kind) != 0 {
            return of_kind(kind, rng);
        }
    }
}

fn of_kind(kind: u64, rng: &mut ChaCha20Rng) -> Fault {
    let mut draw = |low: u64, high: u64| low + rng.next_u64() % (high - low + 1);
    let node = draw(0, NODES as u64) as usize;
    let other = (node + draw(1, NODES as u64 - 1) as usize) % NODES;
    let relay = draw(0, 15) as usize;
    let ms = match draw(0, 2) {
        0 => draw(50, 900),
        1 => draw(900, 8_000),
        _ => draw(8_000, 40_000),
    };
    match kind {
        0 => Fault::Kill { node },
        1 => Fault::Start { node },
        2 => Fault::StartAll,
        3 => Fault::LoseDisk { node },
        4 => Fault::Stop { node },
        5 => Fault::Snapshot { node },
        6 => Fault::Rollback { node },
        7 => Fault::Freeze { node, ms },
        8 => Fault::FreezeTor { node, ms },
        9 => Fault::FreezeDaemon { node, ms },
        10 => Fault::Suspend { node, ms },
        11 => Fault::Jump { node, ms: if draw(0, 1) == 0 { -3_600_000 } else { 3_600_000 } },
        12 => Fault::Drift { node, wall_ppm: draw(0, 400) as i64 - 200, mono_ppm: draw(0, 400) as i64 - 200 },
        13 => Fault::Correct { node },
        14 => Fault::Disk { node, fails: draw(0, 1) == 0 },
        15 => Fault::SlowDisk { node, ms: draw(20, 2_000) },
        16 => Fault::Partition { left: vec![node], right: (0..NODES).filter(|other| *other != node).collect() },
        17 => Fault::Mute { from: node, to: other },
        18 => Fault::Deaf { node },
        19 => Fault::Dumb { node },
        20 => Fault::Heal,
        21 => Fault::Loss { permille: draw(0, 150) },
        22 => Fault::Burst { ms: draw(50, 3_000) },
        23 => Fault::BurstAt { node, ms: draw(50, 6_000) },
        24 => Fault::Handshakes { permille: draw(0, 700) },
        25 => Fault::Duplicate { permille: draw(0, 300) },
        26 => Fault::Reorder { permille: draw(0, 300), ms: draw(1, 2_000) },
        27 => Fault::Corrupt { permille: draw(0, 100) },
        28 => Fault::Move { node },
        29 => Fault::Tor { node },
        30 => Fault::TorDead { node, ms },
        31 => Fault::Control { node, ms },
        32 => Fault::Points { node },
        33 => Fault::Point { node, point: relay },
        34 => Fault::Hollow { node, ms: draw(100, 5_000) },
        35 => Fault::Settings { node },
        36 => Fault::Refuse { relay, ms },
        37 => Fault::Late { relay, ms },
        38 => Fault::RelayLeaves { relay },
        39 => Fault::RelayEnters,
        50 => Fault::Mtu { bytes: draw(30, 1_300) as usize },
        40 => Fault::Target { node, up: draw(0, 1) == 0 },
        41 => Fault::Join { node: NODES, via: other },
        42 => Fault::Leave { node },
        43 => Fault::Poison { relay, ahead_secs: draw(20, 4_000) },
        44 => Fault::Foreign { relay },
        45 => Fault::Forget { relay },
        46 => Fault::Former { node },
        47 => Fault::Stranger { via: node },
        48 => Fault::Lie { node, lie: LIES[draw(0, LIES.len() as u64 - 1) as usize] },
        _ => {
            let how = match draw(0, 3) {
                0 => UploadFault::Silent,
                1 => UploadFault::Late,
                2 => UploadFault::Lost,
                _ => UploadFault::Failed,
            };
            Fault::Uploads { node, how, ms }
        }
    }
}

/// The first machines have joined, and are published.
fn formed(seed: u64, log: bool) -> World {
    let mut world = World::new(seed, NODES + 1, options());
    world.log = log.then(Vec::new);
    world.form(NODES);
    world.run_for(CONVERGE_MS + 10_000);
    world
}

fn run(seed: u64, log: bool) -> World {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut world = formed(seed, log);
    world.turmoil = true;
    let allowed = rng.next_u64() | (1 << 2) | (1 << 20);
    for _ in 0..40 {
        let fault = fault(&mut rng, allowed);
        world.strike(&fault);
        world.run_for(rng.next_u64() % 8_000);
    }
    for fault in [Fault::Heal, Fault::StartAll] {
        world.strike(&fault);
    }
    (0..=NODES).for_each(|node| world.strike(&Fault::Target { node, up: true }));
    world.run_for(HEAL_MS);
    world.turmoil = false;
    world.run_for(CONVERGE_MS + 40_000);
    world
}

#[test]
fn whatever_struck_everything_converges_once_it_is_healed() {
    let one = std::env::var("FAULTS_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seeds: Vec<u64> = one.map_or((0..SEEDS).collect(), |seed| vec![seed]);
    let mut failed = Vec::new();
    for seed in seeds {
        let mut world = run(seed, one.is_some());
        world.log.take().unwrap_or_default().iter().for_each(|line| println!("{line}"));
        if let Some(violation) = &world.violation {
            println!("FAULTS_SEED={seed} {violation}");
            failed.push(seed);
        } else {
            assert_eq!(plan_complete::missing(&mut world), None);
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?}");
}

#[test]
fn who_was_away_while_epochs_jumped_follows_them_all_the_same() {
    for (seed, is_dead) in [(0, true), (1, false), (2, true), (3, false)] {
        let mut world = formed(seed, false);
        let followers: Vec<_> = (0..NODES).filter(|node| world.nodes[*node].role == Role::Follower).collect();
        let (away, liar) = (followers[0], followers[1]);
        let others = (0..NODES).filter(|node| *node != away).collect();
        world.strike(&if is_dead {
            Fault::Kill { node: away }
        } else {
            Fault::Partition { left: vec![away], right: others }
        });
        for _ in 0..3 {
            world.run_for(6_000);
            world.strike(&Fault::Lie { node: liar, lie: Lie::HighEpoch });
        }
        world.run_for(15_000);
        world.strike(&Fault::Heal);
        world.strike(&Fault::StartAll);
        world.run_for(CONVERGE_MS + 40_000);
        assert_eq!(world.violation, None, "seed {seed}");
        let epoch = world.nodes.iter().find_map(|node| match node.role {
            Role::Holder { epoch } => Some(epoch),
            Role::Follower | Role::Alone => None,
        });
        // Who is parted says what liars repeat, too.
        let jumps = if is_dead { 3 } else { 1 };
        assert!(epoch > Some(jumps << 20), "{jumps} jumps were believed: {epoch:?}");
    }
}

#[test]
fn what_a_member_says_in_the_name_of_another_is_refused() {
    let forgeries = [Lie::ForgedPlan, Lie::ForgedTombstone, Lie::ForgedRotation, Lie::ForgedAccess, Lie::ForgedPause];
    for (seed, lie) in (0..).zip(forgeries) {
        let mut world = formed(seed, false);
        world.witness = Some(Box::default());
        let told = |world: &World| {
            let status = (0..NODES).filter_map(|node| world.status(node));
            let told = status.map(|it| (it.members.len(), it.paused.is_some(), it.access.restricted, it.epoch));
            told.chain([(0, false, false, 0)]).collect::<Vec<_>>()
        };
        let (before, token) = (told(&world), world.nodes[0].token);
        world.strike(&Fault::Lie { node: 1, lie });
        world.run_for(CONVERGE_MS + 5_000);
        assert_eq!(world.violation, None, "{lie:?}");
        assert_eq!(told(&world), before, "{lie:?}");
        assert!(world.nodes.iter().take(NODES).all(|node| node.token == token), "{lie:?}");
        let marks = world.witness.expect("it looks on").marks;
        assert!(marks.reached().contains(&Mark::ForgeryRefused), "{lie:?} is refused for its signature");
    }
}

#[test]
fn whoever_has_left_is_not_heeded_whatever_it_signs_and_whoever_passes_it_on() {
    for seed in 0..4 {
        let mut world = formed(seed, false);
        world.strike(&Fault::Leave { node: 1 });
        world.run_for(CONVERGE_MS + 5_000);
        let rejected = world.rejected;
        world.strike(&Fault::Former { node: 1 });
        world.run_for(CONVERGE_MS + 5_000);
        assert_eq!(world.violation, None, "seed {seed}");
        assert!(world.rejected > rejected, "a member that passes it on is refused");
    }
}
