//! A minority does not overwrite a majority.

use crate::cluster::{Liveness, NodeState, PlanNode, ProvenPlan, Role, View};
use crate::merge::testing::{node, point};
use crate::onion::period::Slot;
use crate::publish::testing::{Behaviour, World, keys, keys_of, member, members, record_of, secs, view};
use std::sync::Arc;

/// Five nodes, of which node 1 hears only `heard` now.
pub(super) fn minority(heard: &[u8]) -> View {
    let mut view = view();
    view.members = Arc::new((1..=5).map(|n| member(n, &[n, n + 10, n + 20])).collect());
    for member in members(&mut view) {
        if !heard.contains(&member.node.0[0]) {
            member.liveness = Liveness::Down;
        }
    }
    view.sees_majority = heard.len() * 2 >= 5;
    view.role = Role::Holder { epoch: 7 };
    view
}

/// A world where node 3, hearing `heard`, has published; node 1's publisher has not begun.
fn published_by_majority(heard: &[u8]) -> World {
    let mut world = World::new(30);
    world.consensus_moves = false;
    world.sites.clear();
    let mut view = minority(heard);
    view.sees_majority = true;
    world.elsewhere(3, view);
    world
}

#[test]
fn fresh_descriptor_with_our_points_is_left_alone() {
    let mut world = published_by_majority(&[1, 2, 3, 4, 5]);
    world.add_site(1, minority(&[1, 2]));
    world.run(secs(300));
    assert!(world.hsdirs.seen.is_empty());
    assert_eq!(world.listed().len(), 15);
    assert!(world.publisher().status(world.now).waiting.unwrap().contains("lists our points"));
    assert!((8..=12).contains(&world.sites[0].fetches), "{}", world.sites[0].fetches);
}

#[test]
fn descriptor_without_our_points_becomes_the_union() {
    let mut world = published_by_majority(&[3, 4, 5]);
    world.add_site(1, minority(&[1, 2]));
    world.run(secs(3));
    assert_eq!(world.listed(), keys_of(&minority(&[]), &[1, 2, 3, 4, 5]));
    let uploads = world.hsdirs.seen.len();
    world.run(secs(300));
    assert_eq!((uploads, world.hsdirs.seen.len()), (16, 16));
    assert_eq!(world.publisher().publication().proven, None);
}

#[test]
fn points_of_those_who_said_goodbye_do_not_stand() {
    let mut world = published_by_majority(&[1, 2, 3, 4, 5]);
    let mut view = minority(&[1]);
    for member in members(&mut view).iter_mut().filter(|member| member.node <= node(3)) {
        record_of(member).state = NodeState::Leaving;
    }
    record_of(&mut members(&mut view)[0]).state = NodeState::Active;
    world.add_site(1, view);
    world.run(secs(3));
    assert_eq!(world.listed(), keys_of(&minority(&[]), &[1, 4, 5]));
    let uploads = world.hsdirs.seen.len();
    world.run(secs(300));
    assert_eq!((uploads, world.hsdirs.seen.len()), (16, 16));
}

#[test]
fn points_of_one_who_came_back_after_its_goodbye_stand() {
    let mut world = World::new(30);
    world.consensus_moves = false;
    world.sites.clear();
    let mut others = minority(&[2, 3, 4, 5]);
    others.sees_majority = true;
    for (place, new) in record_of(&mut members(&mut others)[1]).points.iter_mut().zip(40..) {
        *place = point(2, new, 0);
    }
    world.elsewhere(3, others.clone());
    let mut view = minority(&[1]);
    record_of(&mut members(&mut view)[1]).state = NodeState::Leaving;
    world.add_site(1, view);
    world.run(secs(3));
    let mut expected = keys_of(&others, &[2, 3, 4, 5]);
    expected.extend(keys_of(&minority(&[]), &[1]));
    assert_eq!(world.listed(), expected);
}

#[test]
fn descriptor_older_than_three_hours_is_replaced_by_the_union() {
    let mut world = published_by_majority(&[1, 2, 3, 4, 5]);
    world.run(secs(3 * 3600 + 60));
    world.add_site(1, minority(&[1, 2]));
    world.run(secs(3));
    assert_eq!((world.uploads(Slot::First), world.uploads(Slot::Second)), ((1, 1), (1, 1)));
    assert_eq!(world.listed().len(), 15);
}

#[test]
fn minority_publishes_itself_where_nothing_is_published() {
    let mut world = published_by_majority(&[3, 4, 5]);
    world.hsdirs.stored.clear();
    world.add_site(1, minority(&[1, 2]));
    world.run(secs(3));
    assert_eq!(world.listed(), keys_of(&minority(&[]), &[1, 2]));
}

