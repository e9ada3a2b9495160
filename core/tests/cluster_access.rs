//! Who may connect to the address: one ledger of all members, through partitions, crashes and joins.

mod mesh;

use mesh::{TOKEN, World, seeds};
use rustbalance_core::DurableKind;
use rustbalance_core::cluster::{Access, AccessChange, CommandError};
use rustbalance_core::onion::client::{HsClientDescEncKey, HsClientDescEncKeypair};

fn key(n: u8) -> HsClientDescEncKey {
    HsClientDescEncKeypair::from_bytes(&[n; 32]).public()
}

fn add(name: &str, n: u8) -> AccessChange {
    AccessChange::Add(name.parse().expect("a name"), key(n))
}

fn remove(name: &str) -> AccessChange {
    AccessChange::Remove(name.parse().expect("a name"))
}

fn change(world: &mut World, node: usize, change: AccessChange) -> Result<(), CommandError> {
    world.command(node, |cluster, now, out| cluster.change_access(now, &[change], out))
}

/// The clients' names, as `node` knows them; `None`: open.
fn names(world: &World, node: usize) -> Option<Vec<String>> {
    match &*world.view(node).access {
        Access::Open => None,
        Access::Restricted(clients) => Some(clients.keys().map(ToString::to_string).collect()),
    }
}

fn all_know(world: &World, expected: &[&str]) -> bool {
    let knows = |node| names(world, node).is_some_and(|names| names == expected);
    world.live().into_iter().all(knows)
}

#[test]
fn a_change_at_any_node_reaches_all_within_two_seconds() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 5);
        world.loss_percent = 10;
        let node = usize::try_from(seed % 5).expect("small");
        change(&mut world, node, add("alice", 1)).expect("allowed");
        let took = world.until(10_000, "all know alice", |world| all_know(world, &["alice"]));
        assert!(took <= 2_000, "{took} ms");
        change(&mut world, (node + 1) % 5, remove("alice")).expect("allowed");
        world.until(10_000, "all know that she is gone", |world| all_know(world, &[]));
    }
}

#[test]
fn nothing_is_in_force_before_it_is_on_disk_and_all_of_it_after_a_crash() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 2);
        world.disk_ms = 500;
        change(&mut world, 0, add("alice", 1)).expect("allowed");
        assert_eq!(change(&mut world, 0, add("bob", 2)), Err(CommandError::Busy));
        world.run(400);
        assert_eq!((names(&world, 0), names(&world, 1)), (None, None));
        world.kill(0);
        world.run(2_000);
        world.start(0);
        // The disk had it, though nobody was told: then it is in force.
        assert_eq!(names(&world, 0), Some(vec!["alice".to_owned()]));
        world.until(5_000, "all know", |world| all_know(world, &["alice"]));
        world.kill(0);
        world.start(0);
        assert_eq!(names(&world, 0), Some(vec!["alice".to_owned()]), "at once after a restart");
    }
}

#[test]
fn who_is_admitted_knows_before_it_has_heard_of_anybody() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 2);
        change(&mut world, 0, add("alice", 1)).expect("allowed");
        world.until(5_000, "all know", |world| all_know(world, &["alice"]));
        let joined = world.join_with(1, 9, TOKEN);
        let everyone: Vec<usize> = (0..world.hosts.len()).filter(|node| *node != joined).collect();
        world.partition(&[joined], &everyone);
        assert_eq!(names(&world, joined), Some(vec!["alice".to_owned()]));
    }
}

#[test]
fn what_two_sides_of_a_partition_did_is_all_kept_and_the_stricter_where_they_differ() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 5);
        for (name, n) in [("alice", 1), ("bob", 2), ("carol", 3)] {
            change(&mut world, 0, add(name, n)).expect("allowed");
            world.until(5_000, "in force", |world| {
                names(world, 0).is_some_and(|names| names.contains(&name.to_owned()))
            });
        }
        world.until(5_000, "all know", |world| all_know(world, &["alice", "bob", "carol"]));
        world.partition(&[0, 1], &[2, 3, 4]);
        world.run(5_000);
        change(&mut world, 0, remove("bob")).expect("allowed");
        change(&mut world, 3, add("dave", 4)).expect("allowed");
        world.run(2_000);
        change(&mut world, 1, AccessChange::Open).expect("allowed");
        change(&mut world, 2, add("erin", 5)).expect("allowed");
        world.run(2_000);
        assert_eq!(names(&world, 0), None);
        world.heal();
        let took = world.until(20_000, "all agree", |world| all_know(world, &["dave", "erin"]));
        assert!(took <= 5_000, "{took} ms");
        let before = world.sent;
        world.run(60_000);
        assert!(all_know(&world, &["dave", "erin"]));
        assert!(world.sent - before < 60 * 5 * 30, "the ledgers go on travelling: {} datagrams", world.sent - before);
    }
}

#[test]
fn a_node_that_was_away_forgets_who_was_removed_meanwhile_before_it_may_publish() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 3);
        change(&mut world, 0, add("alice", 1)).expect("allowed");
        change_when_possible(&mut world, 0, add("mallory", 2));
        world.until(5_000, "all know", |world| all_know(world, &["alice", "mallory"]));
        world.kill(2);
        change(&mut world, 1, remove("mallory")).expect("allowed");
        world.run(10_000);
        world.start(2);
        assert_eq!(names(&world, 2).map(|names| names.len()), Some(2), "it cannot know yet");
        let took = world.until(4_000, "it knows", |world| all_know(world, &["alice"]));
        assert!(!world.holders().contains(&2), "{took} ms");
    }
}

#[test]
fn the_ledger_outlives_the_node_that_wrote_it() {
    for seed in seeds(5) {
        let mut world = World::of(seed, 3);
        change(&mut world, 2, add("alice", 1)).expect("allowed");
        world.until(5_000, "all know", |world| all_know(world, &["alice"]));
        let writer = world.hosts[2].id;
        world.command(0, |cluster, now, out| cluster.remove(now, writer, out)).expect("allowed");
        world.run(2_000);
        world.kill(2);
        let token = world.hosts[0].token;
        let joined = world.join_with(0, 9, token);
        world.run(5_000);
        assert_eq!(names(&world, joined), Some(vec!["alice".to_owned()]));
    }
}

#[test]
fn a_damaged_ledger_stays_closed_through_restarts_and_for_who_joins_until_the_operator_speaks() {
    for seed in seeds(5) {
        let mut world = World::found(seed);
        change(&mut world, 0, add("alice", 1)).expect("allowed");
        world.until(5_000, "in force", |world| all_know(world, &["alice"]));
        world.kill(0);
        let file = world.hosts[0].disk.get_mut(&DurableKind::Roster).expect("a roster");
        let at = file.windows(5).position(|bytes| bytes == b"alice").expect("alice");
        file[at] ^= 1;
        for _ in 0..3 {
            world.start(0);
            assert_eq!(names(&world, 0), Some(vec![]));
            world.run(3_000);
            world.kill(0);
        }
        world.start(0);
        world.run(3_000);
        let joined = world.join(9, 100);
        assert_eq!(names(&world, joined), Some(vec![]));
        world.run(5_000);
        change_when_possible(&mut world, 0, add("bob", 2));
        world.until(5_000, "all know", |world| all_know(world, &["bob"]));
    }
}

fn change_when_possible(world: &mut World, node: usize, what: AccessChange) {
    for _ in 0..100 {
        if change(world, node, what.clone()) != Err(CommandError::Busy) {
            return;
        }
        world.run(50);
    }
    panic!("always busy");
}
