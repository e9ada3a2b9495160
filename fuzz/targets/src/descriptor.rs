//! Descriptors, layer by layer: what is inside is sealed here, so that the fuzzer gets past signatures and MACs.

use std::sync::LazyLock;

use ed25519_dalek::{Signer as _, SigningKey};
use rustbalance_core::hsdesc::IntroPoint;
use rustbalance_core::hsdesc::exercise::Sealer;
use rustbalance_core::onion::cert::{self, Cert, CertError, CertType, UnverifiedCert};

/// Before the points in [`intro_point`].
pub const HEADER: &str = "create2-formats 2\n";

static SEALER: LazyLock<Sealer> = LazyLock::new(Sealer::default);

/// A whole descriptor.
pub fn whole(bytes: &[u8]) {
    SEALER.exercise(bytes);
}

/// The outer layer without its signature.
pub fn outer(bytes: &[u8]) {
    SEALER.exercise(&SEALER.signed(bytes));
}

/// The middle layer with its padding.
pub fn middle(bytes: &[u8]) {
    SEALER.exercise(SEALER.with_middle(bytes).as_bytes());
}

/// The inner layer.
pub fn inner(bytes: &[u8]) {
    SEALER.exercise(SEALER.with_inner(bytes).as_bytes());
}

/// Our side of what the fuzzer has Arti and us judge: a byte for the layer, and what stands in it.
pub fn any_layer(bytes: &[u8]) {
    if let Some((layer, text)) = bytes.split_first() {
        SEALER.exercise(&SEALER.sealed(*layer, text));
    }
}

/// The lines of introduction points, and link specifiers.
pub fn intro_point(bytes: &[u8]) {
    inner(&[HEADER.as_bytes(), bytes].concat());
    let point = IntroPoint { link_specifiers: bytes.to_vec(), onion_key: [0; 32], auth_key: [0; 32], enc_key: [0; 32] };
    let _ = point.relay();
}

/// A certificate as it is, and without its signature: then it is signed here.
pub fn certificate(bytes: &[u8]) {
    let _ = UnverifiedCert::parse(bytes).map(|cert| cert.kind());
    let signer = SigningKey::from_bytes(&[5; 32]);
    let (public, now) = (signer.verifying_key(), SEALER.now());
    let signed = [bytes, &signer.sign(bytes).to_bytes()].concat();
    let Ok(parsed) = UnverifiedCert::parse(&signed) else { return };
    let kinds = [CertType::DescSigning, CertType::IntroAuth, CertType::IntroEnc];
    let kind = kinds.into_iter().find(|kind| kind.code() == parsed.kind()).unwrap_or(CertType::IntroAuth);
    let (key, expires) = (parsed.key(), parsed.expires());
    match parsed.verify(kind, &public, now) {
        Ok(cert) => {
            assert_eq!(cert, Cert { key, expires });
            assert!(expires.as_secs() >= now.as_secs());
            let ours = cert::build(kind, &key, expires, public.as_bytes(), |body| signer.sign(body).to_bytes());
            let again = UnverifiedCert::parse(&ours).and_then(|ours| ours.verify(kind, &public, now));
            assert_eq!(again, Ok(cert), "what is read can be written and read again");
        }
        Err(CertError::Type(code)) => assert_eq!(code, parsed.kind()),
        Err(CertError::NoSigningKey) => assert_eq!(parsed.signer(), None),
        Err(CertError::WrongSigner) => assert_ne!(parsed.signer(), Some(public.to_bytes())),
        Err(CertError::Expired(at)) => assert!(at < now.as_secs()),
        Err(error) => panic!("it was signed and did parse: {error}"),
    }
}
