//! The last proven plan: what a new publisher starts from.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::item::{Items, Key, Stamp};
use super::lease::reach::Reach;
use super::record::{LINK_SPECIFIERS_MAX, are_points_within_bounds};
use super::roster::Roster;
use super::sign::{self, Purpose, Unverified};
use super::timing::ITEM_MAX;
use super::{Identity, PeerError};
use crate::hsdesc::{IntroPoint, NUM_INTRO_POINT_MAX};
use crate::id::NodeId;
use crate::onion::period::Slot;
use crate::spread::CONTENTS_MAX;
use crate::time::Mono;

/// Points of all descriptors together.
const POINTS_MAX: usize = CONTENTS_MAX * NUM_INTRO_POINT_MAX;

const _: () = assert!(
    POINTS_MAX * ((LINK_SPECIFIERS_MAX + 2 + 96) + (32 + 22)) + 256 <= ITEM_MAX,
    "the largest plan is an item, each point of another node"
);

/// The last plan every HSDir confirmed: nodes with record order and the points listed. Gossiped and persisted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ProvenPlan {
    /// Epoch it was proven under.
    pub epoch: u64,
    /// Bumped per plan within the epoch.
    pub serial: u64,
    /// Per node: the record's (incarnation, version) and the points.
    pub nodes: BTreeMap<NodeId, PlanNode>,
}

/// One node's part of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanNode {
    /// Record order.
    pub incarnation: u64,
    /// Record order.
    pub version: u64,
    /// Its points in the plan.
    pub points: Vec<IntroPoint>,
}

/// What publication contributes to beacons and gossip.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Publication {
    /// Digest of the current plan.
    pub plan_digest: [u8; 16],
    /// Highest `n` (seconds, `onion/revision.rs`) known to be accepted per slot, with the time period number it belongs to.
    pub floors: BTreeMap<Slot, (u64, u32)>,
    /// The newest proven plan, if we proved one.
    pub proven: Option<Arc<ProvenPlan>>,
    /// Most uploads failed three times: release if another is eligible.
    pub failing: bool,
}

/// A plan and who proved it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Signed {
    by: NodeId,
    plan: ProvenPlan,
}

/// The newest plan known.
#[derive(Debug, Default)]
pub(super) struct Plans {
    proven: Option<Arc<ProvenPlan>>,
}

impl Plans {
    pub(super) fn proven(&self) -> Option<&Arc<ProvenPlan>> {
        self.proven.as_ref()
    }

    /// From our own disk: whoever proved it may have left since.
    pub(super) fn load(&mut self, me: &Identity, items: &mut Items, blob: &[u8]) {
        let Some(signed) = Unverified::<Signed>::decode(blob) else { return };
        let by = signed.claim().by;
        if let Some(Signed { plan, .. }) = signed.verify(by, Purpose::Plan, me.cluster) {
            items.put(Key::Plan, Stamp::new(plan.epoch, plan.serial, blob), blob.to_vec());
            self.proven = Some(Arc::new(plan));
        }
    }

    /// A plan from gossip, kept if newer: then true. Of one that is too far ahead for now `reach` grows at most, as for a
    /// beacon, or who refuses for good what the others hold would never be told that it holds all, and be neither given the
    /// lease nor give it.
    ///
    /// # Errors
    /// State unchanged: not by a member, malformed, out of bounds, badly signed, not newer, or too far ahead within the same
    /// beat.
    pub(super) fn accept(
        &mut self,
        now: Mono,
        me: &Identity,
        roster: &Roster,
        reach: &mut Reach,
        items: &mut Items,
        blob: &[u8],
    ) -> Result<bool, PeerError> {
        let signed = Unverified::<Signed>::decode(blob).ok_or(PeerError::Malformed)?;
        let Signed { by, plan } = signed.claim();
        let by = *by;
        if !roster.knows(by) {
            return Err(PeerError::NotAMember);
        }
        let is_believed = reach.believes(plan.epoch);
        if !is_believed && !reach.may_grow(now) {
            return Err(PeerError::EpochJump);
        }
        if !plan.nodes.values().all(|node| are_points_within_bounds(&node.points)) {
            return Err(PeerError::Malformed);
        }
        let stamp = Stamp::new(plan.epoch, plan.serial, blob);
        if items.stamp(Key::Plan).is_some_and(|held| held >= stamp) {
            return Err(PeerError::Stale);
        }
        let signed = signed.verify(by, Purpose::Plan, me.cluster).ok_or(PeerError::BadSignature)?;
        if !is_believed {
            reach.grow(now);
            return Ok(false);
        }
        items.put(Key::Plan, stamp, blob.to_vec());
        self.proven = Some(Arc::new(signed.plan));
        Ok(true)
    }

