//! The word that status has for each HSDir, in every state there is and in the order in which they follow each other.

use core::time::Duration;

use crate::id::RelayFingerprint;
use crate::onion::period::Slot;
use crate::publish::testing::{Behaviour, World, secs};

/// Shorter than any state lasts.
const STEP: Duration = Duration::from_millis(20);

/// An HSDir of `slot` that is none of the other.
fn alone(world: &World, slot: Slot) -> RelayFingerprint {
    let other = world.responsible(if slot == Slot::First { Slot::Second } else { Slot::First });
    world.responsible(slot).into_iter().find(|hsdir| !other.contains(hsdir)).unwrap()
}

fn word(world: &World, slot: Slot, hsdir: RelayFingerprint) -> String {
    let status = world.publisher().status(world.now);
    let slot = &status.slots[usize::from(slot == Slot::Second)];
    slot.hsdirs.iter().find(|shown| shown.relay == hsdir.to_string()).unwrap().state.clone()
}

/// What is said during `time`, as often as it changes.
fn words(world: &mut World, slot: Slot, hsdir: RelayFingerprint, time: Duration) -> Vec<String> {
    let mut words = vec![word(world, slot, hsdir)];
    let end = world.now.mono.plus(time);
    while world.now.mono < end {
        world.run(STEP);
        words.push(word(world, slot, hsdir));
        words.dedup();
    }
    words
}

#[test]
fn an_upload_is_wanted_sent_confirmed_and_verified_or_told_why_not() {
    let silent: &[&str] = &["wanted", "sent"];
    for (slot, behaviour, first_words) in [
        (Slot::First, None, &["wanted", "sent", "confirmed", "verified"][..]),
        (Slot::Second, None, &["wanted", "sent", "confirmed"]),
        (Slot::First, Some(Behaviour::Rejects), &["wanted", "sent", "refused", "sent", "refused"]),
        (Slot::Second, Some(Behaviour::Rejects), &["wanted", "sent", "refused", "sent", "refused"]),
        (Slot::First, Some(Behaviour::Fails), &["wanted", "sent", "wanted", "sent", "wanted"]),
        (Slot::Second, Some(Behaviour::Silent), silent),
        (Slot::First, Some(Behaviour::Forgets), &["wanted", "sent", "confirmed", "gone", "sent", "confirmed", "gone"]),
        (Slot::Second, Some(Behaviour::Forgets), &["wanted", "sent", "confirmed"]),
    ] {
        let mut world = World::new(30);
        world.consensus_moves = false;
        world.sites[0].connected = false;
        world.run(secs(2));
        let hsdir = alone(&world, slot);
        assert!(word(&world, slot, hsdir) == "wanted", "tor is not connected");
        world.hsdirs.behaviour.extend(behaviour.map(|behaviour| (hsdir, behaviour)));
        world.sites[0].connected = true;
        let said = words(&mut world, slot, hsdir, secs(15));
        assert!(said.iter().zip(first_words).all(|(said, expected)| said == expected), "{behaviour:?}: {said:?}");
        // Whoever is not tried again and again has nothing more to say.
        let is_retried = said.len() > first_words.len() && behaviour.is_some() && first_words != silent;
        assert!(said.len() == first_words.len() || is_retried, "{behaviour:?}: {said:?}");
    }
}

/// Everything proven; what `change` makes of an HSDir's copy is read back 5 to 10 minutes later.
fn words_after(change: impl FnOnce(&mut World, RelayFingerprint)) -> Vec<String> {
    let mut world = World::new(30);
    world.consensus_moves = false;
    world.run(secs(40));
    assert!(world.publisher().status(world.now).proven);
    let hsdir = alone(&world, Slot::First);
    change(&mut world, hsdir);
    let mut waited = 0;
    while word(&world, Slot::First, hsdir) == "verified" {
        world.run(Duration::from_millis(250));
        waited += 1;
        assert!(waited < 4 * 620, "nobody has looked");
    }
    words(&mut world, Slot::First, hsdir, secs(5))
}

#[test]
fn a_copy_that_is_gone_stale_or_foreign_is_told_until_it_is_replaced() {
    let gone = words_after(|world, hsdir| {
        world.hsdirs.stored.remove(&(hsdir, world.period(Slot::First)));
    });
    assert_eq!(gone, ["gone", "sent", "confirmed", "verified"]);
    let stale = words_after(|world, hsdir| {
        let key = (hsdir, world.period(Slot::First));
        let old = world.hsdirs.stored[&key].clone();
        world.record(2).points.pop();
        world.run(secs(5));
        world.hsdirs.stored.insert(key, old);
    });
    assert_eq!(stale, ["stale", "sent", "confirmed", "verified"]);
    let foreign = words_after(|world, hsdir| {
        let copy = world.foreign(Slot::First, secs(60));
        world.run(secs(65));
        world.hsdirs.stored.insert((hsdir, world.period(Slot::First)), copy);
    });
    assert_eq!(foreign, ["foreign", "sent", "confirmed", "verified"]);
}
