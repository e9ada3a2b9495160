//! The outer layer: what an HSDir reads and checks (rend-spec `[DESC-OUTER]`).

use base64::Engine as _;
use ed25519_dalek::VerifyingKey;

use super::netdoc::{self, BASE64_UNPADDED, Section, decode_base64};
use super::{DescriptorError, Layer};
use crate::onion::cert::{CertError, CertType, UnverifiedCert};
use crate::onion::key::HsBlindId;
use crate::onion::revision::RevisionCounter;
use crate::onion::signature;
use crate::time::Wall;

/// What tor writes into every descriptor, minutes.
const LIFETIME_MINUTES: u32 = 180;
/// The longest lifetime an HSDir takes, seconds.
const LIFETIME_MAX_SECS: u32 = 12 * 3600;
/// Hashed before the text that is signed.
const SIGNATURE_PREFIX: &[u8] = b"Tor onion service descriptor sig v3";
/// 64 bytes in base64 without padding.
const SIGNATURE_LENGTH: usize = 86;
pub(super) const CERT_LABEL: &str = "ED25519 CERT";
pub(super) const MESSAGE_LABEL: &str = "MESSAGE";

/// Writes and signs the outer layer.
pub(super) fn encode(
    signing_cert: &[u8],
    revision: RevisionCounter,
    superencrypted: &[u8],
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> String {
    let mut text = format!("hs-descriptor 3\ndescriptor-lifetime {LIFETIME_MINUTES}\ndescriptor-signing-key-cert\n");
    netdoc::push_object(&mut text, CERT_LABEL, signing_cert);
    text.extend(["revision-counter ", &revision.0.to_string(), "\nsuperencrypted\n"]);
    netdoc::push_object(&mut text, MESSAGE_LABEL, superencrypted);
    let signature = sign(&signed_bytes(&text));
    text.extend(["signature ", &BASE64_UNPADDED.encode(signature), "\n"]);
    text
}

/// A well-formed outer layer whose certificate and signature have not been looked at yet.
pub(super) struct UnverifiedOuter<'a> {
    revision: RevisionCounter,
    signing_cert: Vec<u8>,
    superencrypted: Vec<u8>,
    signed: &'a str,
    signature: [u8; 64],
}

/// A verified outer layer.
pub(super) struct Outer {
    pub revision: RevisionCounter,
    /// `KP_hs_desc_sign`.
    pub signing_key: VerifyingKey,
    pub superencrypted: Vec<u8>,
}

impl<'a> UnverifiedOuter<'a> {
    /// Reads the lines.
    pub fn parse(text: &'a str) -> Result<Self, DescriptorError> {
        let in_outer = |error| DescriptorError::syntax(Layer::Outer, error);
        let items = netdoc::parse(text).map_err(in_outer)?;
        let section = Section(&items);

        let version = section.first("hs-descriptor").map_err(in_outer)?;
        if version.args().map_err(in_outer)? != ["3"] {
            return Err(DescriptorError::Version { line: version.line });
        }
        let lifetime = section.one("descriptor-lifetime").map_err(in_outer)?;
        let [minutes] = lifetime.args().map_err(in_outer)?;
        if !minutes.parse().is_ok_and(lifetime_is_accepted) {
            return Err(DescriptorError::Lifetime { line: lifetime.line });
        }
        let cert = section.one("descriptor-signing-key-cert").map_err(in_outer)?;
        let counter = section.one("revision-counter").map_err(in_outer)?;
        let [digits] = counter.args().map_err(in_outer)?;
        let revision = digits.parse().map_err(|_| DescriptorError::Revision { line: counter.line })?;
        let superencrypted = section.one("superencrypted").map_err(in_outer)?;
        let signature = section.last("signature").map_err(in_outer)?;
        let [base64] = signature.args().map_err(in_outer)?;
        if base64.len() != SIGNATURE_LENGTH {
            return Err(DescriptorError::SignatureLength(base64.len()));
        }

        Ok(Self {
            revision: RevisionCounter(revision),
            signing_cert: cert.lone_object(CERT_LABEL).map_err(in_outer)?.to_vec(),
            superencrypted: superencrypted.lone_object(MESSAGE_LABEL).map_err(in_outer)?.to_vec(),
            signed: text.get(..signature.start).unwrap_or_default(),
            signature: decode_base64(base64).ok_or(DescriptorError::Signature)?,
        })
    }

    /// The blinded key that the certificate says it was signed with.
    pub fn blind(&self) -> Result<HsBlindId, DescriptorError> {
        let cert = UnverifiedCert::parse(&self.signing_cert).map_err(DescriptorError::SigningCert)?;
        cert.signer().map(HsBlindId).ok_or(DescriptorError::SigningCert(CertError::NoSigningKey))
    }

    /// Checks certificate and signature.
    pub fn verify(self, blind: HsBlindId, now: Wall) -> Result<Outer, DescriptorError> {
        let blind = VerifyingKey::from_bytes(&blind.0).map_err(|_| DescriptorError::OtherIdentity)?;
        let cert = UnverifiedCert::parse(&self.signing_cert)
            .and_then(|cert| cert.verify(CertType::DescSigning, &blind, now))
            .map_err(DescriptorError::SigningCert)?;
        let signing_key = VerifyingKey::from_bytes(&cert.key).map_err(|_| DescriptorError::Signature)?;
        if !signature::verify(&signing_key, &signed_bytes(self.signed), &self.signature) {
            return Err(DescriptorError::Signature);
        }
        Ok(Outer { revision: self.revision, signing_key, superencrypted: self.superencrypted })
    }
}

/// Tor multiplies in 32 bits: 71582789 minutes pass as 44 seconds.
fn lifetime_is_accepted(minutes: u32) -> bool {
    minutes.wrapping_mul(60) <= LIFETIME_MAX_SECS
}

fn signed_bytes(text: &str) -> Vec<u8> {
    [SIGNATURE_PREFIX, text.as_bytes()].concat()
}
