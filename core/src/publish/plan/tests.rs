//! Who is in the plan, and who is not.

use super::*;
use crate::cluster::{NodeState, ProvenPlan, Record};
use crate::merge::testing::{node, point};
use crate::publish::planner::Planner;
use crate::publish::testing::{member, members, record_of, view};
use crate::time::Mono;
use pow::SEED_KEPT;
use std::sync::Arc;

const NOW: Now = Now { mono: Mono::from_ms(100_000), wall: Wall::from_secs(1_795_446_825) };

fn gather(view: &View) -> Offers {
    Offers::gather(NOW, view, &Planner::new(20).kept(view), &mut Wake::default())
}

/// The nodes with offers.
fn nodes(view: &View) -> Vec<NodeId> {
    gather(view).nodes.into_keys().collect()
}

/// [`view`] with member 2 changed.
fn with(change: impl FnOnce(&mut Member)) -> View {
    let mut view = view();
    change(&mut members(&mut view)[1]);
    view
}

fn with_record(change: impl FnOnce(&mut Record)) -> View {
    with(|member| change(record_of(member)))
}

/// Member 2 was proven with a point on relay 30, under this record version of incarnation 1.
fn proven_2(version: u64) -> Arc<ProvenPlan> {
    let part = PlanNode { incarnation: 1, version, points: vec![point(2, 30, 0)] };
    Arc::new(ProvenPlan { epoch: 1, serial: 1, nodes: [(node(2), part)].into() })
}

fn offered(view: &View, n: u8) -> Vec<IntroPoint> {
    let offers = gather(view);
    offers.nodes.get(&node(n)).map(|share| share.points.points.clone()).unwrap_or_default()
}

#[test]
fn healthy_active_members_are_in_the_plan() {
    assert_eq!(nodes(&view()), [node(1), node(2), node(3)]);
}

#[test]
fn node_known_not_to_serve_leaves() {
    let others = [node(1), node(3)];
    assert_eq!(nodes(&with(|member| member.liveness = Liveness::Down)), others);
    assert_eq!(nodes(&with_record(|record| record.state = NodeState::Draining)), others);
    assert_eq!(nodes(&with_record(|record| record.state = NodeState::Leaving)), others);
    assert_eq!(nodes(&with_record(|record| record.tor_ready = false)), others);
    assert_eq!(nodes(&with_record(|record| record.target_up = false)), others);
    assert_eq!(nodes(&with_record(|record| record.points.clear())), others);
}

#[test]
fn during_a_pause_nobody_leaves_but_by_an_order() {
    let paused = |view: View| nodes(&View { paused: true, ..view });
    let all = [node(1), node(2), node(3)];
    assert_eq!(paused(with(|member| member.liveness = Liveness::Down)), all);
    assert_eq!(paused(with(|member| member.liveness = Liveness::Unknown)), all);
    assert_eq!(paused(with_record(|record| record.target_up = false)), all);
    assert_eq!(paused(with_record(|record| record.tor_ready = false)), all);
    let others = [node(1), node(3)];
    assert_eq!(paused(with_record(|record| record.points.clear())), others, "it has none");
    assert_eq!(paused(with_record(|record| record.state = NodeState::Draining)), others);
    assert_eq!(paused(with_record(|record| record.state = NodeState::Leaving)), others);
}

#[test]
fn a_pause_puts_nobody_back_who_was_out_before() {
    let proven_before = |change: fn(&mut Member)| {
        let part = |n| PlanNode { incarnation: 1, version: 1, points: vec![point(n, n, 0)] };
        let nodes = [1, 3].map(|n| (node(n), part(n))).into();
        View { paused: true, proven: Some(Arc::new(ProvenPlan { epoch: 1, serial: 1, nodes })), ..with(change) }
    };
    let others = [node(1), node(3)];
    assert_eq!(nodes(&proven_before(|member| member.liveness = Liveness::Down)), others);
    assert_eq!(nodes(&proven_before(|member| record_of(member).target_up = false)), others);
    assert_eq!(nodes(&proven_before(|_| ())), [node(1), node(2), node(3)], "who is well comes back");
}

