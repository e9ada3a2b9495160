//! Datagrams and bytes per node and second while all is calm; the holder, who floods, and handshakes apart.

use rustbalance_core::cluster::Role;
use serde::Serialize;

use super::check::is_calm;
use super::world::World;

/// What nodes of one kind sent, and in how much time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Node seconds.
    pub seconds: u64,
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes inside the tunnel.
    pub bytes: u64,
}

/// Whole calm seconds are counted, others are not.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Of those that do not publish.
    pub others: Sent,
    /// Of those that do.
    pub holder: Sent,
    /// Handshake messages of their tunnels.
    pub handshakes: u64,
    /// The second under way, and what was sent in it so far.
    second: u64,
    pending: [Sent; 2],
    handshakes_before: u64,
}

impl Sent {
    /// Adds up.
    pub fn add(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
    }

    /// Datagrams and bytes per node and second.
    pub fn rates(self) -> Option<(f64, f64)> {
        let seconds = self.seconds as f64;
        (self.seconds > 0).then(|| (self.datagrams as f64 / seconds, self.bytes as f64 / seconds))
    }
}

impl Traffic {
    pub(super) fn count(&mut self, world: &World, index: usize, bytes: usize) {
        if world.now / 1000 != self.second {
            self.turn(world);
        }
        let is_holder = matches!(world.nodes[index].role, Role::Holder { .. } | Role::Alone);
        let sent = &mut self.pending[usize::from(is_holder)];
        sent.datagrams += 1;
        sent.bytes += bytes as u64;
    }

    /// A second is over: it counts if it was calm to its end and followed the one before it.
    fn turn(&mut self, world: &World) {
        let whole = world.now / 1000 == self.second + 1;
        let handshakes = world.nodes.iter().map(|node| node.traffic.handshakes).sum();
        if whole && is_calm(world) {
            let live = || world.nodes.iter().filter(|node| node.is_live());
            let holders = live().filter(|node| matches!(node.role, Role::Holder { .. } | Role::Alone)).count() as u64;
            let [mut others, mut holder] = self.pending;
            (others.seconds, holder.seconds) = (live().count() as u64 - holders, holders);
            self.others.add(others);
            self.holder.add(holder);
            self.handshakes += handshakes - self.handshakes_before;
        }
        self.second = world.now / 1000;
        self.pending = Default::default();
        self.handshakes_before = handshakes;
    }
}
