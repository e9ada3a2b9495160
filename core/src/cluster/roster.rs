//! The roster: who is a member, proven by a chain of signed admissions that begins at the first node.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha3::{Digest as _, Sha3_256};

use super::item::{Items, Key, Stamp};
use super::sign::{self, NodeKeypair, Purpose, Unverified};
use super::timing::{ROSTER_MAX, TOMBSTONE_KEEP_SECS};
use super::{GENERATION, PeerError};
use crate::id::{ClusterId, NodeId, WgPublicKey};
use crate::time::Wall;

/// "`by`, a member, admits `node`." Signed by `by`; the first node admits itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Admission {
    generation: u32,
    node: NodeId,
    wg: WgPublicKey,
    by: NodeId,
}

/// "`node` has left", signed by `by`. Today only a node itself says so; removal by others belongs to token rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tombstone {
    node: NodeId,
    by: NodeId,
    at_secs: u64,
}

/// What gossip carries of one node's membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    admission: Vec<u8>,
    tombstone: Option<Vec<u8>>,
}

/// One verified place in the roster.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    wg: WgPublicKey,
    by: NodeId,
    /// Unix seconds of the tombstone.
    left_at: Option<u64>,
}

/// The file, and what an admitted node is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RosterFile {
    /// Entries in any order.
    pub entries: Vec<Vec<u8>>,
    /// Last known contacts, unverified hints: records are not kept on disk, and the first contact needs an address.
    pub contacts: BTreeMap<NodeId, String>,
}

/// What an accepted entry changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A new member.
    Joined,
    /// A member less.
    Left,
    /// Another proof of the same.
    Same,
}

/// Verified places; the blobs stand in [`Items`].
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    cluster: ClusterId,
    genesis: NodeId,
    places: BTreeMap<NodeId, Place>,
    /// Places without tombstone.
    members: BTreeMap<NodeId, WgPublicKey>,
    hash: [u8; 16],
}

impl Roster {
    /// Knows nobody yet.
    pub(crate) fn new(cluster: ClusterId, genesis: NodeId) -> Self {
        Self { cluster, genesis, places: BTreeMap::new(), members: BTreeMap::new(), hash: [0; 16] }
    }

    /// The first node.
    pub(crate) fn genesis(&self) -> NodeId {
        self.genesis
    }

    /// Members in order of `NodeId`.
    pub(crate) fn members(&self) -> &BTreeMap<NodeId, WgPublicKey> {
        &self.members
    }

