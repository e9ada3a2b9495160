//! Fairness where clients read, distinct relays, stability.

use super::*;
use crate::hsdesc::NUM_INTRO_POINT_MAX;
use crate::merge::testing::node;
use curve25519_dalek::{EdwardsPoint, Scalar};
use proptest::prelude::*;

type Points = Vec<(u8, u16, Vec<IntroPoint>)>;

/// A point of node `owner` on relay number `relay`, of which there are more than a byte can count.
fn point(owner: u8, relay: u16) -> IntroPoint {
    let [high, low] = relay.to_be_bytes();
    let public = EdwardsPoint::mul_base(&Scalar::from(u64::from_be_bytes([0, 0, 0, 0, owner, high, low, 1])));
    let mut link_specifiers = vec![1, 2, 20, high, low];
    link_specifiers.resize(23, 7);
    let x25519 = public.to_montgomery().0;
    IntroPoint { link_specifiers, onion_key: x25519, auth_key: public.compress().0, enc_key: x25519 }
}

/// `weights.len()` nodes with `each` points, every point on a relay of its own.
fn distinct(weights: &[u16], each: u16) -> Points {
    let nodes = (1..).zip(weights);
    nodes.map(|(n, weight)| (n, *weight, (0..each).map(|i| point(n, u16::from(n) * 32 + i)).collect())).collect()
}

fn offers(nodes: &Points) -> Vec<Offer<'_>> {
    nodes.iter().map(|(n, weight, points)| Offer { node: node(*n), weight: *weight, points }).collect()
}

fn spread_all(nodes: &Points, places: usize) -> Spread {
    spread(&offers(nodes), CONTENTS_MAX, places)
}

/// How far the worst node is from its part of the clients, percent.
fn worst_percent(nodes: &Points, spread: &Spread) -> u64 {
    let shares = shares_per_million(&spread.contents);
    let weights: u64 = nodes.iter().map(|(_, weight, _)| u64::from(*weight)).sum();
    let errors = nodes.iter().map(|(n, weight, _)| {
        let due = 1_000_000 * u64::from(*weight) / weights;
        u64::from(shares.get(&node(*n)).copied().unwrap_or(0)).abs_diff(due) * 100 / due
    });
    errors.max().unwrap_or(0)
}

fn places_of(spread: &Spread) -> BTreeSet<(usize, NodeId, [u8; 32])> {
    let contents = spread.contents.iter().enumerate();
    contents.flat_map(|(at, content)| content.iter().map(move |(node, point)| (at, *node, point.auth_key))).collect()
}

#[test]
fn sixty_equal_nodes_of_three_points_have_two_places_each() {
    let nodes = distinct(&[100; 60], 3);
    let spread = spread_all(&nodes, NUM_INTRO_POINT_MAX);
    assert!(spread.contents.iter().all(|content| content.len() == 20));
    let shares = shares_per_million(&spread.contents);
    assert!(shares.len() == 60 && shares.values().all(|share| *share == 16_667), "{shares:?}");
    assert_eq!(
        spread.left_out.len(),
        180 - places_of(&spread).iter().map(|(.., key)| key).collect::<BTreeSet<_>>().len()
    );
}

#[test]
fn double_weight_is_double_share_where_whole_places_of_twenty_would_not_do() {
    let weights: Vec<u16> = (0..60).map(|n| if n % 4 == 0 { 200 } else { 100 }).collect();
    let nodes = distinct(&weights, 3);
    let spread = spread_all(&nodes, NUM_INTRO_POINT_MAX);
    assert_eq!(spread.contents.iter().map(Vec::len).sum::<usize>(), 75);
    assert!(worst_percent(&nodes, &spread) <= 10, "{}", worst_percent(&nodes, &spread));
}

#[test]
fn descriptors_are_shorter_where_the_points_of_a_heavy_node_would_not_do_for_its_part() {
    let nodes = distinct(&[100, 100, 200, 100, 100, 100, 100, 100], 3);
    let spread = spread_all(&nodes, NUM_INTRO_POINT_MAX);
    assert!(worst_percent(&nodes, &spread) <= 15, "{}", worst_percent(&nodes, &spread));
}

#[test]
fn node_that_lacks_points_makes_the_descriptors_of_the_others_no_shorter() {
    let mut nodes = distinct(&[100; 10], 3);
    nodes[0].2.truncate(1);
    let spread = spread_all(&nodes, NUM_INTRO_POINT_MAX);
    assert!(spread.contents.iter().map(Vec::len).sum::<usize>() >= 115);
}

#[test]
fn few_places_are_spread_too_as_an_operator_may_ask_for() {
    let nodes = distinct(&[100; 4], 3);
    let spread = spread_all(&nodes, 3);
    assert!(spread.contents.iter().all(|content| content.len() == 3));
    assert!(worst_percent(&nodes, &spread) <= 12);
}

#[test]
fn node_whose_relays_all_others_use_too_is_in_some_content() {
    let nodes: Points = (1..=12).map(|n| (n, 100, (0..3).map(|relay| point(n, relay)).collect())).collect();
    let spread = spread_all(&nodes, NUM_INTRO_POINT_MAX);
    assert!(spread.contents.iter().all(|content| content.len() == 3));
    assert_eq!(shares_per_million(&spread.contents).len(), 12);
}

