//! Records and plans reach everyone, however large, over a network that loses.

mod mesh;

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh::{World, seeds};
use rustbalance_core::cluster::{Liveness, PlanNode, ProvenPlan, Publication};
use rustbalance_core::hsdesc::{InnerHeader, IntroPoint};
use rustbalance_core::onion::period::Slot;

fn points(count: u8) -> Vec<IntroPoint> {
    let point =
        |n: u8| IntroPoint { link_specifiers: vec![n; 255], onion_key: [n; 32], auth_key: [n; 32], enc_key: [n; 32] };
    (0..count).map(point).collect()
}

#[test]
fn the_largest_record_reaches_everyone_through_loss() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 5);
        world.loss_percent = 20;
        world.hosts[3].local.points = points(20).into();
        world.hosts[3].local.header = InnerHeader(vec!["x".repeat(1_000); 4]).into();
        world.settle(3);
        let id = world.hosts[3].id;
        let has = |world: &World, node: usize| {
            let members = world.view(node).members;
            let record = members.iter().find(|member| member.node == id).and_then(|member| member.record.clone());
            record.is_some_and(|record| record.points.len() == 20)
        };
        let holder = world.holders()[0];
        let took = world.until(3_000, "the holder has it", |world| has(world, holder));
        println!("{took} ms to the holder");
        world.until(20_000, "everyone has it", |world| (0..5).all(|node| has(world, node)));
    }
}

#[test]
fn a_record_change_reaches_holder_and_standbys_at_once() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 3);
        world.hosts[2].local.points = points(3).into();
        world.settle(2);
        let took = world.until(100, "everyone has it", World::is_settled);
        assert!(took <= 85, "{took} ms: one way over the network, at most 40 ms");
    }
}

#[test]
fn plans_and_floors_reach_everyone_and_the_plan_survives_restarts() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 5);
        let holder = world.holders()[0];
        let node = PlanNode { incarnation: 1, version: 2, points: points(20) };
        let nodes = BTreeMap::from([(world.hosts[holder].id, node)]);
        let proven = Arc::new(ProvenPlan { epoch: 1, serial: 7, nodes });
        let floors = BTreeMap::from([(Slot::First, (20_000, 77)), (Slot::Second, (20_001, 5))]);
        let publication =
            Publication { plan_digest: [1; 16], floors: floors.clone(), proven: Some(proven.clone()), failing: false };
        let now = world.now(holder);
        world.hosts[holder].set_publication(now, publication);
        world.settle(holder);
        world.until(10_000, "everyone knows the plan and the floors", |world| {
            (0..5).all(|node| world.view(node).proven.as_ref() == Some(&proven) && world.view(node).floors == floors)
        });
        world.run(1_000);
        world.kill(4);
        world.start(4);
        assert_eq!(world.view(4).proven.as_ref(), Some(&proven));
    }
}

#[test]
fn a_false_floor_of_the_far_future_is_gone_with_the_publisher_that_told_it() {
    for seed in seeds(5) {
        let mut world = World::of(seed, 3);
        let tell = |world: &mut World, floor: (u64, u32)| {
            let holder = world.holders()[0];
            let floors = BTreeMap::from([(Slot::First, floor)]);
            let (now, publication) =
                (world.now(holder), Publication { floors: floors.clone(), ..Publication::default() });
            world.hosts[holder].set_publication(now, publication);
            world.settle(holder);
            world.until(5_000, "everyone knows the floor", |world| {
                world.live().into_iter().all(|node| world.view(node).floors == floors)
            });
            holder
        };
        let liar = tell(&mut world, (99_999_999, 1));
        world.kill(liar);
        world.until(10_000, "another publishes", |world| world.holders().len() == 1);
        tell(&mut world, (20_000, 77));
    }
}

#[test]
fn clocks_are_compared() {
    let mut world = World::of(1, 3);
    world.set_clock(0, -7_000);
    world.run(2_000);
    let offset = world.view(0).clock_offset.lower_ms;
    assert!((6_900..=7_000).contains(&offset), "{offset}");
    assert!(world.view(1).clock_offset.lower_ms.abs() < 100);
}

#[test]
fn no_heartbeat_beacon_or_record_is_dropped_because_of_a_clock() {
    const YEARS_MS: i64 = 30 * 365 * 86_400_000;
    let run = |node: usize, ahead_ms: i64| {
        let mut world = World::of(1, 3);
        world.set_clock(node, ahead_ms);
        world.hosts[node].local.points = points(3).into();
        world.settle(node);
        world.run(20_000);
        let (id, holder) = (world.hosts[node].id, world.holders()[0]);
        let members = world.view(holder).members;
        let all_live = members.iter().all(|member| member.liveness == Liveness::Live);
        let record = members.iter().find(|member| member.node == id).and_then(|member| member.record.clone());
        (all_live, record.map(|record| record.points.len()), world.sent, world.refused)
    };
    for node in 0..3 {
        let right = run(node, 0);
        assert_eq!((right.0, right.1), (true, Some(3)));
        for ahead_ms in [-YEARS_MS, YEARS_MS] {
            assert_eq!(run(node, ahead_ms), right, "clock of {node} ahead by {ahead_ms} ms");
        }
    }
}

#[test]
fn traffic_per_node_is_bounded() {
    for count in [3, 5] {
        let mut world = World::of(1, count);
        let before = world.sent;
        world.run(60_000);
        let per_second = (world.sent - before) / 60 / u64::from(count);
        println!("{count} nodes: {per_second} datagrams per node and second");
        assert!(per_second <= 30);
    }
}
