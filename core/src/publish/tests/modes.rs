//! Native and merged publishing.

use crate::cluster::{Role, View};
use crate::onion::period::Slot;
use crate::output::Outbox;
use crate::publish::testing::{World, counter, keys_of, member, members, poison, secs};
use crate::tor::TorEvent;

/// A world that published for three nodes, of which node 1 is left alone now.
fn left_alone() -> World {
    let mut world = World::new(30);
    world.consensus_moves = false;
    world.run(secs(5));
    leave_alone(&mut world);
    world
}

fn leave_alone(world: &mut World) {
    let since = world.now.mono;
    let view = world.view();
    view.role = Role::Alone;
    view.alone_since = Some(since);
    members(view).truncate(1);
    world.forget();
}

fn wants_native(world: &World) -> bool {
    world.publisher().wants_native(&world.sites[0].view)
}

fn native_uploads_to(world: &mut World, slot: Slot) {
    for hsdir in world.responsible(slot) {
        native_event(world, TorEvent::NativeUploaded(hsdir));
    }
}

fn native_event(world: &mut World, event: TorEvent) {
    world.sites[0].publisher.handle(world.now, event, &mut Outbox::default());
}

#[test]
fn roster_that_was_always_one_is_native_at_once_and_uploads_nothing() {
    let mut world = World::new(30);
    world.view().role = Role::Alone;
    assert!(wants_native(&world));
    world.run(secs(600));
    assert!(wants_native(&world) && world.hsdirs.seen.is_empty());
    assert!(world.publisher().status(world.now).waiting.unwrap().contains("alone"));
}

#[test]
fn a_node_alone_with_several_tors_publishes_the_points_of_all_by_itself_for_ever() {
    let mut world = World::with_tors(30, 2);
    let view = world.view();
    view.role = Role::Alone;
    members(view).truncate(1);
    world.run(secs(5));
    assert_eq!(world.listed(), keys_of(&world.sites[0].view, &[1]));
    leave_alone(&mut world);
    world.run(secs(7200));
    assert_eq!(world.listed(), keys_of(&world.sites[0].view, &[1]));
    assert!(!wants_native(&world) && !world.publisher().may_be_native());
}

#[test]
fn roster_of_two_or_more_is_never_native() {
    let world = World::new(30);
    let with = |role| View { role, ..world.sites[0].view.clone() };
    assert!(!world.publisher().wants_native(&with(Role::Follower)));
    assert!(!world.publisher().wants_native(&with(Role::Holder { epoch: 3 })));
}

#[test]
fn node_left_alone_goes_on_uploading_by_itself() {
    let mut world = left_alone();
    world.run(secs(2));
    assert_eq!(world.listed(), keys_of(&world.sites[0].view, &[1]));
    assert!(!wants_native(&world));
    world.run(secs(590));
    assert!(!wants_native(&world));
}

#[test]
fn native_goes_on_after_ten_minutes_and_uploads_go_on_until_tor_has_uploaded_everywhere() {
    let mut world = left_alone();
    world.run(secs(601));
    assert!(wants_native(&world));
    world.forget();
    native_uploads_to(&mut world, Slot::First);
    world.record(1).points.pop();
    world.run(secs(5));
    assert_eq!(world.listed(), keys_of(&world.sites[0].view, &[1]));
    native_uploads_to(&mut world, Slot::Second);
    world.forget();
    world.record(1).points.pop();
    world.run(secs(7200));
    assert!(world.hsdirs.seen.is_empty());
    assert!(wants_native(&world));
}

#[test]
fn native_waits_until_tors_own_counters_are_above_the_stored_ones() {
    for stored_by_us in [true, false] {
        let mut world = World::new(30);
        if stored_by_us {
            // Ahead from the start, so that nothing tells it from a right one; then it is set.
            world.sites[0].clock_ms = 1_000_000;
        } else {
            let ahead = counter(&mut world, Slot::First, 1000);
            poison(&mut world, Slot::First, ahead);
        }
        world.consensus_moves = false;
        world.run(secs(60));
        leave_alone(&mut world);
        world.sites[0].clock_ms = 0;
        world.run(secs(900));
        assert!(!wants_native(&world), "{stored_by_us}");
        world.run(secs(400));
        assert!(wants_native(&world), "{stored_by_us}");
    }
}

