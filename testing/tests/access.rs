//! What becomes of a cluster when who may connect changes.

#![allow(clippy::indexing_slicing, reason = "tests: a wrong index is a failed test")]

use rustbalance_core::cluster::AccessChange;
use rustbalance_core::input::Command;
use rustbalance_core::onion::client::HsClientDescEncKeypair;
use rustbalance_testing::sim::options::Options;
use rustbalance_testing::sim::world::World;

const NODES: usize = 4;
const SEEDS: u64 = 5;
/// Two turns are 20 s apart; that the change reaches some nodes sooner and others later takes little of it.
const APART_MS: u64 = 18_000;

#[test]
fn tors_start_anew_one_after_the_other_whoever_publishes() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut world = World::new(seed, NODES, Options::default());
        world.form(NODES);
        world.run_for(30_000);
        let processes = |world: &World| -> Vec<u64> { world.nodes.iter().map(|node| node.tors[0].process).collect() };
        let before = processes(&world);
        let key = HsClientDescEncKeypair::from_bytes(&[7; 32]).public();
        world.command(1, Command::ChangeAccess(vec![AccessChange::Add("alice".parse().unwrap(), key)]));
        let mut renewed_at = vec![None; NODES];
        for _ in 0..1_200 {
            world.run_for(100);
            for (node, process) in processes(&world).into_iter().enumerate() {
                if process != before[node] && renewed_at[node].is_none() {
                    renewed_at[node] = Some(world.now);
                }
            }
        }
        let mut renewed_at: Vec<u64> = renewed_at.into_iter().map(|at| at.expect("every tor starts anew")).collect();
        renewed_at.sort_unstable();
        assert!(renewed_at.windows(2).all(|pair| pair[1] - pair[0] >= APART_MS), "{renewed_at:?}");
        assert_eq!(world.violation, None);
    }
}
