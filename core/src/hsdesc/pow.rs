//! What clients need to know to solve a service's puzzles: the line `pow-params v1` of the inner layer (hspow-spec, "v1
//! parameter descriptor").

use base64::Engine as _;

use super::intro::IntroPoint;
use super::netdoc::{self, BASE64_PADDED, Item, decode_base64};
use crate::time::Wall;

/// Proof of work v1 as one tor offers it: only that tor can verify what clients solve with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PowParams {
    /// What puzzles are made of. Public.
    pub seed: [u8; 32],
    /// The effort that clients begin with; 0: they begin without.
    pub effort: u32,
    /// Unix seconds. A client that holds the descriptor for longer fetches another one.
    pub expires: u64,
}

/// Proof of work as a node's own tor offers it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PowOffer {
    /// The number of the time period that the tor's introduction points are bound to: a client that solves for another
    /// period's blinded key is refused.
    pub period: u64,
    /// What clients of that period need.
    pub params: PowParams,
}

/// What a node's tor did not show and was made to: see `tor/harvest.rs`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Harvest {
    /// The number of the time period that these points are bound to.
    pub period: u64,
    /// How often the node's tor has published by itself for it. Each time HSDirs need our descriptors anew.
    pub number: u32,
    /// Points that have a circuit behind them; none if it was in vain, or for another period.
    pub points: Vec<IntroPoint>,
}

/// The latest that a line can name, unix seconds: the end of year 9999.
const EXPIRES_MAX: u64 = 253_402_300_799;

impl PowParams {
    /// The line, byte for byte as tor writes it, without its end.
    pub(super) fn line(&self) -> String {
        let seed = BASE64_PADDED.encode(self.seed);
        let expires = Wall::from_secs(self.expires).to_string().replace(' ', "T");
        format!("pow-params v1 {seed} {} {expires}", self.effort)
    }

    /// Reads the arguments of a line of type `v1`; `None` if one is missing or malformed.
    pub(super) fn read(item: &Item<'_>) -> Option<Self> {
        let [_, seed, effort, expires] = item.first_args().ok()?;
        let expires = Wall::from_iso(expires)?.as_secs().min(EXPIRES_MAX);
        Some(Self { seed: decode_base64(seed)?, effort: netdoc::number(effort)?, expires })
    }

    /// Whether it can be written as a line and read back.
    pub(crate) fn is_within_bounds(&self) -> bool {
        self.expires <= EXPIRES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hsdesc::netdoc;

    /// As tor wrote it.
    const LINE: &str = "pow-params v1 +Hj4mqpeqs25GDuIUhXfCMkzZTpt5IfmEv/zGuKvAQA= 30 2026-11-23T16:53:32";

    fn read(line: &str) -> Option<PowParams> {
        netdoc::parse(&format!("{line}\n")).ok()?.first().and_then(PowParams::read)
    }

    #[test]
    fn tors_own_line_reads_back_byte_for_byte() {
        let read_once = read(LINE).expect("tor's own");
        assert_eq!((read_once.effort, read_once.expires), (30, 1_795_452_812));
        assert_eq!(read_once.line(), LINE);
        let last = PowParams { seed: [0xFF; 32], effort: u32::MAX, expires: EXPIRES_MAX };
        assert_eq!(read(&last.line()), Some(last));
    }

    #[test]
    fn what_is_missing_or_malformed_is_refused() {
        for (good, bad) in [
            (" 2026-11-23T16:53:32", ""),
            (" 30 ", " -1 "),
            (" 30 ", " 4294967296 "),
            (" 30 ", " x "),
            ("+Hj4", "Hj4"),
            ("2026-", "1969-"),
            ("-11-", "-13-"),
            ("T16", "x16"),
            ("T16", "T24"),
            (":32", ":32Z"),
        ] {
            assert_eq!(read(&LINE.replacen(good, bad, 1)), None, "{bad}");
        }
    }
}
