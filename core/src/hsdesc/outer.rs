//! The outer layer: what an HSDir reads and checks (rend-spec `[DESC-OUTER]`).

use base64::Engine as _;
use ed25519_dalek::VerifyingKey;
use memchr::memmem;

use super::netdoc::{self, BASE64_UNPADDED, Section, decode_base64};
use super::{DescriptorError, DescriptorFault, Layer, Reader, SigningKeys, crypt};
use crate::onion::cert::{CertError, CertType, UnverifiedCert};
use crate::onion::key::HsBlindId;
use crate::onion::revision::RevisionCounter;
use crate::onion::signature::SharedSigner;
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
pub(super) fn encode(keys: &SigningKeys, revision: RevisionCounter, superencrypted: &[u8]) -> String {
    let (mut text, before) = unsigned(keys.cert(), revision, superencrypted);
    let before = text.as_bytes().get(..before).unwrap_or_default();
    // The blob's salt and MAC are a hash of all of it.
    let [salt, mac] = crypt::commitment(superencrypted);
    let signature = signature_line(keys, text.as_bytes(), &[before, salt, mac]);
    text.push_str(&signature);
    text
}

/// The text that is signed, and how long it is before the encrypted layer.
pub(super) fn unsigned(cert: &[u8], revision: RevisionCounter, superencrypted: &[u8]) -> (String, usize) {
    let mut text = String::with_capacity(netdoc::object_room(superencrypted.len()) + 1024);
    text.extend(["hs-descriptor 3\ndescriptor-lifetime ", &LIFETIME_MINUTES.to_string()]);
    text.push_str("\ndescriptor-signing-key-cert\n");
    netdoc::push_object(&mut text, CERT_LABEL, cert);
    text.extend(["revision-counter ", &revision.0.to_string(), "\nsuperencrypted\n"]);
    let before = text.len();
    netdoc::push_object(&mut text, MESSAGE_LABEL, superencrypted);
    (text, before)
}

/// The last line, which signs all of `text` before it; `commitment` is the same for no other text.
pub(super) fn signature_line(keys: &SigningKeys, text: &[u8], commitment: &[&[u8]]) -> String {
    let signature = keys.sign(&[SIGNATURE_PREFIX, text], commitment);
    format!("signature {}\n", BASE64_UNPADDED.encode(signature))
}

/// A well-formed outer layer whose certificate and signature have not been looked at yet.
pub(super) struct UnverifiedOuter<'a> {
    /// `descriptor-lifetime`, minutes.
    pub lifetime: u32,
    pub revision: RevisionCounter,
    pub signing_cert: Vec<u8>,
    cert_line: usize,
    superencrypted: Vec<u8>,
    superencrypted_line: usize,
    signed: &'a str,
    signature: [u8; 64],
    signature_line: usize,
}

/// An outer layer that its reader has agreed to.
pub(super) struct Outer {
    pub revision: RevisionCounter,
    /// `KP_hs_desc_sign`, which certified the points' keys too.
    pub signing_key: SharedSigner,
    pub superencrypted: Vec<u8>,
    pub superencrypted_line: usize,
}

