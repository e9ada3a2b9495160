//! Many ed25519 signatures by one key, made or checked together: bit for bit what one at a time gives, in less time.
//!
//! **Making**: each nonce is multiplied in constant time ([`secret_base`]); what is shared is the one field inversion that
//! writing down the points `R` takes.
//!
//! **Checking**: the usual batch equation, a random linear combination of all signatures, does not accept what single
//! verification accepts. Single verification recomputes `R' = s B - k A` and compares its 32 bytes with the
//! signature's; the batch equation sees the eight-torsion of all `R` and `A` only as a sum modulo 8, so that defects of
//! several signatures cancel with a chance of up to one half, and no cheap test rules torsion out of each `R`. So
//! nothing is combined here. Every `R'` is computed, exactly and over the integers (also for keys `A` with a torsion
//! component), and its bytes are compared. The gain comes from `A` and `B` being the same each time: multiples of their
//! powers of two are tabulated once ([`Comb`]), and nearly all of the 250 doublings of each single verification are gone.

use core::cell::OnceCell;
use std::sync::LazyLock;

use curve25519_dalek::Scalar;
use ed25519_dalek::hazmat::ExpandedSecretKey;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use sha2::{Digest as _, Sha512};
use zeroize::Zeroizing;

use super::comb::Comb;
use super::edwards::{Affine, Point, Projective};
use super::secret_base;
use crate::shared;

/// A message and what is said to be its signature.
pub type Signed<'a> = (&'a [u8], [u8; 64]);

/// A key's table: built anew for each key, so it is small, and pays for five signatures already (measured).
type KeyTable = Comb<Projective, 5, 3>;
/// The base point's table: built once, 480 KiB.
static BASE: LazyLock<Comb<Affine, 8, 1>> = LazyLock::new(|| Comb::new(Point::base()));

/// What a nonce that does not come from its message alone is hashed with. No message that we sign otherwise begins so.
const COMMITTED: &[u8] = b"RustBalance nonce from a commitment";

/// Signs each message.
pub fn sign_all(secret: &ExpandedSecretKey, public: &VerifyingKey, messages: &[Vec<u8>]) -> Vec<[u8; 64]> {
    let nonces: Vec<_> = messages.iter().map(|message| nonce(secret, &[message])).collect();
    let points: Vec<_> = nonces.iter().map(|nonce| secret_base::multiple(nonce)).collect();
    let points = Point::compress_all(&points);
    let pairs = messages.iter().zip(&nonces).zip(points);
    pairs.map(|((message, nonce), point)| finish(secret, public, nonce, point, &[message])).collect()
}

/// Signs the long message that the parts of `message` are, one after the other, in one pass over it instead of two. The
/// signature is as good as any other, but not the one that RFC 8032 would make: its nonce is a hash of the secret and of
/// `commitment`, which must not be the same for two messages.
pub fn sign_committed(
    secret: &ExpandedSecretKey,
    public: &VerifyingKey,
    message: &[&[u8]],
    commitment: &[&[u8]],
) -> [u8; 64] {
    let nonce = nonce(secret, &[&[COMMITTED], commitment].concat());
    let points = Point::compress_all(&[secret_base::multiple(&nonce)]);
    finish(secret, public, &nonce, points.into_iter().next().unwrap_or_default(), message)
}

/// `r = H(prefix | M) mod l`.
fn nonce(secret: &ExpandedSecretKey, message: &[&[u8]]) -> Zeroizing<Scalar> {
    let hash =
        message.iter().fold(Sha512::new().chain_update(secret.hash_prefix), |hash, part| hash.chain_update(part));
    let hash = Zeroizing::new(<[u8; 64]>::from(hash.finalize()));
    Zeroizing::new(Scalar::from_bytes_mod_order_wide(&hash))
}

/// `R | s`, `s = k a + r`, where `point` is `R = r B`.
fn finish(
    secret: &ExpandedSecretKey,
    public: &VerifyingKey,
    nonce: &Scalar,
    point: [u8; 32],
    message: &[&[u8]],
) -> [u8; 64] {
    let s = challenge(&point, public, message) * secret.scalar + nonce;
    Signature::from_components(point, s.to_bytes()).to_bytes()
}

