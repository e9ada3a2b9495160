//! The simulator is not blind: whichever rule of the protocol a node breaks, a checker, or the story itself, notices;
//! and under the same seeds nothing is noticed while all rules are kept.

#![allow(clippy::indexing_slicing, reason = "tests: a wrong index is a failed test")]

use std::ops::Range;

use rustbalance_core::Command;
use rustbalance_core::cluster::{Order, Role};
use rustbalance_core::sabotage::{Rule, break_rule};
use rustbalance_testing::sim::check::CONVERGE_MS;
use rustbalance_testing::sim::clients::Clients;
use rustbalance_testing::sim::fault::{Fault, Lie};
use rustbalance_testing::sim::measure::{is_listed, points_of};
use rustbalance_testing::sim::options::{DAY_SECS, Options};
use rustbalance_testing::sim::world::World;

/// A world in which the rule matters, under a seed.
type Story = fn(u64) -> World;

/// All of [`Rule`], each with where it is missed.
const TABLE: [(Rule, Story, Range<u64>); 25] = [
    (Rule::AskBeforeClaim, publisher_out_of_reach, 0..4),
    (Rule::RenewByNewerOnly, dead_publisher_is_repeated, 0..2),
    (Rule::HeedHeard, deaf_publisher, 0..2),
    (Rule::RefuseOldSeq, five_nodes, 0..1),
    (Rule::DiscardAtStall, publisher_stalls_amid_its_uploads, 0..4),
    (Rule::ClaimOnDisk, slow_disks, 0..4),
    (Rule::EpochsThenRanks, two_claims_of_one_epoch, 0..2),
    (Rule::LoserStops, two_claims_of_one_epoch, 0..2),
    (Rule::WinnerUploads, loser_uploads_last, 0..3),
    (Rule::RecordGate, points_change_unheard, 0..3),
    (Rule::UnknownIsNotDown, silences_of_a_moment, 0..2),
    (Rule::PeriodByConsensus, consensus_comes_late, 0..2),
    (Rule::PatienceAfterRefusal, refused_once, 0..2),
    (Rule::ReadAgain, copy_is_lost, 0..1),
    (Rule::OwnEvidenceOfDeath, dead_follower, 0..2),
    (Rule::DampedPreemption, better_priority_returns, 0..1),
    (Rule::NewTokenOnly, stranger_with_the_old_token, 0..1),
    (Rule::UniteRemovals, strangers_with_removed_nodes_tokens, 0..2),
    (Rule::PauseKeepsAll, dead_follower_in_a_pause, 0..2),
    (Rule::OrderOnDisk, order_obeyed_just_before_a_crash, 0..3),
    (Rule::DeadTargetIsOut, dead_application, 0..1),
    (Rule::OutClosesPoints, dead_application, 0..1),
    (Rule::MinorityAsks, publisher_in_a_minority, 0..2),
    (Rule::DistinctContents, short_descriptors, 0..2),
    (Rule::FairParts, short_descriptors, 0..2),
];

