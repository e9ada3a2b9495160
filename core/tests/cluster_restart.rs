//! Restarts, with and without a disk, joining and leaving.

mod mesh;

use mesh::{World, seeds};
use rustbalance_core::DurableKind;
use rustbalance_core::cluster::Role;
use rustbalance_core::join::{AdmitError, JoinError};

#[test]
fn a_restarted_holder_holds_nothing_until_it_has_listened() {
    for seed in seeds(30) {
        let mut world = World::of(seed, 3);
        let [holder] = world.holders()[..] else { panic!("one holder") };
        let before = world.view(holder);
        let incarnation = |world: &World| {
            let view = world.view(holder);
            let own = view.members.iter().find(|member| member.node == view.me);
            own.and_then(|member| member.record.as_ref()).map(|record| record.incarnation)
        };
        let old = incarnation(&world);
        world.kill(holder);
        world.run(200);
        world.start(holder);
        assert_eq!(world.view(holder).role, Role::Follower);
        assert!(incarnation(&world) > old);
        world.until(8_000, "settled", World::is_settled);
        let epoch = |view: &rustbalance_core::cluster::View| view.holder.map(|(_, epoch)| epoch);
        assert!(epoch(&world.view(holder)) > epoch(&before), "an epoch is never used twice");
        assert_ne!(world.holders(), [holder], "the others were first");
    }
}

#[test]
fn all_nodes_restart_and_go_on_above_the_epochs_they_have_seen() {
    for seed in seeds(30) {
        let mut world = World::of(seed, 3);
        let epoch = world.view(0).holder.map(|(_, epoch)| epoch);
        for node in 0..3 {
            world.kill(node);
        }
        world.run(10_000);
        for node in 0..3 {
            world.start(node);
        }
        let took = world.until(8_000, "settled", World::is_settled);
        assert!(took >= 4_250, "everyone listened first: {took} ms");
        assert!(world.view(0).holder.map(|(_, epoch)| epoch) > epoch);
    }
}

#[test]
fn one_of_two_that_starts_alone_knows_that_it_has_not_met_the_other() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 2);
        assert!(world.holders().iter().all(|holder| world.view(*holder).has_met_most));
        world.kill(0);
        world.kill(1);
        world.run(10_000);
        world.start(1);
        world.set_eligible(1, true);
        world.until(10_000, "it publishes", |world| world.holders() == [1]);
        world.run(10_000);
        let view = world.view(1);
        assert!(view.sees_majority && !view.has_met_most);
        world.start(0);
        world.until(10_000, "it has met the other", |world| world.view(1).has_met_most);
        world.kill(0);
        world.run(10_000);
        assert!(world.view(1).has_met_most);
    }
}

#[test]
fn a_lost_lease_file_and_a_clock_set_back_do_not_silence_a_node() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 3);
        world.kill(2);
        world.hosts[2].disk.remove(&DurableKind::Lease);
        world.set_clock(2, -86_400_000);
        world.start(2);
        world.set_eligible(2, false);
        world.until(6_000, "its new record is everyone's", World::is_settled);
        world.kill(2);
        world.start(2);
        world.until(6_000, "and again, from the disk", World::is_settled);
        assert!(world.hosts[2].warnings().is_empty(), "{:?}", world.hosts[2].warnings());
    }
}

#[test]
fn who_leaves_is_gone_for_good_and_the_last_is_alone() {
    for seed in seeds(30) {
        let mut world = World::of(seed, 3);
        for leaver in [2, 0] {
            let now = world.now(leaver);
            world.hosts[leaver].shut_down(now, true);
            world.settle(leaver);
            world.until(2_000, "goodbyes said", |world| world.hosts[leaver].is_stopped());
            world.kill(leaver);
            let others = world.live().len();
            world.until(2_500, "a smaller roster", |world| {
                world.live().iter().all(|node| world.view(*node).members.len() == others)
            });
        }
        let alone = world.view(1);
        assert_eq!(alone.role, Role::Alone);
        assert!(alone.alone_since.is_some());
        let left = world.hosts[0].id;
        assert!(world.cluster(1).peers().iter().all(|peer| peer.node != left));
        world.start(0);
        assert_eq!(world.hosts[0].warnings().len(), 1, "{:?}", world.hosts[0].warnings());
        world.run(5_000);
        assert_eq!(world.view(1).members.len(), 1);
        let outside = world.view(0);
        assert!(outside.members.iter().all(|member| member.node != left));
        assert_eq!(outside.role, Role::Follower, "who left publishes nothing, natively or otherwise");
    }
}