/// Checks one message's signature with [`VerifyingKey::verify`].
pub fn verify(public: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> bool {
    shared::answer(&[b"verify", public.as_bytes(), message, signature], || {
        public.verify(message, &Signature::from_bytes(signature)).is_ok()
    })
}

/// A public key by which several signatures are checked; what they share is worked out with the first.
pub struct SharedSigner {
    public: VerifyingKey,
    /// Of the key's negative; `None` within cannot be, since the key is a point.
    table: OnceCell<Option<KeyTable>>,
}

impl SharedSigner {
    /// Nothing is worked out yet.
    pub fn new(public: VerifyingKey) -> Self {
        Self { public, table: OnceCell::new() }
    }

    /// The key, compressed.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.public.as_bytes()
    }

    /// Checks each message's signature, as [`verify`] would.
    pub fn verify_all(&self, signed: &[Signed<'_>]) -> Vec<bool> {
        shared::answer_all(
            signed,
            |(message, signature)| [b"verify", self.as_bytes(), message, signature],
            |signed| self.verify_together(signed),
        )
    }

    fn verify_together(&self, signed: &[Signed<'_>]) -> Vec<bool> {
        let expected: Vec<_> = signed.iter().map(|signed| self.expected_point(signed)).collect();
        let points: Vec<_> = expected.iter().map(|point| point.unwrap_or(Point::IDENTITY)).collect();
        let is_valid = |((point, expected), (_, signature)): (([u8; 32], &Option<_>), &Signed<'_>)| {
            expected.is_some() && signature.starts_with(&point)
        };
        Point::compress_all(&points).into_iter().zip(&expected).zip(signed).map(is_valid).collect()
    }

    /// `R' = s B - k A`; `None` if `s` is not reduced.
    fn expected_point(&self, (message, signature): &Signed<'_>) -> Option<Point> {
        let table = || Some(Comb::new(Point::decompress(self.as_bytes())?.negated()));
        let minus_key = self.table.get_or_init(table).as_ref()?;
        let signature = Signature::from_bytes(signature);
        let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(*signature.s_bytes()))?;
        let k = challenge(signature.r_bytes(), &self.public, &[message]);
        Some(BASE.add_multiple(minus_key.multiple(&k), &s))
    }
}

/// `k = H(R | A | M) mod l`.
fn challenge(point: &[u8; 32], public: &VerifyingKey, message: &[&[u8]]) -> Scalar {
    let hash = Sha512::new().chain_update(point).chain_update(public.as_bytes());
    let hash = message.iter().fold(hash, |hash, part| hash.chain_update(part));
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::{EdwardsPoint, constants::EIGHT_TORSION, traits::Identity as _};
    use ed25519_dalek::{Signer as _, SigningKey};

    fn key(seed: u8) -> (SigningKey, ExpandedSecretKey, VerifyingKey) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let expanded = ExpandedSecretKey::from(key.as_bytes());
        let public = key.verifying_key();
        (key, expanded, public)
    }

    fn messages(count: u8) -> Vec<Vec<u8>> {
        (0..count).map(|number| vec![number; usize::from(number) * 9]).collect()
    }

    /// What single verification says, after checking that we say the same.
    fn verdicts(public: &VerifyingKey, signed: &[Signed<'_>]) -> Vec<bool> {
        let single: Vec<_> = signed
            .iter()
            .map(|(message, signature)| public.verify(message, &Signature::from_bytes(signature)).is_ok())
            .collect();
        assert_eq!(SharedSigner::new(*public).verify_all(signed), single);
        single
    }

    /// A signature by `secret` for `public`, with `torsion` added to its `R` after the nonce was chosen.
    fn defective(secret: &Scalar, public: &VerifyingKey, message: &[u8], torsion: EdwardsPoint) -> [u8; 64] {
        let nonce = Scalar::from_bytes_mod_order_wide(&Sha512::digest(message).into());
        let point = (EdwardsPoint::mul_base(&nonce) + torsion).compress().0;
        let s = challenge(&point, public, &[message]) * secret + nonce;
        Signature::from_components(point, s.to_bytes()).to_bytes()
    }

    #[test]
    fn signatures_are_those_made_one_at_a_time() {
        let (key, expanded, public) = key(1);
        let messages = messages(50);
        let single: Vec<_> = messages.iter().map(|message| key.sign(message).to_bytes()).collect();
        assert_eq!(sign_all(&expanded, &public, &messages), single);
        assert!(sign_all(&expanded, &public, &[]).is_empty());
    }

    #[test]
    fn one_pass_signs_as_well_as_two_and_never_twice_with_one_nonce() {
        let (key, expanded, public) = key(1);
        let sign = |message: &[&[u8]], commitment: &[&[u8]]| sign_committed(&expanded, &public, message, commitment);
        let first = sign(&[b"a long", b" message"], &[b"short"]);
        assert!(public.verify_strict(b"a long message", &Signature::from_bytes(&first)).is_ok());
        assert_eq!(sign(&[b"a long message"], &[b"sh", b"ort"]), first, "parts are no more than their bytes");
        let others = [
            sign(&[b"a long message"], &[b"shorter"]),
            key.sign(b"a long message").to_bytes(),
            // Even where the commitment is the message.
            sign(&[b"short"], &[b"short"]),
            key.sign(b"short").to_bytes(),
        ];
        let points = others.iter().chain([&first]).map(|signature| &signature[..32]);
        assert_eq!(points.collect::<std::collections::BTreeSet<_>>().len(), 4, "two have one commitment, and are one");
    }

    #[test]
    fn any_number_of_good_signatures_passes_and_each_bad_one_is_found() {
        let (_, expanded, public) = key(2);
        for count in [0, 1, 2, 3, 41] {
            let messages = messages(count);
            let signatures = sign_all(&expanded, &public, &messages);
            let mut signed: Vec<_> = messages.iter().map(Vec::as_slice).zip(signatures).collect();
            assert!(verdicts(&public, &signed).iter().all(|good| *good));
            for bad in 0..signed.len() {
                signed[bad].1[bad] ^= 1 << (bad % 8);
                let verdicts = verdicts(&public, &signed);
                assert!((0..signed.len()).all(|index| verdicts[index] == (index != bad)));
                signed[bad].1[bad] ^= 1 << (bad % 8);
            }
        }
    }

    #[test]
    fn scalars_and_points_must_be_canonical() {
        let (_, expanded, public) = key(3);
        let messages = messages(20);
        let signatures = sign_all(&expanded, &public, &messages);
        let mut signed: Vec<_> = messages.iter().map(Vec::as_slice).zip(signatures).collect();
        // The same scalar plus the group order.
        let order = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut carry = 0;
        for (byte, order) in signed[4].1[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + order + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        // y = 1 written as p + 1.
        signed[5].1[..32].copy_from_slice(&[[0xee].as_slice(), &[0xff; 30], &[0x7f]].concat());
        let verdicts = verdicts(&public, &signed);
        assert!((0..20).all(|index| verdicts[index] != (4..6).contains(&index)));
    }

    #[test]
    fn torsion_in_signatures_is_refused_even_where_it_would_cancel_in_a_sum() {
        let (_, expanded, public) = key(4);
        let messages = messages(16);
        for first in &EIGHT_TORSION[1..] {
            let torsion = |index: usize| if index.is_multiple_of(2) { *first } else { -first };
            let signed: Vec<_> = (0..16)
                .map(|index| {
                    let message = messages[index].as_slice();
                    (message, defective(&expanded.scalar, &public, message, torsion(index)))
                })
                .collect();
            assert!(verdicts(&public, &signed).iter().all(|good| !good));
        }
    }

    #[test]
    fn torsion_in_the_key_is_judged_signature_by_signature() {
        let (_, expanded, public) = key(5);
        let messages = messages(200);
        for torsion in &EIGHT_TORSION[1..] {
            let public = VerifyingKey::from(public.to_edwards() + torsion);
            let signed: Vec<_> = messages
                .iter()
                .map(|message| {
                    (message.as_slice(), defective(&expanded.scalar, &public, message, EdwardsPoint::identity()))
                })
                .collect();
            let good = verdicts(&public, &signed).iter().filter(|good| **good).count();
            assert!((1..200).contains(&good), "k T vanishes for some challenges k, {good}");
        }
    }
}
