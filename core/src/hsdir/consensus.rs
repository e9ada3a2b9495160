//! As much of a microdescriptor consensus as the ring needs (dir-spec). Signatures are tor's affair: it comes from our own tor.

use super::decode_base64;
use crate::id::RelayFingerprint;
use crate::onion::period::PeriodParams;
use crate::time::ValidAfter;
use core::fmt;
use std::collections::BTreeMap;

/// Rounds of voting in one shared random protocol run.
const VOTES_PER_SRV_RUN: u64 = 24;
/// `hsdir_interval`, minutes: default and bounds (rend-spec `[TIME-PERIODS]`).
const HSDIR_INTERVAL: (i64, i64, i64) = (30, 1440, 14_400);
/// Voting intervals beyond a day make no sense and could overflow arithmetic.
const VOTING_INTERVAL_MAX_SECS: u64 = 86_400;

/// A parsed consensus. Relays are kept only if flagged HSDir.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consensus {
    /// `valid-after`.
    pub valid_after: ValidAfter,
    /// `fresh-until`, unix seconds.
    pub fresh_until: u64,
    /// `valid-until`, unix seconds.
    pub valid_until: u64,
    /// `params`.
    pub params: BTreeMap<String, i64>,
    /// `shared-rand-current-value`.
    pub srv_current: Option<[u8; 32]>,
    /// `shared-rand-previous-value`.
    pub srv_previous: Option<[u8; 32]>,
    /// HSDirs: identity and microdescriptor digest.
    pub hsdirs: Vec<(RelayFingerprint, [u8; 32])>,
}

/// What is wrong, and on which line (1-based).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsensusError {
    /// 1-based line; the last one if something is missing altogether.
    pub line: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for ConsensusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "consensus from tor, line {}: expected {}", self.line, self.expected)
    }
}

impl std::error::Error for ConsensusError {}

impl Consensus {
    /// Parses `GETINFO dir/status-vote/current/consensus-microdesc`. Unknown lines are skipped.
    ///
    /// # Errors
    /// The first line that is not what a microdescriptor consensus has there.
    pub fn parse(text: &[u8]) -> Result<Self, ConsensusError> {
        let mut draft = Draft::default();
        text.split(|byte| *byte == b'\n').for_each(|line| draft.line(line));
        draft.finish()
    }

    /// Period lengths; `testing` is tor's `TestingTorNetwork`, where a period is as long as a shared random run.
    pub fn period_params(&self, testing: bool) -> PeriodParams {
        let voting_interval_secs =
            self.fresh_until.saturating_sub(self.valid_after.as_secs()).clamp(1, VOTING_INTERVAL_MAX_SECS);
        let (least, default, most) = HSDIR_INTERVAL;
        let interval = self.param("hsdir_interval", least, default, most);
        let run_minutes = voting_interval_secs * VOTES_PER_SRV_RUN / 60;
        let length_minutes = if testing { run_minutes.max(1) } else { interval.unsigned_abs() };
        PeriodParams {
            length_minutes: u32::try_from(length_minutes).unwrap_or(u32::MAX),
            offset_secs: voting_interval_secs * VOTES_PER_SRV_RUN / 2,
            voting_interval_secs,
        }
    }

    /// A parameter, its default where absent, clamped as tor clamps.
    pub(super) fn param(&self, name: &str, least: i64, default: i64, most: i64) -> i64 {
        self.params.get(name).copied().unwrap_or(default).clamp(least, most)
    }
}

fn is_microdesc_version(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    [words.next(), words.next(), words.next()] == [Some("network-status-version"), Some("3"), Some("microdesc")]
}

/// A consensus while it is read, line by line, so that nobody need hold its text: it has megabytes.
#[derive(Default)]
pub struct Draft {
    /// Lines read.
    lines: usize,
    /// Nothing that matters follows: the footer was read, or what cannot be.
    is_over: bool,
    fault: Option<ConsensusError>,
    valid_after: Option<u64>,
    fresh_until: Option<u64>,
    valid_until: Option<u64>,
    params: BTreeMap<String, i64>,
    srv_current: Option<[u8; 32]>,
    srv_previous: Option<[u8; 32]>,
    relay: Option<RelayFingerprint>,
    relay_digest: Option<[u8; 32]>,
    relay_is_hsdir: bool,
    hsdirs: Vec<(RelayFingerprint, [u8; 32])>,
}

