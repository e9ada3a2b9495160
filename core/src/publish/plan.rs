//! Which nodes' points the descriptor lists: never poorer by ignorance (`docs/PROTOCOL.md`).

pub(super) mod pow;

use super::wake::Wake;
use crate::cluster::sign::hash16;
use crate::cluster::{Access, Liveness, Member, NodeState, PlanNode, View};
use crate::hsdesc::{Harvest, InnerHeader, IntroPoint, PowOffer, PowParams};
use crate::id::NodeId;
use crate::merge::{LeftOut, Merged, Offer, merge};
use crate::sabotage::{Rule, is_broken};
use crate::spread::{Spread, spread};
use crate::time::{Now, Wall};
use core::time::Duration;
use pow::{Altered, Pow, seed_left};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A silent node keeps its points this long unless it is known to be down.
pub(super) const UNKNOWN_KEPT: Duration = Duration::from_secs(60);
/// The weight of a node whose record we never saw.
const WEIGHT_UNKNOWN: u16 = 100;
/// Stands for nodes we know nothing of but the points they published.
pub(super) const STRANGER: NodeId = NodeId([0xFF; 32]);
/// Every descriptor has this line; what tor has written since v3 began.
const CREATE2_FORMATS: &str = "create2-formats 2";

/// What the members offer: all that a plan follows from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offers {
    nodes: BTreeMap<NodeId, Share>,
    header: InnerHeader,
    access: Arc<Access>,
    harvests: Harvests,
}

/// How often each member's tor has published by itself, in which incarnation: each time its descriptor took the place of
/// ours. Of members that serve no more, too: one that leaves may have been about it.
type Harvests = BTreeMap<NodeId, (u64, u32)>;

/// One node's offer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Share {
    weight: u16,
    points: PlanNode,
    pow: Option<PowOffer>,
    /// What its tor was made to show besides.
    harvest: Option<Harvest>,
    /// The seed of `pow` has not run out for good: [`seed_left`].
    seed_is_fresh: bool,
}

/// A point and whose it is.
type Listed = (NodeId, IntroPoint);

impl Offers {
    /// Gathers the offers of every node that serves, or may serve for all we know, or is `kept` though it does not.
    pub(super) fn gather(now: Now, view: &View, kept: &BTreeSet<NodeId>, wake: &mut Wake) -> Self {
        let nodes: BTreeMap<_, _> = view
            .members
            .iter()
            .filter_map(|member| share(now, view, member, kept, wake).map(|share| (member.node, share)))
            .collect();
        let headers = view.members.iter().filter(|member| nodes.contains_key(&member.node));
        let header = common_header(headers.filter_map(|member| member.record.as_ref()).map(|record| &record.header));
        let records = view.members.iter().filter_map(|member| member.record.as_ref());
        let harvests =
            records.filter_map(|record| Some((record.node, (record.incarnation, record.harvest.as_ref()?.number))));
        Self { nodes, header, access: Arc::clone(&view.access), harvests: harvests.collect() }
    }

    /// Adds points that a majority we cannot hear has published. Those of nodes we do hear are theirs to name, and those
    /// of nodes that said goodbye nobody's.
    pub(super) fn add_published(&mut self, view: &View, published: &[IntroPoint]) {
        let own: BTreeSet<_> = self.nodes.values().flat_map(|share| &share.points.points).map(auth_key).collect();
        for point in published.iter().filter(|point| !own.contains(&point.auth_key)) {
            let owner = view.members.iter().find(|member| lists(view, member, point));
            if owner.is_some_and(|member| member.liveness == Liveness::Live || said_goodbye(member)) {
                continue;
            }
            let record = owner.and_then(|member| member.record.as_ref());
            let (weight, pow) = record.map_or((WEIGHT_UNKNOWN, None), |record| (record.weight, record.pow));
            let nothing = PlanNode { incarnation: 0, version: 0, points: Vec::new() };
            // It takes proof of work from nobody, and has none itself: nobody says here that its seed is still the same.
            let nobody = || Share { weight, points: nothing, pow, harvest: None, seed_is_fresh: false };
            let share = self.nodes.entry(owner.map_or(STRANGER, |member| member.node)).or_insert_with(nobody);
            share.points.points.push(point.clone());
        }
        // Each may be another node's.
        if let Some(Share { weight, points, .. }) = self.nodes.get_mut(&STRANGER) {
            let nodes = u16::try_from(points.points.len()).unwrap_or(u16::MAX);
            *weight = WEIGHT_UNKNOWN.saturating_mul(nodes);
        }
    }

    /// No seed has run out, or is fresh again, since they were gathered.
    pub(super) fn seeds_hold(&self, now: Wall) -> bool {
        let holds = |share: &Share| share.pow.is_none_or(|pow| seed_left(&pow, now).is_some() == share.seed_is_fresh);
        self.nodes.values().all(holds)
    }

