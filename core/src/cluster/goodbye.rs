//! The way out: the lease first, then, for who leaves for good, the tombstone.

use super::roster;
use super::timing::{PUSH_ALL, RELEASE_GAP, RELEASE_SENDS, TOMBSTONE_SENDS};
use super::{Cluster, Key, NodeState, pick};
use crate::id::NodeId;
use crate::output::{Event, Outbox};
use crate::time::{Mono, Now};

/// The way out, once begun.
#[derive(Debug)]
pub(super) struct Goodbye {
    leave: bool,
    left: u8,
    next_at: Mono,
}

impl Goodbye {
    /// When there is more to say.
    pub(super) fn next_timeout(&self) -> Option<Mono> {
        (self.left > 0).then_some(self.next_at)
    }
}

impl Cluster {
    /// Stop serving: state `Leaving`, lease released; `leave` also writes the tombstone. Idempotent.
    pub fn shut_down(&mut self, now: Now, leave: bool, out: &mut Outbox) {
        if self.goodbye.as_ref().is_some_and(|goodbye| goodbye.leave || !leave) {
            return;
        }
        self.goodbye = Some(Goodbye { leave, left: RELEASE_SENDS, next_at: now.mono });
        self.records.amend(&self.me, &mut self.items, |record| {
            record.state = NodeState::Leaving;
            record.eligible = false;
        });
        self.lease.stop(now.mono);
        self.push_own(now.mono);
        self.save(out, now.mono);
    }

    /// Goodbyes have been sent (and a tombstone is on disk); the node may stop.
    pub fn is_stopped(&self, _now: Now) -> bool {
        let said = self.goodbye.as_ref().is_some_and(|goodbye| goodbye.left == 0);
        said && self.lease.is_released() && self.is_roster_durable()
    }

    /// Counts the repetitions of what was pushed. The tombstone comes last: from a node that left, a release is
    /// nobody's word.
    pub(super) fn say_goodbye(&mut self, now: Now, out: &mut Outbox) {
        let Some(goodbye) = self.goodbye.as_mut().filter(|goodbye| goodbye.left > 0 && now.mono >= goodbye.next_at)
        else {
            return;
        };
        goodbye.left -= 1;
        goodbye.next_at = now.mono.plus(RELEASE_GAP);
        if !goodbye.leave {
            return;
        }
        if !self.roster.contains(self.me.id) {
            self.push_tombstone(now);
        } else if goodbye.left == 0 {
            goodbye.left = TOMBSTONE_SENDS;
            self.bury_ourselves(now, out);
        }
    }

    pub(super) fn bury_ourselves(&mut self, now: Now, out: &mut Outbox) {
        let entry = self.items.blob(Key::Entry(self.me.id));
        let entry = entry.and_then(|(_, entry)| roster::leave(&self.me.keypair, self.me.cluster, entry, now.wall));
        if entry.is_some_and(|entry| self.roster.accept(&entry, now.wall, &mut self.items).is_ok()) {
            self.push_tombstone(now);
            out.event(Event::Left(self.me.id));
        }
    }

    fn push_tombstone(&mut self, now: Now) {
        let others: Vec<NodeId> = self.others().collect();
        let targets = pick(others, PUSH_ALL, &mut self.rng);
        self.gossip.push(now.mono, &self.items, Key::Entry(self.me.id), targets);
    }
}