    /// Whether `node` is a member now.
    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.members.contains_key(&node)
    }

    /// Whether `node` was ever admitted.
    pub(crate) fn knows(&self, node: NodeId) -> bool {
        self.places.contains_key(&node)
    }

    /// Number of members.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether a further node may be admitted.
    pub(crate) fn is_full(&self) -> bool {
        self.places.len() >= ROSTER_MAX
    }

    /// Hash of the member set: equal hashes give a beacon's bits one meaning.
    pub(crate) fn hash(&self) -> [u8; 16] {
        self.hash
    }

    /// Verifies entries in whatever order makes sense: repeats until nothing more connects to the first node.
    /// Returns how many were refused. Tombstones of any age count: the admissions of those who left hold others in the
    /// roster, and [`Self::prune`] knows which may go.
    pub(super) fn load(&mut self, entries: &[Vec<u8>], items: &mut Items) -> usize {
        let mut rest: Vec<&Vec<u8>> = entries.iter().take(ROSTER_MAX).collect();
        loop {
            let before = rest.len();
            rest.retain(|blob| {
                let verified = self.verify(blob);
                verified.and_then(|(node, place)| self.merge(blob, node, place, items)).is_err()
            });
            if rest.len() == before {
                return before;
            }
        }
    }

    /// Verifies one entry and merges it.
    ///
    /// # Errors
    /// State unchanged: malformed, badly signed, admitted by nobody we know, older than ours, or no room; or long gone,
    /// and forgotten here.
    pub(super) fn accept(&mut self, blob: &[u8], wall: Wall, items: &mut Items) -> Result<(NodeId, Change), PeerError> {
        let (node, place) = self.verify(blob)?;
        if !self.knows(node) && is_over_age(&place, wall) {
            return Err(PeerError::Stale);
        }
        self.merge(blob, node, place, items)
    }

    fn merge(
        &mut self,
        blob: &[u8],
        node: NodeId,
        place: Place,
        items: &mut Items,
    ) -> Result<(NodeId, Change), PeerError> {
        let stamp = stamp(&place, blob);
        let key = Key::Entry(node);
        if items.stamp(key).is_some_and(|held| held >= stamp) {
            return Err(PeerError::Stale);
        }
        if !self.knows(node) && self.is_full() {
            return Err(PeerError::Full);
        }
        let was = self.contains(node);
        self.places.insert(node, place);
        items.put(key, stamp, blob.to_vec());
        self.recount();
        Ok((
            node,
            match (was, self.contains(node)) {
                (false, true) => Change::Joined,
                (true, false) => Change::Left,
                (true, true) | (false, false) => Change::Same,
            },
        ))
    }

    fn verify(&self, blob: &[u8]) -> Result<(NodeId, Place), PeerError> {
        let entry: Entry = sign::decode(blob).ok_or(PeerError::Malformed)?;
        let admission = Unverified::<Admission>::decode(&entry.admission).ok_or(PeerError::Malformed)?;
        let by = admission.claim().by;
        let is_root = by == self.genesis && admission.claim().node == self.genesis;
        // A node that left may have admitted others before: its admissions stand. Generations end that (rotation).
        if !is_root && (!self.knows(by) || admission.claim().node == by) {
            return Err(PeerError::NotAMember);
        }
        if admission.claim().generation != GENERATION {
            return Err(PeerError::Stale);
        }
        let admission = admission.verify(by, Purpose::Admission, self.cluster).ok_or(PeerError::BadSignature)?;
        let mut place = Place { wg: admission.wg, by, left_at: None };
        if let Some(tombstone) = entry.tombstone {
            let tombstone = Unverified::<Tombstone>::decode(&tombstone).ok_or(PeerError::Malformed)?;
            if tombstone.claim().node != admission.node || tombstone.claim().by != admission.node {
                return Err(PeerError::NotAMember);
            }
            let tombstone = tombstone.verify(admission.node, Purpose::Tombstone, self.cluster);
            place.left_at = Some(tombstone.ok_or(PeerError::BadSignature)?.at_secs);
        }
        Ok((admission.node, place))
    }

    /// Forgets those who left more than 30 days ago and on whom nobody's admission rests. True if any.
    pub(super) fn prune(&mut self, wall: Wall, items: &mut Items) -> bool {
        let leaf = |node: &NodeId| !self.places.iter().any(|(other, place)| place.by == *node && other != node);
        let gone = self.places.iter().filter(|(node, place)| is_over_age(place, wall) && leaf(node));
        let gone: Vec<NodeId> = gone.map(|(node, _)| *node).collect();
        for node in &gone {
            self.places.remove(node);
            items.remove(Key::Entry(*node));
        }
        !gone.is_empty()
    }

    fn recount(&mut self) {
        let members = self.places.iter().filter(|(_, place)| place.left_at.is_none());
        self.members = members.map(|(node, place)| (*node, place.wg)).collect();
        let mut hash = Sha3_256::new();
        for (node, wg) in &self.members {
            hash.update(node.0);
            hash.update(wg.0);
        }
        let hash: [u8; 32] = hash.finalize().into();
        self.hash = hash.first_chunk().copied().unwrap_or_default();
    }
}

fn is_over_age(place: &Place, wall: Wall) -> bool {
    place.left_at.is_some_and(|at_secs| wall.as_secs().saturating_sub(at_secs) > TOMBSTONE_KEEP_SECS)
}

fn stamp(place: &Place, blob: &[u8]) -> Stamp {
    Stamp::new(u64::from(place.left_at.is_some()), 0, blob)
}

/// The roster a file proves, for a joiner.
pub(crate) fn proven(cluster: ClusterId, genesis: NodeId, file: &RosterFile) -> Roster {
    let mut roster = Roster::new(cluster, genesis);
    roster.load(&file.entries, &mut Items::default());
    roster
}

/// The entry with which `by` admits `node`.
pub(crate) fn admit(by: &NodeKeypair, cluster: ClusterId, node: NodeId, wg: WgPublicKey) -> Vec<u8> {
    let admission = Admission { generation: GENERATION, node, wg, by: by.id() };
    sign::encode(&Entry { admission: sign::seal(by, Purpose::Admission, cluster, &admission), tombstone: None })
}

