//! Joining with an invite: at any node, as often as it is for, through losses, crashes and partitions.

mod mesh;

use mesh::{World, keypair, seeds};
use rand_core::SeedableRng as _;
use rustbalance_core::WgPublicKey;
use rustbalance_core::cluster::{CommandError, NewInvite};
use rustbalance_core::invite::Invite;
use rustbalance_core::invite::exchange::{Guest, Welcome};
use rustbalance_core::join::{AdmitError, JoinError};
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::output::RequestId;
use rustbalance_core::rng::Rng;
use rustbalance_core::time::Wall;

const HOUR: u64 = 3600;

/// Makes an invite at `node` that is good for an hour, and waits until all know it.
fn invite(world: &mut World, node: usize, name: &str, uses: u8) -> Invite {
    let expires = Wall::from_secs(world.now(node).wall.as_secs() + HOUR);
    let address = OnionAddress::new(world.master.public());
    let rng = &mut Rng::seed_from_u64(name.bytes().map(u64::from).sum());
    let invite = Invite::new(address, 80, expires, rng);
    let new = NewInvite { id: invite.id(), name: name.parse().expect("a name"), uses, expires: expires.as_secs() };
    world.command(node, |cluster, now, out| cluster.invite(now, &new, out)).expect("allowed");
    world.until(5_000, "all know the invite", |world| {
        let knows = |node: &usize| world.hosts.get(*node).is_some_and(|host| host.paths.contains(&invite.id().path()));
        world.live().iter().all(knows)
    });
    invite
}

fn guest(invite: &Invite, n: u8) -> Guest {
    let contact = Some(format!("guest{n}:7900"));
    Guest::new(invite, keypair(n), WgPublicKey([n; 32]), contact, &mut Rng::seed_from_u64(u64::from(n)))
}

/// Shows the invite to `via` and waits for the answer. `None`: it was for the service.
fn show(world: &mut World, via: usize, guest: &Guest, n: u8) -> Option<Result<Welcome, JoinError>> {
    let request = RequestId(u64::from(n));
    if !world.show(via, request, guest.request()) {
        return None;
    }
    world.until(2_000, "an answer", |world| world.answers.iter().any(|(id, _)| *id == request));
    let at = world.answers.iter().position(|(id, _)| *id == request).expect("just seen");
    let (_, answer) = world.answers.remove(at);
    guest.handle(&answer?).transpose()
}

fn refusal(outcome: Option<Result<Welcome, JoinError>>) -> Option<JoinError> {
    outcome?.err()
}

fn start(world: &mut World, n: u8, welcome: Welcome) -> usize {
    world.add(n, 100, *welcome.token.expose_secret(), welcome.admitted)
}

fn state(world: &mut World, node: usize, name: &str) -> String {
    let now = world.now(node);
    let all = world.cluster(node).invites(now);
    all.into_iter().find(|invite| invite.name == name).map_or_else(String::new, |invite| invite.state)
}

#[test]
fn a_guest_joins_at_any_node_and_is_heard_by_all() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 3);
        let invite = invite(&mut world, 0, "one", 1);
        let via = usize::try_from(seed % 3).expect("small");
        let welcome = show(&mut world, via, &guest(&invite, 9), 9).expect("answered").expect("welcome");
        assert_eq!(*welcome.master, *world.master.to_tor_file());
        let joined = start(&mut world, 9, welcome);
        world.set_eligible(joined, true);
        world.until(20_000, "all know the new node", World::is_settled);
        for node in 0..4 {
            assert_eq!(state(&mut world, node, "one"), "used", "node {node}");
        }
    }
}

#[test]
fn of_two_guests_with_one_invite_the_first_joins_and_may_ask_again() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 3);
        let invite = invite(&mut world, 0, "one", 1);
        show(&mut world, 0, &guest(&invite, 9), 9).expect("answered").expect("welcome");
        world.run(2_000);
        for via in 0..3 {
            let second = show(&mut world, via, &guest(&invite, 8), 8);
            assert_eq!(refusal(second), Some(JoinError::Refused(AdmitError::InviteUsed)));
            // It died before it had written anything down.
            show(&mut world, via, &guest(&invite, 9), 9).expect("answered").expect("welcome, again");
        }
        assert_eq!(world.view(0).members.len(), 4);
    }
}

