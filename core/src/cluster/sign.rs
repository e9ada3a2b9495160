//! The node's keys, and signed bodies: what is signed always names its purpose and the cluster.

use core::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha3::{Digest as _, Sha3_256};
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use crate::id::{ClusterId, NodeId};
use crate::shared;

/// The node's signing key, ed25519. Zeroized on drop; `Debug` names only the public half.
pub struct NodeKeypair(SigningKey);

impl NodeKeypair {
    /// From a 32-byte seed as stored on disk.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    /// The same key for Diffie-Hellman (RFC 7748), see [`SealedToken`](super::token::SealedToken).
    pub(crate) fn exchange_secret(&self) -> StaticSecret {
        StaticSecret::from(*Zeroizing::new(self.0.to_scalar_bytes()))
    }

    pub(crate) fn sign(&self, purpose: Purpose, cluster: ClusterId, body: &[u8]) -> Signature {
        let bytes = self.0.sign(&purpose.message(cluster, body)).to_bytes();
        let (r, s) = bytes.split_at(32);
        Signature(r.try_into().unwrap_or_default(), s.try_into().unwrap_or_default())
    }
}

impl fmt::Debug for NodeKeypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKeypair({})", self.id())
    }
}

/// What a signature is for; no signature is good for two purposes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Admission,
    Tombstone,
    Record,
    Beacon,
    Plan,
    Join,
    Rotation,
    Access,
    Order,
    Pause,
    Invite,
    Invites,
}

impl Purpose {
    fn message(self, cluster: ClusterId, body: &[u8]) -> Vec<u8> {
        let label: &[u8] = match self {
            Self::Admission => b"rustbalance admission",
            Self::Tombstone => b"rustbalance tombstone",
            Self::Record => b"rustbalance record",
            Self::Beacon => b"rustbalance beacon",
            Self::Plan => b"rustbalance plan",
            Self::Join => b"rustbalance join",
            Self::Rotation => b"rustbalance rotation",
            Self::Access => b"rustbalance access",
            Self::Order => b"rustbalance order",
            Self::Pause => b"rustbalance pause",
            Self::Invite => b"rustbalance invite",
            Self::Invites => b"rustbalance invites",
        };
        [label, &[0], &cluster.0, body].concat()
    }
}

/// An ed25519 signature, R then S.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Signature([u8; 32], [u8; 32]);

/// Whether `by` signed `body`. Strict verification: one body has one valid signature per signer's act.
pub(crate) fn verifies(by: NodeId, purpose: Purpose, cluster: ClusterId, body: &[u8], signature: &Signature) -> bool {
    let message = purpose.message(cluster, body);
    shared::answer(&[b"verify strictly", &by.0, &message, &signature.0, &signature.1], || {
        let signature = ed25519_dalek::Signature::from_components(signature.0, signature.1);
        VerifyingKey::from_bytes(&by.0).is_ok_and(|key| key.verify_strict(&message, &signature).is_ok())
    })
}

/// A body and its signature as they travel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sealed {
    #[serde(with = "serde_bytes")]
    body: Vec<u8>,
    signature: Signature,
}

/// Signs `value` and encodes both.
pub(crate) fn seal<T: Serialize>(keypair: &NodeKeypair, purpose: Purpose, cluster: ClusterId, value: &T) -> Vec<u8> {
    seal_body(keypair, purpose, cluster, encode(value))
}

pub(super) fn seal_body(keypair: &NodeKeypair, purpose: Purpose, cluster: ClusterId, body: Vec<u8>) -> Vec<u8> {
    let signature = keypair.sign(purpose, cluster, &body);
    encode(&Sealed { body, signature })
}

/// For tests and fuzzing: a sealed body, whatever it says, signed by the first of `keypairs` unless one of them has signed
/// it. What is not sealed stays as it is.
pub(crate) fn seal_again(keypairs: &[NodeKeypair], purpose: Purpose, cluster: ClusterId, blob: &[u8]) -> Vec<u8> {
    let (Some(Sealed { body, signature }), Some(first)) = (decode(blob), keypairs.first()) else {
        return blob.to_vec();
    };
    match keypairs.iter().any(|keypair| verifies(keypair.id(), purpose, cluster, &body, &signature)) {
        true => blob.to_vec(),
        false => seal_body(first, purpose, cluster, body),
    }
}

/// Decoded, but nobody's word yet.
pub(crate) struct Unverified<T> {
    claim: T,
    sealed: Sealed,
}

impl<T: DeserializeOwned> Unverified<T> {
    /// Decodes a sealed value; `None` if it is malformed in any way.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let sealed: Sealed = decode(bytes)?;
        Some(Self { claim: decode(&sealed.body)?, sealed })
    }

    /// What it claims, for cheap checks before the signature's.
    pub(crate) fn claim(&self) -> &T {
        &self.claim
    }

    /// Whether it is encoded as we would encode it.
    pub(crate) fn is_canonical(&self) -> bool
    where
        T: Serialize,
    {
        encode(&self.claim) == self.sealed.body
    }

    /// The value, if `by` signed it.
    pub(crate) fn verify(self, by: NodeId, purpose: Purpose, cluster: ClusterId) -> Option<T> {
        verifies(by, purpose, cluster, &self.sealed.body, &self.sealed.signature).then_some(self.claim)
    }
}

/// Most of what is encoded is no longer, in bytes.
const ROOM: usize = 256;

/// Postcard; our own types always encode.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    encode_after(&[], value)
}

/// The same behind `start`.
pub(super) fn encode_after<T: Serialize>(start: &[u8], value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ROOM);
    bytes.extend_from_slice(start);
    postcard::to_extend(value, bytes).unwrap_or_default()
}

/// Postcard, the whole of `bytes`.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(value)
}

/// The first 16 bytes of SHA3-256, for comparing items.
pub(crate) fn hash16(bytes: &[u8]) -> [u8; 16] {
    let hash: [u8; 32] = Sha3_256::digest(bytes).into();
    hash.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([1; 32]);

    #[test]
    fn a_sealed_value_opens_only_for_signer_purpose_and_cluster() {
        let keypair = NodeKeypair::from_seed(&[7; 32]);
        let blob = seal(&keypair, Purpose::Record, CLUSTER, &42u64);
        let open = |by, purpose, cluster| {
            Unverified::<u64>::decode(&blob).and_then(|value| value.verify(by, purpose, cluster))
        };
        assert_eq!(open(keypair.id(), Purpose::Record, CLUSTER), Some(42));
        assert_eq!(open(keypair.id(), Purpose::Plan, CLUSTER), None);
        assert_eq!(open(keypair.id(), Purpose::Record, ClusterId([2; 32])), None);
        assert_eq!(open(NodeKeypair::from_seed(&[8; 32]).id(), Purpose::Record, CLUSTER), None);
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        let keypair = NodeKeypair::from_seed(&[7; 32]);
        let blob = seal(&keypair, Purpose::Record, CLUSTER, &42u64);
        for bit in 0..blob.len() * 8 {
            let mut bad = blob.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let opened = Unverified::<u64>::decode(&bad).and_then(|v| v.verify(keypair.id(), Purpose::Record, CLUSTER));
            assert_eq!(opened, None, "bit {bit}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let keypair = NodeKeypair::from_seed(&[7; 32]);
        assert_eq!(format!("{keypair:?}"), format!("NodeKeypair({})", keypair.id()));
    }
}