/// An address that somebody else published: an HSDir holds a counter that tor's are below.
#[test]
fn where_what_tor_uploads_is_refused_the_node_publishes_until_all_hsdirs_take_tors() {
    let mut world = World::new(30);
    world.view().role = Role::Alone;
    members(world.view()).truncate(1);
    world.consensus_moves = false;
    world.run(secs(10));
    assert!(wants_native(&world) && world.hsdirs.seen.is_empty());
    let ahead = counter(&mut world, Slot::First, 300);
    poison(&mut world, Slot::First, ahead);
    let refusing = world.responsible(Slot::First);
    for hsdir in &refusing {
        native_event(&mut world, TorEvent::NativeRefused(*hsdir));
    }
    assert!(!wants_native(&world));
    world.run(secs(300));
    assert_eq!(world.listed(), keys_of(&world.sites[0].view, &[1]));
    world.run(secs(700));
    assert!(wants_native(&world), "its counters are above all again");
    for slot in [Slot::First, Slot::Second] {
        native_uploads_to(&mut world, slot);
    }
    world.forget();
    world.run(secs(7200));
    assert!(wants_native(&world) && world.hsdirs.seen.is_empty());
}

#[test]
fn a_refusal_from_when_the_node_was_alone_is_forgotten_among_others() {
    let mut world = World::new(30);
    world.view().role = Role::Alone;
    let hsdir = world.responsible(Slot::First)[0];
    native_event(&mut world, TorEvent::NativeRefused(hsdir));
    assert!(!wants_native(&world));
    world.view().role = Role::Holder { epoch: 5 };
    world.run(secs(5));
    world.view().role = Role::Alone;
    assert!(wants_native(&world));
}

#[test]
fn a_node_alone_whose_tor_miscounts_publishes_itself_and_leaves_it_to_tor_ten_minutes_later() {
    let mut world = World::new(30);
    world.consensus_moves = false;
    let view = world.view();
    view.role = Role::Alone;
    members(view).truncate(1);
    assert!(wants_native(&world));
    for _ in 0..5 {
        let now = world.now.mono;
        world.sites[0].publisher.publish_instead(now);
        assert!(!wants_native(&world));
        world.run(secs(1));
    }
    assert_eq!(world.listed(), keys_of(&world.sites[0].view, &[1]));
    world.run(secs(590));
    assert!(!wants_native(&world));
    world.run(secs(10));
    assert!(wants_native(&world));
    native_uploads_to(&mut world, Slot::First);
    native_uploads_to(&mut world, Slot::Second);
    world.run(secs(5));
    world.forget();
    world.record(1).points.pop();
    world.run(secs(60));
    assert!(world.hsdirs.seen.is_empty() && wants_native(&world));
    let now = world.now.mono;
    world.sites[0].publisher.publish_instead(now);
    assert!(!wants_native(&world), "a clock may be set back at any time");
    world.run(secs(5));
    assert_eq!(world.listed(), keys_of(&world.sites[0].view, &[1]));
}

#[test]
fn uploads_by_tor_before_it_was_told_do_not_count() {
    let mut world = left_alone();
    native_uploads_to(&mut world, Slot::First);
    native_uploads_to(&mut world, Slot::Second);
    world.run(secs(601));
    world.forget();
    world.record(1).points.pop();
    world.run(secs(2));
    assert!(!world.hsdirs.seen.is_empty());
}

#[test]
fn second_member_ends_native_publishing_and_is_published() {
    let mut world = left_alone();
    world.run(secs(601));
    native_uploads_to(&mut world, Slot::First);
    native_uploads_to(&mut world, Slot::Second);
    world.run(secs(10));
    let view = world.view();
    view.role = Role::Holder { epoch: 5 };
    view.alone_since = None;
    members(view).push(member(2, &[10, 11, 12]));
    assert!(!wants_native(&world));
    world.run(secs(2));
    assert_eq!(world.listed(), keys_of(&world.sites[0].view, &[1, 2]));
}
