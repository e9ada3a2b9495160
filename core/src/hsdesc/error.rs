//! Why a descriptor was refused, or cannot be built.

use core::fmt;

use super::netdoc::{SyntaxError, SyntaxFault};
use super::{DESCRIPTOR_SIZE_MAX, NUM_INTRO_POINT_MAX};
use crate::onion::cert::CertError;

/// One of the three layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Why a descriptor was refused. Lines are 1-based and count in their own layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptorError {
    /// More bytes than [`DESCRIPTOR_SIZE_MAX`].
    TooLarge(usize),
    /// Not UTF-8.
    NotUtf8(Layer),
    /// A line is missing, misplaced or broken.
    Syntax {
        /// In which layer.
        layer: Layer,
        /// On which line.
        line: usize,
        /// What is wrong with it.
        fault: SyntaxFault,
    },
    /// `hs-descriptor` of another version than 3.
    Version {
        /// On which line.
        line: usize,
    },
    /// `descriptor-lifetime` is no number or above 720 minutes.
    Lifetime {
        /// On which line.
        line: usize,
    },
    /// `revision-counter` is no number below 2^64.
    Revision {
        /// On which line.
        line: usize,
    },
    /// The signing key's certificate is broken, expired or not signed as it must be.
    SigningCert(CertError),
    /// The blinded key is none of this identity in these periods.
    OtherIdentity,
    /// `signature` has not 86 characters but so many.
    SignatureLength(usize),
    /// The signature does not match the text.
    Signature,
    /// The ciphertext of this layer is not longer than its salt and MAC.
    TooShort(Layer),
    /// The ciphertext of this layer is damaged, or (inner layer) needs a client's key that we do not have.
    Mac(Layer),
    /// `desc-auth-type` is not `x25519`.
    AuthType {
        /// On which line.
        line: usize,
    },
    /// `desc-auth-ephemeral-key` is no key.
    EphemeralKey {
        /// On which line.
        line: usize,
    },
    /// An `auth-client` line has a field of the wrong length.
    AuthClient {
        /// On which line.
        line: usize,
    },
    /// `create2-formats` does not list ntor.
    NoNtor {
        /// On which line.
        line: usize,
    },
    /// `intro-auth-required` lists nothing known.
    IntroAuth {
        /// On which line.
        line: usize,
    },
    /// `flow-control` has an increment outside 1..=255.
    FlowControl {
        /// On which line.
        line: usize,
    },
    /// `pow-params v1` is incomplete.
    PowParams {
        /// On which line.
        line: usize,
    },
    /// More usable points than [`NUM_INTRO_POINT_MAX`].
    TooManyPoints(usize),
}

impl DescriptorError {
    pub(super) fn syntax(layer: Layer, SyntaxError { line, fault }: SyntaxError) -> Self {
        Self::Syntax { layer, line, fault }
    }
}

impl fmt::Display for DescriptorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(bytes) => {
                write!(f, "the descriptor has {bytes} bytes, at most {DESCRIPTOR_SIZE_MAX} are allowed")
            }
            Self::NotUtf8(layer) => write!(f, "the {layer} is not UTF-8"),
            Self::Syntax { layer, line, fault } => write!(f, "{layer}, line {line}: {fault}"),
            Self::Version { line } => write!(f, "outer layer, line {line}: not version 3"),
            Self::Lifetime { line } => write!(f, "outer layer, line {line}: a lifetime outside 0 to 720 minutes"),
            Self::Revision { line } => write!(f, "outer layer, line {line}: the revision counter is no 64-bit number"),
            Self::SigningCert(error) => write!(f, "descriptor-signing-key-cert: {error}"),
            Self::OtherIdentity => f.write_str("the descriptor is of another service or time period"),
            Self::SignatureLength(length) => write!(f, "the signature has {length} characters instead of 86"),
            Self::Signature => f.write_str("the descriptor's signature does not match"),
            Self::TooShort(layer) => write!(f, "the encrypted {layer} is too short"),
            Self::Mac(Layer::Inner) => {
                f.write_str("the inner layer is damaged, or for authorised clients only: give a client key it lists")
            }
            Self::Mac(layer @ (Layer::Outer | Layer::Middle)) => write!(f, "the encrypted {layer} is damaged"),
            Self::AuthType { line } => write!(f, "middle layer, line {line}: an unknown desc-auth-type"),
            Self::EphemeralKey { line } => write!(f, "middle layer, line {line}: not an x25519 key"),
            Self::AuthClient { line } => write!(f, "middle layer, line {line}: an auth-client field of wrong length"),
            Self::NoNtor { line } => write!(f, "inner layer, line {line}: ntor is not among the create2-formats"),
            Self::IntroAuth { line } => write!(f, "inner layer, line {line}: no known kind of intro-auth-required"),
            Self::FlowControl { line } => write!(f, "inner layer, line {line}: a sendme increment outside 1 to 255"),
            Self::PowParams { line } => {
                write!(f, "inner layer, line {line}: pow-params v1 needs seed, effort and expiration")
            }
            Self::TooManyPoints(points) => {
                write!(f, "the descriptor has {points} introduction points, clients accept {NUM_INTRO_POINT_MAX}")
            }
        }
    }
}

impl std::error::Error for DescriptorError {}

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
    /// A key that is no curve point or of low order.
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
            Self::BadKey => f.write_str("a point's or client's key is zero or no curve point; leave it out"),
        }
    }
}

impl std::error::Error for BuildError {}