impl<'a> UnverifiedOuter<'a> {
    /// Reads the lines.
    pub fn parse(text: &'a str) -> Result<Self, DescriptorError> {
        let in_outer = |error| DescriptorError::syntax(Layer::Outer, error);
        let items = netdoc::parse(text).map_err(in_outer)?;
        let section = Section(&items);

        let version = section.first("hs-descriptor").map_err(in_outer)?;
        if version.args().map_err(in_outer)? != ["3"] {
            return Err(fault(version.line, DescriptorFault::Version));
        }
        let lifetime = section.one("descriptor-lifetime").map_err(in_outer)?;
        let [minutes] = lifetime.args().map_err(in_outer)?;
        let minutes = netdoc::number(minutes).filter(|minutes| lifetime_is_accepted(*minutes));
        let minutes = minutes.ok_or(fault(lifetime.line, DescriptorFault::Lifetime))?;
        let cert = section.one("descriptor-signing-key-cert").map_err(in_outer)?;
        let counter = section.one("revision-counter").map_err(in_outer)?;
        let [digits] = counter.args().map_err(in_outer)?;
        let revision = netdoc::number(digits).ok_or(fault(counter.line, DescriptorFault::Revision))?;
        let superencrypted = section.one("superencrypted").map_err(in_outer)?;
        let signature = section.last("signature").map_err(in_outer)?;
        let [base64] = signature.args().map_err(in_outer)?;
        if base64.len() != SIGNATURE_LENGTH {
            return Err(fault(signature.line, DescriptorFault::SignatureLength(base64.len())));
        }
        // Tor takes for signed what stands before this, not before the line that it has read.
        let before = memmem::find(text.as_bytes(), b"\nsignature ").map(|at| at + 1);
        let signed = before.and_then(|length| text.get(..length));

        Ok(Self {
            lifetime: minutes,
            revision: RevisionCounter(revision),
            signing_cert: cert.lone_object(CERT_LABEL).map_err(in_outer)?.to_vec(),
            cert_line: cert.line,
            superencrypted: superencrypted.lone_object(MESSAGE_LABEL).map_err(in_outer)?.to_vec(),
            superencrypted_line: superencrypted.line,
            signed: signed.ok_or(fault(signature.line, DescriptorFault::Signature))?,
            signature: decode_base64(base64).ok_or(fault(signature.line, DescriptorFault::Signature))?,
            signature_line: signature.line,
        })
    }

    /// The blinded key that the certificate says it was signed with.
    pub fn blind(&self) -> Result<HsBlindId, DescriptorError> {
        let cert = self.cert()?;
        cert.signer().map(HsBlindId).ok_or(self.cert_error(DescriptorFault::SigningCert(CertError::NoSigningKey)))
    }

    /// That it is of another service or period.
    pub fn other_identity(&self) -> DescriptorError {
        self.cert_error(DescriptorFault::OtherIdentity)
    }

    /// Checks certificate and signature; what is wrong with them is for `reader` to judge.
    pub fn verify(self, blind: HsBlindId, now: Wall, reader: &mut impl Reader) -> Result<Outer, DescriptorError> {
        let blind = VerifyingKey::from_bytes(&blind.0).map_err(|_| self.other_identity())?;
        let cert = self.cert()?;
        if let Err(error) = cert.verify(CertType::DescSigning, &blind, now) {
            reader.objects(self.cert_error(DescriptorFault::SigningCert(error)))?;
        }
        let bad_signature = fault(self.signature_line, DescriptorFault::Signature);
        let signing_key = VerifyingKey::from_bytes(&cert.key()).map_err(|_| bad_signature)?;
        let signing_key = SharedSigner::new(signing_key);
        if signing_key.verify_all(&[(&signed_bytes(self.signed.as_bytes()), self.signature)]) != [true] {
            reader.objects(bad_signature)?;
        }
        let Self { revision, superencrypted, superencrypted_line, .. } = self;
        Ok(Outer { revision, signing_key, superencrypted, superencrypted_line })
    }

    fn cert(&self) -> Result<UnverifiedCert<'_>, DescriptorError> {
        let parsed = UnverifiedCert::parse(&self.signing_cert);
        parsed.map_err(|error| self.cert_error(DescriptorFault::SigningCert(error)))
    }

    fn cert_error(&self, what: DescriptorFault) -> DescriptorError {
        fault(self.cert_line, what)
    }
}

fn fault(line: usize, fault: DescriptorFault) -> DescriptorError {
    DescriptorError { layer: Layer::Outer, line, fault }
}

/// Tor multiplies in 32 bits: 71582789 minutes pass as 44 seconds.
fn lifetime_is_accepted(minutes: u32) -> bool {
    minutes.wrapping_mul(60) <= LIFETIME_MAX_SECS
}

/// What is hashed to sign `text`.
pub(super) fn signed_bytes(text: &[u8]) -> Vec<u8> {
    [SIGNATURE_PREFIX, text].concat()
}
