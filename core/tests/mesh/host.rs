//! What a node of the test network is made of.

use std::collections::BTreeMap;

use rustbalance_core::cluster::{Cluster, Local, NodeKeypair, Publication};
use rustbalance_core::invite::InvitePath;
use rustbalance_core::join::Admitted;
use rustbalance_core::rng::Seed;
use rustbalance_core::time::Now;
use rustbalance_core::{DurableKind, Event, NodeId, Outbox, WgPublicKey};

/// What a node is made of; survives restarts.
pub struct Host {
    pub id: NodeId,
    pub wg: WgPublicKey,
    pub priority: u8,
    pub cluster: Option<Cluster>,
    pub disk: BTreeMap<DurableKind, Vec<u8>>,
    pub local: Local,
    pub events: Vec<(u64, Event)>,
    pub admitted: Admitted,
    /// Where it answers invited nodes.
    pub paths: Vec<InvitePath>,
    /// What the shell keeps of the cluster token.
    pub token: [u8; 32],
    /// Native publishing is off, or goes off as soon as it is asked to.
    pub native_off: bool,
    /// Clients cannot come by its introduction points.
    pub is_withdrawn: bool,
    pub(super) key: [u8; 32],
    pub(super) lives: u64,
    pub(super) clock_ms: i64,
    pub(super) effects: Outbox,
}

pub fn keypair(n: u8) -> NodeKeypair {
    NodeKeypair::from_seed(&[n; 32])
}

pub(super) fn seed(run: u64, node: u8, life: u64) -> Seed {
    let mut bytes = [node; 32];
    bytes[..8].copy_from_slice(&run.to_le_bytes());
    bytes[8..16].copy_from_slice(&life.to_le_bytes());
    Seed::new(bytes)
}

impl Host {
    pub fn shut_down(&mut self, now: Now, leave: bool) {
        self.cluster.as_mut().expect("running").shut_down(now, leave, &mut self.effects);
    }

    pub fn is_stopped(&self) -> bool {
        self.cluster.as_ref().expect("running").is_stopped()
    }

    pub fn set_publication(&mut self, now: Now, publication: Publication) {
        self.cluster.as_mut().expect("running").set_publication(now, publication, &mut self.effects);
    }

    pub fn warnings(&self) -> Vec<&str> {
        let warnings = self
            .events
            .iter()
            .filter_map(|(_, event)| if let Event::Warning(text) = event { Some(text.as_str()) } else { None });
        warnings.collect()
    }
}
