//! Keys, addresses, periods and counters against what C tor computed.

mod ctor;

use ctor::{bytes, folders, hex, hex32, identity, json, list, number, text};
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::onion::key::{HsBlindId, HsIdKeypair};
use rustbalance_core::onion::period::{Half, PeriodParams, Slot, TimePeriod};
use rustbalance_core::onion::revision::{RevisionCipher, RevisionCounter};
use rustbalance_core::time::ValidAfter;

/// The vectors' network votes every 20 s.
const NETWORK: PeriodParams = PeriodParams { length_minutes: 8, offset_secs: 240, voting_interval_secs: 20 };

#[test]
fn blinded_keys_match() {
    let file = json("blinding/vectors.json");
    for vector in list(&file["vectors"]) {
        let key = identity(&vector["identity_secret_expanded"]);
        let length_minutes = number(&vector["length_minutes"]).try_into().expect("minutes");
        let period = TimePeriod { number: number(&vector["period"]), length_minutes };
        let public = HsBlindId(hex32(&vector["blinded_public"]));
        let blinded = key.blind(period);
        assert_eq!(key.public().0, hex32(&vector["identity_public"]));
        assert_eq!(OnionAddress::new(key.public()).to_string(), text(&vector["onion"]));
        assert_eq!(key.public().blind(period), Some(public));
        assert_eq!(blinded.public(), public);
        assert_eq!(key.public().subcredential(public).0, hex32(&vector["subcredential"]));
        // Deterministic, so it also pins the secret scalar and the hash prefix.
        assert_eq!(blinded.sign(&hex(&vector["message"])).to_vec(), hex(&vector["signature_by_blinded_key"]));
    }
}

#[test]
fn key_files_of_tor_read_and_write_back() {
    for case in folders("cases") {
        let file = bytes(&format!("cases/{case}/hs_ed25519_secret_key"));
        let hostname = String::from_utf8(bytes(&format!("cases/{case}/hostname"))).expect("ASCII");
        let key = HsIdKeypair::from_tor_file(&file).expect("tor's own file");
        assert_eq!(key.to_tor_file().as_slice(), file);
        assert_eq!(hostname.trim_end().parse(), Ok(OnionAddress::new(key.public())), "{case}");
    }
}

#[test]
fn revision_counters_match() {
    let file = json("revision/vectors.json");
    for vector in list(&file["keys"]) {
        let service = &file["services"][text(&vector["service"])];
        let cipher = cipher(&identity(&service["identity_secret_expanded"]), number(&vector["time_period"]));
        for pair in list(&vector["values"]) {
            let n = number(&pair["n"]).try_into().expect("small");
            let counter = RevisionCounter(number(&pair["value"]));
            assert_eq!(cipher.counter(n), Some(counter), "n = {n}");
            assert_eq!(cipher.n_at_most(counter), n);
        }
        for refused in list(&vector["refused_n"]).iter().filter_map(|n| n.as_u64()) {
            assert_eq!(cipher.counter(refused.try_into().expect("small")), None);
        }
    }
}

#[test]
fn counters_that_tor_really_used_match() {
    let file = json("revision/vectors.json");
    for seen in list(&file["seen_in_tor"]) {
        let service = &file["services"][text(&seen["service"])];
        let cipher = cipher(&identity(&service["identity_secret_expanded"]), number(&seen["time_period"]));
        let n = number(&seen["now"]) - number(&seen["srv_run_start"]) + 1;
        assert_eq!(n, number(&seen["n"]));
        assert_eq!(cipher.counter(n.try_into().expect("small")), Some(RevisionCounter(number(&seen["value"]))));
        let slot = if text(&seen["descriptor"]) == "current" { Slot::First } else { Slot::Second };
        // Consensuses are of the beginnings of voting intervals, what tor published of any second.
        let now = number(&seen["now"]);
        let consensus = ValidAfter::from_secs(now - now % NETWORK.voting_interval_secs);
        assert_eq!(NETWORK.counter_origin(consensus, slot), number(&seen["srv_run_start"]));
        assert_eq!(NETWORK.slot_period(consensus, slot).number, number(&seen["time_period"]));
    }
}

#[test]
fn periods_and_halves_match() {
    for case in folders("cases") {
        let expected = json(&format!("cases/{case}/expected.json"));
        let period = &expected["time_period"];
        let at = ValidAfter::from_secs(number(&period["consensus_valid_after"]));
        let half = if text(&period["half"]) == "srv-to-tp" { Half::SrvToTp } else { Half::TpToSrv };
        assert_eq!(NETWORK.client_period(at).number, number(&period["client_period"]), "{case}");
        assert_eq!(NETWORK.half(at), half, "{case}");
        let numbers = [Slot::First, Slot::Second].map(|slot| NETWORK.slot_period(at, slot).number);
        assert!(numbers.contains(&number(&period["number"])), "{case}");
    }
}

fn cipher(key: &HsIdKeypair, period: u64) -> RevisionCipher {
    RevisionCipher::new(&key.blind(TimePeriod { number: period, length_minutes: 8 }))
}
