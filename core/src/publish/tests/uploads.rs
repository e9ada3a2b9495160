//! What reaches the HSDirs, and what becomes of failures.

use crate::hsdesc::IntroPoint;
use crate::id::RelayFingerprint;
use crate::merge::testing::point;
use crate::onion::period::Slot;
use crate::publish::testing::{Behaviour, World, keys, keys_of, secs};
use crate::publish::{PublicationEvent, UPLOADS_IN_FLIGHT_MAX};
use crate::tor::UploadFailure;
use std::collections::BTreeSet;

#[test]
fn every_hsdir_of_both_slots_gets_every_nodes_points() {
    for after in [30, 270] {
        let mut world = World::new(after);
        world.run(secs(3));
        assert_eq!(world.listed(), keys_of(&world.sites[0].view, &[1, 2, 3]));
        assert_eq!((world.uploads(Slot::First), world.uploads(Slot::Second)), ((1, 1), (1, 1)));
        let status = world.publisher().status(world.now);
        assert!(status.confirmed && status.waiting.is_none());
        assert_eq!(status.points.len(), 9);
        assert_eq!(status.slots.iter().map(|slot| slot.hsdirs.len()).collect::<Vec<_>>(), [8, 8]);
        assert!(status.proven);
        for slot in &status.slots {
            let state = if slot.current { "verified" } else { "confirmed" };
            assert!(slot.hsdirs.iter().all(|hsdir| hsdir.state == state), "{slot:?}");
        }
        assert_eq!(status.slots.iter().filter(|slot| slot.current).count(), 1);
    }
}

#[test]
fn one_hsdir_responsible_for_both_slots_gets_one_upload_at_a_time() {
    let mut world = World::new(30);
    world.relays = 8;
    world.new_consensus();
    world.run(secs(5));
    assert_eq!(world.listed().len(), 9);
    assert!(world.publisher().status(world.now).confirmed);
}

/// Tor encrypts each copy anew: two HSDirs that compare must not see that ours are one.
#[test]
fn copies_of_one_upload_have_one_counter_and_no_other_byte_of_what_is_encrypted_in_common() {
    let mut world = World::new(30);
    world.run(secs(10));
    for slot in [Slot::First, Slot::Second] {
        let period = world.period(slot);
        let copy = |hsdir| String::from_utf8(world.hsdirs.stored[&(hsdir, period)].1.clone()).unwrap();
        let copies: Vec<_> = world.responsible(slot).into_iter().map(copy).collect();
        let parts = |copy: &String| copy.split_once("superencrypted").map(|(plain, rest)| (plain.len(), rest.len()));
        assert!(copies.iter().all(|copy| parts(copy) == parts(&copies[0])));
        let plain: BTreeSet<_> = copies.iter().map(|copy| copy.split("superencrypted").next()).collect();
        assert_eq!(plain.len(), 1);
        let lines = copies.iter().flat_map(|copy| copy.lines().skip_while(|line| *line != "superencrypted"));
        let lines: Vec<_> = lines.filter(|line| line.len() == 64).collect();
        assert!(lines.len() > 1000);
        assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), lines.len());
    }
}

#[test]
fn nothing_is_uploaded_before_a_consensus_is_known() {
    let mut world = World::new(30);
    world.ring = None;
    world.run(secs(30));
    assert!(world.hsdirs.seen.is_empty());
    assert_eq!(world.publisher().status(world.now).waiting.unwrap(), "tor has no live consensus yet");
    world.new_consensus();
    world.run(secs(1));
    assert_eq!(world.listed().len(), 9);
}

