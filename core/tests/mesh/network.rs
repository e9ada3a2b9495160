//! What is between the nodes: datagrams that are lost, late or cut off, and nodes that stand still.

use rand_core::Rng as _;
use rustbalance_core::EffectId;
use rustbalance_core::cluster::PeerError;

use super::{DELIVERED_MAX, World};

/// What will happen to a node.
pub(super) enum Happening {
    Datagram { from: usize, to: usize, bytes: Vec<u8> },
    Done { node: usize, life: u64, id: EffectId },
}

/// A stopped process and the datagrams that wait for it: from, bytes.
pub(super) type Frozen = (usize, Vec<(usize, Vec<u8>)>);

impl World {
    /// Cuts every path between the two sides, both ways.
    pub fn partition(&mut self, one: &[usize], other: &[usize]) {
        for a in one {
            for b in other {
                self.cut.extend([(*a, *b), (*b, *a)]);
            }
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Stops a node's process for `ms`; its datagrams wait, and it wakes up late.
    pub fn freeze(&mut self, node: usize, ms: u64) {
        let cluster = self.hosts[node].cluster.take();
        self.frozen = Some((node, Vec::new()));
        self.run(ms);
        self.hosts[node].cluster = cluster;
        let (_, waiting) = self.frozen.take().unwrap_or_default();
        self.settle(node);
        for (from, bytes) in waiting {
            self.schedule(0, Happening::Datagram { from, to: node, bytes });
        }
    }

    pub(super) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Datagram { from, to, bytes } if self.frozen.as_ref().is_some_and(|(node, _)| *node == to) => {
                if let Some((_, waiting)) = &mut self.frozen {
                    waiting.push((from, bytes));
                }
            }
            Happening::Datagram { from, to, bytes } => {
                let _ = self.deliver(from, to, &bytes);
            }
            Happening::Done { node, life, id } => {
                let now = self.now(node);
                let host = &mut self.hosts[node];
                if host.lives == life
                    && let Some(cluster) = &mut host.cluster
                {
                    assert!(cluster.handle_done(now, id, &Ok(()), &mut host.effects));
                    self.settle(node);
                }
            }
        }
    }

    /// Hands a datagram over as the mesh would: from a member, or, if its key is not known there, from a stranger.
    pub fn deliver(&mut self, from: usize, to: usize, bytes: &[u8]) -> Option<Result<(), PeerError>> {
        let (now, sender) = (self.now(to), self.hosts[from].id);
        let host = &mut self.hosts[to];
        let cluster = host.cluster.as_mut()?;
        let is_known = cluster.peers().iter().any(|peer| peer.node == sender);
        let result = if is_known {
            self.delivered.push_back((from, to, bytes.to_vec()));
            cluster.handle_peer(now, sender, bytes, &mut host.effects)
        } else {
            cluster.handle_stranger(now, bytes, &mut host.effects)
        };
        if self.delivered.len() > DELIVERED_MAX {
            self.delivered.pop_front();
        }
        self.refused += u64::from(result.is_err());
        self.settle(to);
        Some(result)
    }

    pub(super) fn send(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        let lost = self.rng.next_u64() % 100 < self.loss_percent;
        if lost || self.cut.contains(&(from, to)) {
            return;
        }
        let (least, most) = self.delay_ms;
        let delay = least + self.rng.next_u64() % (most - least + 1);
        self.schedule(delay, Happening::Datagram { from, to, bytes });
    }

    pub(super) fn schedule(&mut self, delay_ms: u64, happening: Happening) {
        self.count += 1;
        self.queue.insert((self.now_ms + delay_ms, self.count), happening);
    }
}
