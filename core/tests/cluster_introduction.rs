//! Members that never heard of each other meet: whoever calls shows why it is a member.

mod mesh;

use std::collections::BTreeMap;

use mesh::{World, keypair, seeds};
use rustbalance_core::DurableKind;
use rustbalance_core::cluster::{Forger, Role, unknown_kind};

#[test]
fn who_was_away_while_another_joined_meets_it_though_the_only_one_that_knew_both_is_dead() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 2);
        world.kill(1);
        let third = world.join(3, 100);
        world.set_eligible(third, true);
        world.run(3_000);
        world.kill(0);
        world.run(10_000);
        world.start(1);
        world.until(20_000, "the two know each other, with one holder", World::is_settled);
    }
}

#[test]
fn whoever_was_admitted_by_one_that_was_admitted_meanwhile_shows_that_too() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 2);
        world.kill(1);
        let third = world.join(3, 100);
        world.run(2_000);
        let fourth = world.join_with(third, 4, mesh::TOKEN);
        world.set_eligible(fourth, true);
        world.run(3_000);
        world.kill(0);
        world.kill(third);
        world.run(10_000);
        world.start(1);
        world.until(30_000, "the two know each other, with one holder", World::is_settled);
    }
}

#[test]
fn the_first_node_restored_from_before_anyone_joined_meets_all_again() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 3);
        world.kill(0);
        let alone = world.hosts[0].admitted.roster.clone();
        world.hosts[0].disk = BTreeMap::from([(DurableKind::Roster, alone)]);
        world.run(10_000);
        world.start(0);
        assert_eq!(world.view(0).role, Role::Alone);
        world.until(20_000, "all know each other again", World::is_settled);
    }
}

#[test]
fn whoever_joined_through_a_parted_member_that_then_died_is_not_lost() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 3);
        world.partition(&[0], &[1, 2]);
        let fourth = world.join(4, 100);
        world.kill(0);
        world.heal();
        world.set_eligible(fourth, true);
        world.until(30_000, "all three know each other", |world| world.is_settled() && world.holders() != [0]);
    }
}

#[test]
fn who_is_gone_removes_nobody() {
    for seed in seeds(5) {
        for leaves in [false, true] {
            let mut world = World::of(seed, 3);
            let (gone, cluster) = (world.hosts[2].id, world.hosts[2].admitted.cluster);
            let forger = Forger { keypair: keypair(3), cluster };
            let wall = world.now(0).wall;
            let bury = |bytes: &Vec<u8>| forger.tombstone(gone, bytes, wall);
            let is_entry = |bytes: &Vec<u8>| bury(bytes).is_some();
            let entries: Vec<_> = world.delivered.iter().map(|(_, _, bytes)| bytes.clone()).filter(is_entry).collect();
            assert!(!entries.is_empty());
            if leaves {
                let now = world.now(2);
                world.hosts[2].shut_down(now, true);
                world.settle(2);
            } else {
                world.command(0, |cluster, now, out| cluster.remove(now, gone, out)).expect("allowed");
            }
            world.until(10_000, "it is gone", |world| (0..2).all(|node| world.view(node).members.len() == 2));
            world.kill(2);
            for entry in entries {
                let news = bury(&entry).expect("an entry");
                let heard = world.command(0, |cluster, now, out| cluster.handle_stranger(now, &news, out));
                assert!(heard.is_err());
            }
            world.run(5_000);
            assert!((0..2).all(|node| world.view(node).members.len() == 2));
        }
    }
}

#[test]
fn a_stranger_that_shows_no_admission_by_a_member_changes_nothing() {
    for seed in seeds(3) {
        let mut world = World::of(seed, 2);
        let mut other = World::of(seed + 1_000, 3);
        other.join(7, 100);
        other.run(2_000);
        let mut forged: Vec<_> = other.delivered.iter().map(|(_, _, bytes)| bytes.clone()).collect();
        assert!(forged.len() > 50);
        for bytes in &mut forged {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        for bytes in forged.iter().chain([&unknown_kind(&[1; 9]), &Vec::new(), &vec![255; 1232]]) {
            let refused = world.command(0, |cluster, now, out| cluster.handle_stranger(now, bytes, out));
            assert!(refused.is_err());
        }
        assert_eq!(world.view(0).members.len(), 2);
    }
}
