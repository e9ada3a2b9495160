//! Arti's `tor-netdoc`, an independent implementation of v3 descriptors: the oracle of ours and the peer of the bench.
//! The same secrets, points and clients go to both.

pub mod difference;

use std::time::{Duration, SystemTime};

use rand_core::CryptoRng;
use rustbalance_core::hsdesc::IntroPoint;
use rustbalance_core::onion::key::HsIdKeypair;
use rustbalance_core::onion::period::TimePeriod;
use rustbalance_core::time::Wall;
use tor_cell::chancell::msg::HandshakeType;
use tor_checkable::TimeBound as _;
use tor_hscrypto::Subcredential;
use tor_hscrypto::pk::{self, HsBlindId, HsBlindIdKey, HsBlindIdKeypair, HsClientDescEncKeypair};
use tor_linkspec::EncodedLinkSpec;
use tor_llcrypto::pk::{curve25519, ed25519};
use tor_netdoc::NetdocBuilder as _;
use tor_netdoc::doc::hsdesc::{HsDesc, HsDescBuilder, IntroPointDesc, create_desc_sign_key_cert};
use tor_protover::{ProtoKind, Protocols};

/// How long both certify keys, hours.
const CERT_LIFETIME: Duration = Duration::from_secs(54 * 3600);
/// What C tor writes, minutes.
const LIFETIME_MINUTES: u16 = 180;

/// A service's identity in Arti's types.
pub struct Identity(pk::HsIdKeypair);

/// A blinded key pair with what follows from it.
pub struct Blinded {
    public: HsBlindIdKey,
    pair: HsBlindIdKeypair,
    subcredential: Subcredential,
}

/// A descriptor signing key with its certificate.
pub struct SigningKey {
    key: ed25519::Keypair,
    cert: tor_cert::EncodedEd25519Cert,
}

/// What Arti makes a descriptor of.
pub struct Content<'a> {
    /// The period's key.
    pub blinded: &'a Blinded,
    /// 1..=20.
    pub points: &'a [IntroPointDesc],
    /// Empty means open to all.
    pub clients: &'a [curve25519::PublicKey],
    /// `flow-control 1-2 N`.
    pub sendme_increment: Option<u8>,
    /// `single-onion-service`.
    pub single_onion: bool,
    /// Revision counter.
    pub revision: u64,
    /// For certificates.
    pub now: Wall,
}

impl Identity {
    /// The same identity.
    pub fn new(key: &HsIdKeypair) -> Self {
        let expanded = key.to_tor_file()[32..].try_into().unwrap();
        Self(ed25519::ExpandedKeypair::from_secret_key_bytes(expanded).unwrap().into())
    }

    /// The key of `period`.
    pub fn blind(&self, period: TimePeriod) -> Blinded {
        let (public, pair, subcredential) = self.0.compute_blinded_key(arti_period(period)).unwrap();
        Blinded { public, pair, subcredential }
    }

    /// What a client computes of the address for `period`.
    pub fn blind_public(&self, period: TimePeriod) -> (HsBlindId, Subcredential) {
        let (blind, subcredential) = pk::HsIdKey::from(&self.0).compute_blinded_key(arti_period(period)).unwrap();
        (blind.into(), subcredential)
    }
}

impl SigningKey {
    /// From its seed, certified by `blinded`.
    pub fn new(seed: [u8; 32], blinded: &Blinded, now: Wall) -> Self {
        let key = ed25519::Keypair::from_bytes(&seed);
        let cert = create_desc_sign_key_cert(&key.verifying_key(), &blinded.pair, time(now) + CERT_LIFETIME).unwrap();
        Self { key, cert }
    }
}

/// Builds, encrypts and signs.
pub fn build(signing: &SigningKey, content: &Content<'_>, rng: &mut impl CryptoRng) -> String {
    let flow_control = content
        .sendme_increment
        .map(|increment| (Protocols::from_kind_and_versions(ProtoKind::FlowCtrl, "1-2").unwrap(), increment));
    let expires = time(content.now) + CERT_LIFETIME;
    HsDescBuilder::default()
        .blinded_id(&content.blinded.public)
        .hs_desc_sign(&signing.key)
        .hs_desc_sign_cert(signing.cert.clone())
        .create2_formats(&[HandshakeType::NTOR])
        .auth_required(None)
        .is_single_onion_service(content.single_onion)
        .intro_points(content.points)
        .intro_auth_key_cert_expiry(expires)
        .intro_enc_key_cert_expiry(expires)
        .flow_control(flow_control)
        .auth_clients((!content.clients.is_empty()).then_some(content.clients))
        .lifetime(LIFETIME_MINUTES.into())
        .revision_counter(content.revision.into())
        .subcredential(content.blinded.subcredential)
        .build_sign(rng)
        .unwrap()
}

/// Parses, verifies and decrypts, and checks all times.
///
/// # Errors
/// Arti's.
pub fn open(
    text: &str,
    (blind, subcredential): &(HsBlindId, Subcredential),
    client: Option<&HsClientDescEncKeypair>,
    now: Wall,
) -> anyhow::Result<HsDesc> {
    let timed = HsDesc::parse_decrypt_validate(text, blind, subcredential, client)?;
    Ok(timed.if_valid_at(&time(now))?)
}

/// The same point.
pub fn point(point: &IntroPoint) -> IntroPointDesc {
    IntroPointDesc::builder()
        .link_specifiers(link_specifiers(&point.link_specifiers))
        .ipt_kp_ntor(point.onion_key.into())
        .kp_hs_ipt_sid(ed25519::PublicKey::from_bytes(&point.auth_key).unwrap().into())
        .kp_hss_ntor(curve25519::PublicKey::from(point.enc_key).into())
        .build()
        .unwrap()
}

/// Whether Arti read `theirs` as we read `ours`.
pub fn is_same_point(theirs: &IntroPointDesc, ours: &IntroPoint) -> bool {
    theirs.link_specifiers() == link_specifiers(&ours.link_specifiers)
        && theirs.ipt_ntor_key().as_bytes() == &ours.onion_key
        && theirs.ipt_sid_key().as_bytes() == &ours.auth_key
        && theirs.svc_ntor_key().as_bytes() == &ours.enc_key
}

/// A client's key pair.
pub fn client(secret: [u8; 32]) -> HsClientDescEncKeypair {
    HsClientDescEncKeypair::from_secret_key(curve25519::StaticSecret::from(secret).into())
}

fn arti_period(period: TimePeriod) -> tor_hscrypto::time::TimePeriod {
    tor_hscrypto::time::TimePeriod::from_parts(period.length_minutes, period.number, 12 * 3600)
}

fn time(now: Wall) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs())
}

/// From the descriptor's form: count, then type, length, body each.
fn link_specifiers(bytes: &[u8]) -> Vec<EncodedLinkSpec> {
    let mut rest = &bytes[1..];
    let mut specifiers = Vec::new();
    while let [kind, length, tail @ ..] = rest {
        let (body, tail) = tail.split_at(usize::from(*length));
        specifiers.push(EncodedLinkSpec::new((*kind).into(), body));
        rest = tail;
    }
    specifiers
}