impl Draft {
    /// Takes the next line, without its LF.
    pub fn line(&mut self, line: &[u8]) {
        if self.is_over {
            return;
        }
        self.lines += 1;
        // Only ASCII keywords matter; a line of other bytes (a contact) is skipped.
        let Ok(line) = core::str::from_utf8(line) else { return };
        let line = line.strip_suffix('\r').unwrap_or(line);
        let read = if self.lines == 1 && !is_microdesc_version(line) {
            Err("`network-status-version 3 microdesc`")
        } else {
            self.take(line)
        };
        self.fault = read.err().map(|expected| ConsensusError { line: self.lines, expected });
        self.is_over = self.fault.is_some() || line == "directory-footer";
    }

    /// The error says what was expected.
    fn take(&mut self, line: &str) -> Result<(), &'static str> {
        let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
        match keyword {
            "valid-after" => self.valid_after = Some(date(rest)?),
            "fresh-until" => self.fresh_until = Some(date(rest)?),
            "valid-until" => self.valid_until = Some(date(rest)?),
            "params" => self.params = params(rest)?,
            "shared-rand-current-value" => self.srv_current = Some(shared_random(rest)?),
            "shared-rand-previous-value" => self.srv_previous = Some(shared_random(rest)?),
            "r" => {
                self.end_relay();
                let identity = rest.split_ascii_whitespace().nth(1).and_then(decode_base64);
                self.relay = Some(RelayFingerprint(identity.ok_or("a relay identity of 20 bytes in base64")?));
            }
            "m" => {
                let digest = rest.split_ascii_whitespace().next().and_then(decode_base64);
                self.relay_digest = Some(digest.ok_or("a microdescriptor digest of 32 bytes in base64")?);
            }
            "s" => self.relay_is_hsdir = rest.split_ascii_whitespace().any(|flag| flag == "HSDir"),
            _ => {}
        }
        Ok(())
    }

    fn end_relay(&mut self) {
        let (relay, digest) = (self.relay.take(), self.relay_digest.take());
        if let (Some(relay), Some(digest), true) = (relay, digest, self.relay_is_hsdir) {
            self.hsdirs.push((relay, digest));
        }
        self.relay_is_hsdir = false;
    }

    /// All lines were read.
    ///
    /// # Errors
    /// As for [`Consensus::parse`].
    pub fn finish(mut self) -> Result<Consensus, ConsensusError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.end_relay();
        let expected = |expected| ConsensusError { line: self.lines, expected };
        let valid_after = self.valid_after.ok_or(expected("a `valid-after` line before the end"))?;
        let fresh_until = self.fresh_until.ok_or(expected("a `fresh-until` line before the end"))?;
        let valid_until = self.valid_until.ok_or(expected("a `valid-until` line before the end"))?;
        if !(valid_after < fresh_until && fresh_until < valid_until) {
            return Err(expected("`valid-after`, `fresh-until`, `valid-until` in this order"));
        }
        Ok(Consensus {
            valid_after: ValidAfter::from_secs(valid_after),
            fresh_until,
            valid_until,
            params: self.params,
            srv_current: self.srv_current,
            srv_previous: self.srv_previous,
            hsdirs: self.hsdirs,
        })
    }
}

fn params(text: &str) -> Result<BTreeMap<String, i64>, &'static str> {
    let pair = |word: &str| {
        let (name, value) = word.split_once('=')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.split_ascii_whitespace().map(|word| pair(word).ok_or("`name=number` pairs")).collect()
}

/// `NumReveals Value`.
fn shared_random(text: &str) -> Result<[u8; 32], &'static str> {
    let value = text.split_ascii_whitespace().nth(1).and_then(decode_base64);
    value.ok_or("a shared random value of 32 bytes in base64")
}

/// `YYYY-MM-DD HH:MM:SS` in UTC to unix seconds.
fn date(text: &str) -> Result<u64, &'static str> {
    parse_date(text).ok_or("`YYYY-MM-DD HH:MM:SS` from 1970 on")
}