    /// Takes what our own publication has achieved. True if a newer plan was proven and is to be pushed.
    pub(super) fn publish(&mut self, me: &Identity, items: &mut Items, publication: &Publication) -> bool {
        let Some(plan) = &publication.proven else { return false };
        let held = items.stamp(Key::Plan).map(Stamp::order);
        if held.is_some_and(|order| order >= (plan.epoch, plan.serial)) {
            return false;
        }
        let signed = Signed { by: me.id, plan: ProvenPlan::clone(plan) };
        let blob = sign::seal(&me.keypair, Purpose::Plan, me.cluster, &signed);
        if blob.len() > ITEM_MAX {
            return false;
        }
        items.put(Key::Plan, Stamp::new(plan.epoch, plan.serial, &blob), blob);
        self.proven = Some(plan.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::roster;
    use crate::cluster::tests::{CLUSTER, identity};
    use crate::cluster::timing::EPOCH_JUMP_MAX;
    use crate::id::WgPublicKey;
    use core::time::Duration;

    const NOW: Mono = Mono::from_ms(0);

    fn plan(epoch: u64, serial: u64) -> Publication {
        let proven = Some(Arc::new(ProvenPlan { epoch, serial, nodes: BTreeMap::new() }));
        Publication { proven, ..Publication::default() }
    }

    /// A roster of one.
    fn founder() -> (Identity, Roster, Items) {
        let me = identity(1);
        let (mut roster, mut items) = (Roster::new(CLUSTER, me.id), Items::default());
        let entry = roster::admit(&me.keypair, CLUSTER, 0, me.id, WgPublicKey([1; 32]));
        roster.load(&[entry], &mut items);
        (me, roster, items)
    }

    #[test]
    fn the_newest_proven_plan_wins_and_survives_on_disk() {
        let (me, roster, mut items) = founder();
        let mut plans = Plans::default();
        assert!(plans.publish(&me, &mut items, &plan(3, 1)));
        assert!(!plans.publish(&me, &mut items, &plan(3, 1)), "once");
        let blob = items.blob(Key::Plan).unwrap().1.to_vec();

        let (mut other, mut theirs) = (Plans::default(), Items::default());
        let mut reach = Reach::new(NOW, 3);
        assert_eq!(other.accept(NOW, &me, &roster, &mut reach, &mut theirs, &blob), Ok(true));
        assert_eq!(other.accept(NOW, &me, &roster, &mut reach, &mut theirs, &blob), Err(PeerError::Stale));
        let mut loaded = Plans::default();
        loaded.load(&me, &mut Items::default(), &blob);
        assert_eq!((loaded.proven(), other.proven()), (plans.proven(), plans.proven()));
    }

    #[test]
    fn the_plan_of_the_most_descriptors_with_the_longest_points_is_gossiped() {
        let (me, roster, mut items) = founder();
        let longest = |n: usize| IntroPoint {
            link_specifiers: vec![255; LINK_SPECIFIERS_MAX],
            onion_key: [1; 32],
            auth_key: [n as u8; 32],
            enc_key: [3; 32],
        };
        let part = |n| PlanNode { incarnation: u64::MAX, version: u64::MAX, points: vec![longest(n)] };
        let nodes = (0..POINTS_MAX).map(|n| (NodeId([n as u8; 32]), part(n))).collect();
        let proven = Some(Arc::new(ProvenPlan { epoch: 3, serial: u64::MAX, nodes }));
        let plan = Publication { proven, ..Publication::default() };
        assert!(Plans::default().publish(&me, &mut items, &plan));
        let blob = items.blob(Key::Plan).unwrap().1.to_vec();
        let mut theirs = Plans::default();
        let mut reach = Reach::new(NOW, 3);
        assert_eq!(theirs.accept(NOW, &me, &roster, &mut reach, &mut Items::default(), &blob), Ok(true));
        assert_eq!(theirs.proven(), plan.proven.as_ref());
    }

    #[test]
    fn a_plan_of_an_epoch_too_far_ahead_is_believed_once_so_many_beats_have_passed() {
        let (me, roster, mut items) = founder();
        let mut reach = Reach::new(NOW, 0);
        Plans::default().publish(&me, &mut items, &plan(3 * EPOCH_JUMP_MAX, 1));
        let blob = items.blob(Key::Plan).unwrap().1.to_vec();
        let mut accept = |ms| {
            let now = NOW.plus(Duration::from_millis(ms));
            Plans::default().accept(now, &me, &roster, &mut reach, &mut Items::default(), &blob)
        };
        let grown_or_refused = [0, 499, 500, 999, 1_000].map(&mut accept);
        let refused = Err(PeerError::EpochJump);
        assert_eq!(grown_or_refused, [refused, refused, Ok(false), refused, Ok(false)]);
        assert_eq!(accept(1_001), Ok(true));
    }
}
