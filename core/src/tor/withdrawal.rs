//! Closing the introduction points that clients know of, while the node is out of service.
//!
//! Clients keep a descriptor for hours. One that has the points of a node that is out goes on to another point at once if
//! the relay says that this one is gone, and meets a node that cannot serve if it is not. Tor opens a closed circuit again,
//! three times to the same relay and then to another one. Points of which no descriptor has told are left alone: nobody
//! comes there, and the node is back as soon as it is told to be. Closing those, too, would use up the circuits that tor
//! opens in five minutes, and it would have to wait for the rest of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::hsdesc::IntroPoint;
use crate::id::RelayFingerprint;

use super::service::Listed;

/// Whether clients are to find this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Presence {
    /// They are sent here.
    #[default]
    In,
    /// No more, but HSDirs may still name our points to new clients: their circuits stay.
    GoingOut,
    /// HSDirs name them no more, or have had their time: circuits of points that clients know are closed.
    Out,
}

/// Which points clients may know.
#[derive(Debug, Default)]
pub(super) struct Withdrawal {
    presence: Presence,
    /// Points of the descriptor while we were in. As many as one descriptor of tor's has.
    known: Arc<Listed>,
    /// Those were read on this connection.
    are_current: bool,
    /// Circuits that tor was told to close, and that are still there.
    closing: BTreeSet<String>,
}

impl Withdrawal {
    pub(super) fn set(&mut self, presence: Presence) {
        self.presence = presence;
    }

    pub(super) fn presence(&self) -> Presence {
        self.presence
    }

    /// These are in tor's descriptor now, and clients hear of them while we are in. None, while tor has not been asked for
    /// it yet, changes nothing.
    pub(super) fn see(&mut self, listed: Arc<Listed>) {
        if self.presence == Presence::In && !listed.is_empty() {
            (self.known, self.are_current) = (listed, true);
        }
    }

    /// Another connection: perhaps to another process.
    pub(super) fn new_connection(&mut self) {
        self.are_current = false;
    }

    /// This connection is to another tor process, of which no client knows a point but those that were read on it: tor says
    /// which process it is only once it has a consensus, and may have points by then.
    pub(super) fn new_process(&mut self) {
        if !self.are_current {
            self.known = Arc::default();
            self.closing.clear();
        }
    }

    /// Whether others may be told of this point.
    pub(super) fn may_offer(&self, point: &IntroPoint) -> bool {
        self.presence != Presence::Out || !self.known.contains_key(&point.auth_key)
    }

    /// Whether none of these circuits is one by which clients come.
    pub(super) fn is_done(&self, circuits: &BTreeMap<String, RelayFingerprint>) -> bool {
        !circuits.values().any(|relay| self.is_known(relay))
    }

    fn is_known(&self, relay: &RelayFingerprint) -> bool {
        self.known.values().any(|known| known == relay)
    }

    /// The circuit to close next, of all that are established; each is named once.
    pub(super) fn next_circuit(&mut self, circuits: &BTreeMap<String, RelayFingerprint>) -> Option<String> {
        self.closing.retain(|circuit| circuits.contains_key(circuit));
        if self.presence != Presence::Out {
            return None;
        }
        let mut to_close = circuits.iter().filter(|(id, relay)| self.is_known(relay) && !self.closing.contains(*id));
        let next = to_close.next().map(|(id, _)| id.clone())?;
        self.closing.insert(next.clone());
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(n: u8) -> RelayFingerprint {
        RelayFingerprint([n; 20])
    }

    fn point(key: u8, at: u8) -> IntroPoint {
        let link_specifiers = [&[1, 2, 20][..], &relay(at).0].concat();
        IntroPoint { link_specifiers, onion_key: [1; 32], auth_key: [key; 32], enc_key: [3; 32] }
    }

    fn listed(points: &[(u8, u8)]) -> Arc<Listed> {
        Arc::new(points.iter().map(|(key, at)| ([*key; 32], relay(*at))).collect())
    }

    fn circuits(relays: &[(u32, u8)]) -> BTreeMap<String, RelayFingerprint> {
        relays.iter().map(|(id, at)| (id.to_string(), relay(*at))).collect()
    }

    #[test]
    fn circuits_of_points_that_clients_know_are_closed_once_the_node_is_out_and_others_stay() {
        let mut withdrawal = Withdrawal::default();
        withdrawal.see(listed(&[(1, 1), (2, 2)]));
        let established = circuits(&[(7, 1), (8, 2), (9, 3)]);
        for presence in [Presence::In, Presence::GoingOut] {
            withdrawal.set(presence);
            assert_eq!(withdrawal.next_circuit(&established), None);
            assert!(withdrawal.may_offer(&point(1, 1)));
        }
        withdrawal.set(Presence::Out);
        assert_eq!(withdrawal.next_circuit(&established).as_deref(), Some("7"));
        assert_eq!(withdrawal.next_circuit(&established).as_deref(), Some("8"), "each once");
        assert_eq!(withdrawal.next_circuit(&established), None);
        assert!(!withdrawal.is_done(&established) && withdrawal.is_done(&circuits(&[(9, 3)])));
        assert_eq!(withdrawal.next_circuit(&circuits(&[(9, 3), (10, 1)])).as_deref(), Some("10"), "opened again");
        assert!(!withdrawal.may_offer(&point(1, 1)) && withdrawal.may_offer(&point(4, 3)));
    }

    #[test]
    fn points_that_came_while_the_node_was_out_are_known_to_nobody() {
        let mut withdrawal = Withdrawal::default();
        withdrawal.see(listed(&[(1, 1)]));
        withdrawal.set(Presence::Out);
        withdrawal.see(listed(&[(2, 2)]));
        assert_eq!(withdrawal.next_circuit(&circuits(&[(5, 2)])), None);
        withdrawal.set(Presence::In);
        withdrawal.see(listed(&[(2, 2)]));
        withdrawal.set(Presence::Out);
        assert_eq!(withdrawal.next_circuit(&circuits(&[(5, 2), (6, 1)])).as_deref(), Some("5"));
        withdrawal.new_connection();
        withdrawal.new_process();
        assert_eq!(withdrawal.next_circuit(&circuits(&[(7, 2)])), None);
    }

    #[test]
    fn points_of_a_process_that_says_late_that_it_is_another_are_known() {
        let mut withdrawal = Withdrawal::default();
        withdrawal.see(listed(&[(1, 1)]));
        withdrawal.new_connection();
        withdrawal.see(listed(&[(2, 2)]));
        withdrawal.set(Presence::Out);
        assert_eq!(withdrawal.next_circuit(&circuits(&[(5, 2), (6, 1)])).as_deref(), Some("5"));
        withdrawal.new_process();
        assert_eq!(withdrawal.next_circuit(&circuits(&[(7, 2), (8, 1)])).as_deref(), Some("7"));
    }
}
