//! The members' clocks, as their heartbeats tell them.

use core::cell::RefCell;
use core::fmt;

use super::super::timing::CLOCK_KEPT;
use super::super::{ClockOffset, Liveness};
use super::{Members, Peer};
use crate::id::NodeId;
use crate::time::{Mono, Now};

/// The clocks known, sorted: asked for with every input, and gathered only when another one is told, or a verdict
/// changes, or the oldest one is too old.
#[derive(Default)]
pub(super) struct Clocks(RefCell<Gathered>);

#[derive(Default)]
struct Gathered {
    /// [`Members::beats`] and [`Members::changes`] then.
    state: (u64, u64),
    until: Mono,
    /// Wall clock minus our boot time, milliseconds.
    ahead_ms: Vec<i64>,
}

/// No state of its own, so it shows none.
impl fmt::Debug for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clocks")
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// Our wall clock minus our boot time.
fn ours_ms(now: Now) -> i64 {
    signed(now.wall.as_ms()).saturating_sub(signed(now.mono.as_ms()))
}

impl Peer {
    /// Its clock minus our boot time, milliseconds, if it told us lately, and until when that holds. Boot time carries
    /// its clock on, so that a step of ours shows at once.
    fn clock(&self, now: Mono) -> Option<(i64, Mono)> {
        let heartbeat = self.heartbeat.as_ref()?;
        let until = self.heartbeat_at.plus(CLOCK_KEPT);
        let ahead_ms = signed(heartbeat.wall_ms).saturating_sub(signed(self.heartbeat_at.as_ms()));
        (now < until).then_some((ahead_ms, until))
    }
}

impl Members {
    /// How the clocks of members that are not down differ from ours. Those who send us heartbeats no longer count, too:
    /// else a clock found wrong, and so not to be sent any, would be right again.
    pub(in super::super) fn clock_offset(&self, now: Now) -> ClockOffset {
        let mut clocks = self.clocks.0.borrow_mut();
        if clocks.state != (self.beats, self.changes) || now.mono >= clocks.until {
            *clocks = self.gather(now.mono);
        }
        let ours = ours_ms(now);
        let others = clocks.ahead_ms.len();
        let below = clocks.ahead_ms.partition_point(|ahead_ms| *ahead_ms < ours);
        // Ours stands among the others in its place, and is 0.
        let at = |index: usize| {
            let theirs = if index < below { Some(index) } else { index.checked_sub(1).filter(|_| index > below) };
            theirs.and_then(|index| clocks.ahead_ms.get(index)).map_or(0, |ahead_ms| ahead_ms.saturating_sub(ours))
        };
        ClockOffset { lower_ms: at(others / 2), upper_ms: at(others.div_ceil(2)), others }
    }

    /// How many milliseconds its clock is ahead of ours, if it told us lately.
    pub(in super::super) fn clock_ahead_ms(&self, now: Now, node: NodeId) -> Option<i64> {
        let (ahead_ms, _) = self.peers.get(&node)?.clock(now.mono)?;
        Some(ahead_ms.saturating_sub(ours_ms(now)))
    }

    fn gather(&self, now: Mono) -> Gathered {
        let known = self.peers.values().filter(|peer| peer.liveness != Liveness::Down);
        let known: Vec<(i64, Mono)> = known.filter_map(|peer| peer.clock(now)).collect();
        let until = known.iter().map(|(_, until)| *until).min().unwrap_or(Mono::from_ms(u64::MAX));
        let mut ahead_ms: Vec<i64> = known.into_iter().map(|(ahead_ms, _)| ahead_ms).collect();
        ahead_ms.sort_unstable();
        Gathered { state: (self.beats, self.changes), until, ahead_ms }
    }
}