#[test]
fn two_guests_at_once_at_one_node_do_not_both_get_in() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 2);
        let invite = invite(&mut world, 0, "one", 1);
        let guests = [guest(&invite, 8), guest(&invite, 9)];
        for (n, guest) in (0..).zip(&guests) {
            assert!(world.show(0, RequestId(n), guest.request()));
        }
        world.until(2_000, "both have an answer", |world| world.answers.len() == 2);
        let answers: Vec<_> = world.answers.drain(..).collect();
        let welcome = answers.into_iter().filter(|(RequestId(n), answer)| {
            let guest = &guests[usize::try_from(*n).expect("small")];
            guest.handle(answer.as_ref().expect("both are invited")).is_ok()
        });
        assert_eq!(welcome.count(), 1);
        assert_eq!(world.view(0).members.len(), 3);
    }
}

#[test]
fn an_invite_for_three_admits_three_at_three_nodes() {
    let mut world = World::of(1, 3);
    let invite = invite(&mut world, 0, "three", 3);
    for (via, n) in (0..).zip(7..10) {
        show(&mut world, via, &guest(&invite, n), n).expect("answered").expect("welcome");
        world.run(1_000);
    }
    assert_eq!(refusal(show(&mut world, 0, &guest(&invite, 6), 6)), Some(JoinError::Refused(AdmitError::InviteUsed)));
}

#[test]
fn revoked_expired_and_orphaned_invites_say_so_and_others_are_for_the_service() {
    let mut world = World::of(2, 3);
    let revoked = invite(&mut world, 0, "revoked", 1);
    let expired = invite(&mut world, 0, "expires", 1);
    let orphaned = invite(&mut world, 2, "orphaned", 1);
    let name = "revoked".parse().expect("a name");
    world.command(1, |cluster, now, out| cluster.revoke_invite(now, &name, out)).expect("allowed");
    world.run(2_000);
    let why = AdmitError::InviteRevoked;
    assert_eq!(refusal(show(&mut world, 0, &guest(&revoked, 9), 9)), Some(JoinError::Refused(why)));
    let maker = world.hosts[2].id;
    world.command(0, |cluster, now, out| cluster.remove(now, maker, out)).expect("allowed");
    world.run(2_000);
    assert_eq!(refusal(show(&mut world, 1, &guest(&orphaned, 9), 9)), Some(JoinError::Refused(why)));
    assert_eq!(state(&mut world, 0, "orphaned"), "void");

    world.set_clock(0, 1_000 * i64::try_from(HOUR).expect("small"));
    world.run(1_000);
    let why = AdmitError::InviteExpired;
    assert_eq!(refusal(show(&mut world, 0, &guest(&expired, 9), 9)), Some(JoinError::Refused(why)));
    world.set_clock(0, 2_100 * i64::try_from(HOUR).expect("small"));
    world.run(1_000);
    assert!(show(&mut world, 0, &guest(&expired, 9), 9).is_none(), "long ago");
    let address = OnionAddress::new(world.master.public());
    let unknown = Invite::new(address, 80, Wall::from_secs(u64::MAX), &mut Rng::seed_from_u64(99));
    assert!(show(&mut world, 1, &guest(&unknown, 9), 9).is_none());
    assert_eq!(world.view(1).members.len(), 2);
}