#[test]
fn every_broken_rule_is_noticed_and_none_that_is_kept() {
    let mut wrong = Vec::new();
    for (rule, story, seeds) in TABLE {
        break_rule(None);
        wrong.extend(seeds.clone().filter_map(|seed| Some((rule, "is kept", seed, story(seed).violation?))));
        break_rule(Some(rule));
        let noticed: Vec<_> = seeds.clone().filter_map(|seed| Some((seed, story(seed).violation?))).collect();
        println!("{rule:?}: {} of {} seeds, {:?}", noticed.len(), seeds.end, noticed.first());
        if noticed.is_empty() {
            wrong.push((rule, "is broken", seeds.end, "nothing is noticed".to_owned()));
        }
    }
    break_rule(None);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `count` machines, all published, that wish for these priorities.
fn formed(seed: u64, count: usize, priorities: &[u8]) -> World {
    let mut world = World::new(seed, count, Options::default());
    for (node, priority) in world.nodes.iter_mut().zip(priorities) {
        node.priority = *priority;
    }
    world.form(count);
    world.run_for(CONVERGE_MS + 10_000);
    // Where in a beat it begins is for the seed to say.
    world.run_for(seed * 97 % 500);
    world
}

fn publisher(world: &World) -> usize {
    world.nodes.iter().position(|node| matches!(node.role, Role::Holder { .. })).unwrap_or_default()
}

fn followers(world: &World) -> Vec<usize> {
    (0..world.nodes.len()).filter(|node| world.nodes[*node].role == Role::Follower).collect()
}

fn publishers(world: &World) -> usize {
    world.nodes.iter().filter(|node| node.is_live() && matches!(node.role, Role::Holder { .. })).count()
}

/// Long enough for every invariant of calm, rivals included.
fn calm(mut world: World) -> World {
    world.run_for(CONVERGE_MS + 45_000);
    world
}

/// Nothing reaches a follower for as long as a lease lasts; then everything does.
fn publisher_out_of_reach(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    for node in followers(&world) {
        let ms = 2_900 + seed * 70;
        world.strike(&Fault::BurstAt { node, ms });
        world.run_for(ms + 20_000);
    }
    world
}

/// The publisher dies, and the others go on to say to each other what was said before.
fn dead_publisher_is_repeated(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let (node, liars) = (publisher(&world), followers(&world));
    world.strike(&Fault::Kill { node });
    for _ in 0..8 {
        world.run_for(500);
        liars.iter().for_each(|liar| world.strike(&Fault::Lie { node: *liar, lie: Lie::Replay }));
    }
    world.run_for(200);
    if publishers(&world) != 1 {
        world.fail("nobody publishes 4.2 s after the publisher's death".to_owned());
    }
    calm(world)
}

fn deaf_publisher(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let node = publisher(&world);
    world.strike(&Fault::Deaf { node });
    calm(world)
}

/// Every HSDir loses what it holds, and nothing else happens.
fn copy_is_lost(seed: u64) -> World {
    let mut world = formed(seed, 2, &[]);
    (0..16).for_each(|relay| world.strike(&Fault::Forget { relay }));
    world.run_for(CONVERGE_MS + 670_000);
    world
}

/// The publisher dies, and the others' disks are slow.
fn slow_disks(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let node = publisher(&world);
    followers(&world).into_iter().for_each(|node| world.strike(&Fault::SlowDisk { node, ms: 4_000 }));
    world.strike(&Fault::Kill { node });
    calm(world)
}

/// Enough for a flood, if there were one.
fn five_nodes(seed: u64) -> World {
    calm(formed(seed, 5, &[]))
}

fn dead_follower(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let node = followers(&world)[0];
    world.strike(&Fault::Kill { node });
    calm(world)
}

/// Some HSDirs answer late, so that they still wait for the newest descriptor when the publisher is stopped.
fn publisher_stalls_amid_its_uploads(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let (node, other) = (publisher(&world), followers(&world)[0]);
    for relay in (0..16).step_by(2) {
        world.strike(&Fault::Late { relay, ms: 20_000 });
    }
    for up in [false, true] {
        world.strike(&Fault::Target { node: other, up });
        world.run_for(1_000);
    }
    world.strike(&Fault::Freeze { node, ms: 1_500 });
    calm(world)
}

/// The publisher dies as the others fall into two halves; each half claims the same epoch.
fn two_claims_of_one_epoch(seed: u64) -> World {
    let mut world = formed(seed, 5, &[]);
    let (node, rest) = (publisher(&world), followers(&world));
    world.strike(&Fault::Partition { left: rest[..2].to_vec(), right: rest[2..].to_vec() });
    world.strike(&Fault::Kill { node });
    world.run_for(20_000);
    world.strike(&Fault::Heal);
    world.run_for(2_500);
    if publishers(&world) != 1 {
        let count = publishers(&world);
        world.fail(format!("{count} publish 2.5 s after healing"));
    }
    calm(world)
}

/// Two of four are heard by the other two, and hear them no more; for a while the publisher among the two hears nobody.
/// So it keeps quiet, until the lease is lost and the winner has published; then it overwrites that.
fn loser_uploads_last(seed: u64) -> World {
    let mut world = formed(seed, 4, &[]);
    let (loser, rest) = (publisher(&world), followers(&world));
    for (from, to) in [(rest[0], loser), (rest[1], loser), (rest[2], loser), (rest[1], rest[0]), (rest[2], rest[0])] {
        world.strike(&Fault::Mute { from, to });
    }
    world.run_for(7_700);
    world.partition(&rest[..1], &[loser], false);
    world.run_for(3_000);
    world.strike(&Fault::Heal);
    calm(world)
}

/// The publisher dies; another node's points change, and who publishes next hears that they did, but not how: the path
/// carries no large datagrams until it has claimed.
fn points_change_unheard(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let (node, mut rest) = (publisher(&world), followers(&world));
    rest.sort_by_key(|node| world.nodes[*node].id);
    let (next, other) = (rest[0], rest[1]);
    world.strike(&Fault::Kill { node });
    world.run_for(1_000);
    world.trouble.bytes_max = Some(300);
    world.strike(&Fault::Points { node: other });
    world.run_until(5_000, |world| matches!(world.nodes[next].role, Role::Holder { .. }));
    world.strike(&Fault::Heal);
    let accepted = world.hsdirs.accepted;
    world.run_until(5_000, |world| world.hsdirs.accepted > accepted);
    let layout = world.layout();
    let stored = layout.hsdirs().filter_map(|(slot, relay)| world.hsdirs.get(relay, slot.blind));
    let newest = stored.max_by_key(|stored| stored.secs);
    let mut points = world.nodes[other].tors.iter().flat_map(|tor| &tor.points);
    if newest.is_some_and(|stored| !points.any(|point| stored.points.contains(&point.auth_key))) {
        world.fail(format!("{next} publishes without the points of {other}, whose newest record it could have had"));
    }
    calm(world)
}

/// A follower is not heard for a little longer than is needed to be suspected, and not long enough to be down; from five
/// places in a beat on.
fn silences_of_a_moment(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let (node, accepted) = (followers(&world)[0], world.hsdirs.accepted);
    for _ in 0..5 {
        world.strike(&Fault::BurstAt { node, ms: 2_950 });
        world.run_for(10_100);
    }
    let uploads = world.hsdirs.accepted - accepted;
    if uploads > 0 {
        world.fail(format!("{uploads} uploads for 3 s of silence"));
    }
    world
}

/// The clock says midnight, and the tors have not heard of it yet.
fn consensus_comes_late(seed: u64) -> World {
    let midnight = DAY_SECS + 86_400;
    let mut world = World::new(seed, 2, Options { start_secs: midnight - 60, ..Options::default() });
    world.turmoil = true;
    world.nodes.iter_mut().for_each(|node| node.tors.iter_mut().for_each(|tor| tor.lag_secs = 40));
    world.form(2);
    world.run_for(110_000);
    world.turmoil = false;
    calm(world)
}

/// An honest rival's counter, some seconds ahead, is on every HSDir.
fn refused_once(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let node = followers(&world)[0];
    for relay in 0..16 {
        world.strike(&Fault::Poison { relay, ahead_secs: 5 });
    }
    world.strike(&Fault::Points { node });
    world.run_for(10_000);
    calm(world)
}

/// Who is preferred restarts; that is no reason to give it the lease at once.
fn better_priority_returns(seed: u64) -> World {
    let mut world = formed(seed, 3, &[10, 100, 100]);
    world.run_for(120_000);
    world.strike(&Fault::Kill { node: 0 });
    world.run_for(15_000);
    world.strike(&Fault::Start { node: 0 });
    world.run_for(120_000);
    if publisher(&world) != 0 {
        world.fail("the preferred node does not publish two minutes after its return".to_owned());
    }
    world
}

/// The token is rotated; somebody asks each member with the old one.
fn stranger_with_the_old_token(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let old = world.nodes[0].token;
    world.command(0, Command::RotateToken);
    world.run_for(20_000);
    for via in 0..3 {
        world.stranger_asks_with(via, old);
        world.run_for(2_000);
    }
    calm(world)
}

/// One half of a parted cluster removes a node of the other half; then that half removes one of the first half, which has
/// that half's new token. Which half's is in force in the end nobody can say before: so three times.
fn strangers_with_removed_nodes_tokens(seed: u64) -> World {
    let mut world = formed(seed, 8, &[]);
    for (left_out, removed) in [(7, 3), (6, 2), (5, 1)] {
        world.strike(&Fault::Partition { left: vec![0, 1, 2, 3], right: vec![4, 5, 6, 7] });
        world.run_for(10_000);
        for (node, whom) in [(0, left_out), (4, removed)] {
            world.strike(&Fault::Remove { node, whom });
            world.run_for(10_000);
        }
        world.strike(&Fault::Heal);
        world.run_for(30_000);
        for via in [0, 4] {
            world.stranger_asks_with(via, world.nodes[removed].token);
            world.run_for(2_000);
        }
    }
    world
}

/// A follower dies while the cluster is paused.
fn dead_follower_in_a_pause(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let node = followers(&world)[0];
    let points = points_of(&world, node);
    // The checkers know no pause.
    world.turmoil = true;
    world.strike(&Fault::Pause { node, secs: 60 });
    world.run_for(3_000);
    world.strike(&Fault::Kill { node });
    world.run_for(20_000);
    if !is_listed(&mut world, &points) {
        world.fail(format!("{node} was taken out while the cluster was paused"));
    }
    world
}

/// A follower with a slow disk is drained at another node, and dies as soon as that knows it obeyed.
fn order_obeyed_just_before_a_crash(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let (node, whom) = (publisher(&world), followers(&world)[0]);
    world.strike(&Fault::SlowDisk { node: whom, ms: 5_000 });
    world.strike(&Fault::Order { node, whom, order: Order::Drain });
    let is_obeyed = |world: &World| {
        world.status(node).is_some_and(|status| status.orders.iter().any(|order| order.state == "obeyed"))
    };
    for _ in 0..100 {
        if is_obeyed(&world) {
            break;
        }
        world.run_for(100);
    }
    if !is_obeyed(&world) {
        world.fail(format!("{whom} has not answered an order for 10 s"));
    }
    for fault in [Fault::Kill { node: whom }, Fault::SlowDisk { node: whom, ms: 20 }, Fault::Start { node: whom }] {
        world.strike(&fault);
    }
    world.run_for(1_000);
    if !world.nodes[whom].is_draining {
        world.fail(format!("{whom} has forgotten that it is drained"));
    }
    calm(world)
}

fn dead_application(seed: u64) -> World {
    let mut world = formed(seed, 3, &[]);
    let node = followers(&world)[0];
    world.strike(&Fault::Target { node, up: false });
    calm(world)
}

/// Two of five hear the other three no more, and one of the two publishes.
fn publisher_in_a_minority(seed: u64) -> World {
    let mut world = formed(seed, 5, &[]);
    let (node, rest) = (publisher(&world), followers(&world));
    world.strike(&Fault::Partition { left: vec![node, rest[0]], right: rest[1..].to_vec() });
    world.run_for(30_000);
    world.strike(&Fault::Heal);
    calm(world)
}

/// Nine points, three to a descriptor, and two thirds of all clients are due to one node.
fn short_descriptors(seed: u64) -> World {
    let mut world = World::new(seed, 3, Options { places: 3, ..Options::default() });
    world.nodes[0].weight = 400;
    world.form(3);
    let mut world = calm(world);
    let met = Clients::newcomers(&mut world, 20_000);
    let (all, due) = (met.iter().sum::<u64>(), met.iter().sum::<u64>() * 2 / 3);
    if met[0].abs_diff(due) * 4 > due {
        world.fail(format!("of {all} new clients {} come to 0, {due} are due", met[0]));
    }
    world
}
