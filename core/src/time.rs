//! The three clocks. All are plain integers: the core never reads a clock.

use core::fmt;
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

    /// From `YYYY-MM-DDTHH:MM:SS` in UTC, read as tor reads it: days up to 31 in every month, seconds up to 60. `None` if it
    /// is anything else, or before 1970.
    pub fn from_iso(text: &str) -> Option<Self> {
        let (date, time) = text.split_once('T')?;
        let [year, month, day] = numbers(date, '-')?;
        let [hour, minute, second] = numbers(time, ':')?;
        let is_date = (1970..i32::MAX as u64).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        if !is_date || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        // `days_from_civil`: the year begins in March.
        let (year, month_index) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let (era, year_of_era) = (year / 400, year % 400);
        let day_of_era =
            year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month_index + 2) / 5 + day - 1;
        let days = era * 146_097 + day_of_era - 719_468;
        Some(Self::from_secs(days * 86_400 + hour * 3600 + minute * 60 + second))
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

/// `YYYY-MM-DD HH:MM:SS` in UTC (proleptic Gregorian; Howard Hinnant's `civil_from_days`).
impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (self.as_secs() / 86_400 + 719_468, self.as_secs() % 86_400);
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_index = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_index + 2) / 5 + 1;
        let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
    }
}

/// Exactly `N` numbers of at most ten digits, with `separator` between them.
fn numbers<const N: usize>(text: &str, separator: char) -> Option<[u64; N]> {
    let number = |word: &str| {
        let is_short = (1..=10).contains(&word.len()) && word.bytes().all(|digit| digit.is_ascii_digit());
        is_short.then(|| word.parse().ok())?
    };
    text.split(separator).map(number).collect::<Option<Vec<u64>>>()?.try_into().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_gregorian() {
        let date = |secs| Wall::from_secs(secs).to_string();
        assert_eq!(date(0), "1970-01-01 00:00:00");
        assert_eq!(date(1_795_446_800), "2026-11-23 15:13:20");
        assert_eq!(date(1_709_164_799), "2024-02-28 23:59:59");
        assert_eq!(date(1_709_164_800), "2024-02-29 00:00:00");
        assert!(!date(u64::MAX).is_empty());
    }

    #[test]
    fn dates_read_back_as_they_are_written() {
        for secs in [0, 1_795_446_800, 1_709_164_799, 1_709_164_800, 951_782_400, 4_107_542_399, 253_402_300_799] {
            let written = Wall::from_secs(secs).to_string().replace(' ', "T");
            assert_eq!(Wall::from_iso(&written), Some(Wall::from_secs(secs)), "{written}");
        }
        for bad in
            ["", "T", "2026-11-23", "2026-11-23 15:13:20", "2026-11T15:13:20", "2026-11-23T15:13", "2026-0-23T15:13:20"]
        {
            assert_eq!(Wall::from_iso(bad), None, "{bad}");
        }
        for bad in
            ["2026-11-32T0:0:0", "2026-11-23T24:0:0", "2026-11-23T0:60:0", "2026-11-23T0:0:61", "+2026-1-1T0:0:0"]
        {
            assert_eq!(Wall::from_iso(bad), None, "{bad}");
        }
        assert!(Wall::from_iso("2147483646-12-31T23:59:60").is_some());
    }
}
