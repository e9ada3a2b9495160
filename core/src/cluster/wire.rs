//! The envelope of peer datagrams: one version byte, then the message in postcard, whose first byte is the kind.

use serde::{Deserialize, Serialize};

use super::PeerError;
use super::item::{Key, Stamp};
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

/// What nodes say to each other. The order of variants is the wire format: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// Every beat to the holder and the next two ranks.
    Heartbeat(Heartbeat),
    /// A signed beacon, flooded.
    Beacon(Vec<u8>),
    /// "Have you a newer beacon than this?" Asked before a claim.
    Question { epoch: u64, seq: u64 },
    /// Yes: this one, which came so long ago.
    Answer { age_ms: u64, beacon: Vec<u8> },
    /// The holder hands over to a better priority that holds the same items.
    Offer { epoch: u64, digest: [u64; 16] },
    /// Are you there? `origin` asks, perhaps through us.
    Ping { nonce: u64, origin: NodeId },
    /// `target` is there.
    Pong { nonce: u64, origin: NodeId, target: NodeId },
    /// Probe `target` for the sender.
    PingFor { nonce: u64, target: NodeId },
    /// A gossiped item that fits a datagram.
    Item { key: Key, blob: Vec<u8> },
    /// A part of one that does not.
    Chunk { key: Key, stamp: Stamp, index: u8, count: u8, bytes: Vec<u8> },
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
    Order(Vec<u8>),
    /// The order of that hash is obeyed and on disk, or is refused.
    Obeyed { hash: [u8; 16], refused: Option<Refusal> },
}

/// One step of reconciliation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Sync {
    /// All buckets.
    Digest([u64; 16]),
    /// What one bucket holds; `answer` asks for the same back.
    Summary { bucket: u8, answer: bool, items: Vec<(Key, Stamp)> },
    /// Send these.
    Want(Vec<Key>),
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
        let mut bytes = vec![VERSION];
        bytes.extend(sign::encode(self));
        bytes
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// `Length`, `Version`, `UnknownKind` or `Malformed`.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, PeerError> {
        if bytes.len() < DATAGRAM_MIN || bytes.len() > DATAGRAM_MAX {
            return Err(PeerError::Length);
        }
        match bytes.split_first() {
            Some((&VERSION, body)) if body.first().is_some_and(|kind| *kind >= KINDS) => Err(PeerError::UnknownKind),
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
