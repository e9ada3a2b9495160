//! What HSDirs are read back for, and what becomes of those that do not hold what they confirmed.

use crate::id::RelayFingerprint;
use crate::onion::period::Slot;
use crate::onion::revision::RevisionCounter;
use crate::publish::testing::{Behaviour, World, keys_of, secs};

/// Everything proven, and in calm since.
fn proven() -> World {
    let mut world = World::new(30);
    world.consensus_moves = false;
    world.run(secs(40));
    assert!(world.publisher().status(world.now).proven);
    world.forget();
    world
}

/// An HSDir of the current slot that is none of the other.
fn alone(world: &World) -> RelayFingerprint {
    let other = world.responsible(Slot::Second);
    world.responsible(Slot::First).into_iter().find(|hsdir| !other.contains(hsdir)).unwrap()
}

fn state(world: &World, hsdir: RelayFingerprint) -> String {
    let status = world.publisher().status(world.now);
    status.slots[0].hsdirs.iter().find(|shown| shown.relay == hsdir.to_string()).unwrap().state.clone()
}

/// Who was uploaded to.
fn served(world: &World) -> Vec<RelayFingerprint> {
    world.hsdirs.seen.iter().map(|seen| seen.hsdir).collect()
}

#[test]
fn verified_copies_are_read_again_every_five_to_ten_minutes() {
    let mut world = proven();
    assert_eq!(world.sites[0].fetches, 16, "after each of two rounds");
    world.run(secs(280));
    assert_eq!(world.sites[0].fetches, 16);
    world.run(secs(320));
    assert_eq!(world.sites[0].fetches, 24);
    assert!(world.hsdirs.seen.is_empty() && world.publisher().status(world.now).proven);
}

#[test]
fn copy_that_was_lost_later_is_repaired_on_that_hsdir_alone() {
    let mut world = proven();
    let hsdir = alone(&world);
    let lost = world.hsdirs.stored.remove(&(hsdir, world.period(Slot::First)));
    world.run(secs(620));
    assert_eq!(served(&world), [hsdir]);
    let held = world.held(Slot::First, hsdir).unwrap();
    assert!(held.revision > lost.unwrap().0);
    assert_eq!(state(&world, hsdir), "verified");
    assert!(world.publisher().status(world.now).proven && world.sites[0].warnings.is_empty());
}

/// HSDirs keep descriptors in memory: one that was restarted has lost those of both slots.
#[test]
fn who_lost_the_copy_that_can_be_read_gets_the_other_one_again_too() {
    let mut world = proven();
    let others = world.responsible(Slot::Second);
    let both = world.responsible(Slot::First).into_iter().find(|hsdir| others.contains(hsdir)).unwrap();
    let periods = [Slot::First, Slot::Second].map(|slot| world.period(slot));
    for period in periods {
        world.hsdirs.stored.remove(&(both, period)).unwrap();
    }
    world.run(secs(640));
    assert_eq!(served(&world), [both, both]);
    assert!(periods.iter().all(|period| world.hsdirs.stored.contains_key(&(both, *period))));
    assert!(world.publisher().status(world.now).proven && world.sites[0].warnings.is_empty());
}

#[test]
fn older_copy_is_replaced_on_that_hsdir_alone() {
    let mut world = proven();
    let (hsdir, period) = (alone(&world), world.period(Slot::First));
    let old = world.hsdirs.stored[&(hsdir, period)].clone();
    world.record(2).points.pop();
    world.run(secs(5));
    world.forget();
    world.hsdirs.stored.insert((hsdir, period), old);
    world.run(secs(620));
    assert_eq!(served(&world), [hsdir]);
    assert_eq!(world.listed().len(), 8);
    assert!(world.sites[0].warnings.is_empty(), "it was our own");
}