fn parse_date(text: &str) -> Option<u64> {
    let (day, time) = text.trim_ascii_end().split_once(' ')?;
    let [year, month, day] = numbers(day, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let valid = year >= 1970
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        // A leap second.
        && second <= 60;
    // Days since 1970-01-01 with years counted from March, so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = (365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day).checked_sub(719_469)?;
    valid.then_some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Three numbers of exactly these many digits.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut words = text.split(separator);
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let word = words.next()?;
        if word.len() != digits || !word.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = word.parse().ok()?;
    }
    words.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALL: &str = "network-status-version 3 microdesc\n\
        valid-after 2026-11-23 15:00:00\n\
        fresh-until 2026-11-23 16:00:00\n\
        valid-until 2026-11-23 18:00:00\n\
        params hsdir_interval=720 other=-5\n\
        r a AXwN7xHM/g8ki4S39LVk9dGluUQ 2038-01-01 00:00:00 127.0.0.1 1 0\n\
        m apA/pB2nsFc1jzrykIx1dJV2VffTr0NeFRnwrVxBL7U\n\
        s Fast HSDir Running\n\
        r b AkrGix4VHiszFdlzTSAEo7XvDoI 2038-01-01 00:00:00 127.0.0.1 1 0\n\
        m kkFtdoHcZ1DrMzi7Xrexpgm1Wq0o6AiCVHuy1ULHPfA\n\
        s Fast Running\n\
        directory-footer\n\
        r this is no relay\n";

    fn error(text: &str) -> ConsensusError {
        Consensus::parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn only_relays_flagged_hsdir_are_kept() {
        let consensus = Consensus::parse(SMALL.as_bytes()).unwrap();
        let relays: Vec<String> = consensus.hsdirs.iter().map(|(relay, _)| relay.to_string()).collect();
        assert_eq!(relays, ["017C0DEF11CCFE0F248B84B7F4B564F5D1A5B944"]);
        assert_eq!((consensus.srv_current, consensus.srv_previous), (None, None));
    }

    #[test]
    fn period_length_follows_the_parameter_or_the_test_network() {
        let mut consensus = Consensus::parse(SMALL.as_bytes()).unwrap();
        let params = consensus.period_params(false);
        assert_eq!((params.length_minutes, params.offset_secs, params.voting_interval_secs), (720, 43_200, 3600));
        assert_eq!(consensus.period_params(true).length_minutes, 1440);
        consensus.params.clear();
        assert_eq!(consensus.period_params(false).length_minutes, 1440);
        consensus.params.insert("hsdir_interval".into(), 1);
        assert_eq!(consensus.period_params(false).length_minutes, 30);
    }

    #[test]
    fn faults_are_named_with_their_line() {
        assert_eq!(error("").line, 1);
        assert_eq!(error(&SMALL.replace(" microdesc\n", "\n")).line, 1);
        assert_eq!(error(&SMALL.replace("2026-11-23 16", "2026-13-23 16")).line, 3);
        assert_eq!(error(&SMALL.replace("other=-5", "other")).line, 5);
        assert_eq!(error(&SMALL.replace("AXwN7xHM", "AXwN7xH")).line, 6);
        assert_eq!(error(&SMALL.replace("m apA/", "m apA")).line, 7);
        assert!(error(&SMALL.replace("valid-until", "unknown")).expected.contains("valid-until"));
        assert!(error(&SMALL.replace("23 16:", "23 14:")).expected.contains("order"));
    }

    #[test]
    fn a_draft_that_no_line_reached_is_no_consensus() {
        let error = Draft::default().finish().unwrap_err();
        assert_eq!((error.line, error.expected), (0, "a `valid-after` line before the end"));
    }

    #[test]
    fn dates_count_leap_years() {
        assert_eq!(parse_date("1970-01-01 00:00:00"), Some(0));
        assert_eq!(parse_date("2000-03-01 00:00:00"), Some(951_868_800));
        assert_eq!(parse_date("2024-02-29 12:00:00"), Some(1_709_208_000));
        assert_eq!(parse_date("2026-11-23 15:13:20"), Some(1_795_446_800));
        for bad in
            ["1969-12-31 23:59:59", "2024-2-29 12:00:00", "2024-02-29", "2024-02-29 24:00:00", "+024-02-29 1:0:0"]
        {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Consensus::parse(&bytes);
            let mut text = b"network-status-version 3 microdesc\n".to_vec();
            text.extend(bytes);
            let _ = Consensus::parse(&text);
        }

        #[test]
        fn damaged_consensus_is_parsed_without_panic(at in 0..SMALL.len(), byte: u8, fresh: u32) {
            let mut text = SMALL.as_bytes().to_vec();
            text[at] = byte;
            if let Ok(mut consensus) = Consensus::parse(&text) {
                consensus.fresh_until = u64::from(fresh);
                prop_assert!(consensus.period_params(true).length_minutes > 0);
            }
        }
    }
}
