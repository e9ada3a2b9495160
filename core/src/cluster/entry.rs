//! What gossip carries of one node's membership: its admission, and what was said when it went.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::PeerError;
use super::item::Stamp;
use super::sign::{self, NodeKeypair, Purpose, Unverified, hash16};
use super::timing::{ITEM_MAX, ROSTER_MAX, TOMBSTONES_MAX};
use crate::id::{ClusterId, NodeId, WgPublicKey};
use crate::time::Wall;

/// The first 12 bytes of a node id: enough to tell all nodes of a roster apart, and too many to find another key for,
/// while a list of a full roster still fits one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ShortId([u8; 12]);

impl From<NodeId> for ShortId {
    fn from(node: NodeId) -> Self {
        Self(node.0.first_chunk().copied().unwrap_or_default())
    }
}

/// "`by`, a member, admits `node`." Signed by `by`; the first node admits itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Admission {
    /// Of the token that was asked for. Who signed decides, not when: see `docs/DECISIONS.md`.
    pub generation: u32,
    pub node: NodeId,
    pub wg: WgPublicKey,
    pub by: NodeId,
}

/// "`node` has left", signed by itself, or "`node` is removed", signed by another member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tombstone {
    pub node: NodeId,
    pub by: NodeId,
    pub at_secs: u64,
    /// Those whom `node` had admitted. From now on its word counts for nobody else.
    pub kept: BTreeSet<ShortId>,
}

/// Verified tombstones of one node, taken together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    /// Unix seconds of the newest.
    pub at_secs: u64,
    /// Who signed one.
    pub by: BTreeSet<NodeId>,
    /// Everyone that all of them keep.
    pub kept: BTreeSet<ShortId>,
}

/// As it travels. Tombstones stand in order of their bytes, so that what is united is the same everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    admission: Vec<u8>,
    tombstones: BTreeSet<Vec<u8>>,
}

impl Entry {
    /// Reads one, and the admission it claims to hold.
    ///
    /// # Errors
    /// `Malformed`.
    pub(super) fn decode(blob: &[u8]) -> Result<(Self, Unverified<Admission>), PeerError> {
        let entry: Self = sign::decode(blob).ok_or(PeerError::Malformed)?;
        let admission = Unverified::decode(&entry.admission).ok_or(PeerError::Malformed)?;
        Ok((entry, admission))
    }

    /// Two entries of one node, united: nobody who saw a tombstone can lose it to one who saw another.
    ///
    /// # Errors
    /// `Full` if there are more tombstones than an entry holds.
    pub(super) fn united(self, other: Self) -> Result<Self, PeerError> {
        let admission = [self.admission, other.admission].into_iter().max_by_key(|admission| hash16(admission));
        let tombstones = self.tombstones.into_iter().chain(other.tombstones).collect();
        let entry = Self { admission: admission.unwrap_or_default(), tombstones };
        let fits = entry.tombstones.len() <= TOMBSTONES_MAX && entry.encode().len() <= ITEM_MAX;
        fits.then_some(entry).ok_or(PeerError::Full)
    }

    /// Who signed the tombstones that `other` does not have, by what they claim.
    pub(super) fn signers_beside(&self, other: Option<&Self>) -> impl Iterator<Item = NodeId> {
        let news = self.tombstones.iter().filter(move |one| other.is_none_or(|other| !other.tombstones.contains(*one)));
        news.filter_map(|one| Some(Unverified::<Tombstone>::decode(one)?.claim().by))
    }

    /// Without those that one of `nodes` has signed.
    pub(super) fn without_tombstones_by(mut self, nodes: &BTreeSet<NodeId>) -> Self {
        self.tombstones.retain(|tombstone| {
            Unverified::<Tombstone>::decode(tombstone).is_some_and(|tombstone| !nodes.contains(&tombstone.claim().by))
        });
        self
    }

    /// The admission alone, encoded.
    pub(super) fn without_tombstones(self) -> Vec<u8> {
        Self { tombstones: BTreeSet::new(), ..self }.encode()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        sign::encode(self)
    }

    /// More tombstones are newer.
    pub(super) fn stamp(&self, blob: &[u8]) -> Stamp {
        Stamp::new(u64::try_from(self.tombstones.len()).unwrap_or(u64::MAX), 0, blob)
    }

