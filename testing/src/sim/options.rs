//! The conditions under which a world runs, faults apart.

use std::time::Duration;

/// Unix time at the beginning of some day, seconds.
pub const DAY_SECS: u64 = 1_800_000_000 / 86_400 * 86_400;

/// The conditions of one run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Datagrams lost, per thousand.
    pub loss_permille: u64,
    /// Datagrams delivered twice, per thousand.
    pub duplicate_permille: u64,
    /// Largest one-way delay, milliseconds; the smallest is a tenth of it.
    pub delay_ms_max: u64,
    /// Wall clocks are off by up to this, milliseconds either way.
    pub skew_ms_max: u64,
    /// Unix time at the start, seconds.
    pub start_secs: u64,
    /// Timers ring late by up to this, milliseconds.
    pub late_ms_max: u64,
    /// A starved machine: it stands still for up to the first and runs for up to the second, milliseconds.
    pub starved_ms: Option<(u64, u64)>,
    /// Slowest write to disk, milliseconds.
    pub disk_ms_max: u64,
    /// A tor is bootstrapped this long after its control connection, at most, milliseconds; at least 1000.
    pub bootstrap_ms_max: u64,
    /// How many tors each machine has.
    pub tors: usize,
    /// A cluster token that is in force for so long is replaced.
    pub token_age_max: Option<Duration>,
    /// The most introduction points in one descriptor, as every node's configuration says.
    pub places: u8,
    /// A client visits the service so often on average, milliseconds; 0 for no clients.
    pub client_every_ms: u64,
}

/// Nothing is lost, late or off, and nobody visits; from two in the morning (UTC) on, far from any rotation.
impl Default for Options {
    fn default() -> Self {
        Self {
            loss_permille: 0,
            duplicate_permille: 0,
            delay_ms_max: 20,
            skew_ms_max: 0,
            start_secs: DAY_SECS + 7_200,
            late_ms_max: 0,
            starved_ms: None,
            disk_ms_max: 20,
            bootstrap_ms_max: 2_000,
            tors: 1,
            token_age_max: None,
            places: 20,
            client_every_ms: 0,
        }
    }
}