#[test]
fn change_of_plan_is_uploaded_once_after_the_debounce() {
    let mut world = World::new(30);
    world.run(secs(10));
    world.forget();
    world.record(2).points.push(point(2, 20, 0));
    world.run(core::time::Duration::from_millis(150));
    assert!(world.hsdirs.seen.is_empty());
    world.record(3).points.push(point(3, 21, 0));
    world.run(secs(2));
    assert_eq!(world.listed(), keys_of(&world.sites[0].view, &[1, 2, 3]));
    assert_eq!((world.uploads(Slot::First), world.uploads(Slot::Second)), ((1, 1), (1, 1)));
    let planned = PublicationEvent::Planned { points: 11, nodes: 3, descriptors: 1 };
    assert_eq!(world.sites[0].events.iter().filter(|event| **event == planned).count(), 1);
    assert!(matches!(
        world.sites[0].events.last(),
        Some(PublicationEvent::Confirmed { hsdirs: 16, took_ms: 100..1500 })
    ));
}

#[test]
fn failed_upload_is_retried_on_that_hsdir_alone_until_it_succeeds() {
    let mut world = World::new(30);
    let broken = world.responsible(Slot::First)[2];
    world.hsdirs.behaviour.insert(broken, Behaviour::Fails);
    world.run(secs(20));
    let failures =
        world.sites[0].events.iter().filter(|event| matches!(event, PublicationEvent::Failed { .. })).count();
    assert!((4..=12).contains(&failures), "{failures}");
    assert!(!world.publisher().status(world.now).confirmed);
    world.hsdirs.behaviour.clear();
    world.run(secs(40));
    assert!(world.publisher().status(world.now).confirmed);
    // The others have got both rounds of the epoch, and this one, which is of both slots, whichever it was tried for.
    for slot in [Slot::First, Slot::Second] {
        assert!(matches!(world.uploads(slot), (1..=2, 2)), "{:?}", world.uploads(slot));
    }
}

#[test]
fn a_new_plan_is_tried_at_once_however_long_the_last_one_was_refused() {
    let mut world = World::new(30);
    let refusing = world.responsible(Slot::Second)[0];
    world.hsdirs.behaviour.insert(refusing, Behaviour::Fails);
    world.run(secs(200));
    world.hsdirs.behaviour.clear();
    world.forget();
    world.record(2).points.push(point(2, 20, 0));
    world.run(secs(4));
    assert!(world.publisher().status(world.now).confirmed);
}

#[test]
fn each_retry_carries_a_fresh_counter() {
    let mut world = World::new(30);
    let refusing = world.responsible(Slot::Second)[0];
    world.hsdirs.behaviour.insert(refusing, Behaviour::Rejects);
    world.run(secs(25));
    let counters: Vec<_> = world.hsdirs.seen.iter().filter(|seen| seen.hsdir == refusing && !seen.accepted).collect();
    let distinct: BTreeSet<_> =
        counters.iter().map(|seen| (seen.descriptor.period, seen.descriptor.revision)).collect();
    assert!(counters.len() >= 4);
    assert_eq!(distinct.len(), counters.len());
}

#[test]
fn most_hsdirs_failing_three_times_counts_as_failing() {
    let mut world = World::new(30);
    for hsdir in world.responsible(Slot::First).into_iter().chain(world.responsible(Slot::Second)) {
        world.hsdirs.behaviour.insert(hsdir, Behaviour::Fails);
    }
    world.run(secs(2));
    assert!(!world.publisher().publication().failing);
    world.run(secs(8));
    assert!(world.publisher().publication().failing);
    world.hsdirs.behaviour.clear();
    world.run(secs(20));
    assert!(!world.publisher().publication().failing);
}

#[test]
fn refusals_are_answers_and_do_not_count_as_failing() {
    let mut world = World::new(30);
    for hsdir in world.responsible(Slot::First).into_iter().chain(world.responsible(Slot::Second)) {
        world.hsdirs.behaviour.insert(hsdir, Behaviour::Rejects);
    }
    for _ in 0..60 {
        world.run(secs(1));
        assert!(!world.publisher().publication().failing, "another publisher would be refused, too");
    }
}

#[test]
fn lost_control_connection_is_no_failure_of_the_hsdirs() {
    let mut world = World::new(30);
    world.sites[0].connected = false;
    world.run(secs(10));
    assert!(world.hsdirs.seen.is_empty() && !world.publisher().publication().failing);
    world.sites[0].connected = true;
    world.run(secs(2));
    assert_eq!(world.listed().len(), 9);
}

