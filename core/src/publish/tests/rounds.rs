//! When everything is uploaded, and when nothing is.

use crate::cluster::{Liveness, Role};
use crate::id::RelayFingerprint;
use crate::merge::testing::point;
use crate::onion::period::Slot;
use crate::publish::testing::{Behaviour, World, keys_of, members, secs};
use core::time::Duration;
use std::collections::BTreeSet;

/// A world whose first plan is published, again after half a minute, and proven, with a consensus that does not move.
fn published() -> World {
    let mut world = World::new(30);
    world.consensus_moves = false;
    world.run(secs(40));
    assert!(world.publisher().publication().proven.is_some());
    world.forget();
    world
}

/// Uploads per HSDir since the last `forget`: the same for all of both slots.
fn rounds(world: &World) -> usize {
    let (first, second) = (world.uploads(Slot::First), world.uploads(Slot::Second));
    assert_eq!((first.0, first), (first.1, second));
    first.0
}

#[test]
fn first_upload_waits_for_the_records_that_heartbeats_name() {
    let mut world = World::new(30);
    world.member(2).record_behind = true;
    world.run(Duration::from_millis(900));
    assert!(world.hsdirs.seen.is_empty());
    world.record(2).points = vec![point(2, 20, 0)];
    world.member(2).record_behind = false;
    world.run(Duration::from_millis(250));
    assert_eq!(world.listed(), keys_of(&world.sites[0].view, &[1, 2, 3]));
    assert_eq!(rounds(&world), 1);
}

#[test]
fn first_upload_waits_one_second_at_most() {
    let mut world = World::new(30);
    world.member(2).record = None;
    world.run(Duration::from_millis(999));
    assert!(world.hsdirs.seen.is_empty());
    world.run(Duration::from_millis(200));
    assert_eq!(world.listed(), keys_of(&world.sites[0].view, &[1, 3]));
}

#[test]
fn first_upload_waits_one_second_for_half_of_the_roster_to_be_heard_and_asks_nobody() {
    let mut world = World::new(30);
    world.view().sees_majority = false;
    world.run(Duration::from_millis(900));
    assert_eq!((world.hsdirs.seen.len(), world.sites[0].fetches), (0, 0));
    world.view().sees_majority = true;
    world.run(Duration::from_millis(50));
    assert_eq!((world.hsdirs.seen.len() >= 8, world.sites[0].fetches), (true, 0));
}

#[test]
fn record_of_a_node_not_heard_is_not_waited_for() {
    let mut world = World::new(30);
    world.member(2).record_behind = true;
    world.member(2).liveness = Liveness::Unknown;
    world.run(Duration::from_millis(200));
    assert_eq!(world.listed().len(), 9);
}

#[test]
fn points_of_a_dead_node_are_gone_within_a_second() {
    let mut world = published();
    world.member(3).liveness = Liveness::Down;
    world.run(secs(1));
    assert_eq!(world.listed(), keys_of(&world.sites[0].view, &[1, 2]));
    assert_eq!(rounds(&world), 1);
}

#[test]
fn empty_plan_is_never_uploaded() {
    let mut world = published();
    for n in 1..=3 {
        world.record(n).tor_ready = false;
    }
    world.run(secs(3 * 3600));
    assert_eq!(rounds(&world), 0);
    assert_eq!(world.listed().len(), 9);
    assert!(world.publisher().status(world.now).waiting.unwrap().contains("no node offers"));
}

#[test]
fn unchanged_plan_is_uploaded_again_after_60_to_120_minutes() {
    let mut world = published();
    world.run(secs(60 * 60 - 10));
    assert_eq!(rounds(&world), 0);
    world.run(secs(60 * 60 + 20));
    assert_eq!(rounds(&world), 1);
}

#[test]
fn what_became_old_while_the_machine_was_suspended_is_replaced_at_once() {
    let mut world = published();
    world.suspend(secs(3 * 60 * 60));
    world.run(secs(1));
    assert_eq!(rounds(&world), 1);
    assert!(world.hsdirs.seen.iter().all(|seen| seen.accepted));
}

#[test]
fn new_hsdirs_of_a_new_consensus_get_the_plan_and_the_others_nothing() {
    let mut world = published();
    let responsible = |world: &World| -> BTreeSet<(Slot, RelayFingerprint)> {
        let slot = |slot| world.responsible(slot).into_iter().map(move |hsdir| (slot, hsdir));
        slot(Slot::First).chain(slot(Slot::Second)).collect()
    };
    let before = responsible(&world);
    world.relays = 40;
    world.new_consensus();
    world.run(secs(3));
    assert_eq!(world.listed().len(), 9);
    let moved = responsible(&world).difference(&before).count();
    assert!(moved > 0);
    assert_eq!(world.hsdirs.seen.len(), moved);
    assert!(world.publisher().status(world.now).confirmed);
}

