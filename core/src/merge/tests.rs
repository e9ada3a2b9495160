//! Fairness, caps, stability.

use super::testing::{node, point};
use super::*;
use crate::hsdesc::NUM_INTRO_POINT_MAX;
use proptest::prelude::*;

type Points = Vec<(u8, u16, Vec<IntroPoint>)>;

fn merge_all(nodes: &Points, previous: &[(NodeId, IntroPoint)]) -> Merged {
    let offers: Vec<_> =
        nodes.iter().map(|(n, weight, points)| Offer { node: node(*n), weight: *weight, points }).collect();
    merge(&offers, previous, NUM_INTRO_POINT_MAX)
}

fn counts(merged: &Merged) -> BTreeMap<NodeId, usize> {
    let mut counts = BTreeMap::new();
    for (node, _) in &merged.points {
        *counts.entry(*node).or_default() += 1;
    }
    counts
}

/// `nodes` nodes of one weight, `each` points each, every point on a relay of its own.
fn distinct(nodes: u8, each: u8) -> Points {
    (0..nodes).map(|n| (n + 1, 100, (0..each).map(|i| point(n + 1, 1 + n * each + i, 0)).collect())).collect()
}

#[test]
fn three_nodes_share_twenty_places_as_7_7_6() {
    let merged = merge_all(&distinct(3, 10), &[]);
    let mut shares: Vec<_> = counts(&merged).into_values().collect();
    shares.sort_unstable();
    assert_eq!(shares, [6, 7, 7]);
    assert!(merged.left_out.iter().all(|(_, _, why)| *why == LeftOut::NoRoom));
    assert_eq!(merged.points.len() + merged.left_out.len(), 30);
}

#[test]
fn weights_divide_the_places() {
    let mut nodes = distinct(2, 20);
    nodes[0].1 = 300;
    let counts = counts(&merge_all(&nodes, &[]));
    assert_eq!((counts[&node(1)], counts[&node(2)]), (15, 5));
}

#[test]
fn node_of_little_weight_still_gets_one_point() {
    let mut nodes = distinct(3, 10);
    nodes[0].1 = 1;
    nodes[1].1 = 1000;
    nodes[2].1 = 1000;
    assert_eq!(counts(&merge_all(&nodes, &[]))[&node(1)], 1);
}

#[test]
fn node_with_more_points_left_loses_the_contested_relay() {
    let nodes = vec![
        (1, 100, vec![point(1, 7, 0), point(1, 8, 0), point(1, 9, 0)]),
        (2, 100, vec![point(2, 7, 0)]),
        (3, 100, vec![point(3, 8, 0), point(3, 10, 0)]),
    ];
    let merged = merge_all(&nodes, &[]);
    assert!(merged.points.contains(&(node(2), point(2, 7, 0))));
    assert!(merged.left_out.contains(&(node(1), point(1, 7, 0), LeftOut::RelayTaken)));
    assert_eq!(merged.points.len(), 4);
}

#[test]
fn point_is_found_through_a_chain_of_displacements() {
    // 1 may only use a, 2 a or b, 3 b or c: all can be served.
    let nodes = vec![
        (3, 100, vec![point(3, 2, 0), point(3, 3, 0)]),
        (2, 100, vec![point(2, 1, 0), point(2, 2, 0)]),
        (1, 100, vec![point(1, 1, 0)]),
    ];
    let previous = vec![(node(3), point(3, 2, 0)), (node(2), point(2, 1, 0))];
    assert_eq!(counts(&merge_all(&nodes, &previous)).len(), 3);
}

#[test]
fn unusable_points_are_refused_with_the_reason() {
    let good = point(1, 1, 0);
    let no_relay = IntroPoint { link_specifiers: vec![0], ..point(1, 2, 0) };
    let zero_enc = IntroPoint { enc_key: [0; 32], ..point(1, 3, 0) };
    let mut one = [0; 32];
    one[0] = 1;
    let low_order_onion = IntroPoint { onion_key: one, ..point(1, 4, 0) };
    let identity_auth = IntroPoint { auth_key: one, ..point(1, 5, 0) };
    let no_point = IntroPoint { auth_key: [2; 32], ..point(1, 6, 0) };
    let duplicate = IntroPoint { link_specifiers: point(1, 9, 0).link_specifiers, ..good.clone() };
    let same_relay = point(1, 1, 1);
    let offered = vec![
        good.clone(),
        no_relay.clone(),
        zero_enc.clone(),
        low_order_onion.clone(),
        identity_auth.clone(),
        no_point.clone(),
        duplicate.clone(),
        same_relay.clone(),
    ];
    let merged = merge_all(&vec![(1, 100, offered)], &[]);
    assert_eq!(merged.points, [(node(1), good)]);
    let why = |point: &IntroPoint| merged.left_out.iter().find(|(_, p, _)| p == point).map(|(_, _, why)| *why);
    assert_eq!(why(&no_relay), Some(LeftOut::NoRelay));
    for bad in [&zero_enc, &low_order_onion, &identity_auth, &no_point] {
        assert_eq!(why(bad), Some(LeftOut::BadKey));
    }
    assert_eq!(why(&duplicate), Some(LeftOut::Duplicate));
    assert_eq!(why(&same_relay), Some(LeftOut::RelayTaken));
}