#[test]
fn silent_hsdir_does_not_hold_up_the_others() {
    let mut world = World::new(30);
    let silent = world.responsible(Slot::First)[0];
    world.hsdirs.behaviour.insert(silent, Behaviour::Silent);
    world.run(secs(2));
    let status = world.publisher().status(world.now);
    let states: Vec<_> = status.slots[0].hsdirs.iter().map(|hsdir| hsdir.state.as_str()).collect();
    assert_eq!(states[0], "sent");
    assert!(states[1..].iter().all(|state| ["confirmed", "verified"].contains(state)), "{states:?}");
}

#[test]
fn plan_is_proven_when_all_confirmed_and_the_current_slot_was_read_back() {
    let mut world = World::new(30);
    world.run(core::time::Duration::from_millis(250));
    assert!(world.publisher().status(world.now).confirmed);
    assert_eq!(world.publisher().publication().proven, None);
    world.run(secs(3));
    let proven = world.publisher().publication().proven.unwrap();
    assert_eq!((proven.epoch, proven.nodes.len()), (1, 3));
    let points: Vec<IntroPoint> = proven.nodes.values().flat_map(|part| part.points.clone()).collect();
    assert_eq!(keys(&points), world.listed());
    assert_eq!(world.sites[0].fetches, 8);
}

#[test]
fn hsdir_that_forgets_what_it_confirmed_is_repaired_alone() {
    let mut world = World::new(30);
    let other = world.responsible(Slot::Second);
    let forgetful = world.responsible(Slot::First).into_iter().find(|hsdir| !other.contains(hsdir)).unwrap();
    world.hsdirs.behaviour.insert(forgetful, Behaviour::Forgets);
    world.run(secs(5));
    assert_eq!(world.publisher().publication().proven, None);
    world.hsdirs.behaviour.clear();
    world.run(secs(20));
    assert_eq!(world.listed().len(), 9);
    assert!(world.publisher().publication().proven.is_some());
    let others = world.hsdirs.seen.iter().filter(|seen| seen.hsdir != forgetful).count();
    assert!(others <= 15, "{others}");
}

#[test]
fn points_left_out_are_named_with_the_reason() {
    let mut world = World::new(30);
    world.record(3).points = vec![point(3, 1, 0), point(3, 7, 0)];
    world.run(secs(2));
    let status = world.publisher().status(world.now);
    assert_eq!(status.left_out.len(), 1);
    assert!(status.left_out[0].contains("its relay is taken"), "{:?}", status.left_out);
    assert_eq!(status.points.iter().filter(|point| point.node == "03".repeat(32)).count(), 2);
}

#[test]
fn refusal_is_shown_in_status() {
    let mut world = World::new(30);
    let refusing = world.responsible(Slot::Second)[0];
    world.hsdirs.behaviour.insert(refusing, Behaviour::Rejects);
    world.run(secs(2));
    let status = world.publisher().status(world.now);
    let shown = status.slots[1].hsdirs.iter().find(|hsdir| hsdir.relay == refusing.to_string()).unwrap();
    assert_eq!(shown.failure, Some(UploadFailure::Rejected.to_string()));
}

#[test]
fn no_more_uploads_are_in_flight_though_the_ring_moves_under_them() {
    let mut world = World::new(30);
    world.consensus_moves = false;
    world.hsdirs.behaviour = (0..=u8::MAX).map(|n| (RelayFingerprint([n; 20]), Behaviour::Silent)).collect();
    for relays in [world.relays, 2 * world.relays, 3 * world.relays] {
        world.relays = relays;
        world.new_consensus();
        world.run(secs(1));
        assert!(world.publisher().flights.len() <= UPLOADS_IN_FLIGHT_MAX);
    }
    assert_eq!(world.publisher().flights.len(), UPLOADS_IN_FLIGHT_MAX);
    let hsdirs = [Slot::First, Slot::Second].into_iter().flat_map(|slot| world.responsible(slot));
    assert!(hsdirs.into_iter().any(|hsdir| !world.publisher().flights.contains_key(&hsdir)), "some wait");
}
