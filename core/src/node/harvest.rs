//! When a node's tor is made to show points that it hides (`tor/harvest.rs`): one node after the other.

use core::time::Duration;

use super::{Node, Shutdown};
use crate::cluster::{Liveness, Member};
use crate::id::NodeId;
use crate::time::Now;
use crate::tor::{Files, Presence, turn};

/// Between two nodes: time for it, and for our descriptors to replace those of the node's tor.
const TURN: Duration = Duration::from_secs(6);
/// So long, for each node before it, a node waits until that has found its points: for as long as tor may publish by itself,
/// and what follows.
const PATIENCE: Duration = Duration::from_secs(40);

/// What decides whether this node's tor may publish by itself for a moment, in which HSDirs hold its points alone.
struct Situation<'a> {
    me: NodeId,
    members: &'a [Member],
    /// Clients are to come here, by a tor that is ours.
    is_serving: bool,
    /// Tor lets in nobody who may not connect.
    is_guarded: bool,
    /// The lease is held.
    has_publisher: bool,
    /// By clock and disk, and as it was not suspended just now, this node might publish itself.
    may_publish: bool,
    is_paused: bool,
}

impl Node {
    /// Has tor do it, if it is of use and this node's turn has come; and ends it where it must not be any more.
    pub(super) fn harvest(&mut self, now: Now) {
        let wanted = self.tors.iter().find_map(|tor| tor.wants_harvest(now.mono));
        if wanted.is_none() {
            self.harvest_since = None;
        }
        if wanted.is_none() && !self.tors.iter().any(|tor| tor.is_harvesting()) {
            return; // as nearly always
        }
        let members = self.cluster.members();
        let situation = self.situation(now, &members);
        let (is_allowed, is_useful) = (situation.is_allowed(), situation.is_useful());
        let is_turn = |waited| wanted.is_some_and(|period| situation.is_turn(waited, period));
        let [tor] = self.tors.as_mut_slice() else { return };
        if !is_allowed {
            tor.stop_harvest(now.mono, &mut self.out);
        }
        if !is_allowed || !is_useful {
            self.harvest_since = None;
        } else if is_turn(now.mono.since(*self.harvest_since.get_or_insert(now.mono))) {
            tor.harvest(now, &mut self.out);
        }
    }

    fn situation<'a>(&self, now: Now, members: &'a [Member]) -> Situation<'a> {
        let view = self.cluster.view(now);
        let are_files_written = matches!(self.authorized_clients.files(), Files::Written(_));
        let is_in = self.cluster.presence(now.mono) == Presence::In;
        Situation {
            me: self.id,
            members,
            is_serving: is_in && !self.is_attached && self.shutdown == Shutdown::No,
            is_guarded: are_files_written && (!view.access.is_restricted() || self.are_restricted()),
            has_publisher: view.holder.is_some(),
            may_publish: self.health.may_publish() && !view.hold_uploads,
            is_paused: view.paused,
        }
    }
}

impl Situation<'_> {
    /// Whether it may be, and go on. It takes what publishing with authority takes: a minority, or a node whose clock is
    /// wrong, would put its own points over those of all the others.
    fn is_allowed(&self) -> bool {
        self.is_serving && self.is_guarded && self.has_publisher && self.may_publish && self.is_half_live()
    }

    /// Half of the members, as by [`View::sees_majority`](crate::cluster::View) a publisher needs them; of a follower's
    /// members those, too, that the publisher says it hears.
    fn is_half_live(&self) -> bool {
        let live = self.members.iter().filter(|member| member.liveness == Liveness::Live);
        live.count() * 2 >= self.members.len()
    }

    /// Whether it is worth while: no descriptor has proof of work unless every node that serves has it.
    fn is_useful(&self) -> bool {
        let has_pow = |member: &Member| match &member.record {
            Some(record) => !record.serves() || record.pow.is_some(),
            None => false,
        };
        let all = self.members.iter().all(|member| member.liveness == Liveness::Down || has_pow(member));
        self.members.len() > 1 && all && !self.is_paused
    }

    /// Whether this node's turn has come, so long after `period` began for it: at once where those before it have found
    /// their points, and without them where that takes too long.
    fn is_turn(&self, waited: Duration, period: u64) -> bool {
        let rank = turn(self.me, self.members);
        let has_found = |member: &Member| {
            let harvest = member.record.as_ref().and_then(|record| record.harvest.as_ref());
            harvest.is_some_and(|harvest| harvest.period == period && !harvest.points.is_empty())
        };
        let is_awaited = |member: &&Member| {
            let serves = member.record.as_ref().is_some_and(|record| record.serves());
            member.node < self.me && member.liveness != Liveness::Down && serves && !has_found(member)
        };
        waited >= TURN * rank && (waited >= PATIENCE * rank || !self.members.iter().any(|member| is_awaited(&member)))
    }
}

#[cfg(test)]
mod tests;