#[test]
fn silent_node_keeps_its_points_for_sixty_seconds() {
    let silent_for = |ms| {
        with(|member| {
            member.liveness = Liveness::Unknown;
            member.since = Mono::from_ms(NOW.mono.as_ms() - ms);
        })
    };
    let mut wake = Wake::default();
    assert_eq!(Offers::gather(NOW, &silent_for(59_999), &BTreeSet::new(), &mut wake).nodes.len(), 3);
    assert_eq!(wake.get(), Some(Mono::from_ms(NOW.mono.as_ms() + 1)));
    assert_eq!(nodes(&silent_for(60_000)), [node(1), node(3)]);
}

#[test]
fn proven_plan_stands_in_for_a_record_that_has_not_arrived() {
    let mut view = with(|member| member.record = None);
    assert_eq!(offered(&view, 2), []);
    view.proven = Some(proven_2(1));
    assert_eq!(offered(&view, 2), [point(2, 30, 0)]);
    members(&mut view)[1].liveness = Liveness::Down;
    assert_eq!(offered(&view, 2), []);
}

#[test]
fn newer_of_record_and_proven_plan_counts() {
    let mut view = view();
    view.proven = Some(proven_2(2));
    assert_eq!(offered(&view, 2), [point(2, 30, 0)]);
    view.proven = Some(proven_2(1));
    assert_eq!(offered(&view, 2), [point(2, 4, 0), point(2, 5, 0), point(2, 6, 0)]);
    let record = record_of(&mut members(&mut view)[1]);
    (record.version, record.tor_ready) = (3, false);
    assert_eq!(offered(&view, 2), []);
}

#[test]
fn what_a_live_node_names_counts_whatever_was_proven() {
    let mut view = with(|member| member.record_current = true);
    view.proven = Some(proven_2(9));
    assert_eq!(offered(&view, 2), [point(2, 4, 0), point(2, 5, 0), point(2, 6, 0)]);
    let member = &mut members(&mut view)[1];
    (member.liveness, member.since) = (Liveness::Unknown, NOW.mono);
    assert_eq!(offered(&view, 2), [point(2, 30, 0)], "it may have told others of a newer one since");
}

#[test]
fn node_that_left_the_roster_leaves_whatever_was_proven() {
    let mut view = view();
    view.proven = Some(proven_2(9));
    members(&mut view).remove(1);
    assert_eq!(nodes(&view), [node(1), node(3)]);
}

#[test]
fn header_is_what_all_offer_in_order() {
    let header = |lines: &[&str]| InnerHeader(lines.iter().map(|line| (*line).to_owned()).collect());
    let common = |headers: &[InnerHeader]| common_header(headers.iter());
    let (a, b, c) = ("create2-formats 2", "flow-control 1-2 31", "unknown-line x");
    assert_eq!(common(&[header(&[a, b, c]), header(&[c, b, a])]), header(&[a, b, c]));
    assert_eq!(common(&[header(&[a, b, c]), header(&[a, c])]), header(&[a, c]));
    assert_eq!(common(&[header(&[a, b]), header(&["create2-formats 2 3", b])]), header(&[a, b]));
    assert_eq!(common(&[]), header(&[a]));
}

#[test]
fn header_of_a_node_left_out_does_not_count() {
    let view = with_record(|record| {
        record.tor_ready = false;
        record.header.0.clear();
    });
    assert_eq!(gather(&view).header.0.len(), 2);
}

#[test]
fn published_points_are_taken_over_except_those_a_live_node_dropped() {
    let mut view = with(|member| member.liveness = Liveness::Down);
    let proven = ProvenPlan {
        nodes: [(node(3), PlanNode { incarnation: 1, version: 0, points: vec![point(3, 20, 0)] })].into(),
        ..ProvenPlan::default()
    };
    view.proven = Some(Arc::new(proven));
    let mut offers = gather(&view);
    let (down, dropped, strange) = (point(2, 4, 0), point(3, 20, 0), point(9, 25, 0));
    offers.add_published(&view, &[point(1, 1, 0), down.clone(), dropped, strange.clone()]);
    assert_eq!(offers.nodes[&node(2)].points.points, [down]);
    assert_eq!(offers.nodes[&node(3)].points.points.len(), 3);
    assert_eq!(offers.nodes[&STRANGER].points.points, [strange]);
}

