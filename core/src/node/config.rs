//! What a node is told once, and what it finds of its last run.

use std::collections::BTreeMap;

use crate::cluster::ClusterConfig;
use crate::hsdesc::NUM_INTRO_POINT_MAX;
use crate::onion::key::HsIdKeypair;
use crate::output::DurableKind;

/// Most tors of a node.
pub const TORS_MAX: u8 = 8;
/// What a plain tor service has: with fewer a descriptor would be like no other.
const POINTS_MIN: usize = 3;

/// Everything a node is told once.
pub struct Config {
    /// The master key.
    pub master: HsIdKeypair,
    /// Coordination.
    pub cluster: ClusterConfig,
    /// How many tors, 1..=8.
    pub tors: u8,
    /// They belong to somebody else ([`ControlInput::Attached`]). Known from the start: such a tor reads no file of ours, so
    /// not even for a moment may it be told to publish by itself.
    pub is_attached: bool,
    /// The most introduction points in one descriptor while this node publishes, 3..=20.
    pub points: u8,
}

/// Why a configuration was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// Names the field and its bounds.
    OutOfRange {
        /// Field.
        field: &'static str,
        /// Allowed.
        allowed: &'static str,
    },
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::OutOfRange { field, allowed } => write!(f, "{field} is out of range; allowed is {allowed}"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let fields = [
            ((1..=TORS_MAX).contains(&self.tors), "tor.instances", "1 to 8"),
            ((1..=1000).contains(&self.cluster.weight), "weight", "1 to 1000"),
            ((POINTS_MIN..=NUM_INTRO_POINT_MAX).contains(&usize::from(self.points)), "publish.points", "3 to 20"),
        ];
        let out_of_range = fields.into_iter().find(|(is_good, ..)| !is_good);
        out_of_range.map_or(Ok(()), |(_, field, allowed)| Err(ConfigError::OutOfRange { field, allowed }))
    }
}

/// What the last run left on disk.
pub type Saved = BTreeMap<DurableKind, Vec<u8>>;
