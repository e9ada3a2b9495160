//! What a member with valid keys can say that is not so, for the simulator: true datagrams, changed and signed anew.

use super::NodeKeypair;
use super::beacon::Beacon;
use super::item::Key;
use super::record::Record;
use super::sign::{self, Purpose, Unverified};
use super::wire::Message;
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

/// A datagram of a kind that no version knows yet.
pub fn unknown_kind(body: &[u8]) -> Vec<u8> {
    [&[super::PROTOCOL_VERSION, u8::MAX], body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::PeerError;
    use crate::cluster::tests::CLUSTER;

    #[test]
    fn only_what_there_is_can_be_forged() {
        let forger = Forger { keypair: NodeKeypair::from_seed(&[1; 32]), cluster: CLUSTER };
        let ping = Message::Ping { nonce: 1, origin: forger.keypair.id() }.encode();
        assert_eq!((forger.beacon(&ping, 1, None), forger.record(&ping, true, Vec::new())), (None, None));
        assert_eq!(Message::decode(&unknown_kind(&[0; 8])), Err(PeerError::UnknownKind));
    }
}