#[test]
fn who_leaves_or_stops_waits_until_no_client_can_come_but_not_for_ever() {
    for (seed, leaves) in seeds(10).zip([true, false].into_iter().cycle()) {
        let mut world = World::of(seed, 3);
        let knows = |world: &World| world.view(1).members.len();
        for (leaver, closes) in [(2, true), (0, false)] {
            let (now, before) = (world.now(leaver), knows(&world));
            world.hosts[leaver].is_withdrawn = false;
            world.hosts[leaver].shut_down(now, leaves);
            world.run(9_000);
            assert!(!world.hosts[leaver].is_stopped());
            assert_eq!(knows(&world), before, "a member until then");
            world.hosts[leaver].is_withdrawn = closes;
            world.settle(leaver);
            world.run(2_500);
            assert_eq!(world.hosts[leaver].is_stopped(), closes);
            world.run(2_500);
            assert!(world.hosts[leaver].is_stopped());
            assert_eq!(knows(&world), before - usize::from(leaves));
            world.kill(leaver);
        }
    }
}

#[test]
fn who_is_leaving_admits_nobody() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 3);
        world.command(1, |cluster, now, out| cluster.shut_down(now, true, out));
        for ms in [0, 150, 400, 1_000] {
            world.run(ms);
            assert_eq!(world.ask(1, 9, mesh::TOKEN), Err(JoinError::Refused(AdmitError::Busy)));
        }
    }
}

#[test]
fn a_farewell_gets_through_a_lossy_network() {
    for seed in seeds(30) {
        let mut world = World::of(seed, 2);
        world.loss_percent = 50;
        let now = world.now(1);
        world.hosts[1].shut_down(now, true);
        world.settle(1);
        world.until(3_000, "goodbyes said", |world| world.hosts[1].is_stopped());
        world.kill(1);
        world.until(100, "the last one knows", |world| world.view(0).members.len() == 1);
    }
}

#[test]
fn rosters_and_contacts_survive_on_disk() {
    let mut world = World::of(7, 3);
    world.run(5_000);
    world.kill(1);
    world.start(1);
    let peers = world.cluster(1).peers();
    let mut contacts: Vec<_> = peers.iter().filter_map(|peer| peer.contact.clone()).collect();
    contacts.sort();
    assert_eq!(contacts, ["host0:7900", "host2:7900"]);
}

#[test]
fn members_outlive_the_tombstone_of_who_admitted_them() {
    let mut world = World::of(5, 3);
    let now = world.now(0);
    world.hosts[0].shut_down(now, true);
    world.settle(0);
    world.until(2_000, "goodbyes said", |world| world.hosts[0].is_stopped());
    world.kill(0);
    world.run(5_000);
    for node in [1, 2] {
        world.set_clock(node, 31 * 86_400_000);
        world.run(1_000);
        world.kill(node);
        world.start(node);
        assert_eq!(world.view(node).members.len(), 2, "{:?}", world.hosts[node].warnings());
    }
    world.until(10_000, "settled", World::is_settled);
}

#[test]
fn a_restored_memory_snapshot_is_heard_at_once() {
    for seed in seeds(20) {
        let (mut then, mut world) = (World::of(seed, 3), World::of(seed, 3));
        let [holder] = world.holders()[..] else { panic!("one holder") };
        let node = (holder + 1) % 3;
        // Meanwhile its record became newer, too.
        world.set_eligible(node, false);
        world.run(30_000);
        world.set_eligible(node, true);
        world.run(30_000);
        world.hosts[node].cluster = then.hosts[node].cluster.take();
        world.settle(node);
        world.until(2_000, "everyone has its newest record", World::is_settled);
        for _ in 0..100 {
            world.run(100);
            assert!(world.is_settled(), "{}", world.describe());
        }
    }
}

#[test]
fn of_two_processes_with_the_same_keys_one_stops_and_the_other_goes_on() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 3);
        let twin = world.twin(1);
        world.set_eligible(twin, seed % 2 == 0);
        let is_duplicate = |world: &World, node: usize| {
            world.hosts[node].cluster.as_ref().is_some_and(rustbalance_core::cluster::Cluster::is_duplicate)
        };
        world.until(60_000, "one sees it", |world| [1, twin].iter().any(|node| is_duplicate(world, *node)));
        let [out] = [1, twin].into_iter().filter(|node| is_duplicate(&world, *node)).collect::<Vec<_>>()[..] else {
            panic!("one of the two");
        };
        world.until(1_000, "it lets go", |world| world.hosts[out].is_stopped());
        assert_ne!(world.view(out).role, rustbalance_core::cluster::Role::Alone);
        assert!(!world.holders().contains(&out));
        world.kill(out);
        world.run(90_000);
        world.until(10_000, "settled without it", World::is_settled);
        assert!(world.live().iter().all(|node| !is_duplicate(&world, *node)));
    }
}
