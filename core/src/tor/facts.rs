//! What is known of a tor.

use core::fmt;
use std::sync::Arc;

use crate::hsdesc::{Harvest, InnerHeader, IntroPoint, PowOffer};
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
    pub points: Arc<[IntroPoint]>,
    /// Inner lines of its descriptor, without `pow-params`; the last known ones while it has none.
    pub header: Arc<InnerHeader>,
    /// Proof of work in its descriptor, if on; the last known one while it has none.
    pub pow: Option<PowOffer>,
    /// What it was made to show besides, in a time period whose points it does not show; `None` in others.
    pub harvest: Option<Harvest>,
    /// The ring of its newest consensus, if that is live by our wall clock.
    pub ring: Option<Arc<Ring>>,
    /// The same, if by our wall clock that is not valid yet.
    pub early_ring: Option<Arc<Ring>>,
    /// Consensus `valid-after`, unix seconds.
    pub valid_after: Option<u64>,
    /// Our wall clock beside that consensus.
    pub validity: Validity,
    /// By that clock tor would publish with the highest counter there is, and nothing could take the place of that.
    pub miscounts: bool,
}

impl TorFacts {
    /// The ring that a node goes by. One that is alone cannot leave publishing to another whose clock is better, and takes
    /// the consensus' word for what is the earliest that it can be.
    pub(crate) fn ring_for(&self, alone: bool) -> Option<&Arc<Ring>> {
        self.ring.as_ref().or_else(|| self.early_ring.as_ref().filter(|_| alone))
    }
}