#[test]
fn foreign_descriptor_is_warned_of_and_replaced_on_that_hsdir_alone_however_high_its_counter() {
    for ahead in [61, 3600] {
        let mut world = proven();
        let (hsdir, period) = (alone(&world), world.period(Slot::First));
        let (revision, text) = world.foreign(Slot::First, secs(60));
        let revision = if ahead == 61 { revision } else { RevisionCounter(revision.0 * 20) };
        world.run(secs(65));
        world.hsdirs.stored.insert((hsdir, period), (revision, replaced(&text, revision)));
        world.run(secs(560));
        assert_eq!(served(&world), [hsdir]);
        assert_eq!(world.listed(), keys_of(&world.sites[0].view, &[1, 2, 3]));
        assert!(world.held(Slot::First, hsdir).unwrap().revision > revision);
        assert_eq!(state(&world, hsdir), "verified");
        if ahead == 61 {
            assert_eq!(world.sites[0].warnings.len(), 1);
            let warning = &world.sites[0].warnings[0];
            assert!(warning.contains(&hsdir.to_string()) && warning.contains("somebody else publishes"), "{warning}");
        }
    }
}

#[test]
fn an_operator_is_told_of_a_stranger_for_an_hour_after_it_was_last_seen() {
    let mut world = proven();
    let (hsdir, period) = (alone(&world), world.period(Slot::First));
    let copy = world.foreign(Slot::First, secs(60));
    world.run(secs(65));
    assert!(world.publisher().warnings(world.now.mono).is_empty());
    world.hsdirs.stored.insert((hsdir, period), copy);
    world.run(secs(660));
    let told = world.publisher().warnings(world.now.mono);
    let [told] = &told[..] else { panic!("{told:?}") };
    assert!(told.starts_with(&world.sites[0].warnings[0]) && told.contains(" min ago)"), "{told}");
    world.run(secs(2900));
    assert_eq!(world.publisher().warnings(world.now.mono).len(), 1);
    world.run(secs(660));
    assert!(world.publisher().warnings(world.now.mono).is_empty());
}

/// `text` with another counter, which no client could read.
fn replaced(text: &[u8], revision: RevisionCounter) -> Vec<u8> {
    let text = String::from_utf8(text.to_vec()).unwrap();
    let lines = text.lines().map(|line| match line.strip_prefix("revision-counter ") {
        Some(_) => format!("revision-counter {}\n", revision.0),
        None => format!("{line}\n"),
    });
    lines.collect::<String>().into_bytes()
}

#[test]
fn another_text_under_the_same_counter_is_no_proof_and_is_replaced_on_that_hsdir_alone() {
    let mut world = proven();
    let hsdir = alone(&world);
    let other = world.responsible(Slot::First).into_iter().find(|other| *other != hsdir).unwrap();
    let (key, period) = ((hsdir, world.period(Slot::First)), world.period(Slot::First));
    let copy = world.hsdirs.stored[&(other, period)].clone();
    let confirmed = world.hsdirs.stored.insert(key, copy.clone()).unwrap();
    assert_eq!(confirmed.0, copy.0, "the premise: one counter");
    world.run(secs(620));
    assert_eq!(served(&world), [hsdir]);
    assert!(world.hsdirs.stored[&key].0 > confirmed.0);
    assert_eq!(state(&world, hsdir), "verified");
    assert!(world.sites[0].warnings.is_empty(), "it lists our points");
}

#[test]
fn another_members_descriptor_is_replaced_without_a_warning() {
    let mut world = proven();
    let hsdir = alone(&world);
    let mut other = World::new(95);
    other.record(3).points.clear();
    other.run(secs(2));
    world.run(secs(65));
    let period = world.period(Slot::First);
    world.hsdirs.stored.insert((hsdir, period), other.hsdirs.stored[&(hsdir, period)].clone());
    world.run(secs(560));
    assert_eq!(served(&world), [hsdir]);
    assert!(world.sites[0].warnings.is_empty(), "{:?}", world.sites[0].warnings);
}

#[test]
fn hsdir_that_keeps_nothing_is_told_in_status_and_served_less_and_less_often() {
    let mut world = proven();
    let (hsdir, period) = (alone(&world), world.period(Slot::First));
    world.hsdirs.stored.remove(&(hsdir, period));
    world.hsdirs.behaviour.insert(hsdir, Behaviour::Forgets);
    world.run(secs(1200));
    assert!((8..=20).contains(&world.hsdirs.seen.len()), "{}", world.hsdirs.seen.len());
    assert!(!world.publisher().status(world.now).proven);
    assert_ne!(state(&world, hsdir), "verified");
    assert!(!world.publisher().publication().failing);
}
