//! Several nodes whose points cannot stand together: each content has one node's points alone.
//!
//! So it is with proof of work: a descriptor names one seed, and only the tor that made it can verify what clients solve
//! with it. A node's share is the part of the contents that are its own: every node gets one before any
//! gets two, then by weight (as in [`spread`](super::spread)). Where there are more nodes than contents they take turns:
//! each turn draws others, by weight. Which content is whose is drawn likewise, the same for whoever publishes, so that
//! what stays a node's own stays where it is when another comes or goes.

use super::{CONTENTS_MAX, Spread, draw};
use crate::hsdesc::IntroPoint;
use crate::id::NodeId;
use crate::merge::{LeftOut, Offer, Seats, Usable, sorted, usable};
use core::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Tickets of the heaviest node in the draw for a turn; the others have as many fewer as they are lighter, but one.
const TICKETS: usize = 16;

/// Gives each of `contents` contents (at most [`CONTENTS_MAX`]; one is enough for one node) the points of one node, at
/// most `places`, no two on one relay. Pure and deterministic: any order of offers gives the same result.
pub fn apart(offers: &[Offer<'_>], contents: usize, places: usize, turn: u64) -> Spread {
    let offers = sorted(offers);
    let mut left_out = Vec::new();
    let usable = usable(&offers, &mut left_out);
    let nodes: BTreeSet<NodeId> = usable.iter().map(|(node, ..)| *node).collect();
    let contents = if nodes.len() == 1 { 1 } else { contents.clamp(1, CONTENTS_MAX) };
    let owners = owners(&counts(&offers, nodes, contents, turn), contents);
    let listed = |node: &NodeId| own_points(&usable, *node, places);
    let contents: Vec<_> = owners.values().map(listed).collect();

    let everywhere: BTreeSet<_> = contents.iter().flatten().map(|(_, point)| point.auth_key).collect();
    let others = usable.iter().filter(|(_, point, _)| !everywhere.contains(&point.auth_key));
    left_out.extend(others.map(|(node, point, _)| (*node, (*point).clone(), LeftOut::NoRoom)));
    Spread { contents, left_out }
}

/// How many contents are each node's.
fn counts(offers: &[Offer<'_>], nodes: BTreeSet<NodeId>, contents: usize, turn: u64) -> BTreeMap<NodeId, usize> {
    let heaviest = offers.iter().map(|offer| usize::from(offer.weight)).max().unwrap_or(1).max(1);
    let tickets = |node: NodeId| {
        let weight = offers.iter().find(|offer| offer.node == node).map_or(1, |offer| usize::from(offer.weight));
        (weight * TICKETS / heaviest).max(1)
    };
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    if nodes.len() > contents {
        let luck = |node: &NodeId| (0..tickets(*node)).map(|ticket| draw(ticket, &turned(*node, turn))).max();
        nodes.sort_by_cached_key(|node| Reverse(luck(node)));
        nodes.truncate(contents);
    }
    let mut seats = Seats::new(offers, nodes.into_iter(), BTreeMap::new());
    for _ in 0..contents {
        let Some(node) = seats.next() else { break };
        seats.take(node);
    }
    seats.into_counts()
}

/// Whose each content is: of all pairs the highest drawn first.
fn owners(counts: &BTreeMap<NodeId, usize>, contents: usize) -> BTreeMap<usize, NodeId> {
    let mut pairs: Vec<_> =
        counts.keys().flat_map(|node| (0..contents).map(|content| (draw(content, &node.0), content, *node))).collect();
    pairs.sort_by_key(|pair| Reverse(*pair));
    let (mut owners, mut missing) = (BTreeMap::new(), counts.clone());
    for (_, content, node) in pairs {
        if let Some(left) = missing.get_mut(&node).filter(|left| **left > 0 && !owners.contains_key(&content)) {
            *left -= 1;
            owners.insert(content, node);
        }
    }
    owners
}

/// The first `places` points of `node`, in order of their auth keys; of several on one relay its first.
fn own_points(usable: &[Usable<'_>], node: NodeId, places: usize) -> Vec<(NodeId, IntroPoint)> {
    let mut relays = BTreeSet::new();
    let own = usable.iter().filter(|(owner, _, relay)| *owner == node && relays.insert(*relay)).take(places);
    let mut points: Vec<_> = own.map(|(_, point, _)| (node, (*point).clone())).collect();
    points.sort_by_key(|(_, point)| point.auth_key);
    points
}

fn turned(node: NodeId, turn: u64) -> Vec<u8> {
    [&turn.to_be_bytes()[..], &node.0].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::testing::{node, point};
    use crate::spread::shares_per_million;

    /// Nodes 1, 2, ... of these weights, three points each, all on the same relays.
    fn points(count: u8) -> Vec<Vec<IntroPoint>> {
        (1..=count).map(|n| (1..=3).map(|relay| point(n, relay, 0)).collect()).collect()
    }

    fn divided(weights: &[u16], turn: u64) -> Spread {
        let points = points(u8::try_from(weights.len()).unwrap());
        let offers = (1..).zip(weights).zip(&points).map(|((n, weight), points)| Offer {
            node: node(n),
            weight: *weight,
            points,
        });
        let offers: Vec<_> = offers.collect();
        apart(&offers, 6, 20, turn)
    }

    fn counts(weights: &[u16]) -> Vec<usize> {
        let spread = divided(weights, 0);
        let owner = |content: &Vec<(NodeId, IntroPoint)>| content.first().map(|(node, _)| *node);
        let count = |n| spread.contents.iter().filter(|content| owner(content) == Some(node(n))).count();
        (1..=u8::try_from(weights.len()).unwrap()).map(count).collect()
    }

    #[test]
    fn each_content_is_one_nodes_alone_and_all_its_points_though_others_use_the_relays() {
        for content in divided(&[100, 100, 100], 0).contents {
            let owners: BTreeSet<_> = content.iter().map(|(node, _)| node).collect();
            assert_eq!((owners.len(), content.len()), (1, 3));
        }
        assert!(divided(&[100, 100, 100], 0).left_out.is_empty());
    }

    #[test]
    fn contents_are_divided_by_weight_and_nobody_goes_without() {
        assert_eq!(counts(&[100, 100]), [3, 3]);
        assert_eq!(counts(&[100, 100, 100]), [2, 2, 2]);
        assert_eq!(counts(&[200, 100]), [4, 2]);
        assert_eq!(counts(&[1000, 1]), [5, 1]);
        assert_eq!(counts(&[100; 6]), [1; 6]);
    }

    #[test]
    fn one_node_needs_one_content() {
        assert_eq!(divided(&[100], 0).contents.len(), 1);
        assert_eq!(apart(&[], 6, 20, 0), Spread::default());
    }

    #[test]
    fn more_nodes_than_contents_take_turns_by_weight() {
        let weights = [100, 100, 100, 100, 100, 100, 100, 50, 50];
        let mut turns: BTreeMap<NodeId, usize> = BTreeMap::new();
        for turn in 0..400 {
            let Spread { contents, left_out } = divided(&weights, turn);
            let served: BTreeSet<_> = contents.iter().flatten().map(|(node, _)| *node).collect();
            assert_eq!((served.len(), left_out.len()), (6, 9));
            served.into_iter().for_each(|node| *turns.entry(node).or_default() += 1);
        }
        let turns: Vec<_> = (1..=9).map(|n| turns[&node(n)]).collect();
        assert!(turns[..7].iter().all(|count| (250..350).contains(count)), "{turns:?}");
        assert!(turns[7..].iter().all(|count| (130..250).contains(count)), "{turns:?}");
    }

    #[test]
    fn who_stays_keeps_its_contents_when_another_goes() {
        let before = divided(&[100; 3], 0).contents;
        let after = divided(&[100; 2], 0).contents;
        let kept = |n: u8| before.iter().zip(&after).filter(|(old, new)| old == new && old[0].0 == node(n)).count();
        assert_eq!((kept(1), kept(2)), (2, 2), "both of each");
    }

    #[test]
    fn places_and_relays_bound_a_content() {
        let many: Vec<_> = (1..=20).map(|relay| point(1, relay, 0)).chain([point(1, 1, 1)]).collect();
        let spread = apart(&[Offer { node: node(1), weight: 100, points: &many }], 6, 10, 0);
        assert_eq!((spread.contents[0].len(), spread.left_out.len()), (10, 11));
        assert_eq!(shares_per_million(&spread.contents)[&node(1)], 1_000_000);
    }
}
