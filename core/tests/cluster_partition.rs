//! Cuts in the network, and what healing them does.

mod mesh;

use mesh::{World, seeds};
use rustbalance_core::cluster::{Liveness, Role};

#[test]
fn two_nodes_that_held_each_other_dead_heal() {
    for seed in seeds(40) {
        let mut world = World::of(seed, 2);
        world.partition(&[0], &[1]);
        world.run(20_000);
        assert_eq!(world.holders(), [0, 1], "each serves what it can reach");
        assert!(world.view(0).members.iter().any(|member| member.liveness == Liveness::Down));
        world.heal();
        let took = world.until(5_000, "one holder, everyone live", World::is_settled);
        assert!(took <= 1_500, "{took} ms");
    }
}

#[test]
fn two_nodes_find_each_other_again_even_if_neither_may_publish() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 2);
        world.partition(&[0], &[1]);
        world.set_eligible(0, false);
        world.set_eligible(1, false);
        let (a, b) = (world.hosts[0].id, world.hosts[1].id);
        let (now_a, now_b) = (world.now(0), world.now(1));
        world.hosts[0].shut_down(now_a, false);
        world.hosts[1].shut_down(now_b, false);
        world.run(20_000);
        world.heal();
        let sees = |world: &World, node: usize, other| {
            world.view(node).members.iter().any(|member| member.node == other && member.liveness == Liveness::Live)
        };
        world.until(1_000, "both live", |world| sees(world, 0, b) && sees(world, 1, a));
    }
}

#[test]
fn a_partition_of_two_and_three_heals_to_one_holder() {
    for seed in seeds(60) {
        let mut world = World::of(seed, 5);
        world.run(seed * 13);
        world.partition(&[0, 1], &[2, 3, 4]);
        world.run(20_000);
        let holders = world.holders();
        assert_eq!(holders.len(), 2, "{}", world.describe());
        for holder in holders {
            assert_eq!(world.view(holder).sees_majority, holder >= 2);
        }
        world.heal();
        let took = world.until(5_000, "one holder, everyone live", World::is_settled);
        assert!(took <= 3_000, "{took} ms");
        let [holder] = world.holders()[..] else { panic!("one holder") };
        assert!(holder >= 2, "the later epoch wins");
        assert!(world.view(holder).rival_until.is_some(), "the winner knows of its rival");
    }
}

#[test]
fn what_the_lost_holder_said_of_others_makes_no_majority() {
    for seed in seeds(60) {
        let mut world = World::of(seed, 5);
        world.run(seed * 13);
        let [holder] = world.holders()[..] else { panic!("one holder") };
        let rest: Vec<usize> = (0..5).filter(|node| *node != holder).collect();
        let first = usize::try_from(seed).unwrap() % 4;
        let minority = [rest[first], rest[(first + 1) % 4]];
        let majority: Vec<usize> = (0..5).filter(|node| !minority.contains(node)).collect();
        world.partition(&minority, &majority);
        // What was on its way counts for a TTL.
        world.run(3_250 + world.delay_ms.1);
        for _ in 0..100 {
            world.run(50);
            let holds = |node: &&usize| matches!(world.view(**node).role, Role::Holder { .. });
            let fooled = minority.iter().filter(holds).find(|node| world.view(**node).sees_majority);
            assert_eq!(fooled, None, "{}", world.describe());
        }
    }
}

#[test]
fn a_holder_that_hears_nobody_is_replaced_though_its_beacons_arrive() {
    for seed in seeds(30) {
        let mut world = World::of(seed, 5);
        let [deaf] = world.holders()[..] else { panic!("one holder") };
        let others: Vec<usize> = world.live().into_iter().filter(|node| *node != deaf).collect();
        for other in &others {
            world.cut.insert((*other, deaf));
        }
        world.until(8_000, "another holds", |world| world.holders().iter().any(|node| *node != deaf));
        world.run(2_000);
        let holders: Vec<usize> = world.holders().into_iter().filter(|node| *node != deaf).collect();
        assert_eq!(holders.len(), 1, "{}", world.describe());
        for other in others {
            assert_eq!(world.view(other).holder.map(|(node, _)| node), Some(world.hosts[holders[0]].id));
        }
        world.heal();
        world.until(2_000, "the deaf one hears and stops", |world| world.holders() == holders);
    }
}

#[test]
fn one_member_with_a_broken_path_to_the_holder_takes_nothing() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 5);
        let [holder] = world.holders()[..] else { panic!("one holder") };
        let lonely = (holder + 1) % 5;
        world.cut.insert((lonely, holder));
        world.run(30_000);
        assert_eq!(world.holders(), [holder]);
        assert_eq!(world.view(lonely).role, Role::Follower);
    }
}

#[test]
fn a_member_cut_off_from_one_hearer_only_is_kept_alive_by_the_probes_of_others() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 5);
        let [holder] = world.holders()[..] else { panic!("one holder") };
        let other = (holder + 2) % 5;
        world.partition(&[holder], &[other]);
        let id = world.hosts[other].id;
        for _ in 0..300 {
            world.run(100);
            let members = world.view(holder).members;
            assert!(members.iter().any(|member| member.node == id && member.liveness != Liveness::Down));
        }
    }
}