#[test]
fn nothing_is_answered_before_use_and_admission_are_on_disk_and_a_crash_loses_neither() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 2);
        let invite = invite(&mut world, 0, "one", 1);
        world.disk_ms = 500;
        assert!(world.show(0, RequestId(9), guest(&invite, 9).request()));
        world.run(900);
        assert!(world.answers.is_empty(), "two writes, one after the other");
        world.kill(0);
        world.disk_ms = 5;
        world.start(0);
        world.run(3_000);
        // The guest, which heard nothing, asks again; another comes too late at any node.
        for via in 0..2 {
            let late = show(&mut world, via, &guest(&invite, 8), 8);
            assert_eq!(refusal(late), Some(JoinError::Refused(AdmitError::InviteUsed)), "via {via}");
        }
        show(&mut world, 1, &guest(&invite, 9), 9).expect("answered").expect("welcome");
    }
}

#[test]
fn both_sides_of_a_partition_may_admit_one_and_nobody_after_it_heals() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 4);
        let invite = invite(&mut world, 0, "one", 1);
        world.partition(&[0, 1], &[2, 3]);
        world.run(5_000);
        show(&mut world, 0, &guest(&invite, 8), 8).expect("answered").expect("welcome");
        show(&mut world, 2, &guest(&invite, 9), 9).expect("answered").expect("welcome");
        world.run(1_000);
        world.heal();
        world.until(10_000, "all have heard of both", |world| (0..4).all(|node| world.view(node).members.len() == 6));
        world.run(2_000);
        for via in 0..4 {
            let third = show(&mut world, via, &guest(&invite, 7), 7);
            assert_eq!(refusal(third), Some(JoinError::Refused(AdmitError::InviteUsed)));
            let warned = world.hosts[via]
                .warnings()
                .iter()
                .any(|text| text.starts_with("2 nodes have joined with the invite one"));
            assert!(warned, "{:?}", world.hosts[via].warnings());
        }
        let before = world.sent;
        world.run(60_000);
        assert!(world.sent - before < 60 * 6 * 40, "the ledgers go on travelling: {} datagrams", world.sent - before);
    }
}

#[test]
fn who_was_removed_does_not_come_back_with_an_invite_that_it_knows_of() {
    let mut world = World::of(3, 3);
    let invite = invite(&mut world, 0, "one", 1);
    let removed = world.hosts[2].id;
    world.command(0, |cluster, now, out| cluster.remove(now, removed, out)).expect("allowed");
    world.run(2_000);
    let again = show(&mut world, 0, &guest(&invite, 3), 3);
    assert_eq!(refusal(again), Some(JoinError::Refused(AdmitError::Tombstoned)));
    assert_eq!(state(&mut world, 0, "one"), "open");
}

#[test]
fn a_flood_of_requests_is_looked_at_slowly_and_left_to_the_service() {
    let mut world = World::of(4, 2);
    let invite = invite(&mut world, 0, "one", 1);
    let stranger = guest(&invite, 9);
    let mut forged = stranger.request().to_vec();
    *forged.last_mut().expect("not empty") ^= 1;
    for n in 0..50 {
        assert!(world.show(0, RequestId(n), &forged));
    }
    assert!(world.answers.drain(..).all(|(_, answer)| answer.is_none()));
    assert!(show(&mut world, 0, &stranger, 9).is_none(), "too many at once");
    world.run(2_000);
    show(&mut world, 0, &stranger, 9).expect("answered").expect("welcome");
}

#[test]
fn an_order_while_the_last_one_is_being_written_is_refused() {
    let mut world = World::of(5, 2);
    world.disk_ms = 500;
    let expires = world.now(0).wall.as_secs() + HOUR;
    let new = |n: u8, name: &str| NewInvite {
        id: rustbalance_core::invite::InviteId([n; 32]),
        name: name.parse().expect("a name"),
        uses: 1,
        expires,
    };
    let mut order = |new: NewInvite| world.command(0, |cluster, now, out| cluster.invite(now, &new, out));
    assert_eq!(order(new(1, "one")), Ok(()));
    assert_eq!(order(new(2, "two")), Err(CommandError::Busy));
    assert!(state(&mut world, 0, "one").is_empty(), "not on disk yet");
    world.run(600);
    assert_eq!(state(&mut world, 0, "one"), "open");
}
