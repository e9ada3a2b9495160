//! Which introduction points go into one descriptor: fair by node and weighted, at most 20 (or fewer, if the operator
//! says so), never two on one relay (`docs/PROTOCOL.md`). Where not all have room, [`spread`](crate::spread) divides them
//! over several.
//!
//! First the counts, then the points. Counts: every node gets one point before any gets two, then points go where
//! `(2 count + 1) / weight` is least (Sainte-Laguë), as far as relays allow; a node short of relays displaces others
//! to their spare ones, so of two nodes that want one relay the one with more points left loses it. Points: what
//! `previous` had stays wherever the counts allow.

mod matching;
mod seats;

use crate::hsdesc::IntroPoint;
use crate::id::{NodeId, RelayFingerprint};
pub(crate) use matching::Matching;
pub(crate) use seats::Seats;
use std::collections::{BTreeMap, BTreeSet};

/// What one node offers.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    /// Who.
    pub node: NodeId,
    /// Its weight.
    pub weight: u16,
    /// Its points, in its own order.
    pub points: &'a [IntroPoint],
}

/// Why a point was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum LeftOut {
    /// No legacy identity link specifier, or link specifiers that do not parse.
    NoRelay,
    /// A zero or low-order key.
    BadKey,
    /// Its auth key was offered before.
    Duplicate,
    /// Its relay is taken by another point.
    RelayTaken,
    /// No room among the places.
    NoRoom,
}

/// The reason in words, for status.
impl core::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoRelay => "names no relay",
            Self::BadKey => "has an unusable key",
            Self::Duplicate => "is offered twice",
            Self::RelayTaken => "its relay is taken by another point",
            Self::NoRoom => "there is no room for more points of its node",
        })
    }
}

/// The outcome: points in a stable order, each with its node, and what was left out and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// At most as many as were asked for.
    pub points: Vec<(NodeId, IntroPoint)>,
    /// The rest.
    pub left_out: Vec<(NodeId, IntroPoint, LeftOut)>,
}

impl Merged {
    /// Whether every node that offers a usable point has one, and no point was left out for want of room.
    pub fn is_whole(&self) -> bool {
        let listed: BTreeSet<_> = self.points.iter().map(|(node, _)| node).collect();
        self.left_out.iter().all(|(node, _, why)| match why {
            LeftOut::NoRelay | LeftOut::BadKey | LeftOut::Duplicate => true,
            LeftOut::RelayTaken => listed.contains(node),
            LeftOut::NoRoom => false,
        })
    }
}

/// Divides `places` places. Pure and deterministic: any order of offers gives the same result. `previous` keeps points and
/// order stable where nothing changed.
pub fn merge(offers: &[Offer<'_>], previous: &[(NodeId, IntroPoint)], places: usize) -> Merged {
    let offers = sorted(offers);
    let mut merged = Merged::default();
    let candidates = Candidates::collect(&offers, previous, &mut merged.left_out);
    let counts = candidates.counts(&offers, places);
    let chosen = candidates.choose(&counts);

    let is_chosen = |node: &NodeId, point: &IntroPoint| {
        let relay = point.relay().filter(|relay| chosen.get(relay) == Some(node));
        relay.is_some_and(|relay| candidates.point(*node, relay) == Some(point))
    };
    let kept: Vec<_> = previous.iter().filter(|(node, point)| is_chosen(node, point)).cloned().collect();
    let kept_keys: BTreeSet<_> = kept.iter().map(|(_, point)| point.auth_key).collect();
    merged.points = kept;
    for (node, point, relay) in &candidates.usable {
        if is_chosen(node, point) {
            if !kept_keys.contains(&point.auth_key) {
                merged.points.push((*node, (*point).clone()));
            }
        } else {
            let reason = if chosen.contains_key(relay) { LeftOut::RelayTaken } else { LeftOut::NoRoom };
            merged.left_out.push((*node, (*point).clone(), reason));
        }
    }
    merged
}

/// The usable points, and what `previous` says of them.
struct Candidates<'a> {
    /// In order of node, then in the node's own order.
    usable: Vec<Usable<'a>>,
    /// Per node, the relays it could use, least contested first.
    wants: BTreeMap<NodeId, Vec<RelayFingerprint>>,
    /// Which of `usable` stood in `previous`, by auth key.
    previous: BTreeSet<[u8; 32]>,
}

