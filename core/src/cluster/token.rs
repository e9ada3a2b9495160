//! The cluster token, and how it reaches members: sealed to the one who shall have it, so that it never lies open in
//! a datagram, a file of ours or a log.

use core::fmt;

use ed25519_dalek::VerifyingKey;
use hmac::Mac as _;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use sha3::{Digest as _, Sha3_256};
use subtle::ConstantTimeEq as _;
use x25519_dalek::{PublicKey, SharedSecret, StaticSecret};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::NodeKeypair;
use crate::id::NodeId;
use crate::mac;

/// The cluster token: authorises asking to be admitted. Zeroized on drop, no `Debug` of bytes, compared in constant time.
#[derive(ZeroizeOnDrop)]
pub struct ClusterToken([u8; 32]);

/// Tells a token from every other one without telling the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenCheck([u8; 32]);

impl ClusterToken {
    /// From its 32 bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A new one.
    pub(crate) fn random(rng: &mut impl CryptoRng) -> Self {
        let mut token = Self([0; 32]);
        rng.fill_bytes(&mut token.0);
        token
    }

    /// The secret itself, for the file that operators copy.
    pub const fn expose_secret(&self) -> &[u8; 32] {
        &self.0
    }

    /// HMAC-SHA256 of `message` under the token.
    pub(crate) fn mac(&self, message: &[u8]) -> [u8; 32] {
        mac::keyed(&self.0, message).finalize().into_bytes().into()
    }

    /// Whether `mac` is that of `message`, in constant time.
    pub(crate) fn verify(&self, message: &[u8], mac: &[u8; 32]) -> bool {
        mac::keyed(&self.0, message).verify_slice(mac).is_ok()
    }

    /// A hash: of 32 random bytes it tells nothing that helps to find them.
    pub(crate) fn check(&self) -> TokenCheck {
        TokenCheck(Sha3_256::new().chain_update(b"rustbalance token check").chain_update(self.0).finalize().into())
    }

    /// For `to` alone; `None` if that is no key.
    pub(crate) fn seal(&self, to: NodeId, rng: &mut impl CryptoRng) -> Option<SealedToken> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        let secret = StaticSecret::from(*secret);
        let key = PublicKey::from(&secret).to_bytes();
        let theirs = VerifyingKey::from_bytes(&to.0).ok()?.to_montgomery().to_bytes();
        let pad = pad(&secret.diffie_hellman(&PublicKey::from(theirs)), &key, to, self.check())?;
        Some(SealedToken { key, hidden: xor(&self.0, &pad) })
    }
}

impl PartialEq for ClusterToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for ClusterToken {}

impl Clone for ClusterToken {
    /// One copy stays with the node, another goes to the shell.
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl fmt::Debug for ClusterToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterToken")
    }
}

/// A token sealed to one node.
///
/// ```text
/// hidden = token XOR SHA3-256("rustbalance token seal" | DH(key, node) | key | node | check)
/// ```
/// `key` is made for this one message, so the pad is used once, and it is known only to whoever holds one of the two
/// secrets (computational Diffie-Hellman on curve25519, the hash taken as random): a one-time pad of the token's own
/// length. That the opened token is the right one is not left to a MAC here but to `check`, which a member has signed.
/// The node's curve25519 key is its ed25519 key in Montgomery form, as libsodium converts it; signing and this use of
/// one key are known to be secure together (Thormarker, "On using the same key pair for Ed25519 and an X25519 based
/// KEM"), so no second key has to be made, stored and published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealedToken {
    key: [u8; 32],
    hidden: [u8; 32],
}

impl SealedToken {
    /// The token with that check, if it is in here and sealed to us.
    pub(crate) fn open(&self, keypair: &NodeKeypair, check: TokenCheck) -> Option<ClusterToken> {
        let shared = keypair.exchange_secret().diffie_hellman(&PublicKey::from(self.key));
        let pad = pad(&shared, &self.key, keypair.id(), check)?;
        let token = ClusterToken(xor(&self.hidden, &pad));
        (token.check() == check).then_some(token)
    }
}

/// `None` for a key that makes every secret shared with it the same.
fn pad(shared: &SharedSecret, key: &[u8; 32], node: NodeId, check: TokenCheck) -> Option<Zeroizing<[u8; 32]>> {
    let mut hash = Sha3_256::new();
    hash.update(b"rustbalance token seal");
    hash.update(shared.as_bytes());
    hash.update(key);
    hash.update(node.0);
    hash.update(check.0);
    shared.was_contributory().then(|| Zeroizing::new(hash.finalize().into()))
}

fn xor(one: &[u8; 32], other: &[u8; 32]) -> [u8; 32] {
    let mut result = *one;
    for (byte, pad) in result.iter_mut().zip(other) {
        *byte ^= pad;
    }
    result
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::rng::Rng;

    fn keypair(n: u8) -> NodeKeypair {
        NodeKeypair::from_seed(&[n; 32])
    }

    #[test]
    fn a_sealed_token_opens_for_its_node_and_check_only() {
        let rng = &mut Rng::seed_from_u64(1);
        let (token, other) = (ClusterToken::random(rng), ClusterToken::random(rng));
        let sealed = token.seal(keypair(1).id(), rng).unwrap();
        assert_eq!(sealed.open(&keypair(1), token.check()), Some(token.clone()));
        assert_eq!(sealed.open(&keypair(2), token.check()), None);
        assert_eq!(sealed.open(&keypair(1), other.check()), None);
        assert_ne!(token.seal(keypair(1).id(), rng), Some(sealed), "a new key every time");
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let rng = &mut Rng::seed_from_u64(1);
        let token = ClusterToken::random(rng);
        let sealed = token.seal(keypair(1).id(), rng).unwrap();
        for bit in 0..512usize {
            let mut bad = sealed.clone();
            let part = if bit < 256 { &mut bad.key } else { &mut bad.hidden };
            part[bit % 256 / 8] ^= 1 << (bit % 8);
            // Montgomery keys ignore their highest bit, but the pad covers the key as it was sent.
            assert_eq!(bad.open(&keypair(1), token.check()), None, "bit {bit}");
        }
    }

    #[test]
    fn keys_of_small_order_seal_and_open_nothing() {
        let (rng, token) = (&mut Rng::seed_from_u64(1), ClusterToken::new([7; 32]));
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(token.seal(NodeId(identity), rng), None);
        let sealed = SealedToken { key: [0; 32], hidden: [0; 32] };
        assert_eq!(sealed.open(&keypair(1), token.check()), None);
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", ClusterToken::new([0xAB; 32])), "ClusterToken");
    }
}
