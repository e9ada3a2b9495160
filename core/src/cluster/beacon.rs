//! The holder's beacon.

use core::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::roster::Roster;
use super::timing::ROSTER_MAX;
use crate::id::NodeId;
use crate::onion::period::Slot;

/// "I publish." Signed, sent every beat, flooded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beacon {
    /// Token generation.
    pub generation: u32,
    /// One more than any lease before.
    pub epoch: u64,
    /// Strictly growing within the lease.
    pub seq: u64,
    /// Who publishes.
    pub holder: NodeId,
    /// The holder's, so that everyone ranks rivals alike.
    pub priority: u8,
    /// The last word: the lease is free.
    pub released: bool,
    /// Of the roster `unheard` refers to.
    pub roster_hash: [u8; 16],
    /// One bit per member in order of `NodeId`: not heard by the holder within the TTL. It ends with the last byte
    /// that is not zero, so that while all is well a beacon is as short in a large cluster as in a small one.
    pub unheard: Vec<u8>,
    /// Of the plan being published.
    pub plan_digest: [u8; 16],
    /// Counter floors: (time period, n).
    pub floors: BTreeMap<Slot, (u64, u32)>,
    /// Incarnation and version of the holder's record: a last word may come before the record that says why.
    pub record: (u64, u64),
}

/// Orders leases: newer token generation first, then later epoch, then the better rank.
pub(super) type LeaseOrder = (u32, u64, Reverse<(u8, NodeId)>);

impl Beacon {
    /// Compares leases; equal for beacons of one lease.
    pub(super) fn lease(&self) -> LeaseOrder {
        (self.generation, self.epoch, Reverse((self.priority, self.holder)))
    }

    /// Whether the holder hears `node`. With another roster than ours the bits have no meaning for us, and we
    /// give the holder the benefit until gossip has made the rosters equal.
    pub(super) fn hears(&self, roster: &Roster, node: NodeId) -> bool {
        if self.roster_hash != roster.hash() || node == self.holder {
            return true;
        }
        roster.members().keys().position(|member| *member == node).is_some_and(|index| self.is_heard(index))
    }

    /// The bit of the member at `index`, under the roster the beacon was made for.
    pub(super) fn is_heard(&self, index: usize) -> bool {
        self.unheard.get(index / 8).is_none_or(|byte| byte & (1 << (index % 8)) == 0)
    }

    /// Lengths a decoded beacon may have.
    pub(super) fn is_within_bounds(&self) -> bool {
        self.unheard.len() <= ROSTER_MAX.div_ceil(8)
    }
}

/// The bitmap of [`Beacon::unheard`].
pub(super) fn bitmap(roster: &Roster, is_heard: impl Fn(NodeId) -> bool) -> Vec<u8> {
    let mut bits = vec![0; roster.len().div_ceil(8)];
    for (index, node) in roster.members().keys().enumerate() {
        if let Some(byte) = bits.get_mut(index / 8)
            && !is_heard(*node)
        {
            *byte |= 1 << (index % 8);
        }
    }
    let used = bits.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bits.truncate(used);
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::{CLUSTER, identity};
    use crate::cluster::{item::Items, roster, sign, sign::Purpose, wire::Message};
    use crate::id::WgPublicKey;
    use crate::output::DATAGRAM_MAX;

    fn beacon(holder: NodeId, roster: &Roster, unheard: Vec<u8>) -> Beacon {
        Beacon {
            generation: 3,
            epoch: u64::MAX,
            seq: u64::MAX,
            holder,
            priority: 255,
            released: false,
            roster_hash: roster.hash(),
            unheard,
            plan_digest: [255; 16],
            floors: BTreeMap::from([(Slot::First, (u64::MAX, u32::MAX)), (Slot::Second, (u64::MAX, u32::MAX))]),
            record: (u64::MAX, u64::MAX),
        }
    }

    #[test]
    fn heard_means_the_members_bit_under_the_same_roster() {
        let ids: Vec<_> = (1..=9).map(identity).collect();
        let mut roster = Roster::new(CLUSTER, ids[0].id);
        let entries: Vec<_> =
            ids.iter().map(|id| roster::admit(&ids[0].keypair, CLUSTER, 0, id.id, WgPublicKey([1; 32]))).collect();
        roster.load(&entries, &mut Items::default());
        let bits = bitmap(&roster, |node| node == ids[8].id || node == ids[3].id);
        let mut beacon = beacon(ids[0].id, &roster, bits);
        for id in &ids {
            let expected = [ids[0].id, ids[3].id, ids[8].id].contains(&id.id);
            assert_eq!(beacon.hears(&roster, id.id), expected);
        }
        assert!(!beacon.hears(&roster, identity(10).id));
        assert!(bitmap(&roster, |_| true).is_empty(), "nothing to say");
        assert_eq!(bitmap(&roster, |_| false).len(), 2);
        beacon.roster_hash = [0; 16];
        assert!(beacon.hears(&roster, ids[1].id));
    }

    #[test]
    fn the_largest_beacon_fits_an_answer_and_one_byte_more_is_refused() {
        let me = identity(1);
        let roster = Roster::new(CLUSTER, me.id);
        let mut beacon = beacon(me.id, &roster, vec![255; ROSTER_MAX / 8]);
        let blob = sign::seal(&me.keypair, Purpose::Beacon, CLUSTER, &beacon);
        assert!(beacon.is_within_bounds());
        assert!(Message::Answer { age_ms: u64::MAX, beacon: blob }.encode().len() <= DATAGRAM_MAX);
        beacon.unheard.push(0);
        assert!(!beacon.is_within_bounds());
    }

    #[test]
    fn newer_generations_win_then_later_epochs_then_better_ranks() {
        let roster = Roster::new(CLUSTER, identity(1).id);
        let base = Beacon { epoch: 5, priority: 10, ..beacon(NodeId([5; 32]), &roster, Vec::new()) };
        assert!(Beacon { epoch: 6, priority: 20, ..base.clone() }.lease() > base.lease());
        assert!(Beacon { generation: base.generation + 1, epoch: 4, ..base.clone() }.lease() > base.lease());
        assert!(Beacon { priority: 9, ..base.clone() }.lease() > base.lease());
        assert!(Beacon { holder: NodeId([4; 32]), ..base.clone() }.lease() > base.lease());
        assert_eq!(Beacon { seq: 1, ..base.clone() }.lease(), base.lease());
    }
}
