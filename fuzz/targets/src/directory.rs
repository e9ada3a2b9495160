//! What tor says of the network: consensus and microdescriptors, and the ring made of them.

use std::collections::BTreeMap;

use rustbalance_core::hsdir::consensus::Consensus;
use rustbalance_core::hsdir::microdesc;
use rustbalance_core::hsdir::ring::Ring;
use rustbalance_core::id::RelayEd25519Id;
use rustbalance_core::onion::key::HsBlindId;
use rustbalance_core::onion::period::Slot;

/// A microdescriptor consensus; every relay has its digest for an identity.
pub fn consensus(bytes: &[u8]) {
    let Ok(consensus) = Consensus::parse(bytes) else { return };
    let identities: BTreeMap<_, _> =
        consensus.hsdirs.iter().map(|(_, digest)| (*digest, RelayEd25519Id(*digest))).collect();
    for testing in [false, true] {
        let params = consensus.period_params(testing);
        assert!(params.length_minutes > 0 && params.voting_interval_secs > 0);
        let ring = Ring::new(&consensus, &identities, testing);
        assert!(ring.relays() <= consensus.hsdirs.len());
        for slot in [Slot::First, Slot::Second] {
            let mut store = ring.responsible(slot, HsBlindId([0x5A; 32])).store.clone();
            assert!(store.len() <= ring.relays());
            let all = store.len();
            store.sort_unstable();
            store.dedup();
            assert_eq!(store.len(), all, "no HSDir twice");
        }
    }
}

/// Microdescriptors.
pub fn microdescs(bytes: &[u8]) {
    let identities = microdesc::identities(bytes);
    let starts = bytes.windows(9).filter(|window| *window == b"onion-key").count();
    assert!(identities.len() <= starts);
}
