//! The roster: who is a member, proven by a chain of signed admissions that begins at the first node.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha3::{Digest as _, Sha3_256};

use super::PeerError;
use super::entry::{self, Entry, Gone, ShortId};
use super::item::{Items, Key};
use super::sign::{NodeKeypair, Purpose};
use super::timing::{ROSTER_KEEP, ROSTER_MAX, TOMBSTONE_KEEP_SECS};
use super::token::SealedToken;
use crate::id::{ClusterId, NodeId, WgPublicKey};
use crate::time::Wall;

pub(crate) use super::entry::admit;

/// One verified place in the roster.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    wg: WgPublicKey,
    by: NodeId,
    gone: Option<Gone>,
}

/// The file, and what an admitted node is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RosterFile {
    /// Entries in any order.
    pub entries: Vec<Vec<u8>>,
    /// Last known contacts, unverified hints: records are not kept on disk, and the first contact needs an address.
    pub contacts: BTreeMap<NodeId, String>,
    /// The newest token rotation. It stands in one file with the removals that belong to it.
    pub rotation: Option<Vec<u8>>,
    /// Its token, sealed to ourselves. Never given to others.
    pub token: Option<SealedToken>,
    /// Who may connect to the address, if that was ever said. It stands in the file without which a node does not start,
    /// and is given with it to whoever is admitted: no node serves a restricted address without knowing that it is.
    pub access: Option<Vec<u8>>,
}

