//! A client that is removed keeps the descriptor it has, and the sessions it has opened: neither tor nor we can tell whose
//! they are. Both end with tor's process, and a new one has new introduction points. So after a removal every node starts
//! its tor anew, one node after the other.

use core::time::Duration;

use crate::cluster::{Liveness, Member};
use crate::id::NodeId;
use crate::time::Mono;

/// Between two nodes: time for a tor to bootstrap, and for its new points to reach the HSDirs.
const TURN: Duration = Duration::from_secs(20);
/// A tor that was told to start anew and is still the same one is told again after this.
const AGAIN: Duration = Duration::from_secs(30);

/// Whether our tor is from before the last removal.
pub struct Renewal {
    /// The removals that no living tor of ours has seen a client of.
    done: u64,
    due: Option<Mono>,
    /// When time alone makes a difference: that tor is back is an input of its own.
    next: Option<Mono>,
    /// How many processes of tor there had been when the last order was given.
    asked: Option<u64>,
}

impl Renewal {
    /// At the node's start, whose tor starts with it. `removals` is [`View::removals`](crate::cluster::View).
    pub fn new(removals: u64) -> Self {
        Self { done: removals, due: None, next: None, asked: None }
    }

    /// Whether tor is to start anew now. `turn` is [`turn`], asked for once; `processes` counts those seen so far, and
    /// `is_there` tells whether the newest one takes orders.
    pub fn tick(
        &mut self,
        now: Mono,
        removals: u64,
        turn: impl FnOnce() -> u32,
        processes: u64,
        is_there: bool,
    ) -> bool {
        if self.asked.is_some_and(|asked| processes > asked) {
            *self = Self::new(self.done);
        }
        if removals <= self.done && self.asked.is_none() {
            return false;
        }
        let due = *self.due.get_or_insert_with(|| now.plus(TURN * turn()));
        if now < due || !is_there {
            self.next = Some(due).filter(|due| now < *due);
            return false;
        }
        self.done = removals;
        self.asked = Some(processes);
        self.due = Some(now.plus(AGAIN));
        self.next = self.due;
        true
    }

    /// When to look again.
    pub fn next_timeout(&self) -> Option<Mono> {
        self.next
    }
}

/// How many of `members` come before `me`.
pub fn turn(me: NodeId, members: &[Member]) -> u32 {
    let before = members.iter().filter(|member| member.node < me && member.liveness != Liveness::Down);
    u32::try_from(before.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Mono {
        Mono::from_ms(1000 * secs)
    }

    /// What the node whose turn is `turn` does in each of the first 100 seconds after a removal.
    fn orders(turn: u32, answers: bool) -> Vec<u64> {
        let (mut renewal, mut processes) = (Renewal::new(4), 1);
        assert!(!renewal.tick(at(0), 4, || turn, processes, true));
        let mut order = |secs| {
            let order = renewal.tick(at(secs), 5, || turn, processes, true);
            processes += u64::from(order && answers);
            order
        };
        (0..100).filter(|secs| order(*secs)).collect()
    }

    #[test]
    fn nodes_start_their_tors_anew_one_after_the_other_and_once() {
        assert_eq!((orders(0, true), orders(1, true), orders(2, true)), (vec![0], vec![20], vec![40]));
    }

    #[test]
    fn an_order_that_was_lost_is_repeated() {
        assert_eq!(orders(0, false), [0, 30, 60, 90]);
    }

    #[test]
    fn no_order_goes_to_a_tor_that_is_away_and_a_removal_meanwhile_needs_another() {
        let mut renewal = Renewal::new(0);
        assert!(!renewal.tick(at(0), 1, || 0, 1, false));
        assert_eq!(renewal.next_timeout(), None, "not until it is back");
        assert!(renewal.tick(at(1), 1, || 0, 1, true));
        assert!(renewal.tick(at(2), 2, || 0, 2, true));
        assert!(!renewal.tick(at(3), 2, || 0, 3, true));
        assert_eq!(renewal.next_timeout(), None);
    }
}