/// What the old holder uploaded last may arrive after what the new one uploads first.
#[test]
fn new_epoch_uploads_both_slots_at_once_and_again_after_half_a_minute() {
    let mut world = published();
    world.view().role = Role::Holder { epoch: 2 };
    world.view().build_era += 1;
    world.run(Duration::from_millis(150));
    assert_eq!(rounds(&world), 1);
    world.run(secs(29));
    assert_eq!(rounds(&world), 1);
    world.run(secs(1));
    assert_eq!(rounds(&world), 2);
    world.run(secs(60));
    assert_eq!(rounds(&world), 2);
}

#[test]
fn a_node_alone_in_the_cluster_overtakes_nobody() {
    let mut world = World::new(30);
    world.consensus_moves = false;
    members(world.view()).truncate(1);
    world.run(secs(60));
    assert_eq!(rounds(&world), 1);
}

#[test]
fn publisher_that_lost_the_lease_stops() {
    let mut world = published();
    world.view().role = Role::Follower;
    world.view().proven = world.publisher().publication().proven;
    world.record(3).points.pop();
    world.run(secs(7200));
    assert!(world.hsdirs.seen.is_empty());
    let status = world.publisher().status(world.now);
    assert_eq!((status.points.len(), status.slots.len()), (9, 0));
    assert_eq!(status.waiting.unwrap(), "another node publishes");
    world.view().holder = None;
    world.run(secs(1));
    assert!(world.publisher().status(world.now).waiting.unwrap().starts_with("no node publishes now"));
}

/// The other period's copy cannot be read back: that it is refused is all that tells of somebody else's.
#[test]
fn an_hsdir_that_refuses_the_next_round_holds_the_plan_no_longer_and_is_told_of_once() {
    let mut world = published();
    let ring = world.ring.clone().unwrap();
    let read = ring.params().client_period(ring.valid_after());
    let unread = [Slot::First, Slot::Second].into_iter().find(|slot| world.period(*slot) != read).unwrap();
    let refusing = world.responsible(unread)[0];
    let state = |world: &World| {
        let status = world.publisher().status(world.now);
        let hsdirs = status.slots.iter().filter(|slot| slot.period != read.number).flat_map(|slot| &slot.hsdirs);
        let shown = hsdirs.into_iter().find(|hsdir| hsdir.relay == refusing.to_string()).unwrap().state.clone();
        (shown, status.confirmed, status.proven)
    };
    assert_eq!(state(&world), ("confirmed".to_owned(), true, true));
    world.hsdirs.behaviour.insert(refusing, Behaviour::Rejects);
    world.run(secs(2 * 60 * 60));
    assert_eq!(state(&world), ("refused".to_owned(), false, false));
    let told: Vec<_> = world.sites[0].warnings.iter().filter(|warning| warning.contains("cannot be read")).collect();
    assert_eq!(told.len(), 1, "{:?}", world.sites[0].warnings);
    assert!(world.publisher().warnings(world.now.mono)[0].starts_with(&**told[0]));
    world.hsdirs.behaviour.clear();
    world.run(secs(3 * 60));
    assert_eq!(state(&world), ("confirmed".to_owned(), true, true));
}

#[test]
fn what_was_confirmed_longer_ago_than_an_hsdir_keeps_it_is_confirmed_no_more() {
    let mut world = published();
    let silent = world.responsible(Slot::Second)[0];
    world.hsdirs.behaviour.insert(silent, Behaviour::Silent);
    world.run(secs(2 * 60 * 60));
    assert!(world.publisher().status(world.now).confirmed);
    world.run(secs(60 * 60));
    assert!(!world.publisher().status(world.now).confirmed);
}

/// Tor lists its points as a hash table has them. Ours must not show which are one node's, nor be sorted.
#[test]
fn points_stand_in_an_order_that_tells_nothing_and_is_the_same_whoever_publishes() {
    let mut world = published();
    let hsdir = world.responsible(Slot::First)[0];
    let order = |world: &World| -> Vec<[u8; 32]> {
        world.held(Slot::First, hsdir).unwrap().points.iter().map(|point| point.auth_key).collect()
    };
    let before = order(&world);
    let owners = || {
        let owner = |key: &[u8; 32]| (1..=3).find(|n| keys_of(&world.sites[0].view, &[*n]).contains(key));
        before.iter().map(owner)
    };
    assert!(owners().all(|owner| owner.is_some()));
    assert!(owners().zip(owners().skip(1)).filter(|(one, next)| one != next).count() > 2, "not node by node");
    assert!(!before.is_sorted());
    let mut view = world.sites[0].view.clone();
    view.proven = None;
    view.role = Role::Holder { epoch: 2 };
    world.elsewhere(2, view);
    world.run(secs(5));
    assert_eq!(order(&world), before);
}

