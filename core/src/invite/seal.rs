//! The answer to an invited node, for that node alone.
//!
//! ```text
//! keys   = SHAKE256("rustbalance invite answer" | DH(key, node) | DH(key, invite) | key | node | invite | hash of request)
//! sealed = key | AES-256-CTR(answer) | HMAC-SHA256(AES-256-CTR(answer))
//! ```
//! `key` is made for this one message. Only who holds the node's *and* the invite's secret key can open it; and only who
//! knows the invite's public key, which never leaves the cluster, can have made it.

use ed25519_dalek::VerifyingKey;
use rand_core::CryptoRng;
use shake::{ExtendableOutput as _, Shake256, Update as _, XofReader as _};
use x25519_dalek::{PublicKey, SharedSecret, StaticSecret};
use zeroize::Zeroizing;

use super::InviteId;
use crate::cluster::NodeKeypair;
use crate::id::NodeId;
use crate::sealing::{MAC_LENGTH, OneTimeKeys};

const KEY_LENGTH: usize = 32;
/// Bytes that sealing adds.
pub(super) const OVERHEAD: usize = KEY_LENGTH + MAC_LENGTH;

/// For whom, and in answer to what.
#[derive(Clone, Copy)]
pub(super) struct Recipient {
    pub node: NodeId,
    pub invite: InviteId,
    /// Of the request: an answer to another is none to this.
    pub request: [u8; 32],
}

impl Recipient {
    /// `None` if one of the keys is no key.
    pub fn seal(&self, mut answer: Zeroizing<Vec<u8>>, rng: &mut impl CryptoRng) -> Option<Vec<u8>> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        let secret = StaticSecret::from(*secret);
        let key = PublicKey::from(&secret).to_bytes();
        let shared = |with: &[u8; 32]| {
            let theirs = VerifyingKey::from_bytes(with).ok()?.to_montgomery().to_bytes();
            Some(secret.diffie_hellman(&PublicKey::from(theirs)))
        };
        let keys = self.keys(&key, &shared(&self.node.0)?, &shared(&self.invite.0)?)?;
        keys.apply(&mut answer);
        Some([&key[..], &answer, &keys.mac(&answer)].concat())
    }

    /// The answer, if it is whole and for us.
    pub fn open(&self, sealed: &[u8], node: &NodeKeypair, invite: &NodeKeypair) -> Option<Zeroizing<Vec<u8>>> {
        let (key, rest) = sealed.split_first_chunk::<KEY_LENGTH>()?;
        let (body, mac) = rest.split_last_chunk::<MAC_LENGTH>()?;
        let shared = |ours: &NodeKeypair| ours.exchange_secret().diffie_hellman(&PublicKey::from(*key));
        let keys = self.keys(key, &shared(node), &shared(invite))?;
        let mut answer = keys.verifies(body, mac).then(|| Zeroizing::new(body.to_vec()))?;
        keys.apply(&mut answer);
        Some(answer)
    }

    /// `None` for a key that makes every secret shared with it the same.
    fn keys(&self, key: &[u8; 32], node: &SharedSecret, invite: &SharedSecret) -> Option<OneTimeKeys> {
        let mut hash = Shake256::default();
        hash.update(b"rustbalance invite answer");
        for part in [node.as_bytes(), invite.as_bytes(), key, &self.node.0, &self.invite.0, &self.request] {
            hash.update(part);
        }
        let (mut output, mut keys) = (hash.finalize_xof(), OneTimeKeys::default());
        output.read(keys.cipher.as_mut());
        output.read(keys.mac.as_mut());
        (node.was_contributory() && invite.was_contributory()).then_some(keys)
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::rng::Rng;

    fn keypair(n: u8) -> NodeKeypair {
        NodeKeypair::from_seed(&[n; 32])
    }

    fn recipient() -> Recipient {
        Recipient { node: keypair(1).id(), invite: InviteId(keypair(2).id().0), request: [3; 32] }
    }

    fn sealed() -> Vec<u8> {
        recipient().seal(Zeroizing::new(b"answer".to_vec()), &mut Rng::seed_from_u64(1)).unwrap()
    }

    #[test]
    fn an_answer_opens_with_both_keys_and_for_its_request_alone() {
        let open = |recipient: Recipient, node, invite| recipient.open(&sealed(), &keypair(node), &keypair(invite));
        assert_eq!(open(recipient(), 1, 2).as_deref().map(Vec::as_slice), Some(&b"answer"[..]));
        assert_eq!(open(recipient(), 9, 2), None);
        assert_eq!(open(recipient(), 1, 9), None);
        assert_eq!(open(Recipient { request: [4; 32], ..recipient() }, 1, 2), None);
    }

    #[test]
    fn any_flipped_bit_and_any_other_length_is_noticed() {
        let good = sealed();
        assert_eq!(good.len(), b"answer".len() + OVERHEAD);
        let open = |bytes: &[u8]| recipient().open(bytes, &keypair(1), &keypair(2));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&bad), None, "bit {bit}");
        }
        for end in 0..good.len() {
            assert_eq!(open(&good[..end]), None, "{end} bytes");
        }
    }

    #[test]
    fn keys_of_small_order_seal_and_open_nothing() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let nobody = Recipient { invite: InviteId(identity), ..recipient() };
        assert_eq!(nobody.seal(Zeroizing::default(), &mut Rng::seed_from_u64(1)), None);
        assert_eq!(recipient().open(&[0; 100], &keypair(1), &keypair(2)), None);
    }
}
