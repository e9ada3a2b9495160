//! What a member with valid keys can say that is not so, for the simulator: true datagrams, changed and signed anew; and
//! what only another may say, in the name of that one.

use std::collections::BTreeMap;

use serde::Serialize;

use super::beacon::Beacon;
use super::entry::bury_as;
use super::item::{Key, later};
use super::record::Record;
use super::roster::admit;
use super::sign::{self, Purpose, Unverified};
use super::wire::{Message, Sync};
use super::{NodeKeypair, PlanNode, ProvenPlan};
use crate::hsdesc::IntroPoint;
use crate::id::{ClusterId, NodeId, WgPublicKey};
use crate::time::Wall;

/// The liar's keys.
#[derive(Debug)]
pub struct Forger {
    /// It signs with this one.
    pub keypair: NodeKeypair,
    /// For this cluster.
    pub cluster: ClusterId,
}

impl Forger {
    /// A beacon of the liar's own, made of the holder's in `datagram`: so many epochs ahead, with these seconds as its
    /// counter floors. `None` if there is no beacon in it.
    pub fn beacon(&self, datagram: &[u8], epochs_ahead: u64, floor: Option<u32>) -> Option<Vec<u8>> {
        let Ok(Message::Beacon(blob)) = Message::decode(datagram) else { return None };
        let mut beacon = Unverified::<Beacon>::decode(&blob)?.claim().clone();
        beacon.holder = self.keypair.id();
        beacon.epoch = beacon.epoch.saturating_add(epochs_ahead);
        for (_, n) in beacon.floors.values_mut() {
            *n = floor.unwrap_or(*n);
        }
        Some(Message::Beacon(sign::seal(&self.keypair, Purpose::Beacon, self.cluster, &beacon)).encode())
    }

    /// A later record of whom `datagram` has one of, or of the liar itself if `own`, with these points.
    pub fn record(&self, datagram: &[u8], own: bool, points: Vec<IntroPoint>) -> Option<Vec<u8>> {
        let Ok(Message::Item { key: Key::Record(_), blob }) = Message::decode(datagram) else { return None };
        let mut record = Unverified::<Record>::decode(&blob)?.claim().clone();
        if own {
            record.node = self.keypair.id();
        }
        record.version = record.version.saturating_add(1_000_000);
        record.points = points;
        Some(self.item(Key::Record(record.node), Purpose::Record, &record))
    }

    /// Its word that `node` is a member.
    pub fn admission(&self, node: NodeId, wg: WgPublicKey) -> Vec<u8> {
        Message::Item { key: Key::Entry(node), blob: admit(&self.keypair, self.cluster, 0, node, wg) }.encode()
    }

    /// A proven plan in the name of `by`, of the liar's share alone.
    pub fn plan(&self, by: NodeId, epoch: u64, points: Vec<IntroPoint>) -> Vec<u8> {
        let part = PlanNode { incarnation: 1, version: 1, points };
        let plan = ProvenPlan { epoch, serial: u64::MAX, nodes: BTreeMap::from([(self.keypair.id(), part)]) };
        self.item(Key::Plan, Purpose::Plan, &(by, plan))
    }

    /// In the name of `by`: whose entry is in `datagram`, if one is, is no member any more.
    pub fn tombstone(&self, by: NodeId, datagram: &[u8], wall: Wall) -> Option<Vec<u8>> {
        let Ok(Message::Item { key: key @ Key::Entry(_), blob }) = Message::decode(datagram) else { return None };
        let blob = bury_as(&self.keypair, by, self.cluster, &blob, [].into(), wall)?;
        Some(Message::Item { key, blob }.encode())
    }

    /// A rotation to that generation in the name of `by`.
    pub fn rotation(&self, by: NodeId, generation: u32) -> Vec<u8> {
        // As `Rotation`: a check, and nobody shut out.
        self.item(Key::Rotation, Purpose::Rotation, &(generation, by, [7_u8; 32], 0_u8))
    }

    /// A ledger of that version in the name of `by`, by which nobody may connect.
    pub fn access(&self, by: NodeId, version: u64) -> Vec<u8> {
        // As `Signed<Ledger>`: restricted in this version, nobody removed, no clients.
        self.item(Key::Access, Purpose::Access, &(by, version, (version, true), 0_u64, 0_u8))
    }

    /// A pause of so many seconds in the name of `by`.
    pub fn pause(&self, by: NodeId, wall: Wall, secs: u32) -> Vec<u8> {
        // As `Signed`.
        let until_secs = wall.as_secs().saturating_add(secs.into());
        self.item(Key::Pause, Purpose::Pause, &(by, wall.as_secs().saturating_add(1), secs, until_secs))
    }

    fn item(&self, key: Key, purpose: Purpose, value: &impl Serialize) -> Vec<u8> {
        Message::Item { key, blob: sign::seal(&self.keypair, purpose, self.cluster, value) }.encode()
    }
}

/// The summary in `datagram` as one who has an item of a kind that no version knows yet says it; `None` if there is none.
pub fn unknown_item(datagram: &[u8]) -> Option<Vec<u8>> {
    let Ok(Message::Sync(Sync::Summary { items, .. })) = Message::decode(datagram) else { return None };
    let mut bytes = datagram.to_vec();
    *bytes.get_mut(COUNT_AT)? = u8::try_from(items.len()).ok().filter(|count| *count < ITEMS_MAX)? + 1;
    bytes.splice(COUNT_AT + 1..COUNT_AT + 1, [&[later::KINDS, 1, 1][..], &[7; 16]].concat());
    Some(bytes)
}

/// Where a summary says how many items there are, and how many it says in one byte and one datagram.
const COUNT_AT: usize = 5;
const ITEMS_MAX: u8 = 14;

/// A datagram of a kind that no version knows yet.
pub fn unknown_kind(body: &[u8]) -> Vec<u8> {
    [&[super::PROTOCOL_VERSION, u8::MAX], body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::PeerError;
    use crate::cluster::item::Stamp;
    use crate::cluster::tests::CLUSTER;

    #[test]
    fn an_unknown_item_in_a_summary_hides_no_other() {
        let stamp = Stamp { major: 3, minor: 4, hash: [5; 16] };
        for count in 0..14 {
            let summary =
                Message::Sync(Sync::Summary { bucket: 0, answer: true, items: vec![(Key::Plan, stamp); count] });
            let with_it = unknown_item(&summary.encode()).unwrap();
            assert_ne!(with_it, summary.encode());
            assert_eq!(Message::decode(&with_it), Ok(summary));
        }
    }

    #[test]
    fn only_what_there_is_can_be_forged() {
        let forger = Forger { keypair: NodeKeypair::from_seed(&[1; 32]), cluster: CLUSTER };
        let ping = Message::Ping { nonce: 1, origin: forger.keypair.id() }.encode();
        assert_eq!((forger.beacon(&ping, 1, None), forger.record(&ping, true, Vec::new())), (None, None));
        assert_eq!(Message::decode(&unknown_kind(&[0; 8])), Err(PeerError::UnknownKind));
        assert_eq!(unknown_item(&ping), None);
    }
}