    /// What the tombstones say, if there are any. `may_say` knows who may speak besides `node` itself.
    ///
    /// # Errors
    /// One of them does not verify, or too many.
    pub(super) fn gone(
        &self,
        node: NodeId,
        cluster: ClusterId,
        may_say: impl Fn(NodeId) -> bool,
    ) -> Result<Option<Gone>, PeerError> {
        if self.tombstones.len() > TOMBSTONES_MAX {
            return Err(PeerError::Malformed);
        }
        let mut gone = Gone { at_secs: 0, by: BTreeSet::new(), kept: BTreeSet::new() };
        for tombstone in &self.tombstones {
            let tombstone = Unverified::<Tombstone>::decode(tombstone).ok_or(PeerError::Malformed)?;
            let Tombstone { node: about, by, kept, .. } = tombstone.claim();
            let by = *by;
            if kept.len() > ROSTER_MAX {
                return Err(PeerError::Malformed);
            }
            if *about != node || (by != node && !may_say(by)) {
                return Err(PeerError::NotAMember);
            }
            let tombstone = tombstone.verify(by, Purpose::Tombstone, cluster).ok_or(PeerError::BadSignature)?;
            gone.at_secs = gone.at_secs.max(tombstone.at_secs);
            if gone.by.is_empty() {
                gone.kept = tombstone.kept;
            } else {
                gone.kept.retain(|node| tombstone.kept.contains(node));
            }
            gone.by.insert(by);
        }
        Ok((!gone.by.is_empty()).then_some(gone))
    }
}

/// For tests and fuzzing: an entry with what it holds signed as [`sign::seal_again`] does. What is none stays as it is.
pub(super) fn seal_again(keypairs: &[NodeKeypair], cluster: ClusterId, blob: &[u8]) -> Vec<u8> {
    let Some(Entry { admission, tombstones }) = sign::decode(blob) else { return blob.to_vec() };
    let admission = sign::seal_again(keypairs, Purpose::Admission, cluster, &admission);
    let tombstones =
        tombstones.iter().map(|blob| sign::seal_again(keypairs, Purpose::Tombstone, cluster, blob)).collect();
    Entry { admission, tombstones }.encode()
}

/// The entry with which `by` admits `node`.
pub(crate) fn admit(by: &NodeKeypair, cluster: ClusterId, generation: u32, node: NodeId, wg: WgPublicKey) -> Vec<u8> {
    let admission = Admission { generation, node, wg, by: by.id() };
    let admission = sign::seal(by, Purpose::Admission, cluster, &admission);
    Entry { admission, tombstones: BTreeSet::new() }.encode()
}

/// The entry with which its owner leaves, or another member removes it; `None` if `entry` is none or has no room.
pub(super) fn bury(
    by: &NodeKeypair,
    cluster: ClusterId,
    entry: &[u8],
    kept: BTreeSet<ShortId>,
    wall: Wall,
) -> Option<Vec<u8>> {
    bury_as(by, by.id(), cluster, entry, kept, wall)
}

/// The same in the name of `by`, which is a lie if `hand` is another's.
pub(super) fn bury_as(
    hand: &NodeKeypair,
    by: NodeId,
    cluster: ClusterId,
    entry: &[u8],
    kept: BTreeSet<ShortId>,
    wall: Wall,
) -> Option<Vec<u8>> {
    let (entry, admission) = Entry::decode(entry).ok()?;
    let tombstone = Tombstone { node: admission.claim().node, by, at_secs: wall.as_secs(), kept };
    let tombstone = sign::seal(hand, Purpose::Tombstone, cluster, &tombstone);
    let buried = Entry { admission: entry.admission.clone(), tombstones: BTreeSet::from([tombstone]) };
    entry.united(buried).ok().map(|entry| entry.encode())
}

/// An admission of `node` that names `by` but is signed by another hand.
#[cfg(test)]
pub(super) fn forged(hand: &NodeKeypair, cluster: ClusterId, by: NodeId, node: NodeId) -> Vec<u8> {
    let admission = Admission { generation: 0, node, wg: WgPublicKey([9; 32]), by };
    let admission = sign::seal(hand, Purpose::Admission, cluster, &admission);
    Entry { admission, tombstones: BTreeSet::new() }.encode()
}
