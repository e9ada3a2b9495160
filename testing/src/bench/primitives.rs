//! The cryptography of one build alone: the very primitives and batching that `hsdesc::build` uses, and no text. What a
//! build takes beyond it is the cost of our encoder.

use std::hint::black_box;

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use ed25519_dalek::hazmat::ExpandedSecretKey;
use ed25519_dalek::{SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use rustbalance_core::hsdesc::IntroPoint;
use rustbalance_core::onion::montgomery::to_ed25519_all;
use rustbalance_core::onion::signature::{sign_all, sign_committed};
use sha3::{Digest as _, Sha3_256};
use shake::{ExtendableOutput as _, Shake256, Update as _, XofReader as _};
use x25519_dalek::{PublicKey, StaticSecret};

/// Bytes of a certificate without its signature.
const CERT_LENGTH: usize = 76;
/// What the keys of a layer are derived from, bytes.
const SECRET_INPUT_LENGTH: usize = 112;
/// What the signature's nonce is derived from: the text before the encrypted layer, its salt and its MAC, bytes.
const COMMITMENT_LENGTH: usize = 360;
/// Random bytes for 16 `auth-client` lines (8 + 16 + 16 each), a key and two salts.
const RANDOM_LENGTH: usize = 16 * 40 + 32 + 2 * 16;

/// Keys.
pub struct Primitives {
    secret: ExpandedSecretKey,
    public: VerifyingKey,
}

impl Primitives {
    /// With a random key.
    pub fn new(rng: &mut impl CryptoRng) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let key = SigningKey::from_bytes(&seed);
        Self { secret: ExpandedSecretKey::from(&seed), public: key.verifying_key() }
    }

    /// What a build of `points` computes, where the encrypted layers have these lengths and the signed text that one.
    pub fn build(&self, points: &[IntroPoint], lengths: Lengths, rng: &mut impl CryptoRng) {
        black_box(to_ed25519_all(points.iter().map(|point| &point.enc_key)));
        let certs = vec![vec![7; CERT_LENGTH]; 2 * points.len()];
        black_box(sign_all(&self.secret, &self.public, &certs));

        let mut random = [0; RANDOM_LENGTH];
        rng.fill_bytes(&mut random);
        let (seed, _) = random.split_first_chunk().unwrap();
        black_box(PublicKey::from(&StaticSecret::from(*seed)));
        encrypt(lengths.inner);
        encrypt(lengths.middle);
        black_box(sign_committed(&self.secret, &self.public, &[&vec![7; lengths.signed]], &[&[7; COMMITMENT_LENGTH]]));
    }
}

/// Bytes that are encrypted and signed.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    /// Of the inner plaintext.
    pub inner: usize,
    /// Of the padded middle plaintext.
    pub middle: usize,
    /// Of the text that is signed.
    pub signed: usize,
}

/// Key derivation, AES-256-CTR and MAC of one layer.
fn encrypt(length: usize) {
    let mut hash = Shake256::default();
    hash.update(&[7; SECRET_INPUT_LENGTH]);
    let (mut secret, mut iv, mut mac_key) = ([0; 32], [0; 16], [0; 32]);
    let mut output = hash.finalize_xof();
    output.read(&mut secret);
    output.read(&mut iv);
    output.read(&mut mac_key);
    let mut data = vec![7; length];
    Ctr128BE::<Aes256>::new(&secret.into(), &iv.into()).apply_keystream(&mut data);
    black_box(Sha3_256::new().chain_update(mac_key).chain_update(&data).finalize());
}
