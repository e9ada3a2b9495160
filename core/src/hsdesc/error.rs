//! Why a descriptor was refused, or cannot be built.

use core::fmt;

use serde::Serialize;

use super::netdoc::{SyntaxError, SyntaxFault};
use super::{DESCRIPTOR_SIZE_MAX, NUM_INTRO_POINT_MAX};
use crate::onion::cert::CertError;

/// One of the three layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// What HSDirs read.
    Outer,
    /// Inside `superencrypted`.
    Middle,
    /// Inside `encrypted`.
    Inner,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outer => "outer layer",
            Self::Middle => "middle layer",
            Self::Inner => "inner layer",
        })
    }
}

/// Why a descriptor was refused, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorError {
    /// In which layer.
    pub layer: Layer,
    /// On which line of that layer's text, 1-based.
    pub line: usize,
    /// What is wrong there.
    pub fault: DescriptorFault,
}

/// What is wrong with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DescriptorFault {
    /// More bytes than [`DESCRIPTOR_SIZE_MAX`].
    TooLarge(usize),
    /// Not UTF-8.
    NotUtf8,
    /// A line is missing, misplaced or broken.
    Syntax(SyntaxFault),
    /// `hs-descriptor` of another version than 3.
    Version,
    /// `descriptor-lifetime` is no number or above 720 minutes.
    Lifetime,
    /// `revision-counter` is no number below 2^64.
    Revision,
    /// The signing key's certificate is broken, expired or not signed as it must be.
    SigningCert(CertError),
    /// The blinded key is none of this identity in these periods.
    OtherIdentity,
    /// `signature` has not 86 characters but so many.
    SignatureLength(usize),
    /// The signature does not match the text.
    Signature,
    /// The ciphertext of the layer inside this one is not longer than its salt and MAC.
    TooShort,
    /// The ciphertext of the layer inside this one is damaged, or (in the middle layer) needs a client's key that we do
    /// not have.
    Mac,
    /// `desc-auth-type` is not `x25519`.
    AuthType,
    /// `desc-auth-ephemeral-key` is no key.
    EphemeralKey,
    /// `desc-auth-ephemeral-key` is zero or of low order; only who reads as an authorised client minds.
    LowOrderEphemeralKey,
    /// An `auth-client` line has a field of the wrong length.
    AuthClient,
    /// `create2-formats` does not list ntor.
    NoNtor,
    /// `intro-auth-required` lists nothing known.
    IntroAuth,
    /// `flow-control` has an increment outside 1..=255.
    FlowControl,
    /// `pow-params v1` is incomplete, malformed or there twice.
    PowParams,
    /// More usable points than [`NUM_INTRO_POINT_MAX`].
    TooManyPoints(usize),
}

impl DescriptorError {
    /// A fault of `layer`'s syntax.
    pub(super) fn syntax(layer: Layer, SyntaxError { line, fault }: SyntaxError) -> Self {
        Self { layer, line, fault: DescriptorFault::Syntax(fault) }
    }
}

impl fmt::Display for DescriptorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layer, line, fault } = self;
        write!(f, "{layer}, line {line}: ")?;
        if (*layer, *fault) == (Layer::Middle, DescriptorFault::Mac) {
            f.write_str(
                "what it encrypts is damaged, or for authorised clients only: give the key of one that it lists",
            )
        } else {
            write!(f, "{fault}")
        }
    }
}

impl fmt::Display for DescriptorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(bytes) => {
                write!(f, "the descriptor has {bytes} bytes, at most {DESCRIPTOR_SIZE_MAX} are allowed")
            }
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::Syntax(fault) => write!(f, "{fault}"),
            Self::Version => f.write_str("not version 3"),
            Self::Lifetime => f.write_str("a lifetime outside 0 to 720 minutes"),
            Self::Revision => f.write_str("the revision counter is no 64-bit number"),
            Self::SigningCert(error) => write!(f, "{error}"),
            Self::OtherIdentity => f.write_str("the descriptor is of another service or time period"),
            Self::SignatureLength(length) => write!(f, "the signature has {length} characters instead of 86"),
            Self::Signature => f.write_str("the descriptor's signature does not match"),
            Self::TooShort => f.write_str("what it encrypts is too short"),
            Self::Mac => f.write_str("what it encrypts is damaged"),
            Self::AuthType => f.write_str("an unknown desc-auth-type"),
            Self::EphemeralKey => f.write_str("not an x25519 key"),
            Self::LowOrderEphemeralKey => f.write_str("desc-auth-ephemeral-key is zero or of low order"),
            Self::AuthClient => f.write_str("an auth-client field of wrong length"),
            Self::NoNtor => f.write_str("ntor is not among the create2-formats"),
            Self::IntroAuth => f.write_str("no known kind of intro-auth-required"),
            Self::FlowControl => f.write_str("a sendme increment outside 1 to 255"),
            Self::PowParams => f.write_str("pow-params v1 comes once, with seed, effort and expiration"),
            Self::TooManyPoints(points) => {
                write!(f, "the descriptor has {points} introduction points, clients accept {NUM_INTRO_POINT_MAX}")
            }
        }
    }
}