/// What an accepted entry changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Whose entry it was.
    pub node: NodeId,
    /// It is a new member.
    pub joined: bool,
    /// Members no more: the node itself, and whoever was a member by nothing but its word.
    pub gone: BTreeMap<NodeId, WgPublicKey>,
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

    /// Whether `node` was ever admitted, as far as that is remembered.
    pub(crate) fn knows(&self, node: NodeId) -> bool {
        self.places.contains_key(&node)
    }

    /// Nodes that another member has removed.
    pub(crate) fn removed(&self) -> impl Iterator<Item = NodeId> {
        let by_another = |node: &NodeId, gone: &Gone| gone.by.iter().any(|by| by != node);
        let places = self.has_tombstones().then_some(&self.places).into_iter().flatten();
        let gone = places.filter_map(|(node, place)| Some((node, place.gone.as_ref()?)));
        gone.filter(move |(node, gone)| by_another(node, gone)).map(|(node, _)| *node)
    }

    fn has_tombstones(&self) -> bool {
        self.places.len() > self.members.len()
    }

    /// Number of members.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The nodes by whose admissions `node` is a member: itself, who admitted it, and so on up to the first.
    pub(crate) fn chain(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        let next = |node: &NodeId| self.places.get(node).map(|place| place.by).filter(|by| by != node);
        core::iter::successors(Some(node), next)
    }

    /// Whether a further node may be admitted.
    pub(crate) fn is_full(&self) -> bool {
        self.places.len() >= ROSTER_MAX
    }

    /// Hash of the member set: equal hashes give a beacon's bits one meaning.
    pub(crate) fn hash(&self) -> [u8; 16] {
        self.hash
    }

    /// Verifies entries in whatever order makes sense. Returns how many were refused.
    pub(super) fn load(&mut self, entries: &[Vec<u8>], items: &mut Items) -> usize {
        // Who removed the node by whose word it was admitted itself: its tombstone has to be believed before its
        // admission can be. So first the admissions alone say who may have signed tombstones.
        let mut ever = Self::new(self.cluster, self.genesis);
        let alive = entries.iter().filter_map(|blob| Some(Entry::decode(blob).ok()?.0.without_tombstones()));
        let alive: Vec<Vec<u8>> = alive.collect();
        ever.extend(&alive, &mut Items::default(), None);
        self.extend(entries, items, Some(&ever))
    }

    /// Repeats until nothing more connects to the first node.
    fn extend(&mut self, entries: &[Vec<u8>], items: &mut Items, signers: Option<&Self>) -> usize {
        let mut rest: Vec<&Vec<u8>> = entries.iter().take(ROSTER_MAX).collect();
        loop {
            let before = rest.len();
            rest.retain(|blob| self.unite(blob, items, signers).is_err());
            if rest.len() == before {
                self.recount();
                return before;
            }
        }
    }

    /// Verifies one entry and unites it with ours of that node.
    ///
    /// # Errors
    /// State unchanged: malformed, badly signed, admitted by nobody we know, nothing new, or no room.
    pub(super) fn accept(&mut self, blob: &[u8], items: &mut Items) -> Result<Accepted, PeerError> {
        let node = self.unite(blob, items, None)?;
        let before = self.members.clone();
        self.recount();
        let joined = !before.contains_key(&node) && self.contains(node);
        let gone = before.into_iter().filter(|(member, _)| !self.contains(*member)).collect();
        Ok(Accepted { node, joined, gone })
    }

    /// Whether an entry has a tombstone that we do not hold, of a node that is a member no more: it can be signed at any
    /// time, and dated back.
    ///
    /// # Errors
    /// `Malformed`.
    pub(super) fn is_news_of_the_gone(&self, blob: &[u8], items: &Items) -> Result<bool, PeerError> {
        let (entry, admission) = Entry::decode(blob)?;
        let held = items.blob(Key::Entry(admission.claim().node)).and_then(|(_, held)| Entry::decode(held).ok());
        let held = held.map(|(held, _)| held);
        Ok(entry.signers_beside(held.as_ref()).any(|by| self.knows(by) && !self.contains(by)))
    }

    /// Whose entry it was; to be followed by [`Self::recount`]. Tombstones are believed of `signers`; of whomever we know,
    /// if none are given.
    fn unite(&mut self, blob: &[u8], items: &mut Items, signers: Option<&Self>) -> Result<NodeId, PeerError> {
        let (entry, admission) = Entry::decode(blob)?;
        let node = admission.claim().node;
        let key = Key::Entry(node);
        let entry = match items.blob(key) {
            Some((_, held)) => entry.united(Entry::decode(held)?.0)?,
            None => entry,
        };
        let blob = entry.encode();
        if items.blob(key).is_some_and(|(_, held)| held == blob) {
            return Err(PeerError::Stale);
        }
        let place = self.verify(&blob, signers.unwrap_or(self))?;
        if !self.knows(node) && self.is_full() {
            return Err(PeerError::Full);
        }
        let is_gone = place.gone.is_some();
        self.places.insert(node, place);
        items.put(key, entry.stamp(&blob), blob);
        if is_gone {
            self.drop_unvouched(items);
        }
        Ok(node)
    }

    fn verify(&self, blob: &[u8], signers: &Self) -> Result<Place, PeerError> {
        let (entry, admission) = Entry::decode(blob)?;
        let (node, by) = (admission.claim().node, admission.claim().by);
        let is_root = by == self.genesis && node == self.genesis;
        if !is_root && (node == by || !self.vouches(by, node)) {
            return Err(PeerError::NotAMember);
        }
        let admission = admission.verify(by, Purpose::Admission, self.cluster).ok_or(PeerError::BadSignature)?;
        let gone = entry.gone(node, self.cluster, |by| signers.knows(by))?;
        Ok(Place { wg: admission.wg, by, gone })
    }

    /// Whether an admission of `node` signed by `by` counts: for as long as `by` is a member, it is believed; once it
    /// is gone, only as far as a tombstone names `node`, for it may go on signing, and date it back.
    fn vouches(&self, by: NodeId, node: NodeId) -> bool {
        let place = self.places.get(&by);
        place.is_some_and(|place| place.gone.as_ref().is_none_or(|gone| gone.kept.contains(&ShortId::from(node))))
    }

    /// Somebody's word does not count any more: forgets what rests on it, until nothing does. So what is left follows
    /// from what is known, in whatever order it came.
    fn drop_unvouched(&mut self, items: &mut Items) {
        loop {
            let dropped = self.drop_unconnected(items);
            if dropped.is_empty() || !self.drop_tombstones(&dropped, items) {
                return;
            }
        }
    }

    /// Forgets whoever is not connected to the first node.
    fn drop_unconnected(&mut self, items: &mut Items) -> BTreeSet<NodeId> {
        let mut admitted: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        for (node, place) in self.places.iter().filter(|(node, _)| **node != self.genesis) {
            admitted.entry(place.by).or_default().push(*node);
        }
        let mut next = vec![self.genesis];
        while let Some(by) = next.pop() {
            let theirs = admitted.remove(&by).unwrap_or_default();
            let (vouched, rest): (Vec<_>, Vec<_>) = theirs.into_iter().partition(|node| self.vouches(by, *node));
            next.extend(vouched);
            admitted.insert(by, rest);
        }
        let dropped: BTreeSet<NodeId> = admitted.into_values().flatten().collect();
        for node in &dropped {
            self.places.remove(node);
            items.remove(Key::Entry(*node));
        }
        dropped
    }

    /// Forgets tombstones signed by `dropped`, who by now never were members. True if there were any.
    fn drop_tombstones(&mut self, dropped: &BTreeSet<NodeId>, items: &mut Items) -> bool {
        let mut any = false;
        for (node, place) in &mut self.places {
            if place.gone.as_ref().is_none_or(|gone| gone.by.is_disjoint(dropped)) {
                continue;
            }
            let held = items.blob(Key::Entry(*node)).and_then(|(_, held)| Entry::decode(held).ok());
            let Some(entry) = held.map(|(entry, _)| entry.without_tombstones_by(dropped)) else { continue };
            place.gone = entry.gone(*node, self.cluster, |_| true).ok().flatten();
            let blob = entry.encode();
            items.put(Key::Entry(*node), entry.stamp(&blob), blob);
            any = true;
        }
        any
    }

    /// The entry with which `by` leaves, if it is `node`, or removes it; `None` if there is no such node.
    pub(super) fn bury(&self, items: &Items, by: &NodeKeypair, node: NodeId, wall: Wall) -> Option<Vec<u8>> {
        let (_, held) = items.blob(Key::Entry(node))?;
        let admitted = self.places.iter().filter(|(_, place)| place.by == node);
        let kept: BTreeSet<ShortId> = admitted.map(|(node, _)| ShortId::from(*node)).collect();
        entry::bury(by, self.cluster, held, kept, wall)
    }

    /// Makes room where there are more than [`ROSTER_KEEP`]: forgets the oldest of those who went more than 30 days ago and
    /// on whose word nothing rests. True if any. Nobody is forgotten without need, for whoever is forgotten can come back
    /// with its old admission. The same ones are wherever the same are known.
    pub(super) fn prune(&mut self, wall: Wall, items: &mut Items) -> bool {
        let too_many = self.places.len().saturating_sub(ROSTER_KEEP);
        if too_many == 0 {
            return false;
        }
        let over_age = |place: &Place| {
            let gone = place.gone.as_ref().map(|gone| gone.at_secs);
            gone.filter(|at_secs| wall.as_secs().saturating_sub(*at_secs) > TOMBSTONE_KEEP_SECS)
        };
        let rests_on = |place: &Place, node: &NodeId| {
            place.by == *node || place.gone.as_ref().is_some_and(|gone| gone.by.contains(node))
        };
        let leaf = |node: &NodeId| !self.places.iter().any(|(other, place)| rests_on(place, node) && other != node);
        let gone = self.places.iter().filter_map(|(node, place)| Some((over_age(place)?, *node)));
        let gone: BTreeSet<(u64, NodeId)> = gone.filter(|(_, node)| leaf(node)).collect();
        let gone: Vec<NodeId> = gone.into_iter().take(too_many).map(|(_, node)| node).collect();
        for node in &gone {
            self.places.remove(node);
            items.remove(Key::Entry(*node));
        }
        !gone.is_empty()
    }

    fn recount(&mut self) {
        let members = self.places.iter().filter(|(_, place)| place.gone.is_none());
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

/// The roster a file proves, for a joiner.
pub(crate) fn proven(cluster: ClusterId, genesis: NodeId, file: &RosterFile) -> Roster {
    let mut roster = Roster::new(cluster, genesis);
    roster.load(&file.entries, &mut Items::default());
    roster
}

/// The entry with which its owner, who admitted nobody, leaves.
#[cfg(test)]
pub(crate) fn leave(owner: &NodeKeypair, cluster: ClusterId, entry: &[u8], wall: Wall) -> Option<Vec<u8>> {
    entry::bury(owner, cluster, entry, BTreeSet::new(), wall)
}

#[cfg(test)]
mod tests;
