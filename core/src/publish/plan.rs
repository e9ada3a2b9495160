//! Which nodes' points the descriptor lists: never poorer by ignorance (DESIGN section 4).

use super::wake::Wake;
use crate::cluster::{Access, Liveness, Member, PlanNode, View};
use crate::hsdesc::{InnerHeader, IntroPoint};
use crate::id::NodeId;
use crate::merge::{LeftOut, Merged, Offer, merge};
use crate::sabotage::{Rule, is_broken};
use crate::time::Mono;
use core::time::Duration;
use sha3::{Digest, Sha3_256};
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
}

/// One node's offer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Share {
    weight: u16,
    points: PlanNode,
}

impl Offers {
    /// Gathers the offers of every node that serves, or may serve for all we know.
    pub(super) fn gather(now: Mono, view: &View, wake: &mut Wake) -> Self {
        let nodes: BTreeMap<_, _> = view
            .members
            .iter()
            .filter_map(|member| share(now, member, proven(view, member.node), wake).map(|share| (member.node, share)))
            .collect();
        let headers = view.members.iter().filter(|member| nodes.contains_key(&member.node));
        let header = common_header(headers.filter_map(|member| member.record.as_ref()).map(|record| &record.header));
        Self { nodes, header, access: Arc::clone(&view.access) }
    }

    /// Adds points that a majority we cannot hear has published. Those of nodes we do hear are theirs to name.
    pub(super) fn add_published(&mut self, view: &View, published: &[IntroPoint]) {
        let own: BTreeSet<_> = self.nodes.values().flat_map(|share| &share.points.points).map(auth_key).collect();
        for point in published.iter().filter(|point| !own.contains(&point.auth_key)) {
            let owner = view.members.iter().find(|member| lists(view, member, point));
            if owner.is_some_and(|member| member.liveness == Liveness::Live) {
                continue;
            }
            let weight = owner.and_then(|member| member.record.as_ref()).map_or(WEIGHT_UNKNOWN, |record| record.weight);
            let nobody = || Share { weight, points: PlanNode { incarnation: 0, version: 0, points: Vec::new() } };
            let share = self.nodes.entry(owner.map_or(STRANGER, |member| member.node)).or_insert_with(nobody);
            share.points.points.push(point.clone());
        }
    }

    /// No node could serve a client.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The points of nodes we hear ourselves.
    pub(super) fn live_points<'a>(&'a self, view: &'a View) -> impl Iterator<Item = &'a IntroPoint> {
        let live = view.members.iter().filter(|member| member.liveness == Liveness::Live);
        live.filter_map(|member| self.nodes.get(&member.node)).flat_map(|share| &share.points.points)
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
    let record = member.record.iter().flat_map(|record| &record.points);
    let proven = proven(view, member.node).into_iter().flat_map(|part| &part.points);
    record.chain(proven).any(|known| known.auth_key == point.auth_key)
}

/// What `member` offers; `None` if it is known not to serve, or nothing is known.
fn share(now: Mono, member: &Member, proven: Option<&PlanNode>, wake: &mut Wake) -> Option<Share> {
    match member.liveness {
        Liveness::Live => {}
        Liveness::Unknown => {
            let until = member.since.plus(UNKNOWN_KEPT);
            if now >= until || is_broken(Rule::UnknownIsNotDown) {
                return None;
            }
            wake.at(until);
        }
        Liveness::Down => return None,
    }
    // A proven plan may know a newer record than the one that reached us; but not than the node itself names, which may
    // have lost its disk and the time of day, nor need the plan be true.
    let proven = proven.filter(|_| member.liveness != Liveness::Live || !member.record_current);
    let order = member.record.as_ref().map(|record| (record.incarnation, record.version));
    let points = match (&member.record, proven) {
        (_, Some(part)) if Some((part.incarnation, part.version)) > order => part.clone(),
        (Some(record), _) if record.serves() => {
            PlanNode { incarnation: record.incarnation, version: record.version, points: record.points.clone() }
        }
        (_, _) => return None,
    };
    let weight = member.record.as_ref().map_or(WEIGHT_UNKNOWN, |record| record.weight);
    (!points.points.is_empty()).then_some(Share { weight, points })
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

/// What every HSDir should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// In descriptor order.
    pub(super) points: Vec<(NodeId, IntroPoint)>,
    /// Lines before the points.
    pub(super) header: InnerHeader,
    /// Who can read the points.
    pub(super) access: Arc<Access>,
    /// What is not listed, and why.
    pub(super) left_out: Vec<(NodeId, IntroPoint, LeftOut)>,
    /// Per node the record it follows and its points listed.
    pub(super) nodes: BTreeMap<NodeId, PlanNode>,
}

impl Plan {
    /// Divides the descriptor's places; `previous` keeps what need not change.
    pub(super) fn new(offers: &Offers, previous: &[(NodeId, IntroPoint)]) -> Self {
        let wanted: Vec<_> = offers
            .nodes
            .iter()
            .map(|(node, share)| Offer { node: *node, weight: share.weight, points: &share.points.points })
            .collect();
        let Merged { points, left_out } = merge(&wanted, previous);
        let mut nodes: BTreeMap<NodeId, PlanNode> = BTreeMap::new();
        for (node, point) in &points {
            if let Some(Share { points: PlanNode { incarnation, version, .. }, .. }) = offers.nodes.get(node) {
                let nothing = PlanNode { incarnation: *incarnation, version: *version, points: Vec::new() };
                nodes.entry(*node).or_insert(nothing).points.push(point.clone());
            }
        }
        Self { points, header: offers.header.clone(), access: Arc::clone(&offers.access), left_out, nodes }
    }

    /// Whether a descriptor of `other` would say the same.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.points == other.points && self.header == other.header && self.access == other.access
    }

    /// Names the content in beacons.
    pub(super) fn digest(&self) -> [u8; 16] {
        let clients: Vec<_> = self.access.clients().map(|(_, key)| key).collect();
        let access = (self.access.is_restricted(), clients);
        let bytes = postcard::to_allocvec(&(&self.points, &self.header, access)).unwrap_or_default();
        let hash: [u8; 32] = Sha3_256::digest(bytes).into();
        hash.first_chunk().copied().unwrap_or_default()
    }

    /// The points alone, as a descriptor lists them.
    pub(super) fn intro_points(&self) -> Vec<IntroPoint> {
        self.points.iter().map(|(_, point)| point.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
