//! When a node that is out of service closes what clients come by.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

mod mesh;

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh::{World, seeds};
use rustbalance_core::NodeId;
use rustbalance_core::cluster::{Order, PlanNode, ProvenPlan, Publication, Role};
use rustbalance_core::tor::Presence;

/// The publisher has proven a plan of these nodes.
fn prove(world: &mut World, serial: u64, nodes: &[usize]) {
    let holder = world.holders()[0];
    let nothing = |id: NodeId| (id, PlanNode { incarnation: 1, version: 1, points: Vec::new() });
    let nodes: BTreeMap<_, _> = nodes.iter().map(|node| nothing(world.hosts[*node].id)).collect();
    let Role::Holder { epoch } = world.view(holder).role else { panic!("{holder} publishes") };
    let proven = Some(Arc::new(ProvenPlan { epoch, serial, nodes }));
    let now = world.now(holder);
    world.hosts[holder].set_publication(now, Publication { proven, ..Publication::default() });
    world.settle(holder);
}

fn presence(world: &mut World, node: usize) -> Presence {
    let now = world.now(node).mono;
    world.cluster(node).presence(now)
}

/// Three nodes that serve and are in the plan, and one of them that does not publish.
fn served(seed: u64) -> (World, usize) {
    let mut world = World::of(seed, 3);
    for node in 0..3 {
        world.hosts[node].local.target_up = true;
        world.hosts[node].local.tor_ready = true;
    }
    prove(&mut world, 1, &[0, 1, 2]);
    world.run(3_000);
    let other = (world.holders()[0] + 1) % 3;
    assert_eq!(presence(&mut world, other), Presence::In);
    (world, other)
}

fn drain(world: &mut World, node: usize) {
    world.order(node, node, Order::Drain).expect("allowed");
}

#[test]
fn a_node_is_out_when_a_proven_plan_does_not_list_it() {
    for seed in seeds(5) {
        let (mut world, other) = served(seed);
        drain(&mut world, other);
        world.run(2_000);
        assert_eq!(presence(&mut world, other), Presence::GoingOut);
        let rest: Vec<usize> = (0..3).filter(|node| *node != other).collect();
        prove(&mut world, 2, &rest);
        world.run(2_000);
        assert_eq!(presence(&mut world, other), Presence::Out);
        world.order(other, other, Order::Undrain).expect("allowed");
        world.run(1);
        assert_eq!(presence(&mut world, other), Presence::In);
    }
}

#[test]
fn a_proof_that_does_not_come_is_waited_for_ten_seconds() {
    for seed in seeds(5) {
        let (mut world, other) = served(seed);
        drain(&mut world, other);
        world.run(9_000);
        assert_eq!(presence(&mut world, other), Presence::GoingOut);
        world.run(1_100);
        assert_eq!(presence(&mut world, other), Presence::Out);
    }
}

#[test]
fn the_last_node_that_clients_can_come_to_stays_though_its_target_is_dead() {
    for seed in seeds(5) {
        let (mut world, other) = served(seed);
        for node in 0..3 {
            world.hosts[node].local.target_up = false;
        }
        world.run(20_000);
        for node in 0..3 {
            assert_eq!(presence(&mut world, node), Presence::GoingOut);
        }
        let rest = (other + 1) % 3;
        world.hosts[rest].local.target_up = true;
        world.run(2_000);
        assert_eq!((presence(&mut world, rest), presence(&mut world, other)), (Presence::In, Presence::Out));
    }
}
