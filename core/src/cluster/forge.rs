//! What a member with valid keys can say that is not so, for the simulator: true datagrams, changed and signed anew.

use super::NodeKeypair;
use super::beacon::Beacon;
use super::item::{Key, later};
use super::record::Record;
use super::sign::{self, Purpose, Unverified};
use super::wire::{Message, Sync};
use crate::hsdesc::IntroPoint;
use crate::id::ClusterId;

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
        let blob = sign::seal(&self.keypair, Purpose::Record, self.cluster, &record);
        Some(Message::Item { key: Key::Record(record.node), blob }.encode())
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
