//! The envelope of peer datagrams: one version byte, then the message in postcard, whose first byte is the kind.

use serde::{Deserialize, Serialize};

use super::PeerError;
use super::item::{Key, Stamp, later};
use super::order::Refusal;
use super::sign;
use super::token::{SealedToken, TokenCheck};
use crate::id::NodeId;
use crate::output::{DATAGRAM_MAX, Outbox, Output};

/// The wire protocol's version; another one is refused as a whole.
pub const VERSION: u8 = 1;

/// Shortest datagram: version, kind and one byte.
const DATAGRAM_MIN: usize = 3;

/// Kinds this version knows: discriminants below this.
pub(super) const KINDS: u8 = 17;
/// Of them those that begin with an item's key: Item, Chunk, Ack and ChunkWant.
const OF_ONE_ITEM: [u8; 4] = [8, 9, 10, 12];

/// What nodes say to each other. The order of variants is the wire format: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// Every beat to the holder and the next two ranks.
    Heartbeat(Heartbeat),
    /// A signed beacon, flooded.
    Beacon(#[serde(with = "serde_bytes")] Vec<u8>),
    /// "Have you a newer beacon than this?" Asked before a claim.
    Question { epoch: u64, seq: u64 },
    /// Yes: this one, which came so long ago.
    Answer {
        age_ms: u64,
        #[serde(with = "serde_bytes")]
        beacon: Vec<u8>,
    },
    /// The holder hands over to a better priority that holds the same items.
    Offer { epoch: u64, digest: [u64; 16] },
    /// Are you there? `origin` asks, perhaps through us.
    Ping { nonce: u64, origin: NodeId },
    /// `target` is there.
    Pong { nonce: u64, origin: NodeId, target: NodeId },
    /// Probe `target` for the sender.
    PingFor { nonce: u64, target: NodeId },
    /// A gossiped item that fits a datagram.
    Item {
        key: Key,
        #[serde(with = "serde_bytes")]
        blob: Vec<u8>,
    },
    /// A part of one that does not.
    Chunk {
        key: Key,
        stamp: Stamp,
        index: u8,
        count: u8,
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// The item with this stamp has arrived.
    Ack { key: Key, stamp: Stamp },
    /// Hashes of all items, in 16 buckets; or, in answer, what a bucket holds; or what is wanted.
    Sync(Sync),
    /// Chunks that have not arrived, by bit.
    ChunkWant { key: Key, stamp: Stamp, missing: u64 },
    /// The cluster token of that check is asked for.
    TokenWant { check: TokenCheck },
    /// Here it is, sealed to who asked.
    Token(SealedToken),
    /// A signed order for the node that gets it.
    Order(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The order of that hash is obeyed and on disk, or is refused.
    Obeyed { hash: [u8; 16], refused: Option<Refusal> },
}

/// One step of reconciliation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Sync {
    /// All buckets.
    Digest([u64; 16]),
    /// What one bucket holds; `answer` asks for the same back.
    Summary {
        bucket: u8,
        answer: bool,
        #[serde(deserialize_with = "later::known_stamps")]
        items: Vec<(Key, Stamp)>,
    },
    /// Send these.
    Want(#[serde(deserialize_with = "later::known")] Vec<Key>),
}

/// See [`Message::Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heartbeat {
    /// Of the sender's record.
    pub incarnation: u64,
    /// Strictly growing within the incarnation.
    pub beat: u64,
    /// Of the sender's record.
    pub version: u64,
    /// Milliseconds since the unix epoch by the sender's clock.
    pub wall_ms: u64,
    /// Newest beacon the sender knows.
    pub epoch: u64,
    /// Newest beacon the sender knows.
    pub seq: u64,
    /// The sender has been missing from the beacons' `heard` for a TTL.
    pub left_out: bool,
    /// The sender has better priority than the holder and has been eligible for its preemption delay.
    pub wants: bool,
}

impl Message {
    /// The datagram.
    pub(super) fn encode(&self) -> Vec<u8> {
        sign::encode_after(&[VERSION], self)
    }

    /// Reads a datagram. Of items of a kind that this version does not know nothing is left in it; a message about one of
    /// them alone is of an unknown kind.
    ///
    /// # Errors
    /// `Length`, `Version`, `UnknownKind` or `Malformed`.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, PeerError> {
        if bytes.len() < DATAGRAM_MIN || bytes.len() > DATAGRAM_MAX {
            return Err(PeerError::Length);
        }
        match bytes.split_first() {
            Some((&VERSION, body)) if body.first().is_some_and(|kind| *kind >= KINDS) => Err(PeerError::UnknownKind),
            Some((&VERSION, [kind, item, ..])) if OF_ONE_ITEM.contains(kind) && *item >= later::KINDS => {
                Err(PeerError::UnknownKind)
            }
            Some((&VERSION, body)) => sign::decode(body).ok_or(PeerError::Malformed),
            _ => Err(PeerError::Version),
        }
    }

    /// Sends it; what does not fit a datagram is a bug of ours and stays here.
    pub(super) fn send(&self, to: NodeId, out: &mut Outbox) {
        let bytes = self.encode();
        debug_assert!(bytes.len() <= DATAGRAM_MAX, "{} bytes", bytes.len());
        if bytes.len() <= DATAGRAM_MAX {
            out.push(Output::SendPeer { to, bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_kind() -> Message {
        Message::Obeyed { hash: [1; 16], refused: None }
    }

    #[test]
    fn messages_read_back() {
        let ping = Message::Ping { nonce: 7, origin: NodeId([1; 32]) };
        for message in [ping, last_kind(), Message::Question { epoch: u64::MAX, seq: 0 }] {
            assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn the_kind_byte_after_the_last_is_unknown_not_malformed() {
        let mut bytes = last_kind().encode();
        assert_eq!(bytes[1], KINDS - 1, "KINDS counts the variants");
        bytes[1] = KINDS;
        assert_eq!(Message::decode(&bytes), Err(PeerError::UnknownKind));
    }

    fn stamp(n: u8) -> Stamp {
        Stamp { major: n.into(), minor: 1, hash: [n; 16] }
    }

    #[test]
    fn kinds_of_item_that_a_later_version_has_are_passed_over() {
        let known = vec![(Key::Plan, stamp(1)), (Key::Record(NodeId([9; 32])), stamp(2))];
        let summary = Message::Sync(Sync::Summary { bucket: 0, answer: true, items: known.clone() });
        let mut bytes = summary.encode();
        // Version, kind, step, bucket, answer; how many; and the first of them, with its stamp.
        assert_eq!(bytes[..6], [VERSION, 11, 1, 0, 1, 2]);
        let first = bytes[6..6 + 1 + 2 + 16].to_vec();
        for later in [[&[later::KINDS][..], &first[1..]].concat(), [&[64][..], &[7; 32], &first[1..]].concat()] {
            bytes[5] += 1;
            bytes.splice(6..6, later);
        }
        assert_eq!(Message::decode(&bytes), Ok(summary));
        let wanted = [VERSION, 11, 2, 3, later::KINDS, 2, 63];
        assert_eq!(Message::decode(&wanted), Ok(Message::Sync(Sync::Want(vec![Key::Plan]))));
        assert_eq!(Message::decode(&[VERSION, 11, 2, 1, 128]), Err(PeerError::Malformed));
    }

    #[test]
    fn a_message_about_an_item_of_a_later_kind_is_of_an_unknown_kind() {
        let (key, stamp) = (Key::Invites, stamp(1));
        let about = [
            Message::Item { key, blob: vec![1] },
            Message::Chunk { key, stamp, index: 0, count: 2, bytes: vec![1] },
            Message::Ack { key, stamp },
            Message::ChunkWant { key, stamp, missing: 1 },
        ];
        for message in about {
            let mut bytes = message.encode();
            assert_eq!(Message::decode(&bytes), Ok(message));
            assert_eq!(bytes[2], later::KINDS - 1);
            bytes[2] = later::KINDS;
            assert_eq!(Message::decode(&bytes), Err(PeerError::UnknownKind));
        }
    }

    #[test]
    fn length_limits_are_exact() {
        assert_eq!(Message::decode(&[VERSION, 0]), Err(PeerError::Length));
        assert_eq!(Message::decode(&[VERSION, 0, 0]), Err(PeerError::Malformed));
        assert_eq!(Message::decode(&vec![VERSION; DATAGRAM_MAX + 1]), Err(PeerError::Length));
        let blob = |len| Message::Item { key: Key::Plan, blob: vec![0; len] };
        let overhead = blob(200).encode().len() - 200;
        let largest = blob(DATAGRAM_MAX - overhead);
        assert_eq!(largest.encode().len(), DATAGRAM_MAX);
        assert_eq!(Message::decode(&largest.encode()), Ok(largest));
    }

    #[test]
    fn trailing_bytes_and_other_versions_are_refused() {
        let mut bytes = last_kind().encode();
        bytes.push(0);
        assert_eq!(Message::decode(&bytes), Err(PeerError::Malformed));
        bytes[0] = VERSION + 1;
        assert_eq!(Message::decode(&bytes), Err(PeerError::Version));
    }

    #[test]
    fn the_largest_chunk_fits_a_datagram() {
        let stamp = Stamp { major: u64::MAX, minor: u64::MAX, hash: [255; 16] };
        let bytes = vec![0; super::super::timing::CHUNK_SIZE];
        let chunk = Message::Chunk { key: Key::Record(NodeId([9; 32])), stamp, index: 255, count: 255, bytes };
        assert!(chunk.encode().len() <= DATAGRAM_MAX);
    }
}
