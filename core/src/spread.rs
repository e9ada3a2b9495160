//! More introduction points than one descriptor lists: several descriptors, each with its own part of them.
//!
//! A fresh client asks one of the HSDirs that clients read, any of them alike, and tries one of the points it lists, any
//! of them alike. So a node's *share* of the clients is the mean over those HSDirs of its part of the points
//! there, and each of them gets a *content* of its own.
//!
//! First how many places all contents have together: the most that divides near enough by weight, for a node has whole
//! places only. Then the places, one by one to whoever is due (Sainte-Laguë), into the content that is first for that node
//! among those where it has fewest (rendezvous hashing), as far as relays allow: in one content never two on one relay.
//! Nothing is remembered: whoever becomes publisher divides alike, and a node that comes or goes changes little.

mod apart;

use crate::hsdesc::IntroPoint;
use crate::id::{NodeId, RelayFingerprint};
use crate::merge::{LeftOut, Matching, Offer, Seats, Usable, sorted, usable, wants};
use crate::sabotage::{Rule, is_broken};
use core::cmp::Reverse;
use sha3::{Digest, Sha3_256};
use std::collections::{BTreeMap, BTreeSet};

pub use apart::apart;

/// The most contents there are: what clients read with tor's default parameters, 2 replicas of 3 HSDirs.
pub const CONTENTS_MAX: usize = 6;
/// How many points a plain tor service has. A content is as long at least, and half of what is allowed.
const POINTS_PLAIN: usize = 3;
/// A division as near as this to the weights is as good as any, per mille: then more places are better.
const ERROR_GOOD_PERMILLE: u64 = 50;

/// The outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Points in order of their auth keys, each with its node.
    pub contents: Vec<Vec<(NodeId, IntroPoint)>>,
    /// Points in none of them.
    pub left_out: Vec<(NodeId, IntroPoint, LeftOut)>,
}

