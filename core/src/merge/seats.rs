//! Who gets the next place: every node one before any gets two, then where `(2 count + 1) / weight` is least (Sainte-Laguë).

use super::Offer;
use crate::id::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// Makes shares of different weights comparable as integers.
const SHARE_SCALE: u64 = 1 << 40;

/// Places given so far, and who may still get one.
pub(crate) struct Seats {
    weights: BTreeMap<NodeId, u64>,
    /// Between equals, nodes with fewer places than this come first.
    stood: BTreeMap<NodeId, usize>,
    counts: BTreeMap<NodeId, usize>,
    open: BTreeSet<NodeId>,
}

impl Seats {
    /// No place is given yet, and `nodes` may get some.
    pub(crate) fn new(
        offers: &[Offer<'_>],
        nodes: impl Iterator<Item = NodeId>,
        stood: BTreeMap<NodeId, usize>,
    ) -> Self {
        let weights = offers.iter().map(|offer| (offer.node, u64::from(offer.weight.max(1)))).collect();
        Self { weights, stood, counts: BTreeMap::new(), open: nodes.collect() }
    }

    /// Who is to get the next place.
    pub(crate) fn next(&self) -> Option<NodeId> {
        self.open.iter().copied().min_by_key(|node| {
            let count = self.count(*node);
            let share = (2 * count as u64 + 1) * SHARE_SCALE / self.weight(*node);
            (count > 0, share, count >= self.stood.get(node).copied().unwrap_or(0), *node)
        })
    }

    /// `node` gets one place more.
    pub(crate) fn take(&mut self, node: NodeId) {
        *self.counts.entry(node).or_default() += 1;
    }

    /// `node` gets no more.
    pub(crate) fn close(&mut self, node: NodeId) {
        self.open.remove(&node);
    }

    /// The places of `node`.
    pub(crate) fn count(&self, node: NodeId) -> usize {
        self.counts.get(&node).copied().unwrap_or(0)
    }

    /// All places.
    pub(crate) fn into_counts(self) -> BTreeMap<NodeId, usize> {
        self.counts
    }

    /// How far the worst of `nodes` is from its part of their places, in per mille of that part.
    pub(crate) fn error_permille(&self, nodes: impl Iterator<Item = NodeId> + Clone) -> u64 {
        let weights: u64 = nodes.clone().map(|node| self.weight(node)).sum();
        let places: u64 = nodes.clone().map(|node| self.count(node) as u64).sum();
        let errors = nodes.map(|node| {
            let (has, due) = (self.count(node) as u64 * weights, places * self.weight(node));
            has.abs_diff(due) * 1000 / due.max(1)
        });
        errors.max().unwrap_or(0)
    }

    fn weight(&self, node: NodeId) -> u64 {
        self.weights.get(&node).copied().unwrap_or(1)
    }
}