    /// No node could serve a client.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The points of each node that we hear ourselves, and those that its tor was made to show.
    pub(super) fn live_points<'a>(
        &'a self,
        view: &'a View,
    ) -> impl Iterator<Item = (&'a [IntroPoint], &'a [IntroPoint])> {
        let live = view.members.iter().filter(|member| member.liveness == Liveness::Live);
        let points = |share: &'a Share| {
            (&share.points.points[..], share.harvest.as_ref().map_or(&[][..], |harvest| &harvest.points))
        };
        live.filter_map(|member| self.nodes.get(&member.node)).map(points)
    }
}

/// The newest proven plan's part of `node`.
fn proven(view: &View, node: NodeId) -> Option<&PlanNode> {
    view.proven.as_ref().and_then(|plan| plan.nodes.get(&node))
}

fn auth_key(point: &IntroPoint) -> [u8; 32] {
    point.auth_key
}

/// Whether `point` is in the record of `member` or in its part of the proven plan.
fn lists(view: &View, member: &Member, point: &IntroPoint) -> bool {
    let record = member.record.iter().flat_map(|record| record.all_points());
    let proven = proven(view, member.node).into_iter().flat_map(|part| &part.points);
    record.chain(proven).any(|known| known.auth_key == point.auth_key)
}

/// Whether `point` is of a member that stopped in order. Once started again, its points are others.
pub(super) fn has_left(view: &View, point: &IntroPoint) -> bool {
    view.members.iter().any(|member| said_goodbye(member) && lists(view, member, point))
}

fn said_goodbye(member: &Member) -> bool {
    let leaves = member.record.as_ref().is_some_and(|record| record.state == NodeState::Leaving);
    leaves && member.liveness != Liveness::Live
}

/// What `member` offers; `None` if it is known not to serve, or nothing is known.
fn share(now: Now, view: &View, member: &Member, kept: &BTreeSet<NodeId>, wake: &mut Wake) -> Option<Share> {
    let is_kept = kept.contains(&member.node);
    match member.liveness {
        Liveness::Live => {}
        Liveness::Unknown | Liveness::Down if is_kept => {}
        Liveness::Unknown => {
            let until = member.since.plus(UNKNOWN_KEPT);
            if now.mono >= until || is_broken(Rule::UnknownIsNotDown) {
                return None;
            }
            wake.at(until);
        }
        Liveness::Down => return None,
    }
    // A proven plan may know a newer record than the one that reached us; but not than the node itself names, which may
    // have lost its disk and the time of day, nor need the plan be true.
    let proven = proven(view, member.node).filter(|_| member.liveness != Liveness::Live || !member.record_current);
    let order = member.record.as_ref().map(|record| (record.incarnation, record.version));
    let keeps_unwell = is_kept || is_broken(Rule::DeadTargetIsOut);
    let points = match (&member.record, proven) {
        (_, Some(part)) if Some((part.incarnation, part.version)) > order => part.clone(),
        (Some(record), _) if record.serves() || (keeps_unwell && record.state == NodeState::Active) => {
            PlanNode { incarnation: record.incarnation, version: record.version, points: record.points.clone() }
        }
        (_, _) => return None,
    };
    let weight = member.record.as_ref().map_or(WEIGHT_UNKNOWN, |record| record.weight);
    if points.points.is_empty() {
        return None;
    }
    let pow = member.record.as_ref().and_then(|record| record.pow);
    let seed_left = pow.and_then(|pow| seed_left(&pow, now.wall));
    seed_left.iter().for_each(|left| wake.at(now.mono.plus(*left)));
    let harvest = member.record.as_ref().filter(|record| record.order() == (points.incarnation, points.version));
    let harvest = harvest.and_then(|record| record.harvest.clone());
    Some(Share { weight, points, pow, harvest, seed_is_fresh: seed_left.is_some() })
}

/// The lines that all have, in the first one's order.
fn common_header<'a>(mut headers: impl Iterator<Item = &'a InnerHeader>) -> InnerHeader {
    let mut common = headers.next().cloned().unwrap_or_default();
    for header in headers {
        common.0.retain(|line| header.0.contains(line));
    }
    if !common.0.iter().any(|line| line.starts_with("create2-formats ")) {
        common.0.insert(0, CREATE2_FORMATS.to_owned());
    }
    common
}

/// How the offers are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Division {
    /// The most points in one descriptor, as the operator of the publisher wants it.
    pub(super) places: usize,
    /// HSDirs of one slot that clients read.
    pub(super) read: usize,
}

/// What the HSDirs should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// In descriptor order: one content for every HSDir, or where that has no room for all, several (never none).
    shared: Vec<Vec<Listed>>,
    /// Proof of work, and other contents for the period that has it.
    pub(super) pow: Pow,
    /// The points in all of them, each once.
    pub(super) points: Vec<(NodeId, IntroPoint)>,
    /// Lines before the points.
    pub(super) header: InnerHeader,
    /// Who can read the points.
    pub(super) access: Arc<Access>,
    /// What is not listed, and why.
    pub(super) left_out: Vec<(NodeId, IntroPoint, LeftOut)>,
    /// Per node the record it follows and its points listed, but for those that its tor was made to show.
    pub(super) nodes: BTreeMap<NodeId, PlanNode>,
    harvests: Harvests,
}

