//! Who can read what is published.

use std::sync::Arc;

use crate::cluster::{Access, CLIENTS_MAX, View};
use crate::hsdesc::{self, DescriptorError, DescriptorFault, IntroPoint, LINK_SPECIFIERS_LENGTH_MAX};
use crate::merge::testing::point;
use crate::onion::client::HsClientDescEncKeypair;
use crate::onion::period::Slot;
use crate::publish::testing::{World, secs, view};

fn client(n: u8) -> HsClientDescEncKeypair {
    HsClientDescEncKeypair::from_bytes(&[n; 32])
}

fn restricted(clients: &[u8]) -> Arc<Access> {
    let clients = clients.iter().map(|n| (format!("client{n}").parse().unwrap(), client(*n).public()));
    Arc::new(Access::Restricted(clients.collect()))
}

/// Which of clients 1 to 3 can open every copy of both slots, and whether everybody can.
fn readers(world: &World) -> (Vec<u8>, bool) {
    let opens = |client: Option<&HsClientDescEncKeypair>| {
        let slots = [Slot::First, Slot::Second];
        let copies =
            slots.into_iter().flat_map(|slot| world.responsible(slot).into_iter().map(move |hsdir| (slot, hsdir)));
        let outcomes: Vec<_> = copies
            .map(|(slot, hsdir)| {
                let (_, text) = &world.hsdirs.stored[&(hsdir, world.period(slot))];
                let opened = hsdesc::open(text, world.id, &[world.period(slot)], client, world.now.wall);
                assert!(matches!(opened, Ok(_) | Err(DescriptorError { fault: DescriptorFault::Mac, .. })));
                opened.is_ok()
            })
            .collect();
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "copies differ");
        outcomes[0]
    };
    ((1..=3).filter(|n| opens(Some(&client(*n)))).collect(), opens(None))
}

#[test]
fn a_change_is_uploaded_to_every_hsdir_of_both_slots_at_once() {
    let mut world = World::new(30);
    world.run(secs(40));
    assert_eq!(readers(&world), (vec![1, 2, 3], true));
    for (access, expected) in [
        (restricted(&[1, 2]), (vec![1, 2], false)),
        (restricted(&[2, 3]), (vec![2, 3], false)),
        (restricted(&[]), (vec![], false)),
        (Arc::default(), (vec![1, 2, 3], true)),
    ] {
        world.forget();
        world.view().access = access;
        world.run(secs(3));
        assert_eq!((world.uploads(Slot::First), world.uploads(Slot::Second)), ((1, 1), (1, 1)));
        assert_eq!(readers(&world), expected);
        assert_eq!(world.listed().len(), 9, "we can read it always");
        world.run(secs(30));
        assert_eq!(world.uploads(Slot::First), (1, 1), "once");
    }
}

#[test]
fn beacons_tell_plans_with_other_clients_apart() {
    let mut world = World::new(30);
    let mut digests = Vec::new();
    for access in [Arc::default(), restricted(&[]), restricted(&[1]), restricted(&[2])] {
        world.view().access = access;
        world.run(secs(3));
        digests.push(world.publisher().publication().plan_digest);
    }
    digests.dedup();
    assert_eq!(digests.len(), 4);
}

/// A point that no tor makes, with as many bytes of link specifiers as a record may have.
fn long(point: IntroPoint) -> IntroPoint {
    let mut link_specifiers = point.link_specifiers.clone();
    let rest = LINK_SPECIFIERS_LENGTH_MAX - link_specifiers.len() - 2;
    link_specifiers[0] += 1;
    link_specifiers.extend([77, u8::try_from(rest).unwrap()]);
    link_specifiers.resize(LINK_SPECIFIERS_LENGTH_MAX, 0);
    IntroPoint { link_specifiers, ..point }
}

#[test]
fn a_member_that_offers_points_too_long_for_so_many_clients_holds_up_uploads_and_is_told_of() {
    let clients: Vec<_> = (1..=CLIENTS_MAX as u8).collect();
    let mut world = World::new(30);
    world.consensus_moves = false;
    world.view().access = restricted(&clients);
    world.run(secs(5));
    assert_eq!((readers(&world), world.listed().len()), ((vec![1, 2, 3], false), 9));
    world.forget();
    // Twenty points in all: more are spread over several descriptors, which are shorter.
    let honest = world.record(3).points.clone();
    world.record(3).points = (7..=20).map(|relay| long(point(3, relay, 1))).collect();
    world.run(secs(60));
    let waiting = world.publisher().status(world.now).waiting.unwrap();
    assert!(waiting.starts_with("no descriptor can be built: the descriptor has 54"), "{waiting}");
    assert!(world.hsdirs.seen.is_empty() && world.listed().len() == 9, "what is published stays");
    world.record(3).points = honest;
    world.record(3).points.push(point(3, 25, 1));
    world.run(secs(15));
    assert_eq!((readers(&world), world.listed().len()), ((vec![1, 2, 3], false), 10));
}

/// Three nodes, of which this one hears none; another has published.
fn alone_after(other: &Arc<Access>, own: &Arc<Access>) -> World {
    let mut world = World::new(30);
    world.consensus_moves = false;
    world.sites.clear();
    world.elsewhere(3, View { access: Arc::clone(other), ..view() });
    world.add_site(1, View { sees_majority: false, access: Arc::clone(own), ..view() });
    world
}

#[test]
fn a_minority_that_has_not_heard_of_the_restriction_does_not_undo_it() {
    let mut world = alone_after(&restricted(&[1]), &Arc::default());
    world.run(secs(300));
    assert!(world.hsdirs.seen.is_empty());
    assert!(world.publisher().status(world.now).waiting.unwrap().contains("has not heard of"));
    assert_eq!(readers(&world), (vec![1], false));
}

#[test]
fn one_of_two_that_was_away_does_not_undo_a_restriction_that_it_has_not_heard_of() {
    for (published, met, opens) in
        [(restricted(&[1]), false, false), (Arc::default(), false, true), (restricted(&[1]), true, true)]
    {
        let mut world = alone_after(&published, &Arc::default());
        world.view().sees_majority = true;
        world.view().has_met_most = met;
        world.run(secs(300));
        assert_eq!(readers(&world).1, opens || !published.is_restricted(), "{published:?}, {met}");
        assert_eq!(world.hsdirs.seen.is_empty(), !opens);
        let waiting = world.publisher().status(world.now).waiting;
        assert_eq!(waiting.is_some_and(|waiting| waiting.contains("has not heard of")), !opens);
        // The operator, or another node, says who may connect.
        world.view().access = restricted(&[2]);
        world.run(secs(30));
        assert_eq!(readers(&world), (vec![2], false));
    }
}

#[test]
fn a_minority_that_knows_of_the_restriction_does_not_let_an_open_descriptor_stand() {
    let mut world = alone_after(&Arc::default(), &restricted(&[1]));
    world.run(secs(10));
    assert_eq!(readers(&world), (vec![1], false));
}
