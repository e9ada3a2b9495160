//! A pause for maintenance: for a while nobody is taken out of the descriptor for being down, silent or unwell, and nobody
//! preempts. What is published is renewed as ever, another node takes over from a publisher that dies, and orders are
//! followed.
//!
//! A pause is the cluster's, one signed item of gossip; the newest version holds. It says how long it lasts and when that
//! ends by the clock of who ordered it: each node counts it on its own clock, and never longer than it lasts in all. It is
//! on no disk: a node that starts hears of it from the others.

use serde::{Deserialize, Serialize};

use super::item::{Items, Key, Stamp};
use super::roster::Roster;
use super::sign::{self, Purpose, Unverified};
use super::timing::{PAUSE_SECS_MAX, VERSION_JUMP_MAX};
use super::{Cluster, CommandError, Identity, PeerError};
use crate::id::NodeId;
use crate::output::{Event, Outbox};
use crate::time::{Mono, Now};

/// A pause, or (of no seconds) the end of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Signed {
    by: NodeId,
    version: u64,
    secs: u32,
    /// Unix seconds, by the clock of `by`.
    until_secs: u64,
}

/// The newest pause known.
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// Of each pause at least the Unix time at which it was ordered: who has just started, and knows of none, still orders
    /// a newer one than those before.
    version: u64,
    /// Until when, if that was to come when we last looked, and who ordered it.
    lasts: Option<(Mono, NodeId)>,
}

impl Pause {
    /// Until when, and who ordered it.
    pub(super) fn lasts(&self, now: Mono) -> Option<(Mono, NodeId)> {
        self.lasts.filter(|(until, _)| now < *until)
    }

    /// When it ends.
    pub(super) fn next_timeout(&self) -> Option<Mono> {
        self.lasts.map(|(until, _)| until)
    }

    /// Verifies a pause from gossip and keeps it if it is newer.
    ///
    /// # Errors
    /// State unchanged: malformed, too long, not newer, too far ahead, by nobody we know, or badly signed.
    fn accept(
        &mut self,
        now: Now,
        me: &Identity,
        roster: &Roster,
        items: &mut Items,
        blob: &[u8],
    ) -> Result<(), PeerError> {
        let signed = Unverified::<Signed>::decode(blob).ok_or(PeerError::Malformed)?;
        let Signed { by, version, secs, .. } = *signed.claim();
        if secs > PAUSE_SECS_MAX {
            return Err(PeerError::Malformed);
        }
        let expected = self.version.max(now.wall.as_secs());
        if version > expected.saturating_add(VERSION_JUMP_MAX) {
            return Err(PeerError::EpochJump);
        }
        if !roster.knows(by) {
            return Err(PeerError::NotAMember);
        }
        let stamp = Stamp::new(version, 0, blob);
        if items.stamp(Key::Pause).is_some_and(|held| held >= stamp) {
            return Err(PeerError::Stale);
        }
        let signed = signed.verify(by, Purpose::Pause, me.cluster).ok_or(PeerError::BadSignature)?;
        items.put(Key::Pause, stamp, blob.to_vec());
        self.version = version;
        let left = signed.until_secs.saturating_sub(now.wall.as_secs()).min(secs.into());
        self.lasts = (left > 0).then(|| (now.mono.plus(core::time::Duration::from_secs(left)), by));
        Ok(())
    }
}

impl Cluster {
    /// Pauses the cluster for `secs` from now, or with none ends the pause. Whoever hears of it follows.
    ///
    /// # Errors
    /// `Stopping`, `NotAMember`, `Busy`; `OutOfRange`: longer than a day.
    pub fn pause(&mut self, now: Now, secs: u32, out: &mut Outbox) -> Result<(), CommandError> {
        self.may_change_the_cluster()?;
        if secs > PAUSE_SECS_MAX {
            return Err(CommandError::OutOfRange);
        }
        // Who has just started knows of none, and there may be one.
        let is_known = self.items.stamp(Key::Pause).is_some();
        if secs == 0 && is_known && self.pause.lasts(now.mono).is_none() {
            return Ok(());
        }
        let version = self.pause.version.saturating_add(1).max(now.wall.as_secs());
        let signed =
            Signed { by: self.me.id, version, secs, until_secs: now.wall.as_secs().saturating_add(secs.into()) };
        let blob = sign::seal(&self.me.keypair, Purpose::Pause, self.me.cluster, &signed);
        // Ours is the newest.
        _ = self.accept_pause(now, None, &blob, out);
        Ok(())
    }

    /// Until when the cluster is paused, and who ordered it, if it is.
    pub fn paused(&self, now: Mono) -> Option<(Mono, NodeId)> {
        self.pause.lasts(now)
    }

    /// A pause from a member, or our own.
    ///
    /// # Errors
    /// See [`Pause::accept`].
    pub(super) fn accept_pause(
        &mut self,
        now: Now,
        from: Option<NodeId>,
        blob: &[u8],
        out: &mut Outbox,
    ) -> Result<(), PeerError> {
        self.pause.accept(now, &self.me, &self.roster, &mut self.items, blob)?;
        out.event(Event::Paused(self.pause.lasts.is_some()));
        self.spread(now.mono, Key::Pause, from);
        Ok(())
    }

    /// Notes that it is over.
    pub(super) fn keep_pause(&mut self, now: Mono, out: &mut Outbox) {
        if self.pause.lasts.is_some() && self.pause.lasts(now).is_none() {
            self.pause.lasts = None;
            out.event(Event::Paused(false));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::gossip::tests::roster_of_two;
    use crate::cluster::tests::{CLUSTER, identity};
    use crate::time::Wall;

    const SECS: u64 = 1_800_000_000;

    /// What becomes of a pause of that version and length, ordered by the first of two members.
    fn accepted(version: u64, secs: u32) -> Result<Option<Mono>, PeerError> {
        let (me, (roster, _)) = (identity(1), roster_of_two());
        let now = Now { mono: Mono::from_ms(5_000), wall: Wall::from_secs(SECS) };
        let signed = Signed { by: me.id, version, secs, until_secs: u64::MAX };
        let blob = sign::seal(&me.keypair, Purpose::Pause, CLUSTER, &signed);
        let mut pause = Pause::default();
        pause.accept(now, &me, &roster, &mut Items::default(), &blob)?;
        Ok(pause.lasts(now.mono).map(|(until, _)| until))
    }

    #[test]
    fn a_pause_from_gossip_lasts_a_day_at_most() {
        let day = Mono::from_ms(5_000 + u64::from(PAUSE_SECS_MAX) * 1_000);
        assert_eq!(accepted(SECS, PAUSE_SECS_MAX), Ok(Some(day)), "whatever its end is said to be");
        assert_eq!(accepted(SECS, PAUSE_SECS_MAX + 1), Err(PeerError::Malformed));
    }

    #[test]
    fn a_version_far_ahead_of_the_clock_is_refused() {
        assert!(accepted(SECS + VERSION_JUMP_MAX, 1).is_ok());
        assert_eq!(accepted(SECS + VERSION_JUMP_MAX + 1, 1), Err(PeerError::EpochJump));
        assert_eq!(accepted(u64::MAX, 1), Err(PeerError::EpochJump));
    }
}