#[test]
fn nothing_offered_gives_nothing() {
    assert_eq!(merge(&[], &[(node(1), point(1, 1, 0))], NUM_INTRO_POINT_MAX), Merged::default());
}

/// Up to 8 nodes with up to 8 points on up to 12 relays (contested), any weights.
fn contested() -> impl Strategy<Value = Points> {
    let node_points = prop::collection::vec((1_u8..13, 0_u8..3), 0..8);
    prop::collection::vec((1_u16..=1000, node_points), 0..8).prop_map(|nodes| {
        (1..)
            .zip(nodes)
            .map(|(n, (weight, points))| (n, weight, points.iter().map(|(r, s)| point(n, *r, *s)).collect()))
            .collect()
    })
}

proptest! {
    #[test]
    fn order_of_offers_does_not_matter(nodes in contested(), turn in 0_usize..8) {
        let merged = merge_all(&nodes, &[]);
        let mut turned = nodes.clone();
        turned.rotate_left(turn % nodes.len().max(1));
        prop_assert_eq!(&merge_all(&turned, &[]), &merged);
        turned.reverse();
        prop_assert_eq!(&merge_all(&turned, &[]), &merged);
    }

    #[test]
    fn at_most_twenty_and_never_two_on_one_relay(nodes in contested()) {
        let merged = merge_all(&nodes, &[]);
        prop_assert!(merged.points.len() <= NUM_INTRO_POINT_MAX);
        let relays: BTreeSet<_> = merged.points.iter().map(|(_, point)| point.relay()).collect();
        prop_assert_eq!(relays.len(), merged.points.len());
        let offered: usize = nodes.iter().map(|(_, _, points)| points.len()).sum();
        prop_assert_eq!(merged.points.len() + merged.left_out.len(), offered);
    }

    #[test]
    fn no_node_with_a_usable_point_is_left_out_while_another_could_spare_one(nodes in contested()) {
        let merged = merge_all(&nodes, &[]);
        let counts = counts(&merged);
        for (n, _, points) in &nodes {
            if counts.contains_key(&node(*n)) {
                continue;
            }
            for point in points {
                let owner = merged.points.iter().find(|(_, other)| other.relay() == point.relay());
                prop_assert!(owner.is_some_and(|(owner, _)| counts[owner] == 1));
            }
        }
    }

    #[test]
    fn equal_weights_and_enough_relays_differ_by_at_most_one(nodes in 1_u8..25, each in 1_u8..10) {
        let counts = counts(&merge_all(&distinct(nodes, each), &[]));
        let most = counts.values().copied().max().unwrap_or(0);
        let least = if counts.len() < usize::from(nodes) { 0 } else { counts.values().copied().min().unwrap_or(0) };
        prop_assert!(most - least <= 1);
    }

    #[test]
    fn merging_again_changes_nothing(nodes in contested()) {
        let merged = merge_all(&nodes, &[]);
        prop_assert_eq!(merge_all(&nodes, &merged.points), merged);
    }

    #[test]
    fn merging_again_changes_nothing_whatever_came_before(nodes in contested(), before in contested()) {
        let before = merge_all(&before, &[]);
        let merged = merge_all(&nodes, &before.points);
        prop_assert_eq!(merge_all(&nodes, &merged.points), merged);
    }

    #[test]
    fn survivors_keep_their_points_when_a_node_goes(nodes in 2_u8..8, each in 1_u8..12, goes in 0_usize..8) {
        let mut nodes = distinct(nodes, each);
        let before = merge_all(&nodes, &[]);
        let gone = node(nodes.remove(goes % nodes.len()).0);
        let after = merge_all(&nodes, &before.points);
        let kept: Vec<_> = before.points.iter().filter(|(node, _)| *node != gone).cloned().collect();
        prop_assert_eq!(&after.points[..kept.len()], &kept[..]);
    }

    #[test]
    fn members_only_make_room_when_a_node_comes(nodes in 2_u8..8, each in 1_u8..12, comes in 0_usize..8) {
        let all = distinct(nodes, each);
        let mut fewer = all.clone();
        let new = node(fewer.remove(comes % all.len()).0);
        let before = merge_all(&fewer, &[]);
        let after = merge_all(&all, &before.points);
        prop_assert!(after.points.iter().any(|(node, _)| *node == new));
        for kept in after.points.iter().filter(|(node, _)| *node != new) {
            prop_assert!(before.points.contains(kept) || before.points.len() < NUM_INTRO_POINT_MAX);
        }
    }
}
