//! The members' clocks, as their heartbeats tell them.

use super::super::timing::CLOCK_KEPT;
use super::super::{ClockOffset, Liveness};
use super::{Members, Peer};
use crate::time::Now;

impl Peer {
    /// Its clock minus ours, milliseconds, if it told us lately. Boot time carries its clock on, so that a step of ours
    /// shows at once.
    fn clock_offset_ms(&self, now: Now) -> Option<i64> {
        let age = now.mono.since(self.heartbeat_at);
        let heartbeat = self.heartbeat.as_ref().filter(|_| age < CLOCK_KEPT)?;
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        Some(signed(heartbeat.wall_ms).saturating_add(age_ms).saturating_sub(signed(now.wall.as_ms())))
    }
}

impl Members {
    /// How the clocks of members that are not down differ from ours. Those who send us heartbeats no longer count, too:
    /// else a clock found wrong, and so not to be sent any, would be right again.
    pub(in super::super) fn clock_offset(&self, now: Now) -> ClockOffset {
        let known = self.peers.values().filter(|peer| peer.liveness != Liveness::Down);
        let mut offsets: Vec<i64> = known.filter_map(|peer| peer.clock_offset_ms(now)).chain([0]).collect();
        let others = offsets.len() - 1;
        let (below, upper_ms, _) = offsets.select_nth_unstable(others.div_ceil(2));
        let lower_ms =
            if others.is_multiple_of(2) { *upper_ms } else { below.iter().copied().max().unwrap_or(*upper_ms) };
        ClockOffset { lower_ms, upper_ms: *upper_ms, others }
    }
}