#[test]
fn left_out_says_whether_room_or_the_relay_was_lacking() {
    let mut nodes = distinct(&[100; 60], 3);
    nodes[0].2 = vec![point(1, 9), point(1, 9)];
    nodes[1].2.push(IntroPoint { link_specifiers: vec![0], ..point(2, 8) });
    let spread = spread_all(&nodes, NUM_INTRO_POINT_MAX);
    let why = |n: u8| spread.left_out.iter().filter(move |(by, ..)| *by == node(n)).map(|(.., why)| *why);
    assert_eq!(why(1).collect::<Vec<_>>(), [LeftOut::Duplicate]);
    assert!(why(2).any(|why| why == LeftOut::NoRelay));
    assert!(why(3).all(|why| why == LeftOut::NoRoom));
}

#[test]
fn nothing_offered_gives_empty_contents() {
    assert_eq!(
        spread(&[], CONTENTS_MAX, 20),
        Spread { contents: vec![Vec::new(); CONTENTS_MAX], left_out: Vec::new() }
    );
}

/// Of the places that the other nodes have, so many change when one node comes or goes, on average over clusters of 8 to
/// 60 nodes (docs/DECISIONS.md names the number).
#[test]
fn one_node_that_comes_or_goes_moves_few_of_the_others() {
    let (mut moved, mut all) = (0, 0);
    for count in (8..=60).step_by(4) {
        let nodes = distinct(&vec![100; count], 3);
        let with = places_of(&spread_all(&nodes, NUM_INTRO_POINT_MAX));
        for gone in [0, count / 2, count - 1] {
            let mut fewer = nodes.clone();
            let gone = node(fewer.remove(gone).0);
            let without = places_of(&spread_all(&fewer, NUM_INTRO_POINT_MAX));
            let with: BTreeSet<_> = with.iter().filter(|(_, node, _)| *node != gone).copied().collect();
            moved += with.symmetric_difference(&without).count();
            all += with.len() + without.len();
        }
    }
    let percent = moved * 100 / all;
    assert!(percent <= 5, "{percent} % of the places move");
}

/// Up to 60 nodes, weights 100 and 200, 3 to 6 points on relays of their own.
fn weighted() -> impl Strategy<Value = Points> {
    (prop::collection::vec(prop_oneof![Just(100), Just(200)], 8..=60), 3_u16..7)
        .prop_map(|(weights, each)| distinct(&weights, each))
}

/// Up to 30 nodes with up to 6 points on up to 24 relays (contested), any weights.
fn contested() -> impl Strategy<Value = Points> {
    let node_points = prop::collection::vec(1_u16..25, 0..6);
    prop::collection::vec((1_u16..=1000, node_points), 0..30).prop_map(|nodes| {
        (1..)
            .zip(nodes)
            .map(|(n, (weight, relays))| (n, weight, relays.iter().map(|r| point(n, *r)).collect()))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 5))]

    #[test]
    fn every_share_is_within_a_quarter_of_the_weight(nodes in weighted()) {
        let spread = spread_all(&nodes, NUM_INTRO_POINT_MAX);
        let shape: Vec<_> = nodes.iter().map(|(_, weight, points)| (*weight, points.len())).collect();
        prop_assert!(worst_percent(&nodes, &spread) <= 25, "{} %: {shape:?}", worst_percent(&nodes, &spread));
    }

    #[test]
    fn order_of_offers_does_not_matter(nodes in contested(), turn in 0_usize..30) {
        let spread = spread_all(&nodes, NUM_INTRO_POINT_MAX);
        let mut turned = nodes.clone();
        turned.rotate_left(turn % nodes.len().max(1));
        prop_assert_eq!(&spread_all(&turned, NUM_INTRO_POINT_MAX), &spread);
        turned.reverse();
        prop_assert_eq!(&spread_all(&turned, NUM_INTRO_POINT_MAX), &spread);
    }

    #[test]
    fn no_content_is_too_long_or_has_two_points_on_one_relay(nodes in contested(), places in 3_usize..=20) {
        let spread = spread_all(&nodes, places);
        for content in &spread.contents {
            prop_assert!(content.len() <= places);
            let relays: BTreeSet<_> = content.iter().map(|(_, point)| point.relay()).collect();
            prop_assert_eq!(relays.len(), content.len());
        }
    }

    #[test]
    fn every_point_is_listed_or_left_out_with_a_reason(nodes in contested()) {
        let spread = spread_all(&nodes, NUM_INTRO_POINT_MAX);
        let listed: BTreeSet<_> = spread.contents.iter().flatten().map(|(_, point)| point.auth_key).collect();
        let offered: usize = nodes.iter().map(|(_, _, points)| points.len()).sum();
        prop_assert_eq!(listed.len() + spread.left_out.len(), offered);
    }

    #[test]
    fn every_node_with_a_usable_point_is_in_some_content(nodes in contested()) {
        let spread = spread_all(&nodes, NUM_INTRO_POINT_MAX);
        let shares = shares_per_million(&spread.contents);
        let bidders = |relay: Option<RelayFingerprint>| {
            nodes.iter().filter(|(_, _, points)| points.iter().any(|point| point.relay() == relay)).count()
        };
        for (n, _, points) in nodes.iter().filter(|(_, _, points)| !points.is_empty()) {
            // Of more nodes than contents on one relay some have to go without, if that is all they have.
            let fits = points.iter().any(|point| bidders(point.relay()) <= CONTENTS_MAX);
            prop_assert!(!fits || shares.contains_key(&node(*n)), "node {n}: {points:?}");
        }
    }
}