#[test]
fn plan_names_only_the_points_listed() {
    let mut view = view();
    let five = (1..=5).map(|n| member(n, &[n * 10, n * 10 + 1, n * 10 + 2, n * 10 + 3, n * 10 + 4])).collect();
    view.members = Arc::new(five);
    let plan = Plan::new(&gather(&view), &[], Division { places: 20, read: 1 });
    assert_eq!((plan.points.len(), plan.left_out.len()), (20, 5));
    assert!(plan.nodes.values().all(|part| part.points.len() == 4));
}

#[test]
fn digest_follows_the_content_and_nothing_else() {
    let plan = |view: &View| Plan::new(&gather(view), &[], Division { places: 20, read: 6 });
    let before = plan(&view());
    let renewed = plan(&with_record(|record| record.version = 2));
    assert!(is_same(&before, &renewed) && before.digest() == renewed.digest());
    let changed = plan(&with_record(|record| record.points.truncate(2)));
    assert!(!is_same(&before, &changed) && before.digest() != changed.digest());
}

/// Whether the descriptors of both would say the same.
fn is_same(plan: &Plan, other: &Plan) -> bool {
    plan.altered(other).is_some_and(|altered| altered.is_empty())
}

const PERIOD: u64 = 20_780;

/// [`view`] with proof of work on every node, for this period, running out so many seconds from now.
fn with_pow(period: u64, seconds: u64) -> View {
    let mut view = view();
    for member in members(&mut view) {
        let seed = member.node.0;
        let params = PowParams { seed, effort: 1, expires: NOW.wall.as_secs() + seconds };
        record_of(member).pow = Some(PowOffer { period, params });
    }
    view
}

fn divided(view: &View) -> Plan {
    Plan::new(&gather(view), &[], Division { places: 20, read: 6 })
}

/// Whose points and whose seed each content of [`PERIOD`] has.
fn owners(plan: &Plan) -> Vec<(NodeId, Option<[u8; 32]>)> {
    let owner = |(content, points): (usize, &Vec<Listed>)| {
        assert!(points.iter().all(|(node, _)| *node == points[0].0), "one node's alone");
        (points[0].0, plan.pow_params(PERIOD, content).map(|params| params.seed))
    };
    plan.contents(PERIOD).iter().enumerate().map(owner).collect()
}

#[test]
fn with_proof_of_work_each_descriptor_of_that_period_is_one_nodes_with_its_own_seed() {
    let plan = divided(&with_pow(PERIOD, 3600));
    let owners = owners(&plan);
    assert_eq!(owners.len(), 6);
    for n in [1, 2, 3] {
        assert_eq!(owners.iter().filter(|owner| **owner == (node(n), Some([n; 32]))).count(), 2);
    }
    assert_eq!((plan.points.len(), plan.nodes.len(), plan.left_out.len()), (9, 3, 0));
    assert_eq!(plan.contents(PERIOD + 1).len(), 1, "no tor could verify what is solved for another period");
    assert_eq!(plan.pow_params(PERIOD + 1, 0), None);
    assert!(plan.pow.in_words(Some(PERIOD)).is_some_and(|words| words.starts_with("in the descriptors")));
    assert!(plan.pow.in_words(Some(PERIOD + 1)).is_some_and(|words| words.starts_with("not yet")));
}

#[test]
fn while_one_node_offers_none_no_descriptor_has_proof_of_work_and_status_names_it() {
    let mut view = with_pow(PERIOD, 3600);
    record_of(&mut members(&mut view)[1]).pow = None;
    let plan = divided(&view);
    assert_eq!((plan.contents(PERIOD).len(), plan.pow_params(PERIOD, 0)), (1, None));
    let words = plan.pow.in_words(Some(PERIOD)).unwrap();
    assert!(words.contains(&node(2).to_string()) && !words.contains(&node(1).to_string()), "{words}");
    assert_eq!(divided(&self::view()).pow.in_words(Some(PERIOD)), None);
    let many = Pow::Lacking((1..=9).map(node).collect()).in_words(Some(PERIOD)).unwrap();
    assert!(many.contains(&node(3).to_string()) && many.contains(", 6 more offer none"), "{many}");
}

