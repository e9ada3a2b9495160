//! One type per key role, named as rend-spec names them.

use core::fmt;

use curve25519_dalek::{EdwardsPoint, MontgomeryPoint, Scalar, edwards::CompressedEdwardsY, scalar::clamp_integer};
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha512};
use sha3::Sha3_256;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use super::client::HsClientDescEncKeypair;
use super::period::TimePeriod;
use crate::shared;

/// What tor's secret key file begins with, NUL padded.
const SECRET_FILE_HEADER: [u8; 32] = *b"== ed25519v1-secret: type0 ==\0\0\0";
/// What tor's public key file begins with, NUL padded.
const PUBLIC_FILE_HEADER: [u8; 32] = *b"== ed25519v1-public: type0 ==\0\0\0";
/// The base point as `[KEYBLIND]` hashes it.
const BASE_POINT: &[u8] = b"(15112221349535400772501151409588531511454012693041857206046113283949847762202, \
46316835694926478169428394003475163141307993866256225615783033603165251855960)";

/// The service's identity, `KP_hs_id`: what the address encodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct HsId(pub [u8; 32]);

impl HsId {
    /// Whether this is a point of the prime-order group. Tor refuses an address whose key is not: blinding one that has
    /// a torsion component would not be well defined.
    pub fn is_valid(&self) -> bool {
        prime_order_point(&self.0).is_some()
    }

    /// The public half of [`HsIdKeypair::blind`]; `None` unless [`Self::is_valid`].
    pub fn blind(&self, period: TimePeriod) -> Option<HsBlindId> {
        let TimePeriod { number, length_minutes } = period;
        shared::answer(&[b"blind", &self.0, &number.to_le_bytes(), &length_minutes.to_le_bytes()], || {
            let blinded = prime_order_point(&self.0)? * blinding_factor(*self, period);
            Some(HsBlindId(blinded.compress().0))
        })
    }

    /// `N_hs_subcred` (`[SUBCRED]`):
    /// `H("subcredential" | H("credential" | KP_hs_id) | KP_hs_blind_id)`.
    pub fn subcredential(&self, blind: HsBlindId) -> Subcredential {
        let credential = Sha3_256::new().chain_update(b"credential").chain_update(self.0).finalize();
        let hash = Sha3_256::new().chain_update(b"subcredential").chain_update(credential).chain_update(blind.0);
        Subcredential(hash.finalize().into())
    }
}

/// Redacted: the address of a service is not for debug logs.
impl fmt::Debug for HsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HsId(..)")
    }
}

/// `KS_hs_id`, tor's expanded form: scalar and hash prefix. Zeroized on drop, no `Debug` of bytes, no `Clone`.
#[derive(ZeroizeOnDrop)]
pub struct HsIdKeypair {
    /// Clamped but not reduced, as tor's file has it.
    scalar: [u8; 32],
    hash_prefix: [u8; 32],
    #[zeroize(skip)]
    public: HsId,
}

/// Why a key file was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFileError {
    /// Not 96 bytes.
    Length(usize),
    /// The 32-byte header is not tor's `== ed25519v1-secret: type0 ==`.
    Header,
    /// The scalar is not clamped as tor's keys are.
    NotClamped,
    /// Begins as PEM does, but is not one private key in PEM.
    Pem,
    /// PEM, encrypted with a passphrase.
    Encrypted,
    /// PEM, but of another kind of key than ed25519, or in another form than a bare seed.
    NotEd25519,
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(bytes) => write!(f, "{bytes} bytes instead of the 96 of tor's file"),
            Self::Header => f.write_str("its header is not `== ed25519v1-secret: type0 ==`"),
            Self::NotClamped => f.write_str("its scalar is not clamped, so it is damaged"),
            Self::Pem => f.write_str("it begins as PEM does, but is not one whole PRIVATE KEY"),
            Self::Encrypted => f.write_str("it is encrypted; decrypt it with `openssl pkey -in FILE -out NEW` first"),
            Self::NotEd25519 => f.write_str("the key in it is not an ed25519 seed in PKCS#8, version 1"),
        }
    }
}

impl std::error::Error for KeyFileError {}

/// No bytes.
impl fmt::Debug for HsIdKeypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HsIdKeypair(..)")
    }
}

