//! The simulator is not blind: whichever rule of the protocol a node breaks, a checker, or the story itself, notices;
//! and under the same seeds nothing is noticed while all rules are kept.

#![allow(clippy::indexing_slicing, reason = "tests: a wrong index is a failed test")]

mod lease;
mod members;
mod publication;
mod worlds;

use std::ops::Range;

use rustbalance_core::sabotage::{Rule, break_rule};
use rustbalance_testing::sim::world::World;

/// A world in which the rule matters, under a seed.
type Story = fn(u64) -> World;

/// All of [`Rule`], each with where it is missed, and what is said of that: by the checker that is there for it, or by the
/// story.
const TABLE: [(Rule, Story, Range<u64>, &str); 35] = [
    (Rule::AskBeforeClaim, lease::publisher_out_of_reach, 0..4, "has neither asked nor waited"),
    (
        Rule::RenewByNewerOnly,
        lease::dead_publisher_is_repeated,
        0..2,
        "nobody publishes 4.2 s after the publisher's death",
    ),
    (Rule::HeedHeard, lease::deaf_publisher, 0..2, "0 publishers among 2 live nodes in calm"),
    (Rule::RefuseOldSeq, lease::five_nodes, 0..1, "datagrams in one second"),
    (
        Rule::DiscardAtStall,
        publication::publisher_stalls_amid_its_uploads,
        0..4,
        "uploads what it built before it was stopped",
    ),
    (Rule::ClaimOnDisk, lease::slow_disks, 0..4, "which its disk has not"),
    (Rule::EpochsThenRanks, lease::two_claims_of_one_epoch, 0..2, "publish 2.5 s after healing"),
    (Rule::LoserStops, lease::two_claims_of_one_epoch, 0..2, "publish 2.5 s after healing"),
    (Rule::WinnerUploads, lease::loser_uploads_last, 0..3, "in the First slot, offered on"),
    (Rule::RecordGate, publication::points_change_unheard, 0..3, "took a point of"),
    (Rule::UnknownIsNotDown, publication::silences_of_a_moment, 0..2, "took a point of"),
    (Rule::PeriodByConsensus, publication::consensus_comes_late, 0..2, "uploaded a bad descriptor"),
    (Rule::PatienceAfterRefusal, publication::refused_once, 0..2, "ahead of true time"),
    (Rule::ReadAgain, publication::copy_is_lost, 0..1, "is not repaired within"),
    (Rule::OwnEvidenceOfDeath, lease::dead_follower, 0..2, "still lists a dead node's point"),
    (Rule::DampedPreemption, lease::better_priority_returns, 0..1, "has neither asked nor waited"),
    (Rule::NewTokenOnly, members::stranger_with_the_old_token, 0..1, "has another cluster token"),
    (Rule::UniteRemovals, members::strangers_with_removed_nodes_tokens, 0..2, "has admitted a stranger"),
    (Rule::PauseKeepsAll, members::dead_follower_in_a_pause, 0..2, "was taken out while the cluster was paused"),
    (Rule::OrderOnDisk, members::order_obeyed_just_before_a_crash, 0..3, "has forgotten that it is drained"),
    (Rule::DeadTargetIsOut, publication::dead_application, 0..1, "still lists a dead node's point"),
    (Rule::OutClosesPoints, publication::dead_application, 0..1, "is out and answers at"),
    (Rule::MinorityAsks, publication::publisher_in_a_minority, 0..2, "took a point of"),
    (Rule::DistinctContents, publication::short_descriptors, 0..2, "new clients"),
    (Rule::FairParts, publication::short_descriptors, 0..2, "new clients"),
    (Rule::ListenFirst, lease::start_out_of_reach, 0..3, "claims before it has listened"),
    (Rule::BoundedEpochs, lease::absurd_epoch, 0..2, "uses up epochs"),
    (Rule::RivalsFarApart, publication::changes_beside_a_rival, 0..2, "uploads beside a rival"),
    (Rule::MedianClock, publication::only_publisher_with_a_fast_clock, 0..2, "ahead of true time"),
    (Rule::RightClock, lease::publisher_with_a_wrong_clock, 0..2, "publishes with a clock a minute off"),
    (Rule::NativeOffFirst, members::second_joins_as_tor_stands_still, 0..2, "publishes in a cluster of 2"),
    (Rule::PassPoison, publication::poisoned_everywhere, 0..1, "is not passed within"),
    (Rule::DuplicateStops, members::machine_is_cloned, 0..2, "two machines with the same keys"),
    (Rule::MembersOnly, members::former_member_speaks, 0..2, "who has left"),
    (Rule::GoneRemoveNobody, members::former_member_speaks, 0..2, "who has left"),
];

#[test]
fn every_broken_rule_is_noticed_and_none_that_is_kept() {
    let mut wrong = Vec::new();
    for (rule, story, seeds, expected) in TABLE {
        break_rule(None);
        wrong.extend(seeds.clone().filter_map(|seed| Some((rule, "is kept", seed, story(seed).violation?))));
        break_rule(Some(rule));
        let noticed: Vec<_> = seeds.clone().filter_map(|seed| Some((seed, story(seed).violation?))).collect();
        println!("{rule:?}: {} of {} seeds, {noticed:?}", noticed.len(), seeds.end);
        if noticed.is_empty() {
            wrong.push((rule, "is broken", seeds.end, "nothing is noticed".to_owned()));
        }
        let others = noticed.into_iter().filter(|(_, said)| !said.contains(expected));
        wrong.extend(others.map(|(seed, said)| (rule, "is noticed by another", seed, said)));
    }
    break_rule(None);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