#[test]
fn points_that_a_majority_has_published_take_proof_of_work_from_nobody() {
    let mut view = with_pow(PERIOD, 3600);
    members(&mut view)[1].liveness = Liveness::Down;
    let mut offers = gather(&view);
    let published = record_of(&mut members(&mut view)[1]).points.clone();
    offers.add_published(&view, &published);
    let owners = owners(&Plan::new(&offers, &[], Division { places: 20, read: 6 }));
    for (n, seed) in [(1, Some([1; 32])), (2, None), (3, Some([3; 32]))] {
        assert_eq!(owners.iter().filter(|owner| **owner == (node(n), seed)).count(), 2, "{n}");
    }
}

#[test]
fn seed_that_has_run_out_leaves_a_minute_later_and_the_others_stay() {
    let mut view = with_pow(PERIOD, 3600);
    let pow = record_of(&mut members(&mut view)[1]).pow.as_mut().unwrap();
    pow.params.expires = NOW.wall.as_secs() - SEED_KEPT.as_secs() + 1;
    let mut wake = Wake::default();
    let offers = Offers::gather(NOW, &view, &BTreeSet::new(), &mut wake);
    assert_eq!(wake.get(), Some(NOW.mono.plus(Duration::from_secs(1))));
    assert!(offers.seeds_hold(NOW.wall) && !offers.seeds_hold(Wall::from_secs(NOW.wall.as_secs() + 1)));
    let before = divided(&view);
    record_of(&mut members(&mut view)[1]).pow.as_mut().unwrap().params.expires -= 1;
    let after = divided(&view);
    assert!(!is_same(&before, &after) && before.digest() != after.digest());
    assert_eq!(before.contents(PERIOD), after.contents(PERIOD));
    let seeds = |plan: &Plan| owners(plan).into_iter().filter_map(|(_, seed)| seed).collect::<BTreeSet<_>>();
    assert_eq!((seeds(&before).len(), seeds(&after).len()), (3, 2));
}

#[test]
fn tor_that_has_not_followed_yet_has_a_descriptor_without_proof_of_work() {
    let mut view = with_pow(PERIOD, 3600);
    record_of(&mut members(&mut view)[1]).pow.as_mut().unwrap().period = PERIOD - 1;
    let owners = owners(&divided(&view));
    assert!(owners.iter().all(|(owner, seed)| seed.is_none() == (*owner == node(2))) && owners.len() == 6);
}

#[test]
fn one_node_has_proof_of_work_in_its_only_descriptor() {
    let mut view = with_pow(PERIOD, 3600);
    members(&mut view).truncate(1);
    assert_eq!(owners(&divided(&view)), [(node(1), Some([1; 32]))]);
}

#[test]
fn with_too_few_hsdirs_all_nodes_go_before_proof_of_work() {
    let offers = gather(&with_pow(PERIOD, 3600));
    let plan = Plan::new(&offers, &[], Division { places: 20, read: 1 });
    assert_eq!((plan.contents(PERIOD).len(), &plan.pow), (1, &Pow::NoRoom));
    assert_eq!(plan.contents(PERIOD)[0].len(), 9);
}

/// [`with_pow`], and each node's tor was made to show three other points, for the period after.
fn harvested() -> View {
    let mut view = with_pow(PERIOD, 3600);
    for (member, n) in members(&mut view).iter_mut().zip(1..) {
        let points = (1..=3).map(|nth| point(n, 10 * n + nth, nth)).collect();
        record_of(member).harvest = Some(Harvest { period: PERIOD + 1, number: 1, points });
    }
    view
}

#[test]
fn once_all_tors_were_made_to_show_their_points_of_the_next_period_each_descriptor_of_it_is_one_nodes() {
    let view = harvested();
    let plan = divided(&view);
    assert_eq!(plan.contents(PERIOD), divided(&with_pow(PERIOD, 3600)).contents(PERIOD));
    let records = view.members.iter().filter_map(|member| member.record.as_ref());
    for (record, n) in records.zip(1..) {
        let harvest = &record.harvest.as_ref().unwrap().points;
        let is_theirs = |content: &usize| plan.intro_points(PERIOD + 1, *content).iter().all(|p| harvest.contains(p));
        let theirs: Vec<_> = (0..6).filter(is_theirs).collect();
        let seeds: Vec<_> = theirs.iter().map(|content| plan.pow_params(PERIOD + 1, *content).unwrap().seed).collect();
        assert_eq!(seeds, [[n; 32]; 2]);
    }
    assert_eq!((plan.points.len(), plan.left_out.len()), (18, 0));
    let is_shown = |part: &PlanNode| part.points.len() == 3;
    assert!(plan.nodes.len() == 3 && plan.nodes.values().all(is_shown), "what proves it are the points that tors show");
    let words = plan.pow.in_words(Some(PERIOD + 1)).unwrap();
    assert!(words.starts_with("in the descriptors"), "{words}");
}

