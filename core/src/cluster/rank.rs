//! Ranks: who would publish best, and hence who holds, who stands by, and who hears everybody.

use std::sync::Arc;

use super::member::Members;
use super::memo::Memo;
use super::record::Records;
use super::roster::Roster;
use super::{Identity, Liveness, NodeState};
use crate::id::NodeId;

/// The holder and the two standbys hear everyone's heartbeats.
pub(super) const HEARERS: usize = 3;

/// A node's rank, lower is better: eligible and not down, then not down, then down; within each `(priority, NodeId)`.
/// A member without a record yet has the worst priority.
type Rank = (u8, u8, NodeId);

/// Names one state of roster, records and verdicts: each changes with them.
pub(super) type Standing = ([u8; 16], u64, u64);

/// All members by rank.
#[derive(Debug, Default)]
pub(super) struct Order(Memo<Standing, [Rank]>);

/// What ranks are computed from.
#[derive(Clone, Copy)]
pub(super) struct Ranks<'a> {
    pub me: &'a Identity,
    pub roster: &'a Roster,
    pub records: &'a Records,
    pub members: &'a Members,
    pub order: &'a Order,
}

impl Ranks<'_> {
    /// The state that ranks follow from.
    pub(super) fn standing(&self) -> Standing {
        (self.roster.hash(), self.records.changes(), self.members.changes())
    }

    /// May publish as far as we know: says so, is active, and is not down.
    pub(super) fn is_eligible(&self, node: NodeId) -> bool {
        self.rank(node).0 == 0
    }

    fn rank(&self, node: NodeId) -> Rank {
        let record = self.records.get(node);
        let down = node != self.me.id && self.members.liveness(node) == Liveness::Down;
        let eligible = record.is_some_and(|record| record.eligible && record.state == NodeState::Active);
        let class = match (down, eligible) {
            (false, true) => 0,
            (false, false) => 1,
            (true, _) => 2,
        };
        (class, record.map_or(u8::MAX, |record| record.priority), node)
    }

    /// Members by rank, best first.
    fn order(&self) -> Arc<[Rank]> {
        self.order.0.get(self.standing(), || {
            let mut order: Vec<Rank> = self.roster.members().keys().map(|node| self.rank(*node)).collect();
            order.sort_unstable();
            order.into()
        })
    }

    /// How many eligible members that `may` claim are better than we are.
    pub(super) fn better_than_me(&self, may: impl Fn(NodeId) -> bool) -> u32 {
        let me = self.rank(self.me.id);
        let order = self.order();
        let better = order.iter().take_while(|rank| rank.0 == 0 && **rank < me);
        let better = better.filter(|(_, _, node)| *node != self.me.id && may(*node)).count();
        u32::try_from(better).unwrap_or(u32::MAX)
    }

    /// Whether another member, live as far as we know, may publish.
    pub(super) fn is_another_eligible(&self) -> bool {
        let live = |node: NodeId| self.members.liveness(node) == Liveness::Live;
        let order = self.order();
        let mut eligible = order.iter().take_while(|rank| rank.0 == 0);
        eligible.any(|(_, _, node)| *node != self.me.id && live(*node))
    }

    /// Those who hear everyone: the holder, if any, then the best ranks, three in all. May include ourselves.
    pub(super) fn hearers(&self, holder: Option<NodeId>) -> Vec<NodeId> {
        let order = self.order();
        let rest = order.iter().map(|(_, _, node)| *node).filter(|node| Some(*node) != holder);
        holder.into_iter().filter(|node| self.roster.contains(*node)).chain(rest).take(HEARERS).collect()
    }
}
