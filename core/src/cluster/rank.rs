//! Ranks: who would publish best, and hence who holds, who stands by, and who hears everybody.

use super::member::Members;
use super::record::Records;
use super::roster::Roster;
use super::{Identity, Liveness, NodeState};
use crate::id::NodeId;

/// The holder and the two standbys hear everyone's heartbeats.
pub(super) const HEARERS: usize = 3;

/// A node's rank, lower is better: eligible and not down, then not down, then down; within each `(priority, NodeId)`.
/// A member without a record yet has the worst priority.
type Rank = (u8, u8, NodeId);

/// What ranks are computed from.
#[derive(Clone, Copy)]
pub(super) struct Ranks<'a> {
    pub me: &'a Identity,
    pub roster: &'a Roster,
    pub records: &'a Records,
    pub members: &'a Members,
}

impl Ranks<'_> {
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

    /// How many eligible members that `may` claim are better than we are.
    pub(super) fn better_than_me(&self, may: impl Fn(NodeId) -> bool) -> u32 {
        let me = self.rank(self.me.id);
        let others = self.roster.members().keys().filter(|node| **node != self.me.id && may(**node));
        let better = others.filter(|node| self.is_eligible(**node) && self.rank(**node) < me).count();
        u32::try_from(better).unwrap_or(u32::MAX)
    }

    /// Whether another member, live as far as we know, may publish.
    pub(super) fn is_another_eligible(&self) -> bool {
        let live = |node: NodeId| self.members.liveness(node) == Liveness::Live;
        self.roster.members().keys().any(|node| *node != self.me.id && self.is_eligible(*node) && live(*node))
    }

    /// Those who hear everyone: the holder, if any, then the best ranks, three in all. May include ourselves.
    pub(super) fn hearers(&self, holder: Option<NodeId>) -> Vec<NodeId> {
        let mut best: Vec<(bool, Rank)> = Vec::with_capacity(HEARERS + 1);
        for node in self.roster.members().keys() {
            let rank = (Some(*node) != holder, self.rank(*node));
            let at = best.partition_point(|other| *other < rank);
            if at < HEARERS {
                best.insert(at, rank);
                best.truncate(HEARERS);
            }
        }
        best.into_iter().map(|(_, (_, _, node))| node).collect()
    }
}
