//! Proof of work in the plan: whether the nodes offer it, and one node's points in each descriptor if they do.

use super::{Division, Listed, STRANGER, Share};
use crate::hsdesc::{PowOffer, PowParams};
use crate::id::NodeId;
use crate::merge::{LeftOut, Offer};
use crate::spread::{Spread, apart};
use crate::time::Wall;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// A seed that has run out may go on standing in descriptors for so long: its tor makes a new one at that instant, accepts
/// solutions of the old one for two hours more, and the new one is on its way.
pub(in crate::publish) const SEED_KEPT: Duration = Duration::from_secs(60);

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
    /// All do.
    Apart(Apart),
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

/// Contents of one time period whose parameters alone have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::publish) struct Altered {
    period: u64,
    contents: BTreeSet<usize>,
}

impl Altered {
    pub(in crate::publish) fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }

    /// Whether this content of the descriptors of `period` is one.
    pub(in crate::publish) fn has(&self, period: u64, content: usize) -> bool {
        period == self.period && self.contents.contains(&content)
    }
}

/// Whether the seed of `offer` has run out for good at `now`; if not, how long until it has.
pub(super) fn seed_left(offer: &PowOffer, now: Wall) -> Option<Duration> {
    let until = Wall::from_secs(offer.params.expires).as_ms().saturating_add(SEED_KEPT.as_millis() as u64);
    Some(Duration::from_millis(until.saturating_sub(now.as_ms()))).filter(|left| !left.is_zero())
}

impl Pow {
    /// What these shares allow, and the points that it leaves out.
    pub(super) fn new(
        shares: &BTreeMap<NodeId, Share>,
        wanted: &[Offer<'_>],
        division: Division,
    ) -> (Self, Vec<(NodeId, crate::hsdesc::IntroPoint, LeftOut)>) {
        let lacking: Vec<_> = shares.iter().filter(|(_, share)| share.pow.is_none()).map(|(node, _)| *node).collect();
        let offers: BTreeMap<_, _> = shares.iter().filter_map(|(node, share)| Some((*node, share.pow?))).collect();
        let Some(period) = period_of_most(offers.values()) else { return (Self::Off, Vec::new()) };
        if !lacking.is_empty() {
            return (Self::Lacking(lacking), Vec::new());
        }
        if offers.len() > 1 && division.read < 2 {
            return (Self::NoRoom, Vec::new());
        }
        let Spread { contents, left_out } = apart(wanted, division.read, division.places, period);
        let fresh = |node: NodeId| {
            let share = shares.get(&node)?;
            let offer = share.pow.filter(|offer| offer.period == period && share.seed_is_fresh)?;
            Some((node, offer.params))
        };
        let params = contents.iter().filter_map(|content| fresh(content.first()?.0)).collect();
        (Self::Apart(Apart { period, contents, params }), left_out)
    }

    /// The descriptors of `period`, if it has it.
    pub(super) fn apart(&self, period: u64) -> Option<&Apart> {
        match self {
            Self::Apart(apart) if apart.period == period => Some(apart),
            Self::Apart(_) | Self::Off | Self::Lacking(_) | Self::NoRoom => None,
        }
    }

    /// All contents that differ for it.
    pub(super) fn contents(&self) -> &[Vec<Listed>] {
        match self {
            Self::Apart(apart) => &apart.contents,
            Self::Off | Self::Lacking(_) | Self::NoRoom => &[],
        }
    }

    /// Which contents have other parameters in `new`; `None` if more than those differ.
    pub(super) fn altered(&self, new: &Self) -> Option<Altered> {
        match (self, new) {
            (Self::Apart(old), Self::Apart(new)) => {
                let same = (old.period, &old.contents) == (new.period, &new.contents);
                let altered = |content: &usize| old.params(*content) != new.params(*content);
                let contents = (0..old.contents.len()).filter(altered).collect();
                same.then_some(Altered { period: old.period, contents })
            }
            (old, new) => (old.contents().is_empty() && new.contents().is_empty()).then(Altered::default),
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
            Self::Apart(apart) if current == Some(apart.period) => {
                "in the descriptors, each with one node's points and parameters".to_owned()
            }
            Self::Apart(_) => {
                "not in the descriptors that clients read until the next shared random value: the points \
                               that could verify it are not shown by tor"
                    .to_owned()
            }
        };
        Some(words)
    }
}

impl Apart {
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
