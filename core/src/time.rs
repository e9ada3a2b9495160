//! The three clocks. All are plain integers: the core never reads a clock.

use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Milliseconds of boot time, never backwards; runs on while the machine is suspended.
/// Leases, timers and timeouts use this and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Mono(u64);

impl Mono {
    /// From milliseconds of boot time.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds of boot time.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This instant plus `by`, saturating.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Wall-clock milliseconds since the unix epoch; may jump. For certificates and revision counters only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Wall(u64);

impl Wall {
    /// From milliseconds since the unix epoch.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// From whole seconds since the unix epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the unix epoch.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// Whole seconds since the unix epoch, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }
}

/// A consensus' `valid-after`, in unix seconds. Time periods and the HSDir ring follow this
/// and not the wall clock (rend-spec `[TIME-PERIODS]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ValidAfter(u64);

impl ValidAfter {
    /// From unix seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// Unix seconds.
    pub const fn as_secs(self) -> u64 {
        self.0
    }
}

/// Both clocks as the shell read them when an input arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Boot time.
    pub mono: Mono,
    /// Wall time.
    pub wall: Wall,
}