impl<'a> Candidates<'a> {
    fn collect(
        offers: &[Offer<'a>],
        previous: &[(NodeId, IntroPoint)],
        left_out: &mut Vec<(NodeId, IntroPoint, LeftOut)>,
    ) -> Self {
        let usable = usable(offers, left_out);
        let listed: BTreeMap<_, _> = previous.iter().map(|(node, point)| (point.auth_key, (node, point))).collect();
        let stood = |(node, point, _): &&Usable<'_>| listed.get(&point.auth_key) == Some(&(node, *point));
        let previous = usable.iter().filter(stood).map(|(_, point, _)| point.auth_key).collect();
        let wants = wants(&usable);
        Self { usable, wants, previous }
    }

    /// How many points each node gets.
    fn counts(&self, offers: &[Offer<'_>], places: usize) -> BTreeMap<NodeId, usize> {
        let mut stood: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (node, _) in self.stood() {
            *stood.entry(node).or_default() += 1;
        }
        let mut matching = Matching::new(&self.wants);
        let mut seats = Seats::new(offers, self.wants.keys().copied(), stood);
        while matching.len() < places
            && let Some(node) = seats.next()
        {
            // Who cannot be given one more now never can: later steps only take relays away.
            if matching.augment(node) { seats.take(node) } else { seats.close(node) }
        }
        seats.into_counts()
    }

    /// The relays, with the node that gets each. Starts from what stood, then fills up.
    fn choose(&self, counts: &BTreeMap<NodeId, usize>) -> BTreeMap<RelayFingerprint, NodeId> {
        let mut matching = Matching::new(&self.wants);
        let mut missing = counts.clone();
        let stood: BTreeSet<_> = self.stood().collect();
        for (node, relays) in &self.wants {
            for relay in relays.iter().filter(|relay| stood.contains(&(*node, **relay))) {
                if let Some(count) = missing.get_mut(node).filter(|count| **count > 0)
                    && matching.take_if_free(*node, *relay)
                {
                    *count -= 1;
                }
            }
        }
        for (node, count) in missing {
            for _ in 0..count {
                matching.augment(node);
            }
        }
        matching.into_owners()
    }

    /// Node and relay of the points that stood in `previous`.
    fn stood(&self) -> impl Iterator<Item = (NodeId, RelayFingerprint)> {
        let stood = self.usable.iter().filter(|(_, point, _)| self.previous.contains(&point.auth_key));
        stood.map(|(node, _, relay)| (*node, *relay))
    }

    /// The point `node` uses on `relay`: the one that stood in `previous`, else its first.
    fn point(&self, node: NodeId, relay: RelayFingerprint) -> Option<&'a IntroPoint> {
        let mut here = self.usable.iter().filter(|(n, _, r)| *n == node && *r == relay).map(|(_, point, _)| *point);
        here.clone().find(|point| self.previous.contains(&point.auth_key)).or_else(|| here.next())
    }
}

/// A point that clients can use: its node, itself, its relay.
pub(crate) type Usable<'a> = (NodeId, &'a IntroPoint, RelayFingerprint);

/// In an order that does not depend on the one given.
pub(crate) fn sorted<'a>(offers: &[Offer<'a>]) -> Vec<Offer<'a>> {
    let mut offers = offers.to_vec();
    offers.sort_by(|a, b| (a.node, a.weight, a.points).cmp(&(b.node, b.weight, b.points)));
    offers
}

/// The usable points, in order of node, then in the node's own order; the others are told to `left_out`.
pub(crate) fn usable<'a>(offers: &[Offer<'a>], left_out: &mut Vec<(NodeId, IntroPoint, LeftOut)>) -> Vec<Usable<'a>> {
    let mut usable = Vec::new();
    let mut auth_keys = BTreeSet::new();
    for offer in offers {
        for point in offer.points {
            match relay_of_usable(point) {
                Ok(relay) if auth_keys.insert(point.auth_key) => usable.push((offer.node, point, relay)),
                Ok(_) => left_out.push((offer.node, point.clone(), LeftOut::Duplicate)),
                Err(reason) => left_out.push((offer.node, point.clone(), reason)),
            }
        }
    }
    usable
}

/// Each node's relays, least contested first, else in its own order.
pub(crate) fn wants(usable: &[Usable<'_>]) -> BTreeMap<NodeId, Vec<RelayFingerprint>> {
    let mut bidders: BTreeMap<RelayFingerprint, BTreeSet<NodeId>> = BTreeMap::new();
    let mut wants: BTreeMap<NodeId, Vec<RelayFingerprint>> = BTreeMap::new();
    for (node, _, relay) in usable {
        if bidders.entry(*relay).or_default().insert(*node) {
            wants.entry(*node).or_default().push(*relay);
        }
    }
    for relays in wants.values_mut() {
        relays.sort_by_key(|relay| bidders.get(relay).map_or(0, BTreeSet::len));
    }
    wants
}

/// The relay of a point clients can use.
fn relay_of_usable(point: &IntroPoint) -> Result<RelayFingerprint, LeftOut> {
    let relay = point.relay().ok_or(LeftOut::NoRelay)?;
    if point.has_sound_keys() { Ok(relay) } else { Err(LeftOut::BadKey) }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