#[test]
fn what_was_proven_stands_in_where_nothing_is_found() {
    let mut world = published_by_majority(&[3, 4, 5]);
    world.hsdirs.stored.clear();
    let mut view = minority(&[1, 2]);
    let part = PlanNode { incarnation: 1, version: 1, points: vec![point(4, 4, 0)] };
    view.proven = Some(Arc::new(ProvenPlan { epoch: 6, serial: 1, nodes: [(node(4), part)].into() }));
    world.add_site(1, view);
    world.run(secs(3));
    let mut expected = keys_of(&minority(&[]), &[1, 2]);
    expected.insert(point(4, 4, 0).auth_key);
    assert_eq!(world.listed(), expected);
}

#[test]
fn round_that_takes_longer_than_an_answer_counts_is_finished() {
    let mut world = published_by_majority(&[3, 4, 5]);
    let first = world.responsible(Slot::First);
    let broken = world.responsible(Slot::Second).into_iter().find(|hsdir| !first.contains(hsdir)).unwrap();
    world.hsdirs.behaviour.insert(broken, Behaviour::Fails);
    world.add_site(1, minority(&[1, 2]));
    world.run(secs(40));
    let asked = world.sites[0].fetches;
    world.hsdirs.behaviour.clear();
    world.run(secs(80));
    assert_eq!(world.listed(), keys_of(&minority(&[]), &[1, 2, 3, 4, 5]));
    assert!(world.sites[0].fetches > asked, "and then it asks again");
}

#[test]
fn plan_from_before_the_partition_is_not_uploaded_on_a_later_answer() {
    let mut world = World::new(30);
    world.consensus_moves = false;
    world.sites.clear();
    let everyone = || View { sees_majority: true, ..minority(&[1, 2, 3, 4, 5]) };
    world.add_site(1, View { sees_majority: true, ..minority(&[1, 2, 3]) });
    // Not every HSDir has given back its copy yet: one that then shows another's is to get ours again.
    world.run(core::time::Duration::from_millis(250));
    let parted = minority(&[1, 2]);
    (world.view().members, world.view().sees_majority) = (parted.members, false);
    world.elsewhere(3, everyone());
    world.run(secs(10));
    world.elsewhere(3, View { sees_majority: true, ..minority(&[3, 4, 5]) });
    world.run(secs(40));
    assert_eq!(world.listed().len(), 15);
    let theirs = keys_of(&everyone(), &[3, 4, 5]);
    assert!(world.hsdirs.seen.iter().all(|seen| keys(&seen.descriptor.points).is_superset(&theirs)));
}

#[test]
fn what_a_majority_publishes_after_the_answer_is_not_taken_off_either() {
    let mut world = published_by_majority(&[3, 4, 5]);
    world.add_site(1, minority(&[1, 2]));
    // The union is uploaded, and not every HSDir has given back its copy yet.
    let is_uploaded = |world: &World| world.uploads(Slot::First).0 == 1 && world.uploads(Slot::Second).0 == 1;
    while !is_uploaded(&world) {
        world.run(core::time::Duration::from_millis(50));
    }
    world.run(core::time::Duration::from_millis(200));
    let mut theirs = View { sees_majority: true, ..minority(&[3, 4, 5]) };
    for (place, new) in record_of(&mut members(&mut theirs)[3]).points.iter_mut().zip(40..) {
        *place = point(4, new, 0);
    }
    world.elsewhere(3, theirs.clone());
    world.run(secs(15));
    let theirs = keys_of(&theirs, &[3, 4, 5]);
    assert!(!world.hsdirs.seen.is_empty(), "its own points are not listed");
    assert!(world.hsdirs.seen.iter().all(|seen| keys(&seen.descriptor.points).is_superset(&theirs)));
}

#[test]
fn next_hsdir_is_asked_where_the_first_has_nothing() {
    let mut world = published_by_majority(&[1, 2, 3, 4, 5]);
    for hsdir in &world.responsible(Slot::First)[..2] {
        let period = world.period(Slot::First);
        world.hsdirs.stored.remove(&(*hsdir, period));
    }
    world.add_site(1, minority(&[1, 2]));
    world.run(secs(3));
    assert!(world.hsdirs.seen.is_empty());
    assert_eq!(world.sites[0].fetches, 3);
}

#[test]
fn without_a_control_connection_nothing_is_concluded() {
    let mut world = published_by_majority(&[1, 2, 3, 4, 5]);
    world.add_site(1, minority(&[1, 2]));
    world.sites[0].connected = false;
    world.run(secs(60));
    assert_eq!(world.sites[0].fetches, 0);
    world.sites[0].connected = true;
    world.run(secs(60));
    assert!(world.hsdirs.seen.is_empty());
}

#[test]
fn majority_back_in_sight_publishes_its_plan() {
    let mut world = published_by_majority(&[3, 4, 5]);
    world.add_site(1, minority(&[1, 2]));
    world.run(secs(60));
    let all = minority(&[1, 2, 3, 4]);
    world.view().members = all.members;
    world.view().sees_majority = true;
    world.run(secs(5));
    assert_eq!(world.listed(), keys_of(&world.sites[0].view, &[1, 2, 3, 4]));
    assert!(world.publisher().publication().proven.is_some());
}