impl HsIdKeypair {
    /// A new identity.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        Self::from_seed(&seed)
    }

    /// The identity of an ed25519 seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let expanded = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(seed)));
        let (scalar, hash_prefix) = halves(&expanded);
        Self::from_expanded(clamp_integer(scalar), hash_prefix)
    }

    /// Reads tor's `hs_ed25519_secret_key`.
    pub fn from_tor_file(bytes: &[u8]) -> Result<Self, KeyFileError> {
        let file: &[u8; 96] = bytes.try_into().map_err(|_| KeyFileError::Length(bytes.len()))?;
        let (header, expanded) = file.split_first_chunk::<32>().ok_or(KeyFileError::Length(bytes.len()))?;
        let expanded = expanded.first_chunk::<64>().ok_or(KeyFileError::Length(bytes.len()))?;
        if *header != SECRET_FILE_HEADER {
            return Err(KeyFileError::Header);
        }
        let (scalar, hash_prefix) = halves(expanded);
        if scalar != clamp_integer(scalar) {
            return Err(KeyFileError::NotClamped);
        }
        Ok(Self::from_expanded(scalar, hash_prefix))
    }

    /// Writes tor's `hs_ed25519_secret_key`.
    pub fn to_tor_file(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([SECRET_FILE_HEADER, self.scalar, self.hash_prefix].concat())
    }

    /// The public half.
    pub fn public(&self) -> HsId {
        self.public
    }

    /// The blinded pair of `period` (`[KEYBLIND]`):
    /// `a' = h a mod l`, `RH' = SHA-512("Derive temporary signing key hash input" | RH)[..32]`.
    pub fn blind(&self, period: TimePeriod) -> HsBlindIdKeypair {
        let mut scalar = Scalar::from_bytes_mod_order(self.scalar);
        scalar *= blinding_factor(self.public, period);
        let mut hash: [u8; 64] = Sha512::new()
            .chain_update(b"Derive temporary signing key hash input")
            .chain_update(self.hash_prefix)
            .finalize()
            .into();
        let (hash_prefix, _) = halves(&hash);
        hash.zeroize();
        // `ExpandedSecretKey::from_bytes` would clamp, which a blinded scalar does not survive.
        let secret = ExpandedSecretKey { scalar, hash_prefix };
        scalar.zeroize();
        HsBlindIdKeypair { public: VerifyingKey::from(&secret), secret }
    }

    /// The service itself as an authorised client of its own, so that whoever has its key can read descriptors that are
    /// closed to others. `H("rustbalance own client" | KS_hs_id)`, the same wherever the key is.
    pub fn own_client(&self) -> HsClientDescEncKeypair {
        HsClientDescEncKeypair::from_bytes(&self.derived(b"rustbalance own client"))
    }

    /// What the order of introduction points comes from: `H("rustbalance point order" | KS_hs_id)`.
    pub fn point_order(&self) -> PointOrder {
        PointOrder(self.derived(b"rustbalance point order"))
    }

    fn derived(&self, what: &[u8]) -> Zeroizing<[u8; 32]> {
        let hash = Sha3_256::new().chain_update(what).chain_update(self.scalar).chain_update(self.hash_prefix);
        Zeroizing::new(hash.finalize().into())
    }

    fn from_expanded(scalar: [u8; 32], hash_prefix: [u8; 32]) -> Self {
        let public = HsId(EdwardsPoint::mul_base_clamped(scalar).compress().0);
        Self { scalar, hash_prefix, public }
    }
}

/// An order of introduction points that is the same wherever the service's key is, and tells others nothing: neither which
/// points are one node's, nor that somebody sorted them. Zeroized on drop, no `Debug`, no `Clone`.
pub struct PointOrder(Zeroizing<[u8; 32]>);

impl PointOrder {
    /// Where the point with this auth key stands among others.
    pub fn rank(&self, auth_key: &[u8; 32]) -> [u8; 32] {
        Sha3_256::new().chain_update(self.0.as_slice()).chain_update(auth_key).finalize().into()
    }
}

/// Tor's `hs_ed25519_public_key` file for `id`.
pub fn public_key_file(id: HsId) -> Vec<u8> {
    [PUBLIC_FILE_HEADER, id.0].concat()
}

/// `KP_hs_blind_id`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HsBlindId(pub [u8; 32]);

/// Redacted: it identifies the service to whoever knows its address.
impl fmt::Debug for HsBlindId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HsBlindId(..)")
    }
}

/// `KS_hs_blind_id`, expanded: a reduced scalar and hash prefix. Zeroized on drop, no `Clone`.
pub struct HsBlindIdKeypair {
    secret: ExpandedSecretKey,
    public: VerifyingKey,
}

/// No bytes.
impl fmt::Debug for HsBlindIdKeypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HsBlindIdKeypair(..)")
    }
}

impl HsBlindIdKeypair {
    /// The public half.
    pub fn public(&self) -> HsBlindId {
        HsBlindId(self.public.to_bytes())
    }

