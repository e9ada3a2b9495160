//! Proof of work in the plan: whether the nodes offer it, and one node's points in each descriptor if they do.

use super::{Division, Listed, STRANGER, Share};
use crate::hsdesc::{IntroPoint, PowOffer, PowParams};
use crate::id::NodeId;
use crate::merge::{LeftOut, Offer};
use crate::spread::{Spread, apart};
use crate::time::Wall;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// A seed that has run out may go on standing in descriptors for so long: its tor makes a new one at that instant, accepts
/// solutions of the old one for two hours more, and the new one is on its way.
pub(in crate::publish) const SEED_KEPT: Duration = Duration::from_secs(60);

/// What is not listed, and why.
type PointsLeftOut = Vec<(NodeId, IntroPoint, LeftOut)>;

/// Nodes that are named as lacking it; of the others the number.
const NAMED_MAX: usize = 3;

/// Proof of work, by what the nodes in the plan say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::publish) enum Pow {
    /// No node offers it.
    #[default]
    Off,
    /// These do not, but others do: no descriptor has it.
    Lacking(Vec<NodeId>),
    /// All do, but HSDirs that clients read are too few to hold each another node's points.
    NoRoom,
    /// All do: for the time period of the points that tors show and, once each tor was made to show others, for the next
    /// one, which clients use then.
    Apart(Vec<Apart>),
}

/// The descriptors of one time period, each with one node's points and that node's parameters.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(in crate::publish) struct Apart {
    /// The period that the nodes' points are bound to, its number. In descriptors of another one clients would solve for a
    /// key that tor does not verify with.
    pub(in crate::publish) period: u64,
    /// As in [`Plan::contents`](super::Plan).
    pub(in crate::publish) contents: Vec<Vec<Listed>>,
    /// Of those nodes with a content whose parameters are for this period, and whose seed has not run out.
    params: BTreeMap<NodeId, PowParams>,
}

/// Contents whose parameters alone have changed,
/// By period and content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::publish) struct Altered(BTreeSet<(u64, usize)>);

impl Altered {
    pub(in crate::publish) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this content of the descriptors of `period` is one.
    pub(in crate::publish) fn has(&self, period: u64, content: usize) -> bool {
        self.0.contains(&(period, content))
    }
}

/// Whether the seed of `offer` has run out for good at `now`; if not, how long until it has.
pub(super) fn seed_left(offer: &PowOffer, now: Wall) -> Option<Duration> {
    let until = Wall::from_secs(offer.params.expires).as_ms().saturating_add(SEED_KEPT.as_millis() as u64);
    Some(Duration::from_millis(until.saturating_sub(now.as_ms()))).filter(|left| !left.is_zero())
}