/// Divides the offers over `contents` contents (at most [`CONTENTS_MAX`]) of at most `places` points each. Pure and
/// deterministic: any order of offers gives the same result.
pub fn spread(offers: &[Offer<'_>], contents: usize, places: usize) -> Spread {
    let mut offers = sorted(offers);
    if is_broken(Rule::FairParts) {
        offers.iter_mut().for_each(|offer| offer.weight = 1);
    }
    let mut left_out = Vec::new();
    let usable = usable(&offers, &mut left_out);
    let wants = wants(&usable);
    let contents = contents.clamp(1, CONTENTS_MAX);
    let total = total_places(&offers, &wants, contents, places);
    let owners = fill(&offers, &wants, contents, total);
    let contents: Vec<_> = owners.iter().map(|owners| listed(&usable, owners)).collect();

    let everywhere: BTreeSet<_> = contents.iter().flatten().map(|(_, point)| point.auth_key).collect();
    let is_taken = |relay: &RelayFingerprint| owners.iter().all(|owners| owners.contains_key(relay));
    for (node, point, relay) in usable.iter().filter(|(_, point, _)| !everywhere.contains(&point.auth_key)) {
        let reason = if is_taken(relay) { LeftOut::RelayTaken } else { LeftOut::NoRoom };
        left_out.push((*node, (*point).clone(), reason));
    }
    Spread { contents, left_out }
}

/// Of a million fresh clients, how many meet each node.
pub fn shares_per_million(contents: &[Vec<(NodeId, IntroPoint)>]) -> BTreeMap<NodeId, u32> {
    const FINE: u64 = 1_000_000_000;
    let mut shares: BTreeMap<NodeId, u64> = BTreeMap::new();
    for content in contents {
        for (node, _) in content {
            *shares.entry(*node).or_default() += FINE / (contents.len() * content.len()) as u64;
        }
    }
    shares.into_iter().map(|(node, share)| (node, u32::try_from((share + 500) / 1000).unwrap_or(u32::MAX))).collect()
}

/// How many places all contents have together: from half of those allowed on, the most that gives every node its part
/// near enough, else the number that comes nearest. A node that lacks points, as while its tor starts, makes no difference.
fn total_places(
    offers: &[Offer<'_>],
    wants: &BTreeMap<NodeId, Vec<RelayFingerprint>>,
    contents: usize,
    places: usize,
) -> usize {
    let most = contents * places;
    let least = (contents * places.div_ceil(2).max(POINTS_PLAIN)).max(wants.len());
    let mut seats = Seats::new(offers, wants.keys().copied(), BTreeMap::new());
    let complete = wants.iter().filter(|(_, relays)| relays.len() >= POINTS_PLAIN).map(|(node, _)| *node);
    let (mut best, mut best_error) = (most, u64::MAX);
    for total in 1..=most {
        let is_full = |seats: &Seats, node| seats.count(node) >= contents * wants.get(&node).map_or(0, Vec::len);
        while let Some(node) = seats.next().filter(|node| is_full(&seats, *node)) {
            seats.close(node);
        }
        let Some(node) = seats.next() else { break };
        seats.take(node);
        let error = seats.error_permille(complete.clone());
        if total >= least && error <= best_error.max(ERROR_GOOD_PERMILLE) {
            (best, best_error) = (total, error.min(best_error));
        }
    }
    best
}

/// Per content, its relays with the node that gets each.
fn fill(
    offers: &[Offer<'_>],
    wants: &BTreeMap<NodeId, Vec<RelayFingerprint>>,
    contents: usize,
    total: usize,
) -> Vec<BTreeMap<RelayFingerprint, NodeId>> {
    let mut bidders: BTreeMap<RelayFingerprint, usize> = BTreeMap::new();
    wants.values().flatten().for_each(|relay| *bidders.entry(*relay).or_default() += 1);
    let in_turn: Vec<_> = (0..contents).map(|content| turned(wants, &bidders, content)).collect();
    let mut matchings: Vec<_> = in_turn.iter().map(Matching::new).collect();
    let mut seats = Seats::new(offers, wants.keys().copied(), BTreeMap::new());
    let mut counts: BTreeMap<(usize, NodeId), usize> = BTreeMap::new();
    while let Some(node) = seats.next() {
        let with_room = matchings.iter_mut().enumerate().filter(|(content, matching)| {
            let room = total / contents + usize::from(*content < total % contents);
            matching.len() < room
        });
        let mut with_room: Vec<_> = with_room.collect();
        with_room.sort_by_key(|(content, _)| {
            (counts.get(&(*content, node)).copied().unwrap_or(0), Reverse(draw(*content, &node.0)))
        });
        match with_room.into_iter().find_map(|(content, matching)| matching.augment(node).then_some(content)) {
            Some(content) => {
                *counts.entry((content, node)).or_default() += 1;
                seats.take(node);
            }
            None => seats.close(node),
        }
    }
    matchings.into_iter().map(Matching::into_owners).collect()
}

/// Each node's relays, of those equally contested each content another first: all points are used about alike.
fn turned(
    wants: &BTreeMap<NodeId, Vec<RelayFingerprint>>,
    bidders: &BTreeMap<RelayFingerprint, usize>,
    content: usize,
) -> BTreeMap<NodeId, Vec<RelayFingerprint>> {
    let mut wants = wants.clone();
    for relays in wants.values_mut() {
        relays.sort_by_cached_key(|relay| (bidders.get(relay).copied(), draw(content, &relay.0)));
    }
    wants
}

/// The points on the relays owned; of a node's several on one relay its first.
fn listed(usable: &[Usable<'_>], owners: &BTreeMap<RelayFingerprint, NodeId>) -> Vec<(NodeId, IntroPoint)> {
    let mut owners = owners.clone();
    let mut points: Vec<_> = usable
        .iter()
        .filter(|(node, _, relay)| owners.get(relay) == Some(node) && owners.remove(relay).is_some())
        .map(|(node, point, _)| (*node, (*point).clone()))
        .collect();
    points.sort_by_key(|(_, point)| point.auth_key);
    points
}

/// How much `content` is for `who`: a number as good as drawn, the same for everyone.
fn draw(content: usize, who: &[u8]) -> u64 {
    let mut hash = Sha3_256::new();
    hash.update(b"content");
    hash.update((content as u64).to_be_bytes());
    hash.update(who);
    let hash: [u8; 32] = hash.finalize().into();
    hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