#[test]
fn plan_after_a_change_of_publisher_keeps_points_where_they_are() {
    let crowd: Vec<_> =
        (1..=4).map(|n| crate::publish::testing::member(n, &[n, n + 10, n + 20, n + 30, n + 40, n + 50])).collect();
    let mut world = World::new(30);
    *members(world.view()) = crowd[..3].to_vec();
    world.run(secs(5));
    let proven = world.publisher().publication().proven;
    let mut view = world.sites[0].view.clone();
    view.proven = proven;
    view.role = Role::Holder { epoch: 2 };
    let before = world.listed();
    world.elsewhere(2, view);
    assert_eq!(world.listed(), before);
}

#[test]
fn rival_makes_the_winner_upload_at_once_and_again_when_it_is_gone() {
    let mut world = published();
    world.view().rival_until = Some(world.now.mono.plus(secs(30)));
    world.run(secs(2));
    assert_eq!(rounds(&world), 1);
    world.run(secs(26));
    assert_eq!(rounds(&world), 1);
    world.run(secs(4));
    assert_eq!(rounds(&world), 2);
    world.run(secs(600));
    assert_eq!(rounds(&world), 2);
}

/// After it stood still a machine reads in one millisecond what came meanwhile: that its claim is on disk, upon which it
/// uploads, and then that there is a rival.
#[test]
fn rival_heard_of_in_the_millisecond_of_an_upload_is_answered_at_once() {
    let mut world = published();
    world.view().role = Role::Holder { epoch: 2 };
    world.run(Duration::ZERO);
    assert!(!world.hsdirs.seen.is_empty());
    world.forget();
    world.view().rival_until = Some(world.now.mono.plus(secs(30)));
    world.run(secs(3));
    assert_eq!(rounds(&world), 1);
}

#[test]
fn new_epoch_under_a_rival_uploads_at_once_and_again_after_thirty_seconds() {
    let mut world = published();
    world.view().role = Role::Holder { epoch: 2 };
    world.view().rival_until = Some(world.now.mono.plus(secs(30)));
    world.run(secs(1));
    assert_eq!(rounds(&world), 1);
    world.run(secs(32));
    assert_eq!(rounds(&world), 2);
}

#[test]
fn at_most_one_upload_per_slot_in_thirty_seconds_while_a_rival_is_visible() {
    let mut world = published();
    for turn in 0..30 {
        world.view().rival_until = Some(world.now.mono.plus(secs(30)));
        world.record(2).points = vec![point(2, 20 + turn, 0)];
        world.run(secs(3));
    }
    for slot in [Slot::First, Slot::Second] {
        let seen = world.hsdirs.seen.iter().filter(|seen| seen.descriptor.period == world.period(slot));
        let mut first_seen = std::collections::BTreeMap::new();
        for seen in seen {
            first_seen.entry(seen.descriptor.revision).or_insert(seen.at);
        }
        let times: Vec<_> = first_seen.into_values().collect();
        assert!(times.len() >= 3);
        assert!(times.windows(2).all(|pair| pair[1].since(pair[0]) >= secs(30)), "{times:?}");
    }
}

#[test]
fn stalled_node_publishes_nothing() {
    let mut world = published();
    world.view().hold_uploads = true;
    world.view().build_era += 1;
    world.record(2).points.pop();
    world.run(secs(10));
    assert_eq!(rounds(&world), 0);
    world.view().hold_uploads = false;
    world.run(secs(1));
    assert_eq!(rounds(&world), 1);
}

#[test]
fn nothing_built_before_a_stall_is_uploaded_after_it() {
    let last_hsdir_gets_the_same = |stall: bool| {
        let mut world = World::new(30);
        let late = *world.responsible(Slot::First).last().unwrap();
        world.sites[0].blocked.insert(late);
        world.run(secs(3));
        world.view().build_era += u64::from(stall);
        world.sites[0].blocked.clear();
        world.run(secs(3));
        let [a, b] = [world.responsible(Slot::First)[0], late].map(|hsdir| world.held(Slot::First, hsdir).unwrap());
        a.revision == b.revision
    };
    assert!(last_hsdir_gets_the_same(false));
    assert!(!last_hsdir_gets_the_same(true));
}

#[test]
fn same_history_gives_the_same_uploads() {
    let history = || {
        let mut world = published();
        world.record(2).points.pop();
        world.run(secs(5));
        world.hsdirs.stored
    };
    assert_eq!(history(), history());
}