/// The entry with which its owner leaves; `None` if `entry` is none.
pub(crate) fn leave(owner: &NodeKeypair, cluster: ClusterId, entry: &[u8], wall: Wall) -> Option<Vec<u8>> {
    let entry: Entry = sign::decode(entry)?;
    let tombstone = Tombstone { node: owner.id(), by: owner.id(), at_secs: wall.as_secs() };
    let tombstone = Some(sign::seal(owner, Purpose::Tombstone, cluster, &tombstone));
    Some(sign::encode(&Entry { tombstone, ..entry }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([1; 32]);
    const NOW: Wall = Wall::from_secs(1_700_000_000);

    fn keypair(n: u8) -> NodeKeypair {
        NodeKeypair::from_seed(&[n; 32])
    }

    fn entry(by: u8, node: u8) -> Vec<u8> {
        admit(&keypair(by), CLUSTER, keypair(node).id(), WgPublicKey([node; 32]))
    }

    fn roster() -> (Roster, Items) {
        (Roster::new(CLUSTER, keypair(1).id()), Items::default())
    }

    #[test]
    fn a_chain_verifies_in_any_order() {
        let (mut one, mut items) = roster();
        assert_eq!(one.load(&[entry(3, 4), entry(2, 3), entry(1, 2), entry(1, 1)], &mut items), 0);
        assert_eq!(one.len(), 4);
        let (mut two, mut other) = roster();
        assert_eq!(two.load(&[entry(1, 1), entry(1, 2), entry(2, 3), entry(3, 4)], &mut other), 0);
        assert_eq!((one.hash(), items.digest()), (two.hash(), other.digest()));
    }

    #[test]
    fn who_is_not_connected_to_the_first_node_is_refused() {
        let (mut roster, mut items) = roster();
        assert_eq!(roster.load(&[entry(1, 1), entry(5, 4), entry(4, 5), entry(6, 6)], &mut items), 3);
        assert_eq!(roster.len(), 1);
    }

    #[test]
    fn an_admission_by_another_hand_is_refused() {
        let (mut roster, mut items) = roster();
        roster.load(&[entry(1, 1)], &mut items);
        let admission =
            Admission { generation: GENERATION, node: keypair(9).id(), wg: WgPublicKey([9; 32]), by: keypair(1).id() };
        let forged = sign::seal(&keypair(9), Purpose::Admission, CLUSTER, &admission);
        let forged = sign::encode(&Entry { admission: forged, tombstone: None });
        assert_eq!(roster.accept(&forged, NOW, &mut items), Err(PeerError::BadSignature));
    }

    #[test]
    fn leaving_is_final_and_keeps_the_chain() {
        let (mut roster, mut items) = roster();
        roster.load(&[entry(1, 1), entry(1, 2), entry(2, 3)], &mut items);
        let gone = leave(&keypair(2), CLUSTER, &entry(1, 2), NOW).unwrap();
        assert_eq!(roster.accept(&gone, NOW, &mut items), Ok((keypair(2).id(), Change::Left)));
        assert_eq!(roster.accept(&entry(1, 2), NOW, &mut items), Err(PeerError::Stale));
        assert!(roster.contains(keypair(3).id()) && !roster.contains(keypair(2).id()));
    }

    #[test]
    fn nobody_is_tombstoned_by_another() {
        let (mut roster, mut items) = roster();
        roster.load(&[entry(1, 1), entry(1, 2)], &mut items);
        let Entry { admission, .. } = sign::decode(&entry(1, 2)).unwrap();
        let tombstone = Tombstone { node: keypair(2).id(), by: keypair(1).id(), at_secs: NOW.as_secs() };
        let tombstone = Some(sign::seal(&keypair(1), Purpose::Tombstone, CLUSTER, &tombstone));
        let entry = sign::encode(&Entry { admission, tombstone });
        assert_eq!(roster.accept(&entry, NOW, &mut items), Err(PeerError::NotAMember));
    }

    #[test]
    fn tombstones_are_forgotten_after_thirty_days_and_refused_from_others() {
        let (mut roster, mut items) = roster();
        roster.load(&[entry(1, 1), entry(1, 2)], &mut items);
        let gone = leave(&keypair(2), CLUSTER, &entry(1, 2), NOW).unwrap();
        roster.accept(&gone, NOW, &mut items).unwrap();
        let later = |secs| Wall::from_secs(NOW.as_secs() + secs);
        assert!(!roster.prune(later(TOMBSTONE_KEEP_SECS), &mut items));
        assert!(roster.prune(later(TOMBSTONE_KEEP_SECS + 1), &mut items));
        assert!(!roster.knows(keypair(2).id()));
        assert_eq!(roster.accept(&gone, later(TOMBSTONE_KEEP_SECS + 1), &mut items), Err(PeerError::Stale));
    }

    #[test]
    fn whoever_was_admitted_by_a_node_that_left_stays_when_its_tombstone_is_over_age() {
        let (mut roster, mut items) = self::roster();
        let entries = [entry(1, 1), entry(1, 2), entry(2, 3)];
        roster.load(&entries, &mut items);
        let gone = leave(&keypair(2), CLUSTER, &entry(1, 2), NOW).unwrap();
        roster.accept(&gone, NOW, &mut items).unwrap();
        let later = Wall::from_secs(NOW.as_secs() + TOMBSTONE_KEEP_SECS + 86_400);
        roster.prune(later, &mut items);
        let saved: Vec<Vec<u8>> = items.entries().cloned().collect();
        let (mut restarted, mut items) = self::roster();
        assert_eq!(restarted.load(&saved, &mut items), 0);
        assert_eq!(restarted.members(), roster.members());
        // Who did not hear of the leave in time is still told, or both would show each other their entry for ever.
        let (mut away, mut items) = self::roster();
        away.load(&entries, &mut items);
        assert_eq!(away.accept(&gone, later, &mut items), Ok((keypair(2).id(), Change::Left)));
    }

    #[test]
    fn the_roster_is_bounded() {
        let (mut roster, mut items) = roster();
        roster.load(&[entry(1, 1)], &mut items);
        for n in 1..ROSTER_MAX {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_le_bytes());
            roster.places.insert(NodeId(id), Place { wg: WgPublicKey(id), by: keypair(1).id(), left_at: None });
        }
        assert_eq!(roster.accept(&entry(1, 2), NOW, &mut items), Err(PeerError::Full));
    }
}
