//! What a client's introduction meets.

use rustbalance_core::TargetHealth;
use rustbalance_core::hsdesc::IntroPoint;
use rustbalance_core::id::RelayFingerprint;

use crate::sim::world::World;

/// An introduction point as a client reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) key: [u8; 32],
    pub(super) relay: Option<RelayFingerprint>,
}

impl Listed {
    pub(super) fn new(point: &IntroPoint) -> Self {
        Self { key: point.auth_key, relay: point.relay() }
    }
}

/// What becomes of an introduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The node serves.
    Serves,
    /// The node is there, its target is not: an error at once.
    TargetDown,
    /// The relay passes the introduction on, and nobody says anything.
    Silent,
    /// The node has closed that circuit: the relay says so at once.
    Refused,
    /// The node is dead: the relay finds out.
    Gone,
}

/// What an introduction at the point with `key` meets at `at`.
pub(super) fn answer(world: &World, at: u64, key: [u8; 32]) -> Answer {
    let owner = world.nodes.iter().find(|node| node.has_point(key));
    match owner {
        Some(node) if !node.is_live() || at < node.still_until.max(node.tor_still_until) => Answer::Silent,
        Some(node) if node.target == TargetHealth::Down => Answer::TargetDown,
        Some(_) => Answer::Serves,
        None => {
            let mut live = world.nodes.iter().filter(|node| node.is_live());
            let closed = live.any(|node| node.past_points.iter().any(|(past, _)| *past == key));
            if closed { Answer::Refused } else { Answer::Gone }
        }
    }
}
