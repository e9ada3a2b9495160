//! Faults drawn at random; then calm, and everything must be right again.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "test helpers")]

mod mesh;

use mesh::{World, seeds};
use rand_core::{Rng as _, SeedableRng as _};
use rustbalance_core::cluster::Role;
use rustbalance_core::rng::Rng;

/// How long a calm cluster may take to agree: a restarted node's listening, a TTL, a question, and gossip.
const CONVERGE_MS: u64 = 15_000;

/// One fault, or its end.
fn disturb(world: &mut World, rng: &mut Rng) {
    let mut draw = |below: usize| usize::try_from(rng.next_u64()).unwrap() % below;
    let (node, other) = (draw(world.hosts.len()), draw(world.hosts.len()));
    let is_up = world.hosts[node].cluster.is_some();
    match draw(10) {
        0 if is_up => world.kill(node),
        0..=2 if !is_up => world.start(node),
        1 => world.partition(&[node], &[other]),
        2 => {
            world.cut.insert((node, other));
        }
        3 => {
            let (one, rest): (Vec<usize>, Vec<usize>) = (0..world.hosts.len()).partition(|n| (n + node) % 2 == 0);
            world.partition(&one, &rest);
        }
        4 | 5 => world.heal(),
        6 if is_up => world.freeze(node, 100 + 50 * u64::try_from(draw(100)).unwrap()),
        7 => world.loss_percent = u64::try_from(draw(40)).unwrap(),
        8 if is_up => world.set_eligible(node, draw(3) > 0),
        9 => world.disk_ms = 1 + u64::try_from(draw(800)).unwrap(),
        _ => {}
    }
}

/// A node with its disk never serves from an older epoch than it has seen.
fn check_epochs(world: &World, seen: &mut [u64]) {
    for node in world.live() {
        let view = world.view(node);
        if let Role::Holder { epoch } = view.role {
            assert!(epoch >= seen[node], "node {node} serves under {epoch}, saw {}", seen[node]);
        }
        seen[node] = seen[node].max(view.holder.map_or(0, |(_, epoch)| epoch));
    }
}

#[test]
fn after_any_faults_calm_brings_one_holder_known_to_all() {
    let mut worst = 0;
    for seed in seeds(60) {
        let count = 2 + u8::try_from(seed % 4).unwrap();
        let mut world = World::of(seed, count);
        let mut rng = Rng::seed_from_u64(seed ^ 0xC4A05);
        let mut seen = vec![0; usize::from(count)];
        for _ in 0..40 {
            disturb(&mut world, &mut rng);
            for _ in 0..rng.next_u64() % 50 {
                world.run(100);
                check_epochs(&world, &mut seen);
            }
        }
        world.heal();
        (world.loss_percent, world.disk_ms) = (0, 5);
        for node in 0..world.hosts.len() {
            if world.hosts[node].cluster.is_none() {
                world.start(node);
            }
            world.set_eligible(node, true);
        }
        worst = worst.max(world.until(CONVERGE_MS, "calm", World::is_settled));
        // A claim made while the last fault still lasted may be on its way to the disk.
        world.run(1_000);
        world.until(CONVERGE_MS, "calm again", World::is_settled);
        let holders = world.holders();
        check_epochs(&world, &mut seen);
        world.run(20_000);
        assert_eq!(world.holders(), holders, "and it stays");
        assert!(world.is_settled());
    }
    println!("{worst} ms at worst");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in seeds(3) {
        let run = || {
            let mut world = World::of(seed, 4);
            let mut rng = Rng::seed_from_u64(seed);
            for _ in 0..20 {
                disturb(&mut world, &mut rng);
                world.run(1_000);
            }
            let states: Vec<String> =
                world.live().into_iter().map(|node| format!("{:?}", world.cluster(node))).collect();
            (world.sent, world.refused, states)
        };
        assert!(run() == run(), "seed {seed}");
    }
}