impl Pow {
    /// What these shares allow, and the points that it leaves out.
    pub(super) fn new<'a>(shares: &'a BTreeMap<NodeId, Share>, division: Division) -> (Self, PointsLeftOut) {
        let lacking: Vec<_> = shares.iter().filter(|(_, share)| share.pow.is_none()).map(|(node, _)| *node).collect();
        let offers: BTreeMap<_, _> = shares.iter().filter_map(|(node, share)| Some((*node, share.pow?))).collect();
        let Some(period) = period_of_most(offers.values()) else { return (Self::Off, Vec::new()) };
        if !lacking.is_empty() {
            return (Self::Lacking(lacking), Vec::new());
        }
        if offers.len() > 1 && division.read < 2 {
            return (Self::NoRoom, Vec::new());
        }
        // Of a tor that has not followed yet, points that verify nothing.
        let of_any = |share: &'a Share, period| Some(share.bound_to(period).unwrap_or(&share.points.points));
        let shown = Apart::new(period, shares, division, of_any);
        let bound = shares.values().flat_map(Share::periods);
        let next = bound.max().filter(|next| *next > period);
        let next = next.and_then(|next| Apart::new(next, shares, division, Share::bound_to));
        let (periods, left_out): (Vec<_>, Vec<_>) = shown.into_iter().chain(next).unzip();
        (Self::Apart(periods), left_out.concat())
    }

    /// The descriptors of `period`, if it has it.
    pub(super) fn apart(&self, period: u64) -> Option<&Apart> {
        match self {
            Self::Apart(periods) => periods.iter().find(|apart| apart.period == period),
            Self::Off | Self::Lacking(_) | Self::NoRoom => None,
        }
    }

    /// All contents that differ for it.
    pub(super) fn contents(&self) -> impl Iterator<Item = &Vec<Listed>> {
        let periods = match self {
            Self::Apart(periods) => &periods[..],
            Self::Off | Self::Lacking(_) | Self::NoRoom => &[],
        };
        periods.iter().flat_map(|apart| &apart.contents)
    }

    /// Which contents have other parameters in `new`; `None` if more than those differ.
    pub(super) fn altered(&self, new: &Self) -> Option<Altered> {
        match (self, new) {
            (Self::Apart(old), Self::Apart(new)) => {
                let pairs = || old.iter().zip(new);
                let same = |(old, new): (&Apart, &Apart)| (old.period, &old.contents) == (new.period, &new.contents);
                let altered = |(old, new): (&Apart, &Apart)| {
                    let altered =
                        (0..old.contents.len()).filter(|content| old.params(*content) != new.params(*content));
                    altered.map(|content| (old.period, content)).collect::<Vec<_>>()
                };
                let is_same = old.len() == new.len() && pairs().all(same);
                is_same.then(|| Altered(pairs().flat_map(altered).collect()))
            }
            (old, new) => [old, new].iter().all(|pow| pow.contents().next().is_none()).then(Altered::default),
        }
    }

    /// For status and log; `current` is the period that clients use. `None` if no node offers any.
    pub(in crate::publish) fn in_words(&self, current: Option<u64>) -> Option<String> {
        let words = match self {
            Self::Off => return None,
            Self::Lacking(nodes) => {
                let named = nodes.iter().take(NAMED_MAX).map(|node| match *node {
                    STRANGER => "nodes that are not known here".to_owned(),
                    node => format!("node {node}"),
                });
                let others = nodes.len().saturating_sub(NAMED_MAX);
                let others = (others > 0).then(|| format!("{others} more"));
                let nodes = named.chain(others).collect::<Vec<_>>().join(", ");
                format!(
                    "not in the descriptors while {nodes} offer none, or are not heard: set service.pow in every node's file"
                )
            }
            Self::NoRoom => "not in the descriptors, for clients of this network read one HSDir only".to_owned(),
            Self::Apart(_) if current.is_some_and(|current| self.apart(current).is_some()) => {
                "in the descriptors, each with one node's points and parameters".to_owned()
            }
            Self::Apart(_) => {
                "not yet in the descriptors that clients read: at the start of a time period each node's tor publishes by \
                 itself for a moment, one after the other, to show the points that verify it"
                    .to_owned()
            }
        };
        Some(words)
    }
}

impl Share {
    /// The time periods that it has points for.
    fn periods(&self) -> impl Iterator<Item = u64> {
        let shown = self.pow.map(|pow| pow.period);
        shown.into_iter().chain(self.harvest.as_ref().map(|harvest| harvest.period))
    }

    /// The points that are bound to `period`, of those that its tor shows or was made to show.
    fn bound_to(&self, period: u64) -> Option<&[IntroPoint]> {
        let shown = self.pow.filter(|pow| pow.period == period).map(|_| &self.points.points);
        let harvest = self.harvest.as_ref().filter(|harvest| harvest.period == period).map(|harvest| &harvest.points);
        shown.or(harvest).filter(|points| !points.is_empty()).map(Vec::as_slice)
    }
}

impl Apart {
    /// The descriptors of `period`, each with `points` of one node and its parameters, and what they leave out; `None` if a
    /// node has none.
    fn new<'a>(
        period: u64,
        shares: &'a BTreeMap<NodeId, Share>,
        division: Division,
        points: impl Fn(&'a Share, u64) -> Option<&'a [IntroPoint]>,
    ) -> Option<(Self, PointsLeftOut)> {
        let offer = |(node, share): (&NodeId, &'a Share)| {
            Some(Offer { node: *node, weight: share.weight, points: points(share, period)? })
        };
        let wanted = shares.iter().map(offer).collect::<Option<Vec<_>>>()?;
        let Spread { contents, left_out } = apart(&wanted, division.read, division.places, period);
        let params = |node: NodeId| {
            let share = shares.get(&node).filter(|share| share.seed_is_fresh && share.bound_to(period).is_some())?;
            Some((node, share.pow?.params))
        };
        let params = contents.iter().filter_map(|content| params(content.first()?.0)).collect();
        Some((Self { period, contents, params }, left_out))
    }

    /// The parameters in one content.
    pub(super) fn params(&self, content: usize) -> Option<&PowParams> {
        let (owner, _) = self.contents.get(content)?.first()?;
        self.params.get(owner)
    }
}

/// The period that most offers are for; of two the later one. Tors follow a new shared random value one by one.
fn period_of_most<'a>(offers: impl Iterator<Item = &'a PowOffer>) -> Option<u64> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    offers.for_each(|offer| *counts.entry(offer.period).or_default() += 1);
    counts.into_iter().max_by_key(|(period, count)| (*count, *period)).map(|(period, _)| period)
}
