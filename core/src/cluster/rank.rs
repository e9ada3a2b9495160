//! Ranks: who would publish best, and hence who holds, who stands by, and who hears everybody.

use std::sync::Arc;

use super::member::Members;
use super::record::{Record, Records};
use super::roster::Roster;
use super::timing::RANK_MAX;
use super::{Identity, Liveness, NodeState};
use crate::id::NodeId;
use crate::memo::Memo;

/// The holder and the two standbys hear everyone's heartbeats.
pub(super) const HEARERS: usize = 3;

/// A node's rank, lower is better: eligible and not down, then in service, then not down, then down; within each
/// `(priority, NodeId)`. A member without a record yet has the worst priority. Where nobody is eligible those in service must
/// be the ones that hear everybody: one whose clock seems wrong learns so alone that it is right again.
type Rank = (u8, u8, NodeId);

/// All members by rank, by what roster, records and verdicts they follow from.
#[derive(Debug, Default)]
pub(super) struct Ranking(Memo<([u8; 16], u64, u64), [Rank]>);

/// What ranks are computed from.
#[derive(Clone, Copy)]
pub(super) struct Ranks<'a> {
    pub me: &'a Identity,
    pub roster: &'a Roster,
    pub records: &'a Records,
    pub members: &'a Members,
    pub ranking: &'a Ranking,
}

impl Ranks<'_> {
    /// May publish as far as we know: says so, is active, and is not down.
    pub(super) fn is_eligible(&self, node: NodeId) -> bool {
        self.rank(node).0 == 0
    }

    fn rank(&self, node: NodeId) -> Rank {
        let down = node != self.me.id && self.members.liveness(node) == Liveness::Down;
        rank(node, self.records.get(node), down)
    }

    /// Members by rank, best first.
    fn order(&self) -> Arc<[Rank]> {
        let state = (self.roster.hash(), self.records.rank_changes(), self.members.downs());
        self.ranking.0.get(state, || {
            let (mut records, mut is_down) = (self.records.walk(), self.members.walk_down());
            let ranks = self.roster.members().keys().map(|node| match *node == self.me.id {
                true => self.rank(*node),
                false => rank(*node, records.get(*node), is_down(*node)),
            });
            let mut order: Vec<Rank> = ranks.collect();
            // They stand in order of `NodeId`, and stay so where all else is equal.
            order.sort_by_key(|(class, priority, _)| (*class, *priority));
            order.into()
        })
    }

    /// How many eligible members that `may` claim are better than we are, counted up to [`RANK_MAX`].
    pub(super) fn better_than_me(&self, may: impl Fn(NodeId) -> bool) -> u32 {
        let me = self.rank(self.me.id);
        let order = self.order();
        let better = order.iter().take_while(|rank| rank.0 == 0 && **rank < me);
        let better = better.filter(|(_, _, node)| *node != self.me.id && may(*node));
        (0..RANK_MAX).zip(better).map(|(count, _)| count + 1).last().unwrap_or_default()
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

fn rank(node: NodeId, record: Option<&Arc<Record>>, down: bool) -> Rank {
    let is_in_service = |record: &&Arc<Record>| record.state == NodeState::Active;
    let class = match record {
        _ if down => 3,
        Some(record) if record.is_eligible() => 0,
        record if record.filter(is_in_service).is_some() => 1,
        _ => 2,
    };
    (class, record.map_or(u8::MAX, |record| record.priority), node)
}
