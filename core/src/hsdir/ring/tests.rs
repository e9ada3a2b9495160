//! The ring against C tor (`testdata/ctor/ring`), and properties of the walk.

use super::*;
use crate::hsdir::microdesc::identities;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

const MOMENTS: [&str; 5] =
    ["srv-to-tp", "srv-to-tp-no-previous-srv", "tp-to-srv", "tp-to-srv-no-previous-srv", "tp-to-srv-no-srv"];

struct Moment {
    consensus: Consensus,
    ring: Ring,
    expected: Value,
}

impl Moment {
    fn load(name: &str) -> Self {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/ctor/ring").join(name);
        let read = |file: &str| std::fs::read(directory.join(file)).unwrap();
        let consensus = Consensus::parse(&read("consensus-microdesc.txt")).unwrap();
        let ring = Ring::new(&consensus, &identities(&read("microdescs.txt")), true);
        Self { consensus, ring, expected: serde_json::from_slice(&read("expected.json")).unwrap() }
    }

    /// The slot that clients fetch from.
    fn current(&self) -> Slot {
        self.ring.params.current_slot(self.ring.valid_after)
    }
}

fn bytes<const N: usize>(hex: &Value) -> [u8; N] {
    let hex = hex.as_str().unwrap();
    let bytes: Vec<u8> = (0..N).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

fn relays(list: &Value) -> Vec<RelayFingerprint> {
    list.as_array().unwrap().iter().map(|hex| RelayFingerprint::from_hex(hex.as_str().unwrap()).unwrap()).collect()
}

#[test]
fn consensus_is_read_as_tor_reads_it() {
    for moment in MOMENTS {
        let Moment { consensus, ring, expected } = Moment::load(moment);
        assert_eq!(consensus.valid_after.as_secs(), expected["valid_after"], "{moment}");
        assert_eq!(consensus.fresh_until, expected["fresh_until"], "{moment}");
        let srv = |name: &str| (!expected[name].is_null()).then(|| bytes(&expected[name]));
        assert_eq!(consensus.srv_previous, srv("srv_previous"), "{moment}");
        assert_eq!(consensus.srv_current, srv("srv_current"), "{moment}");
        assert_eq!(consensus.hsdirs.len(), expected["hsdirs"], "{moment}");
        assert_eq!(ring.relays(), expected["hsdirs"], "{moment}");
        let params = ring.params();
        assert_eq!(params.length_minutes, expected["time_period_length_minutes"], "{moment}");
        assert_eq!(params.offset_secs / 60, expected["time_period_rotation_offset_minutes"], "{moment}");
        assert_eq!(params.voting_interval_secs, expected["voting_interval"], "{moment}");
    }
}

#[test]
fn node_indices_of_both_slots_are_tors() {
    for moment in MOMENTS {
        let Moment { ring, expected, .. } = Moment::load(moment);
        for (slot, name) in [(Slot::First, "first"), (Slot::Second, "second")] {
            let expected = &expected["slots"][name];
            assert_eq!(ring.slot_period(slot).number, expected["time_period"], "{moment} {name}");
            let indices: BTreeMap<_, [u8; 32]> =
                ring.slot(slot).relays.iter().map(|(index, relay)| (relay.to_string(), *index)).collect();
            let expected: BTreeMap<String, [u8; 32]> = expected["node_indices"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(relay, index)| (relay.clone(), bytes(index)))
                .collect();
            assert_eq!(indices, expected, "{moment} {name}");
        }
    }
}

#[test]
fn store_order_of_both_slots_is_tors() {
    for moment in MOMENTS {
        let Moment { ring, expected, .. } = Moment::load(moment);
        for (service, expected) in expected["services"].as_object().unwrap() {
            for (slot, name) in [(Slot::First, "first"), (Slot::Second, "second")] {
                let expected = &expected[name];
                let blind = HsBlindId(bytes(&expected["blinded_public"]));
                for (replica, index) in (1..).zip(expected["hs_indices"].as_array().unwrap()) {
                    assert_eq!(
                        service_index(blind, replica, ring.slot_period(slot)),
                        bytes(index),
                        "{moment} {service}"
                    );
                }
                assert_eq!(
                    ring.responsible(slot, blind).store,
                    relays(&expected["hsdirs"]),
                    "{moment} {service} {name}"
                );
                let store: BTreeSet<_> = ring.responsible(slot, blind).store.into_iter().collect();
                let uploaded: BTreeSet<_> = relays(&expected["tor_uploaded_to"]).into_iter().collect();
                assert_eq!(store, uploaded, "{moment} {service} {name}");
            }
        }
    }
}

#[test]
fn fetch_set_is_what_clients_ask() {
    for moment in MOMENTS {
        let moment_data = Moment::load(moment);
        let current = moment_data.current();
        for (service, expected) in moment_data.expected["services"].as_object().unwrap() {
            let blind = HsBlindId(bytes(&expected["fetch"]["blinded_public"]));
            let fetch = moment_data.ring.responsible(current, blind).fetch;
            assert_eq!(fetch, relays(&expected["fetch"]["hsdirs"]), "{moment} {service}");
        }
    }
}

#[test]
fn missing_shared_random_value_is_replaced_by_the_disaster_value() {
    let Moment { ring, expected, .. } = Moment::load("tp-to-srv-no-srv");
    for (slot, name) in [(Slot::First, "first"), (Slot::Second, "second")] {
        assert_eq!(disaster_srv(ring.slot_period(slot)), bytes(&expected["slots"][name]["srv"]));
    }
}

#[test]
fn parameters_of_the_consensus_are_obeyed_within_tors_bounds() {
    let Moment { mut consensus, expected, .. } = Moment::load("srv-to-tp");
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/ctor/ring/srv-to-tp/microdescs.txt");
    let identities = identities(&std::fs::read(directory).unwrap());
    let blind = HsBlindId(bytes(&expected["services"]["ten-ip"]["first"]["blinded_public"]));
    for (replicas, store, fetch, want) in
        [(1, 2, 1, (2, 1)), (3, 3, 2, (9, 6)), (0, 0, 0, (1, 1)), (99, 999, 1, (27, 16))]
    {
        consensus.params.insert("hsdir_n_replicas".into(), replicas);
        consensus.params.insert("hsdir_spread_store".into(), store);
        consensus.params.insert("hsdir_spread_fetch".into(), fetch);
        let responsible = Ring::new(&consensus, &identities, true).responsible(Slot::First, blind);
        assert_eq!((responsible.store.len(), responsible.fetch.len()), want);
    }
}

#[test]
fn empty_ring_has_no_hsdirs() {
    let Moment { consensus, .. } = Moment::load("srv-to-tp");
    let ring = Ring::new(&consensus, &BTreeMap::new(), true);
    assert_eq!(ring.relays(), 0);
    assert_eq!(ring.responsible(Slot::Second, HsBlindId([7; 32])).store, []);
}

proptest! {
    #[test]
    fn walk_takes_no_relay_twice(
        indices in prop::collection::btree_set(any::<u8>(), 0..40),
        starts in prop::collection::vec(any::<u8>(), 0..4),
        spread in 1_usize..8,
    ) {
        let ring: Vec<_> = indices.iter().map(|byte| ([*byte; 32], RelayFingerprint([*byte; 20]))).collect();
        let starts: Vec<_> = starts.iter().map(|byte| [*byte; 32]).collect();
        let chosen = walk(&ring, &starts, spread);
        prop_assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), chosen.len());
        prop_assert_eq!(chosen.len(), (starts.len() * spread).min(ring.len()));
    }
}
