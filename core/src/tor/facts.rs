//! What is known of a tor.

use core::fmt;
use std::sync::Arc;

use crate::hsdesc::{InnerHeader, IntroPoint, PowOffer};
use crate::hsdir::ring::Ring;

/// Readiness, for events and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum TorState {
    /// No control connection.
    Disconnected,
    /// Connected; percent bootstrapped.
    Bootstrapping(u8),
    /// Bootstrapped, no complete descriptor yet.
    WaitingForPoints,
    /// Serving.
    Ready,
}

impl fmt::Display for TorState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => f.write_str("disconnected"),
            Self::Bootstrapping(percent) => write!(f, "bootstrapping {percent}"),
            Self::WaitingForPoints => f.write_str("waiting for introduction points"),
            Self::Ready => f.write_str("ready"),
        }
    }
}

/// Our wall clock beside tor's newest consensus, as far as clocks may differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validity {
    /// There is no consensus.
    #[default]
    Unknown,
    /// It lies in the consensus' time.
    Valid,
    /// It lies this many seconds before it.
    NotYet(u64),
    /// It lies after it.
    Expired,
}

/// Tor's own publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Native {
    /// `PublishHidServDescriptors 1`.
    On,
    /// 0, acknowledged.
    Off,
    /// Not known (just connected, or SETCONF under way).
    Unknown,
}

/// What we know of a tor now.
#[derive(Clone, Default)]
pub struct TorFacts {
    /// Points of its descriptor that have an established circuit behind them; for 3 s after a lost control connection the last known.
    pub points: Vec<IntroPoint>,
    /// Inner lines of its descriptor, without `pow-params`; the last known ones while it has none.
    pub header: InnerHeader,
    /// Proof of work in its descriptor, if on; the last known one while it has none.
    pub pow: Option<PowOffer>,
    /// The ring of its newest consensus, if that is live by our wall clock.
    pub ring: Option<Arc<Ring>>,
    /// Consensus `valid-after`, unix seconds.
    pub valid_after: Option<u64>,
    /// Our wall clock beside that consensus.
    pub validity: Validity,
}
