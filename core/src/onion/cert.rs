//! Tor ed25519 certificates (cert-spec).
//!
//! ```text
//! VERSION 1 | CERT_TYPE 1 | EXPIRATION 4, hours | KEY_TYPE 1 | KEY 32 | N_EXTENSIONS 1
//! N_EXTENSIONS times: LENGTH 2 | TYPE 1 | FLAGS 1 | DATA
//! SIGNATURE 64
//! ```

use core::fmt;

use ed25519_dalek::VerifyingKey;

use super::signature;
use crate::time::Wall;

/// The only version of the format.
const VERSION: u8 = 1;
/// Key type of a certified ed25519 key. Tor writes it for every type below and reads any.
const KEY_TYPE_ED25519: u8 = 1;
/// Extension that carries the signing key.
const EXT_SIGNED_WITH: u8 = 4;
/// Extension flag: who does not understand it must refuse the certificate.
const EXT_AFFECTS_VALIDATION: u8 = 1;

/// What we build has one extension.
const LENGTH: usize = 140;

/// What a certificate certifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertType {
    /// Type 8: `KP_hs_desc_sign` by `KP_hs_blind_id`.
    DescSigning,
    /// Type 9: `KP_hs_ipt_sid` by `KP_hs_desc_sign`.
    IntroAuth,
    /// Type 0x0B: the ed25519 form of `KP_hss_ntor` by `KP_hs_desc_sign`.
    IntroEnc,
}

impl CertType {
    /// The byte on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::DescSigning => 0x08,
            Self::IntroAuth => 0x09,
            Self::IntroEnc => 0x0B,
        }
    }
}

/// Why a certificate was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertError {
    /// Too short, too long, or not of version 1.
    Malformed,
    /// Of another type than this place wants.
    Type(u8),
    /// An extension nobody here knows that says it affects validation.
    UnknownExtension(u8),
    /// It does not name the key that signed it.
    NoSigningKey,
    /// It names or was made with another key than the expected one.
    WrongSigner,
    /// The signature does not match.
    Signature,
    /// It expired at this time, unix seconds.
    Expired(u64),
}

impl fmt::Display for CertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the certificate is malformed"),
            Self::Type(code) => write!(f, "the certificate has type {code:#04x}, which does not belong here"),
            Self::UnknownExtension(code) => write!(f, "the certificate needs the unknown extension {code:#04x}"),
            Self::NoSigningKey => f.write_str("the certificate does not name its signing key"),
            Self::WrongSigner => f.write_str("the certificate was signed by another key than expected"),
            Self::Signature => f.write_str("the certificate's signature does not match"),
            Self::Expired(at) => write!(f, "the certificate expired at unix time {at}; check the clock"),
        }
    }
}

impl std::error::Error for CertError {}

/// Whole hours since the unix epoch, the resolution of expirations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExpirationHours(pub u32);

impl ExpirationHours {
    /// `lifetime_hours` after `now`, rounded up.
    pub fn rounded_up(now: Wall, lifetime_hours: u32) -> Self {
        Self::from_hours(now.as_secs().div_ceil(3600), lifetime_hours)
    }

    /// `lifetime_hours` after `now`, rounded down.
    pub fn rounded_down(now: Wall, lifetime_hours: u32) -> Self {
        Self::from_hours(now.as_secs() / 3600, lifetime_hours)
    }

    /// Unix seconds.
    pub fn as_secs(self) -> u64 {
        u64::from(self.0) * 3600
    }

    fn from_hours(hours: u64, lifetime: u32) -> Self {
        Self(u32::try_from(hours).unwrap_or(u32::MAX).saturating_add(lifetime))
    }
}

/// Makes a certificate for `key` that names `signer`; `sign` signs with the secret half of `signer`.
pub fn build(
    kind: CertType,
    key: &[u8; 32],
    expires: ExpirationHours,
    signer: &[u8; 32],
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> Vec<u8> {
    let mut cert = unsigned(kind, key, expires, signer);
    let signature = sign(&cert);
    cert.extend(signature);
    cert
}

/// All of a certificate but the signature at its end.
pub fn unsigned(kind: CertType, key: &[u8; 32], expires: ExpirationHours, signer: &[u8; 32]) -> Vec<u8> {
    let mut cert = Vec::with_capacity(LENGTH);
    cert.extend([VERSION, kind.code()]);
    cert.extend(expires.0.to_be_bytes());
    cert.push(KEY_TYPE_ED25519);
    cert.extend(key);
    cert.extend([1, 0, 32, EXT_SIGNED_WITH, 0]);
    cert.extend(signer);
    cert
}

/// A certificate whose signature has not been looked at yet.
pub struct UnverifiedCert<'a> {
    kind: u8,
    expires: ExpirationHours,
    key: [u8; 32],
    signer: Option<[u8; 32]>,
    signed: &'a [u8],
    signature: [u8; 64],
}

/// What a verified certificate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cert {
    /// The certified key.
    pub key: [u8; 32],
    /// Until when.
    pub expires: ExpirationHours,
}

