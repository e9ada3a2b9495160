//! Fetches of the current period's descriptor from one HSDir. A fetch ends with `HS_DESC_CONTENT`, empty on failure;
//! after a failure tor goes on to other HSDirs by itself, which is no business of ours.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::TorEvent;
use crate::id::RelayFingerprint;
use crate::time::Mono;

/// Fetches under way at once.
pub(super) const IN_FLIGHT_MAX: usize = 16;
/// How long a fetch may take; measured: 0.1 to 0.2 s on loopback.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// HSDirs that tor asks at once, for us or by itself.
const REQUESTED_MAX: usize = 128;

/// Fetches under way, by HSDir.
#[derive(Default)]
pub(super) struct Fetches {
    deadlines: BTreeMap<RelayFingerprint, Mono>,
    /// HSDirs that tor is asking: tells a failed fetch from a failed upload.
    requested: BTreeSet<RelayFingerprint>,
}

impl Fetches {
    /// Whether a fetch may start, or join one under way.
    pub(super) fn can_start(&self, hsdir: RelayFingerprint) -> bool {
        self.deadlines.len() < IN_FLIGHT_MAX || self.deadlines.contains_key(&hsdir)
    }

    /// Notes a fetch; false if one from that HSDir is under way already, which then answers for both.
    pub(super) fn start(&mut self, now: Mono, hsdir: RelayFingerprint) -> bool {
        let new = !self.deadlines.contains_key(&hsdir);
        if new {
            self.deadlines.insert(hsdir, now.plus(TIMEOUT));
        }
        new
    }

    /// `HS_DESC REQUESTED`.
    pub(super) fn requested(&mut self, hsdir: RelayFingerprint) {
        if self.requested.len() < REQUESTED_MAX {
            self.requested.insert(hsdir);
        }
    }

    /// `HS_DESC RECEIVED` or `FAILED`: whether a request to that HSDir was open, which this ends.
    pub(super) fn request_ended(&mut self, hsdir: RelayFingerprint) -> bool {
        self.requested.remove(&hsdir)
    }

    /// The outcome: `HS_DESC_CONTENT`, or tor refused to ask.
    pub(super) fn ended(&mut self, hsdir: RelayFingerprint, content: Option<Vec<u8>>, events: &mut VecDeque<TorEvent>) {
        if self.deadlines.remove(&hsdir).is_some() {
            events.push_back(TorEvent::Fetched(hsdir, content));
        }
    }

    /// Ends what took too long.
    pub(super) fn expire(&mut self, now: Mono, events: &mut VecDeque<TorEvent>) {
        self.deadlines.retain(|hsdir, deadline| {
            let alive = now < *deadline;
            if !alive {
                events.push_back(TorEvent::Fetched(*hsdir, None));
            }
            alive
        });
    }

    /// The control connection is gone.
    pub(super) fn disconnected(&mut self, events: &mut VecDeque<TorEvent>) {
        self.requested.clear();
        let hsdirs = core::mem::take(&mut self.deadlines).into_keys();
        events.extend(hsdirs.map(|hsdir| TorEvent::Fetched(hsdir, None)));
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.deadlines.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_requests_are_remembered_and_one_more_is_nobodys() {
        let hsdir = |n: usize| {
            let mut id = [0; 20];
            id[..8].copy_from_slice(&n.to_le_bytes());
            RelayFingerprint(id)
        };
        let mut fetches = Fetches::default();
        (0..=REQUESTED_MAX).for_each(|n| fetches.requested(hsdir(n)));
        assert_eq!(fetches.requested.len(), REQUESTED_MAX);
        assert!(!fetches.request_ended(hsdir(REQUESTED_MAX)) && fetches.request_ended(hsdir(REQUESTED_MAX - 1)));
        fetches.requested(hsdir(REQUESTED_MAX));
        assert!(fetches.request_ended(hsdir(REQUESTED_MAX)), "there is room again");
    }
}