impl Plan {
    /// Divides the places of one descriptor, or, where not all have room in it, of several; `previous` keeps what need not
    /// change in one.
    pub(super) fn new(offers: &Offers, previous: &[(NodeId, IntroPoint)], division: Division) -> Self {
        let wanted: Vec<_> = offers
            .nodes
            .iter()
            .map(|(node, share)| Offer { node: *node, weight: share.weight, points: &share.points.points })
            .collect();
        let merged = merge(&wanted, previous, division.places);
        let is_one = division.read < 2 || is_broken(Rule::DistinctContents);
        let (shared, mut left_out) = if merged.is_whole() || is_one {
            let Merged { points, left_out } = merged;
            (vec![points], left_out)
        } else {
            let Spread { contents, left_out } = spread(&wanted, division.read, division.places);
            (contents, left_out)
        };
        let (pow, left_out_apart) = Pow::new(&offers.nodes, division);
        let points = each_once(shared.iter().chain(pow.contents()));
        // Left out is what stands nowhere.
        let known: BTreeSet<_> = left_out.iter().map(|(_, point, _)| point.auth_key).collect();
        left_out.extend(left_out_apart.into_iter().filter(|(_, point, _)| !known.contains(&point.auth_key)));
        let listed: BTreeSet<_> = points.iter().map(|(_, point)| point.auth_key).collect();
        left_out.retain(|(_, point, why)| *why == LeftOut::Duplicate || !listed.contains(&point.auth_key));
        let mut nodes: BTreeMap<NodeId, PlanNode> = BTreeMap::new();
        let shown =
            |(node, point): &&Listed| offers.nodes.get(node).is_some_and(|share| share.points.points.contains(point));
        for (node, point) in points.iter().filter(shown) {
            if let Some(Share { points: PlanNode { incarnation, version, .. }, .. }) = offers.nodes.get(node) {
                let nothing = PlanNode { incarnation: *incarnation, version: *version, points: Vec::new() };
                nodes.entry(*node).or_insert(nothing).points.push(point.clone());
            }
        }
        let (header, access) = (offers.header.clone(), Arc::clone(&offers.access));
        let harvests = offers.harvests.clone();
        Self { shared, pow, points, header, access, left_out, nodes, harvests }
    }

    /// The contents of the descriptors of `period`, a time period's number.
    pub(super) fn contents(&self, period: u64) -> &[Vec<Listed>] {
        self.pow.apart(period).map_or(&self.shared, |apart| &apart.contents)
    }

    /// In which descriptors `new` says something else, if in some alone; `None` if it may be in all.
    pub(super) fn altered(&self, new: &Self) -> Option<Altered> {
        let same = self.shared == new.shared && self.header == new.header && self.access == new.access;
        (same && !self.is_overwritten(new)).then(|| self.pow.altered(&new.pow)).flatten()
    }

    /// Keeps in mind what `old` knew of members whose tors published by themselves: their records say so in one half of the
    /// day alone.
    pub(super) fn remember(&mut self, old: &Self, members: &[Member]) {
        let is_member = |node: &NodeId| members.iter().any(|member| member.node == *node);
        for (node, number) in old.harvests.iter().filter(|(node, _)| is_member(node)) {
            let known = self.harvests.entry(*node).or_insert(*number);
            *known = (*known).max(*number);
        }
    }

    /// Whether by what `new` knows a tor has published by itself since, over what HSDirs had of ours.
    fn is_overwritten(&self, new: &Self) -> bool {
        new.harvests.iter().any(|(node, number)| self.harvests.get(node).is_none_or(|known| number > known))
    }

    /// Names the content in beacons.
    pub(super) fn digest(&self) -> [u8; 16] {
        let clients: Vec<_> = self.access.clients().map(|(_, key)| key).collect();
        let access = (self.access.is_restricted(), clients);
        let mut bytes = postcard::to_allocvec(&(&self.shared, &self.header, access)).unwrap_or_default();
        if let Pow::Apart(apart) = &self.pow {
            bytes.extend(postcard::to_allocvec(apart).unwrap_or_default());
        }
        hash16(&bytes)
    }

    /// The points of one content of `period` alone, as a descriptor lists them.
    pub(super) fn intro_points(&self, period: u64, content: usize) -> Vec<IntroPoint> {
        self.contents(period).get(content).into_iter().flatten().map(|(_, point)| point.clone()).collect()
    }

    /// Proof of work in one content of `period`.
    pub(super) fn pow_params(&self, period: u64, content: usize) -> Option<&PowParams> {
        self.pow.apart(period)?.params(content)
    }
}

fn each_once<'a>(contents: impl Iterator<Item = &'a Vec<Listed>>) -> Vec<Listed> {
    let mut seen = BTreeSet::new();
    contents.flatten().filter(|(_, point)| seen.insert(point.auth_key)).cloned().collect()
}

#[cfg(test)]
mod tests;
