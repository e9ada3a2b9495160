//! Which HSDirs hold a descriptor, and which of them clients read.

use super::consensus::Consensus;
use crate::id::{RelayEd25519Id, RelayFingerprint};
use crate::onion::key::HsBlindId;
use crate::onion::period::{PeriodParams, Slot, TimePeriod};
use crate::time::ValidAfter;
use sha3::{Digest, Sha3_256};
use std::collections::BTreeMap;

/// The responsible HSDirs of one descriptor, in tor's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Responsible {
    /// Upload to these (`hsdir_spread_store` per replica).
    pub store: Vec<RelayFingerprint>,
    /// Clients read these (`hsdir_spread_fetch` per replica; its own walk, not a prefix of `store`).
    pub fetch: Vec<RelayFingerprint>,
}

/// The ring of one consensus, for both slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    params: PeriodParams,
    valid_after: ValidAfter,
    /// `hsdir_n_replicas`.
    replicas: u64,
    /// `hsdir_spread_store` per replica.
    spread_store: usize,
    /// `hsdir_spread_fetch` per replica.
    spread_fetch: usize,
    first: SlotRing,
    second: SlotRing,
}

/// One slot's ring: its period and its relays in order of their index.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SlotRing {
    period: TimePeriod,
    relays: Vec<([u8; 32], RelayFingerprint)>,
}

impl Ring {
    /// Builds the ring; relays without a known ed25519 identity are left out, as tor leaves them out.
    pub fn new(consensus: &Consensus, identities: &BTreeMap<[u8; 32], RelayEd25519Id>, testing: bool) -> Self {
        let params = consensus.period_params(testing);
        let relays: Vec<_> = consensus
            .hsdirs
            .iter()
            .filter_map(|(relay, digest)| identities.get(digest).map(|identity| (*relay, *identity)))
            .collect();
        let slot_ring = |slot, srv: Option<[u8; 32]>| {
            let period = params.slot_period(consensus.valid_after, slot);
            let srv = srv.unwrap_or_else(|| disaster_srv(period));
            let mut relays: Vec<_> =
                relays.iter().map(|(relay, identity)| (node_index(*identity, srv, period), *relay)).collect();
            relays.sort_unstable();
            SlotRing { period, relays }
        };
        let spread = |name, default| usize::try_from(consensus.param(name, 1, default, 128)).unwrap_or(1);
        Self {
            params,
            valid_after: consensus.valid_after,
            replicas: consensus.param("hsdir_n_replicas", 1, 2, 16).unsigned_abs(),
            spread_store: spread("hsdir_spread_store", 4),
            spread_fetch: spread("hsdir_spread_fetch", 3),
            first: slot_ring(Slot::First, consensus.srv_previous),
            second: slot_ring(Slot::Second, consensus.srv_current),
        }
    }

    /// Period arithmetic of this consensus.
    pub fn params(&self) -> PeriodParams {
        self.params
    }

    /// The consensus' `valid-after`: the time all period arithmetic goes by.
    pub fn valid_after(&self) -> ValidAfter {
        self.valid_after
    }

    /// The period of `slot` now.
    pub fn slot_period(&self, slot: Slot) -> TimePeriod {
        self.slot(slot).period
    }

    /// The HSDirs of `slot` for `blind` (the blinded key of that slot's period).
    pub fn responsible(&self, slot: Slot, blind: HsBlindId) -> Responsible {
        let SlotRing { period, relays } = self.slot(slot);
        let starts: Vec<[u8; 32]> = (1..=self.replicas).map(|replica| service_index(blind, replica, *period)).collect();
        Responsible { store: walk(relays, &starts, self.spread_store), fetch: walk(relays, &starts, self.spread_fetch) }
    }

    /// How many relays are on it.
    pub fn relays(&self) -> usize {
        self.first.relays.len()
    }

    fn slot(&self, slot: Slot) -> &SlotRing {
        match slot {
            Slot::First => &self.first,
            Slot::Second => &self.second,
        }
    }
}

/// Walks the ring from each replica's start, taking `spread` relays that no earlier replica took.
fn walk(relays: &[([u8; 32], RelayFingerprint)], starts: &[[u8; 32]], spread: usize) -> Vec<RelayFingerprint> {
    let mut chosen = Vec::new();
    for start in starts {
        let at = relays.partition_point(|(index, _)| index < start);
        let (before, after) = relays.split_at(at);
        let wanted = chosen.len() + spread;
        for (_, relay) in after.iter().chain(before) {
            if chosen.len() == wanted {
                break;
            }
            if !chosen.contains(relay) {
                chosen.push(*relay);
            }
        }
    }
    chosen
}

/// `H("store-at-idx" | blinded_public_key | INT_8(replicanum) | INT_8(period_length) | INT_8(period_num))`
fn service_index(blind: HsBlindId, replica: u64, period: TimePeriod) -> [u8; 32] {
    let mut hash = Sha3_256::new();
    hash.update(b"store-at-idx");
    hash.update(blind.0);
    hash.update(replica.to_be_bytes());
    hash.update(u64::from(period.length_minutes).to_be_bytes());
    hash.update(period.number.to_be_bytes());
    hash.finalize().into()
}

/// `H("node-idx" | node_identity | shared_random_value | INT_8(period_num) | INT_8(period_length))`:
/// number and length change places against [`service_index`].
fn node_index(identity: RelayEd25519Id, srv: [u8; 32], period: TimePeriod) -> [u8; 32] {
    let mut hash = Sha3_256::new();
    hash.update(b"node-idx");
    hash.update(identity.0);
    hash.update(srv);
    hash.update(period.number.to_be_bytes());
    hash.update(u64::from(period.length_minutes).to_be_bytes());
    hash.finalize().into()
}

/// `H("shared-random-disaster" | INT_8(period_length) | INT_8(period_num))`, where the consensus has no value.
fn disaster_srv(period: TimePeriod) -> [u8; 32] {
    let mut hash = Sha3_256::new();
    hash.update(b"shared-random-disaster");
    hash.update(u64::from(period.length_minutes).to_be_bytes());
    hash.update(period.number.to_be_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