    /// A deterministic ed25519 signature of `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        raw_sign::<Sha512>(&self.secret, message, &self.public).to_bytes()
    }

    /// What the rest of the period's descriptors is made from that lasts as long as they do:
    /// `SHA3-256("rustbalance descriptor" | scalar | hash prefix)`, the same wherever the key is.
    pub(crate) fn descriptor_seed(&self) -> Zeroizing<[u8; 32]> {
        self.derived(b"rustbalance descriptor")
    }

    /// The key of [`RevisionCipher`](super::revision::RevisionCipher):
    /// `SHA3-256("rev-counter-generation" | 0x00 | scalar | hash prefix)`.
    pub(super) fn revision_key(&self) -> Zeroizing<[u8; 32]> {
        self.derived(b"rev-counter-generation\0")
    }

    fn derived(&self, what: &[u8]) -> Zeroizing<[u8; 32]> {
        let scalar = self.secret.scalar.as_bytes();
        let hash = Sha3_256::new().chain_update(what).chain_update(scalar).chain_update(self.secret.hash_prefix);
        Zeroizing::new(hash.finalize().into())
    }
}

/// `N_hs_subcred`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Subcredential(pub [u8; 32]);

/// Redacted: with it anybody can decrypt the descriptor's outer layer.
impl fmt::Debug for Subcredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subcredential(..)")
    }
}

/// `[KEYBLIND]`: `h = H("Derive temporary signing key" | 0x00 | A | B | N)` clamped,
/// `N = "key-blind" | INT_8(period number) | INT_8(period length in minutes)`.
fn blinding_factor(id: HsId, period: TimePeriod) -> Scalar {
    let hash = Sha3_256::new()
        .chain_update(b"Derive temporary signing key\0")
        .chain_update(id.0)
        .chain_update(BASE_POINT)
        .chain_update(b"key-blind")
        .chain_update(period.number.to_be_bytes())
        .chain_update(u64::from(period.length_minutes).to_be_bytes());
    Scalar::from_bytes_mod_order(clamp_integer(hash.finalize().into()))
}

fn prime_order_point(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    let point = CompressedEdwardsY(*bytes).decompress()?;
    (point.is_torsion_free() && !point.is_small_order()).then_some(point)
}

/// An x25519 key as the ed25519 point with sign bit 0, unless it is none or of low order.
pub(crate) fn sound_x25519(key: [u8; 32]) -> Option<EdwardsPoint> {
    MontgomeryPoint(key).to_edwards(0).filter(|point| !point.is_small_order())
}

fn halves(bytes: &[u8; 64]) -> ([u8; 32], [u8; 32]) {
    let (mut first, mut second) = ([0; 32], [0; 32]);
    first.iter_mut().chain(&mut second).zip(bytes).for_each(|(to, from)| *to = *from);
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    #[test]
    fn a_generated_identity_survives_its_file() {
        let key = HsIdKeypair::generate(&mut Seed::new([7; 32]).fork("key test"));
        let file = key.to_tor_file();
        let read = HsIdKeypair::from_tor_file(&file).expect("own file");
        assert_eq!(read.public(), key.public());
        assert_eq!(read.to_tor_file(), file);
        assert!(key.public().is_valid());
    }

    #[test]
    fn a_damaged_key_file_is_refused_by_name() {
        let good = HsIdKeypair::generate(&mut Seed::new([8; 32]).fork("key test")).to_tor_file();
        let refusal = |bytes: &[u8]| HsIdKeypair::from_tor_file(bytes).err();
        assert_eq!(refusal(&good[..95]), Some(KeyFileError::Length(95)));
        assert_eq!(refusal(&[]), Some(KeyFileError::Length(0)));
        let mut header = good.to_vec();
        header[10] ^= 1;
        assert_eq!(refusal(&header), Some(KeyFileError::Header));
        let mut scalar = good.to_vec();
        scalar[32] ^= 1;
        assert_eq!(refusal(&scalar), Some(KeyFileError::NotClamped));
    }

    #[test]
    fn a_key_outside_the_prime_order_group_is_not_blinded() {
        let period = TimePeriod { number: 20_000, length_minutes: 1440 };
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let no_point = [2; 32];
        assert!(CompressedEdwardsY(no_point).decompress().is_none(), "the test's premise");
        for bytes in [neutral, [0; 32], no_point] {
            assert_eq!(HsId(bytes).blind(period), None);
            assert!(!HsId(bytes).is_valid());
        }
    }

    #[test]
    fn debug_shows_no_bytes() {
        let id = HsId([0xAB; 32]);
        let shown = format!("{id:?} {:?} {:?}", HsBlindId([0xAB; 32]), Subcredential([0xAB; 32]));
        assert_eq!(shown, "HsId(..) HsBlindId(..) Subcredential(..)");
        let key = HsIdKeypair::generate(&mut Seed::new([7; 32]).fork("key test"));
        let blind = key.blind(TimePeriod { number: 20_000, length_minutes: 1440 });
        assert_eq!(format!("{key:?} {blind:?}"), "HsIdKeypair(..) HsBlindIdKeypair(..)");
    }
}
