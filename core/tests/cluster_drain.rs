//! Draining: out of the election at once, over restarts too, and refused where nobody else serves.

mod mesh;

use mesh::{World, seeds};
use rustbalance_core::NodeId;
use rustbalance_core::cluster::{CommandError, NodeState, Order};

/// What `of` says of itself, as `node` knows it.
fn state(world: &World, node: usize, of: NodeId) -> Option<NodeState> {
    let members = world.view(node).members;
    members.iter().find(|member| member.node == of)?.record.as_ref().map(|record| record.state)
}

#[test]
fn a_draining_holder_hands_over_and_everyone_knows() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 3);
        let [holder] = world.holders()[..] else { panic!("one holder") };
        assert_eq!(world.order(holder, holder, Order::Drain), Ok(()));
        let id = world.hosts[holder].id;
        world.until(200, "everyone knows", |world| {
            (0..3).all(|node| state(world, node, id) == Some(NodeState::Draining))
        });
        world.until(4_000, "another holds", |world| world.is_settled() && world.holders() != [holder]);
        world.run(20_000);
        assert_ne!(world.holders(), [holder]);
    }
}

#[test]
fn draining_survives_a_restart_and_ends_with_undrain() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 3);
        let id = world.hosts[1].id;
        world.order(1, 1, Order::Drain).unwrap();
        world.run(100);
        world.kill(1);
        world.start(1);
        assert_eq!(state(&world, 1, id), Some(NodeState::Draining));
        world.order(1, 1, Order::Undrain).unwrap();
        world.run(100);
        world.kill(1);
        world.start(1);
        assert_eq!(state(&world, 1, id), Some(NodeState::Active));
    }
}

#[test]
fn the_last_that_serves_is_not_drained_and_who_leaves_is_neither() {
    let mut world = World::of(1, 3);
    world.order(0, 0, Order::Drain).unwrap();
    world.kill(1);
    world.until(8_000, "the other is down", |world| {
        let members = world.view(2).members;
        members.iter().any(|member| member.liveness == rustbalance_core::cluster::Liveness::Down)
    });
    assert_eq!(world.order(2, 2, Order::Drain), Err(CommandError::LastServing));
    assert_eq!(world.order(0, 0, Order::Drain), Ok(()), "again");
    let now = world.now(0);
    world.hosts[0].shut_down(now, false);
    assert_eq!(world.order(0, 0, Order::Undrain), Err(CommandError::Stopping));
}
