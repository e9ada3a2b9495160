//! What the mesh refused or lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A reason why a datagram went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is explained by its name below")]
pub enum Count {
    NotSent,
    Garbage,
    Oversized,
    UnknownIndex,
    RateLimited,
    Forged,
    Replayed,
    BadInner,
    ProvisionalFull,
    UnknownPeer,
    QueueFull,
}

impl Count {
    const ALL: [Self; 11] = [
        Self::NotSent,
        Self::Garbage,
        Self::Oversized,
        Self::UnknownIndex,
        Self::RateLimited,
        Self::Forged,
        Self::Replayed,
        Self::BadInner,
        Self::ProvisionalFull,
        Self::UnknownPeer,
        Self::QueueFull,
    ];

    /// The counter's name in `rustbalance status`.
    pub const fn name(self) -> &'static str {
        match self {
            // The system would not take it.
            Self::NotSent => "mesh_not_sent",
            // No WireGuard message at all.
            Self::Garbage => "mesh_garbage",
            // Larger than anything we send, either way.
            Self::Oversized => "mesh_oversized",
            // For a session we do not have (any more).
            Self::UnknownIndex => "mesh_unknown_index",
            // Too many handshakes (answered with a cookie), or too much said by a stranger.
            Self::RateLimited => "mesh_rate_limited",
            // WireGuard's cryptography refused it.
            Self::Forged => "mesh_forged",
            // Authentic, but seen before or out of turn.
            Self::Replayed => "mesh_replayed",
            // Authentic, but not a packet as we send them.
            Self::BadInner => "mesh_bad_inner",
            // Too many strangers at once.
            Self::ProvisionalFull => "mesh_provisional_full",
            // The core wanted to send to someone who is no peer.
            Self::UnknownPeer => "mesh_unknown_peer",
            // The core did not keep up.
            Self::QueueFull => "mesh_queue_full",
        }
    }
}

/// All counters, since start.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; Count::ALL.len()]);

impl Counters {
    /// One more.
    pub fn add(&self, count: Count) {
        if let Some(counter) = self.0.get(count as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One counter.
    pub fn get(&self, count: Count) -> u64 {
        self.0.get(count as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Those that are not zero, by name.
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        Count::ALL
            .into_iter()
            .map(|count| (count.name().to_owned(), self.get(count)))
            .filter(|(_, value)| *value > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_cell_of_its_own() {
        let counters = Counters::default();
        for count in Count::ALL {
            counters.add(count);
        }
        assert_eq!(counters.snapshot().len(), Count::ALL.len());
        assert!(counters.snapshot().values().all(|&value| value == 1));
    }
}
