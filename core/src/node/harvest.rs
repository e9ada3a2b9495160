//! When a node's tor is made to show points that it hides (`tor/harvest.rs`): one node after the other.

use core::time::Duration;

use super::{Node, Shutdown};
use crate::cluster::{Liveness, Member};
use crate::time::Now;
use crate::tor::turn;

/// Between two nodes: time for it, and for our descriptors to replace those of the node's tor.
const TURN: Duration = Duration::from_secs(6);

impl Node {
    /// Has tor do it, if it is of use and this node's turn has come: for a moment HSDirs hold this node's points alone.
    pub(super) fn harvest(&mut self, now: Now) {
        if !self.may_harvest(now) {
            self.harvest_due = None;
            return;
        }
        let due = self.harvest_due.get_or_insert_with(|| now.mono.plus(TURN * turn(self.id, &self.cluster.members())));
        if now.mono >= *due {
            self.tors.iter_mut().for_each(|tor| tor.harvest(now, &mut self.out));
        }
    }

    /// Whether its tor hides points, and every node that serves has proof of work: else no descriptor has it.
    fn may_harvest(&self, now: Now) -> bool {
        let [tor] = self.tors.as_slice() else { return false };
        if !tor.wants_harvest(now.mono) || self.is_attached || self.shutdown != Shutdown::No {
            return false;
        }
        let has_pow = |member: &Member| match &member.record {
            Some(record) => !record.serves() || record.pow.is_some(),
            None => false,
        };
        let members = self.cluster.members();
        let all = members.iter().all(|member| member.liveness == Liveness::Down || has_pow(member));
        members.len() > 1 && all && self.cluster.paused(now.mono).is_none()
    }
}
