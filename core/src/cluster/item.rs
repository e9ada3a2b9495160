//! What gossip carries: signed blobs by key, each with a stamp that orders its versions.

pub(super) mod later;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sign::hash16;
use crate::id::NodeId;

/// Names an item. The order of variants is the wire format: append only, and see [`later`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Key {
    /// A node's place in the roster: admission, and tombstone once it left.
    Entry(NodeId),
    /// A node's own record.
    Record(NodeId),
    /// The last proven plan.
    Plan,
    /// The newest token rotation.
    Rotation,
    /// Who may connect to the address.
    Access,
    /// The newest pause.
    Pause,
    /// Invites, and who has joined with them.
    Invites,
}

/// Orders the versions of one item. At equal order the higher hash wins, so any two nodes agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// Incarnation of a record, epoch of a plan, tombstones of an entry, generation of a rotation,
    /// version of a ledger.
    pub major: u64,
    /// Version of a record, serial of a plan, how low the hash of a rotation is.
    pub minor: u64,
    /// Of the blob.
    pub hash: [u8; 16],
}

impl Stamp {
    pub(super) fn new(major: u64, minor: u64, blob: &[u8]) -> Self {
        Self { major, minor, hash: hash16(blob) }
    }

    /// Without the hash.
    pub(super) fn order(self) -> (u64, u64) {
        (self.major, self.minor)
    }

    fn word(self) -> u64 {
        self.hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// Buckets of the digest.
pub(super) const BUCKETS: usize = 16;

impl Key {
    /// Node ids are public keys, so their first bits spread evenly.
    pub(super) fn bucket(self) -> u8 {
        match self {
            Self::Entry(node) | Self::Record(node) => node.0.first().map_or(0, |byte| byte >> 4),
            Self::Plan | Self::Rotation | Self::Access | Self::Pause | Self::Invites => 0,
        }
    }
}

/// All verified items, ready to be sent on. Bounded by the roster: an entry and a record per node, one plan, one rotation,
/// two ledgers and one pause.
#[derive(Debug, Default)]
pub(super) struct Items {
    map: BTreeMap<Key, (Stamp, Vec<u8>)>,
    digest: [u64; BUCKETS],
    durable_changes: u64,
}

impl Items {
    /// Grows with every change of what is kept on disk: of everything but records and pauses.
    pub(super) fn durable_changes(&self) -> u64 {
        self.durable_changes
    }

    /// Stores a verified blob, replacing any other version.
    pub(super) fn put(&mut self, key: Key, stamp: Stamp, blob: Vec<u8>) {
        self.remove(key);
        self.toggle(key, stamp);
        self.map.insert(key, (stamp, blob));
    }

    /// Forgets an item.
    pub(super) fn remove(&mut self, key: Key) {
        if let Some((stamp, _)) = self.map.remove(&key) {
            self.toggle(key, stamp);
        }
    }

    /// The version held.
    pub(super) fn stamp(&self, key: Key) -> Option<Stamp> {
        self.map.get(&key).map(|(stamp, _)| *stamp)
    }

    /// The blob held.
    pub(super) fn blob(&self, key: Key) -> Option<(Stamp, &[u8])> {
        self.map.get(&key).map(|(stamp, blob)| (*stamp, blob.as_slice()))
    }

    /// One hash per bucket: equal on two nodes exactly if they hold the same versions of the same items.
    pub(super) fn digest(&self) -> [u64; BUCKETS] {
        self.digest
    }

    /// What a bucket holds.
    pub(super) fn bucket(&self, bucket: u8) -> Vec<(Key, Stamp)> {
        let (mut first, mut last) = (NodeId([0; 32]), NodeId([0xFF; 32]));
        (first.0[0], last.0[0]) = (bucket << 4, bucket << 4 | 0xF);
        let of_nobody = (bucket == 0).then(|| self.map.range(Key::Plan..)).into_iter().flatten();
        let entries = self.map.range(Key::Entry(first)..=Key::Entry(last));
        let records = self.map.range(Key::Record(first)..=Key::Record(last));
        entries.chain(records).chain(of_nobody).map(|(key, (stamp, _))| (*key, *stamp)).collect()
    }

    /// Blobs of all roster entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.map.iter().filter(|(key, _)| matches!(key, Key::Entry(_))).map(|(_, (_, blob))| blob)
    }

    fn toggle(&mut self, key: Key, stamp: Stamp) {
        self.durable_changes += u64::from(!matches!(key, Key::Record(_) | Key::Pause));
        if let Some(word) = self.digest.get_mut(usize::from(key.bucket())) {
            *word ^= stamp.word();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_depends_on_content_not_on_history() {
        let (key, other) = (Key::Record(NodeId([0x30; 32])), Key::Entry(NodeId([0x31; 32])));
        let (old, new) = (b"old".to_vec(), b"new".to_vec());
        let mut one = Items::default();
        one.put(key, Stamp::new(1, 1, &old), old.clone());
        one.put(other, Stamp::new(0, 0, &old), old.clone());
        one.put(key, Stamp::new(1, 2, &new), new.clone());
        let mut two = Items::default();
        two.put(key, Stamp::new(1, 2, &new), new);
        assert_ne!(one.digest(), two.digest());
        two.put(other, Stamp::new(0, 0, &old), old);
        assert_eq!(one.digest(), two.digest());
        assert_eq!(one.bucket(3), two.bucket(3));
    }

    #[test]
    fn every_item_is_in_its_bucket_and_in_no_other() {
        let mut items = Items::default();
        let nodes = (0..=u8::MAX).map(|n| NodeId([n; 32]));
        let keys = nodes.flat_map(|node| [Key::Entry(node), Key::Record(node)]).chain([Key::Plan, Key::Invites]);
        keys.for_each(|key| items.put(key, Stamp::new(0, 0, b"blob"), b"blob".to_vec()));
        let buckets = (0..16).map(|bucket| (bucket, items.bucket(bucket)));
        let held: Vec<_> =
            buckets.flat_map(|(bucket, held)| held.into_iter().map(move |(key, _)| (bucket, key))).collect();
        assert_eq!(held.len(), 2 * 256 + 2);
        assert!(held.iter().all(|(bucket, key)| key.bucket() == *bucket), "{held:?}");
    }

    #[test]
    fn stamps_order_by_order_then_hash() {
        let low = Stamp { major: 1, minor: 1, hash: [1; 16] };
        let high = Stamp { hash: [2; 16], ..low };
        assert!(high > low && Stamp { minor: 2, ..low } > high);
        assert!(Stamp { major: 2, minor: 0, ..low } > high);
    }
}
