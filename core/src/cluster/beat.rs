//! What is sent unasked: heartbeats, and our own news.

use super::item::Key;
use super::timing::{BEAT, BEAT_MS, PUSH_PEERS};
use super::wire::{Heartbeat, Message};
use super::{Cluster, Context, Ranks, context, pick, ranks};
use crate::id::NodeId;
use crate::output::{DurableKind, Outbox};
use crate::time::{Mono, Now};

impl Cluster {
    /// To the holder and the next two ranks, who judge everyone; and to one that is down, with a question, so that
    /// both sides of a healed partition find each other even without a holder.
    pub(super) fn heartbeat(&mut self, now: Now, out: &mut Outbox) {
        // A restored memory snapshot goes on above what it said before it was restored.
        self.beat = (self.beat + 1).max(now.wall.as_ms() / BEAT_MS);
        self.beat_at = if now.mono.since(self.beat_at) < BEAT { self.beat_at } else { now.mono }.plus(BEAT);
        let (epoch, seq) = self.lease.newest();
        let own = self.records.own();
        let beat = Message::Heartbeat(Heartbeat {
            incarnation: own.incarnation,
            beat: self.beat,
            version: own.version,
            wall_ms: now.wall.as_ms(),
            epoch,
            seq,
            left_out: self.lease.is_left_out(now.mono, self.me.id),
            wants: self.paused(now.mono).is_none() && self.lease.wants(now.mono, context!(self)),
        });
        let mut targets = ranks!(self).hearers(self.lease.holder(now.mono).map(|(node, _)| node));
        targets.retain(|node| *node != self.me.id);
        let down = self.members.down().filter(|node| !targets.contains(node)).collect();
        let down = pick(down, 1, &mut self.rng);
        if self.roster.contains(self.me.id) {
            targets.iter().chain(&down).for_each(|to| beat.send(*to, out));
            self.introduce_to(now.mono, targets.iter().chain(&down));
            down.into_iter().for_each(|node| self.members.call(now.mono, self.me.id, node, &mut self.rng, out));
            self.lease.confess(out);
        }
    }

    /// Our record is news: to the holder, the two standbys and two random peers.
    pub(super) fn push_own(&mut self, now: Mono) {
        let targets = self.push_targets(now);
        self.gossip.push(now, &self.items, Key::Record(self.me.id), targets);
    }

    pub(super) fn push_targets(&mut self, now: Mono) -> Vec<NodeId> {
        let mut targets = ranks!(self).hearers(self.lease.holder(now).map(|(node, _)| node));
        let mut rest = self.partners(now);
        rest.retain(|node| !targets.contains(node));
        targets.extend(pick(rest, PUSH_PEERS, &mut self.rng));
        targets.retain(|node| *node != self.me.id);
        targets
    }
}