impl<'a> UnverifiedCert<'a> {
    /// Takes `bytes` apart; nothing may follow the signature.
    ///
    /// # Errors
    /// [`CertError::Malformed`] or [`CertError::UnknownExtension`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CertError> {
        let (signed, signature) = bytes.split_last_chunk::<64>().ok_or(CertError::Malformed)?;
        let (&[version, kind], rest) = signed.split_first_chunk().ok_or(CertError::Malformed)?;
        let (expires, rest) = rest.split_first_chunk().ok_or(CertError::Malformed)?;
        let (&[_key_type], rest) = rest.split_first_chunk().ok_or(CertError::Malformed)?;
        let (key, rest) = rest.split_first_chunk().ok_or(CertError::Malformed)?;
        let (&[extensions], rest) = rest.split_first_chunk().ok_or(CertError::Malformed)?;
        if version != VERSION {
            return Err(CertError::Malformed);
        }
        let signer = parse_extensions(extensions, rest)?;
        let expires = ExpirationHours(u32::from_be_bytes(*expires));
        Ok(Self { kind, expires, key: *key, signer, signed, signature: *signature })
    }

    /// Its type, [`CertType::code`] if we know it.
    pub fn kind(&self) -> u8 {
        self.kind
    }

    /// The key it certifies, if it is good.
    pub fn key(&self) -> [u8; 32] {
        self.key
    }

    /// Until when, if it is good.
    pub fn expires(&self) -> ExpirationHours {
        self.expires
    }

    /// The key it says it was signed with.
    pub fn signer(&self) -> Option<[u8; 32]> {
        self.signer
    }

    /// Checks type, signer, signature and expiration. Like tor it demands that the certificate names its signer.
    ///
    /// # Errors
    /// All but [`CertError::Malformed`].
    pub fn verify(&self, kind: CertType, signer: &VerifyingKey, now: Wall) -> Result<Cert, CertError> {
        let is_signed = || signature::verify(signer, self.signed, &self.signature);
        self.verify_with(kind, &signer.to_bytes(), now, is_signed)
    }

    /// [`Self::verify`] where `is_signed` says whether the signature is good.
    ///
    /// # Errors
    /// As there.
    pub fn verify_with(
        &self,
        kind: CertType,
        signer: &[u8; 32],
        now: Wall,
        is_signed: impl FnOnce() -> bool,
    ) -> Result<Cert, CertError> {
        if self.kind != kind.code() {
            return Err(CertError::Type(self.kind));
        }
        if self.signer.ok_or(CertError::NoSigningKey)? != *signer {
            return Err(CertError::WrongSigner);
        }
        if !is_signed() {
            return Err(CertError::Signature);
        }
        if now.as_secs() > self.expires.as_secs() {
            return Err(CertError::Expired(self.expires.as_secs()));
        }
        Ok(Cert { key: self.key, expires: self.expires })
    }

    /// What was signed, and the signature.
    pub fn signed(&self) -> (&'a [u8], [u8; 64]) {
        (self.signed, self.signature)
    }
}

/// The signing key among `count` extensions, which must fill `bytes`.
fn parse_extensions(count: u8, mut bytes: &[u8]) -> Result<Option<[u8; 32]>, CertError> {
    let mut signer = None;
    for _ in 0..count {
        let (&[high, low, kind, flags], rest) = bytes.split_first_chunk().ok_or(CertError::Malformed)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (data, rest) = rest.split_at_checked(length).ok_or(CertError::Malformed)?;
        bytes = rest;
        if kind == EXT_SIGNED_WITH {
            signer = Some(data.try_into().map_err(|_| CertError::Malformed)?);
        } else if flags & EXT_AFFECTS_VALIDATION != 0 {
            return Err(CertError::UnknownExtension(kind));
        }
    }
    if bytes.is_empty() { Ok(signer) } else { Err(CertError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};

    const NOW: Wall = Wall::from_secs(1_795_446_825);

    fn example() -> (Vec<u8>, SigningKey) {
        let signer = SigningKey::from_bytes(&[5; 32]);
        let public = signer.verifying_key().to_bytes();
        let expires = ExpirationHours::rounded_down(NOW, 54);
        let cert = build(CertType::IntroAuth, &[6; 32], expires, &public, |body| signer.sign(body).to_bytes());
        (cert, signer)
    }

    fn verify(bytes: &[u8], kind: CertType, signer: &SigningKey, now: Wall) -> Result<Cert, CertError> {
        UnverifiedCert::parse(bytes)?.verify(kind, &signer.verifying_key(), now)
    }

    #[test]
    fn a_built_certificate_verifies() {
        let (bytes, signer) = example();
        let cert = verify(&bytes, CertType::IntroAuth, &signer, NOW).expect("good");
        assert_eq!(cert, Cert { key: [6; 32], expires: ExpirationHours(498_789) });
    }

    #[test]
    fn each_fault_has_its_name() {
        let (good, signer) = example();
        let other = SigningKey::from_bytes(&[7; 32]);
        let auth = CertType::IntroAuth;
        assert_eq!(verify(&good, CertType::IntroEnc, &signer, NOW), Err(CertError::Type(9)));
        assert_eq!(verify(&good, auth, &other, NOW), Err(CertError::WrongSigner));
        let end = 498_789 * 3600;
        assert!(verify(&good, auth, &signer, Wall::from_secs(end)).is_ok());
        assert_eq!(verify(&good, auth, &signer, Wall::from_secs(end + 1)), Err(CertError::Expired(end)));
        let mut damaged = good.clone();
        damaged[20] ^= 1;
        assert_eq!(verify(&damaged, auth, &signer, NOW), Err(CertError::Signature));
        let mut extension = good.clone();
        (extension[42], extension[43]) = (5, EXT_AFFECTS_VALIDATION);
        assert_eq!(verify(&extension, auth, &signer, NOW), Err(CertError::UnknownExtension(5)));
        extension[43] = 0;
        assert_eq!(verify(&extension, auth, &signer, NOW), Err(CertError::NoSigningKey));
        let mut version = good;
        version[0] = 2;
        assert_eq!(verify(&version, auth, &signer, NOW), Err(CertError::Malformed));
    }

    #[test]
    fn no_other_length_parses() {
        let (good, _) = example();
        for length in 0..good.len() {
            assert!(UnverifiedCert::parse(&good[..length]).is_err(), "{length}");
        }
        assert!(UnverifiedCert::parse(&[good.as_slice(), &[0]].concat()).is_err());
    }
}
