//! Orders: given at any member, obeyed by the one that they are for, refused with the reason.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

mod mesh;

use mesh::{World, seeds};
use rustbalance_core::cluster::{CommandError, NodeState, Order, Record, Role};

/// What has come of the order that `at` gave `whom`.
fn outcome(world: &mut World, at: usize, whom: usize) -> Option<Result<(), CommandError>> {
    let id = world.hosts[whom].id;
    let given = world.cluster(at).given_orders().find(|(node, _)| **node == id).map(|(_, given)| given.clone());
    given.expect("an order was given").outcome
}

fn record(world: &mut World, node: usize) -> Record {
    world.cluster(node).record().clone()
}

fn answered(world: &mut World, at: usize, whom: usize) -> Result<(), CommandError> {
    for _ in 0..200 {
        if let Some(outcome) = outcome(world, at, whom) {
            return outcome;
        }
        world.run(100);
    }
    panic!("no answer")
}

#[test]
fn an_order_reaches_its_node_through_any_other_and_survives_a_restart() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 4);
        world.loss_percent = 20;
        assert_eq!(world.order(1, 3, Order::Drain), Ok(()));
        assert_eq!(answered(&mut world, 1, 3), Ok(()));
        assert_eq!(world.order(2, 3, Order::Weight(Some(7))), Ok(()));
        assert_eq!(answered(&mut world, 2, 3), Ok(()));
        assert_eq!(world.order(3, 3, Order::Priority(Some(9))), Ok(()));
        world.run(100);
        world.kill(3);
        world.start(3);
        let own = record(&mut world, 3);
        assert_eq!((own.state, own.weight, own.priority), (NodeState::Draining, 7, 9));
        world.run(10_000);
        for what in [Order::Undrain, Order::Weight(None), Order::Priority(None)] {
            assert_eq!(world.order(0, 3, what), Ok(()), "{what}");
            assert_eq!(answered(&mut world, 0, 3), Ok(()), "{what}");
        }
        let own = record(&mut world, 3);
        assert_eq!((own.state, own.weight, own.priority), (NodeState::Active, 100, 100));
    }
}

#[test]
fn an_order_is_answered_once_a_restart_would_not_undo_it() {
    for seed in seeds(5) {
        let mut world = World::of(seed, 3);
        world.disk_ms = 3_000;
        assert_eq!(world.order(0, 2, Order::Weight(Some(5))), Ok(()));
        world.run(2_500);
        assert_eq!(outcome(&mut world, 0, 2), None);
        assert_eq!(world.order(0, 2, Order::Weight(Some(6))), Err(CommandError::Busy));
        assert_eq!(answered(&mut world, 0, 2), Ok(()));
        world.kill(2);
        world.start(2);
        assert_eq!(record(&mut world, 2).weight, 5);
    }
}

#[test]
fn a_step_down_that_is_asked_for_twice_as_its_answer_was_late_is_obeyed() {
    for seed in seeds(5) {
        let mut world = World::of(seed, 3);
        let holder = world.holders()[0];
        let other = (holder + 1) % 3;
        world.disk_ms = 3_000;
        assert_eq!(world.order(other, holder, Order::StepDown(60)), Ok(()));
        assert_eq!(answered(&mut world, other, holder), Ok(()));
        assert_ne!(world.holders(), [holder]);
    }
}

#[test]
fn what_was_ordered_before_cannot_be_repeated() {
    for seed in seeds(5) {
        let mut world = World::of(seed, 3);
        assert_eq!(world.order(0, 2, Order::Weight(Some(5))), Ok(()));
        assert_eq!(answered(&mut world, 0, 2), Ok(()));
        let old: Vec<_> = world.delivered.iter().filter(|(from, to, _)| (*from, *to) == (0, 2)).cloned().collect();
        for again in [false, true] {
            assert_eq!(world.order(2, 2, Order::Weight(None)), Ok(()));
            if again {
                world.kill(2);
                world.start(2);
            }
            for (_, _, bytes) in &old {
                let id = world.hosts[0].id;
                _ = world.command(2, |cluster, now, out| cluster.handle_peer(now, id, bytes, out));
            }
            world.run(1_000);
            assert_eq!(record(&mut world, 2).weight, 100);
        }
    }
}

#[test]
fn orders_are_refused_with_the_reason() {
    let mut world = World::of(1, 3);
    assert_eq!(world.order(0, 1, Order::Weight(Some(0))), Err(CommandError::OutOfRange));
    let follower = (world.holders()[0] + 1) % 3;
    let other = (follower + 1) % 3;
    assert_eq!(world.order(other, follower, Order::StepDown(60)), Ok(()));
    assert_eq!(answered(&mut world, other, follower), Err(CommandError::NotHolder));
    world.kill(follower);
    world.run(8_000);
    assert_eq!(world.order(other, follower, Order::Drain), Err(CommandError::Silent));
    let last = 3 - follower - other;
    assert_eq!(world.order(other, other, Order::Drain), Ok(()));
    world.run(1_000);
    assert_eq!(world.order(other, last, Order::Drain), Err(CommandError::LastServing));
    assert_eq!(world.order(last, last, Order::Drain), Err(CommandError::LastServing));
    assert_eq!(world.order(last, last, Order::StepDown(60)), Err(CommandError::NobodyElse));
}

#[test]
fn who_steps_down_does_not_publish_again_before_its_time_though_it_is_preferred() {
    for seed in seeds(5) {
        let mut world = World::of(seed, 3);
        let preferred = world.holders()[0];
        assert_eq!(world.order(preferred, preferred, Order::Priority(Some(1))), Ok(()));
        world.run(1_000);
        let other = (preferred + 1) % 3;
        assert_eq!(world.order(other, preferred, Order::StepDown(300)), Ok(()));
        assert_eq!(answered(&mut world, other, preferred), Ok(()));
        let took =
            world.until(3_000, "another holds", |world| world.holders().len() == 1 && world.holders() != [preferred]);
        assert!(took <= 1_000, "{took} ms");
        for _ in 0..29 {
            world.run(10_000);
            assert_ne!(world.holders(), [preferred]);
        }
        world.until(90_000, "it is preferred again", |world| world.holders() == [preferred]);
    }
}

#[test]
fn who_has_stepped_down_publishes_if_nobody_else_can() {
    let mut world = World::of(3, 2);
    let first = world.holders()[0];
    assert_eq!(world.order(first, first, Order::StepDown(3_600)), Ok(()));
    world.until(3_000, "the other holds", |world| world.holders() == [1 - first]);
    world.kill(1 - first);
    world.until(20_000, "it is back", |world| world.holders() == [first]);
    assert!(matches!(world.view(first).role, Role::Holder { .. }));
}