#[test]
fn while_one_tor_has_not_shown_its_points_of_a_period_its_descriptors_list_all_without_proof_of_work() {
    let mut view = harvested();
    record_of(&mut members(&mut view)[1]).harvest.as_mut().unwrap().points.clear();
    let plan = divided(&view);
    assert_eq!((plan.contents(PERIOD + 1).len(), plan.pow_params(PERIOD + 1, 0)), (1, None));
    assert_eq!(owners(&plan).len(), 6, "nothing else changes");
    let words = plan.pow.in_words(Some(PERIOD + 1)).unwrap();
    assert!(words.starts_with("not yet"), "{words}");
}

#[test]
fn after_a_tor_has_published_by_itself_all_descriptors_are_uploaded_anew_though_they_say_the_same() {
    let mut view = harvested();
    let before = divided(&view);
    record_of(&mut members(&mut view)[1]).harvest.as_mut().unwrap().number += 1;
    let after = divided(&view);
    assert_eq!(before.digest(), after.digest());
    assert_eq!(before.altered(&after), None);
    record_of(&mut members(&mut view)[1]).pow.as_mut().unwrap().params.effort = 9;
    let altered = after.altered(&divided(&view)).unwrap();
    let touched = |period| (0..6).filter(|content| altered.has(period, *content)).count();
    assert_eq!((touched(PERIOD), touched(PERIOD + 1)), (2, 2), "an effort is of both periods");
}

#[test]
fn tor_of_a_node_that_leaves_may_have_published_by_itself_last_and_all_is_uploaded_anew_then_too() {
    let mut view = harvested();
    record_of(&mut members(&mut view)[1]).state = NodeState::Leaving;
    let before = divided(&view);
    record_of(&mut members(&mut view)[1]).harvest.as_mut().unwrap().number += 1;
    let after = divided(&view);
    assert_eq!((before.digest(), before.altered(&after)), (after.digest(), None));
    record_of(&mut members(&mut view)[1]).harvest = None;
    assert!(is_same(&after, &divided(&view)), "that it says so no more is no reason");
}

#[test]
fn a_new_day_costs_no_uploads_for_what_tors_published_by_themselves_the_day_before() {
    let mut view = harvested();
    let yesterday = divided(&view);
    let harvest = record_of(&mut members(&mut view)[1]).harvest.take();
    let mut since = divided(&view);
    since.remember(&yesterday, &view.members);
    record_of(&mut members(&mut view)[1]).harvest = harvest;
    assert!(!since.is_overwritten(&divided(&view)));
    record_of(&mut members(&mut view)[1]).harvest.as_mut().unwrap().number += 1;
    assert!(since.is_overwritten(&divided(&view)));
    let mut gone = divided(&view);
    gone.harvests.clear();
    gone.remember(&yesterday, &[]);
    assert!(gone.harvests.is_empty(), "who is no member is forgotten");
}

#[test]
fn node_whose_tor_has_followed_a_new_shared_random_value_needs_no_harvest_for_its_period() {
    let mut view = harvested();
    let before = divided(&view);
    // What it was made to show it shows by now.
    let record = record_of(&mut members(&mut view)[1]);
    record.points = record.harvest.take().unwrap().points;
    record.pow.as_mut().unwrap().period = PERIOD + 1;
    let after = divided(&view);
    assert_eq!(after.contents(PERIOD + 1), before.contents(PERIOD + 1));
    let params = |plan: &Plan| (0..6).map(|content| plan.pow_params(PERIOD + 1, content).copied()).collect::<Vec<_>>();
    assert_eq!(params(&after), params(&before));
}