impl std::error::Error for DescriptorError {}

/// Why an introduction point is left out, and on which line of the inner layer that shows (1-based).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointError {
    /// 1-based.
    pub line: usize,
    /// What is wrong there.
    pub fault: PointFault,
}

/// What is wrong with an introduction point. Names are keywords of its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PointFault {
    /// A line is missing, misplaced or broken.
    Syntax(SyntaxFault),
    /// The link specifiers do not parse.
    LinkSpecifiers,
    /// The link specifiers do not name one relay by its legacy identity. Tor fails only when it extends.
    NoRelay,
    /// No key of 32 bytes.
    Key(&'static str),
    /// No ntor key.
    NoNtor(&'static str),
    /// A key that is zero or of low order, which proves nothing. Tor fails only in the handshake.
    LowOrderKey(&'static str),
    /// A certificate is broken, expired or not signed as it must be.
    Cert(&'static str, CertError),
}

impl PointFault {
    /// Tor would keep such a point.
    pub(super) fn is_ours_alone(self) -> bool {
        matches!(self, Self::NoRelay | Self::LowOrderKey(_))
    }
}

impl From<SyntaxError> for PointError {
    fn from(SyntaxError { line, fault }: SyntaxError) -> Self {
        Self { line, fault: PointFault::Syntax(fault) }
    }
}

impl fmt::Display for PointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}: {}", Layer::Inner, self.line, self.fault)
    }
}

impl fmt::Display for PointFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(fault) => write!(f, "{fault}"),
            Self::LinkSpecifiers => f.write_str("the link specifiers are malformed"),
            Self::NoRelay => f.write_str("the link specifiers do not name one relay by its legacy identity"),
            Self::Key(keyword) => write!(f, "{keyword} is no key of 32 bytes"),
            Self::NoNtor(keyword) => write!(f, "{keyword} has no key for ntor"),
            Self::LowOrderKey(keyword) => write!(f, "{keyword} is zero or of low order"),
            Self::Cert(keyword, error) => write!(f, "{keyword}: {error}"),
        }
    }
}

impl std::error::Error for PointError {}

/// Why a descriptor cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// The signing keys were certified by another period's blinded key.
    OtherPeriod,
    /// No point at all.
    NoPoints,
    /// More than [`NUM_INTRO_POINT_MAX`].
    TooManyPoints(usize),
    /// A point whose link specifiers name no relay.
    NoRelay,
    /// Two points on one relay.
    RelayTwice,
    /// A header that clients would refuse or read differently.
    BadHeader,
    /// Larger than [`DESCRIPTOR_SIZE_MAX`].
    TooLarge(usize),
    /// A key that is all zeros: one that was never filled in. Other keys that are of no use are not looked for here; merging
    /// leaves such points out ([`has_sound_keys`](super::IntroPoint::has_sound_keys)).
    BadKey,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherPeriod => f.write_str("the signing keys belong to another time period; make new ones"),
            Self::NoPoints => f.write_str("there is no introduction point to publish"),
            Self::TooManyPoints(points) => {
                write!(f, "{points} introduction points, clients accept {NUM_INTRO_POINT_MAX}; choose among them")
            }
            Self::NoRelay => f.write_str("an introduction point names no relay; leave it out"),
            Self::RelayTwice => f.write_str("two introduction points are on one relay; leave one out"),
            Self::BadHeader => f.write_str("clients would refuse the lines before the introduction points"),
            Self::TooLarge(bytes) => write!(
                f,
                "the descriptor has {bytes} bytes, HSDirs take {DESCRIPTOR_SIZE_MAX}; list fewer points or clients"
            ),
            Self::BadKey => f.write_str("a point's key is all zeros; leave it out"),
        }
    }
}

impl std::error::Error for BuildError {}
