//! What is shown of a descriptor: as much as can be read, and the same faults that a client stops at.
#![expect(clippy::indexing_slicing, reason = "a vector without the expected field fails its test")]

mod ctor;

use ctor::{bytes, folders, hex32, json, number};
use rustbalance_core::hsdesc::{Examination, examine, open};
use rustbalance_core::onion::client::HsClientDescEncKeypair;
use rustbalance_core::onion::key::{HsId, HsIdKeypair};
use rustbalance_core::onion::period::TimePeriod;
use rustbalance_core::time::Wall;

/// Of a case that tor made; with its first client's key.
fn examined(case: &str) -> Examination {
    let expected = json(&format!("cases/{case}/expected.json"));
    let id = HsId(hex32(&expected["identity_public"]));
    let period = TimePeriod { number: number(&expected["time_period"]["number"]), length_minutes: 8 };
    let client = expected["client_auth"].as_array().and_then(|clients| clients.first());
    let client = client.map(|client| HsClientDescEncKeypair::from_bytes(&hex32(&client["secret"])));
    let now = Wall::from_secs(number(&expected["captured_at"]));
    examine(&bytes(&format!("cases/{case}/descriptor.txt")), id, &[period], client.as_ref(), now)
}

#[test]
fn everything_that_tor_wrote_is_shown() {
    for case in folders("cases") {
        let expected = json(&format!("cases/{case}/expected.json"));
        let mut shown = examined(&case);
        assert!(shown.is_good(), "{case}: {:?}", shown.faults);
        let key = HsIdKeypair::from_tor_file(&bytes(&format!("cases/{case}/hs_ed25519_secret_key"))).expect("key");
        shown.count_seconds(&key);
        let outer = shown.outer.expect("outer layer").content.expect("understood");
        assert_eq!((outer.lifetime_minutes, outer.revision), (180, number(&expected["revision_counter"])), "{case}");
        if let Some(n) = expected["revision_plaintext_n"].as_u64() {
            assert_eq!(outer.revision_seconds.map(u64::from), Some(n), "{case}");
        }
        let cert = outer.signing_cert.expect("certificate");
        assert_eq!((cert.certifies, cert.kind), ("descriptor signing key", 8));
        let middle = shown.middle.expect("middle layer").content.expect("understood");
        assert_eq!(middle.client_listed, expected["client_auth"].is_array(), "{case}");
        let inner = shown.inner.expect("inner layer").content.expect("understood");
        let points = expected["intro_points"].as_array().expect("points");
        assert_eq!(inner.points.len(), points.len(), "{case}");
        for (shown, point) in inner.points.iter().zip(points) {
            let hex = |field: &str| point[field].as_str().map(str::to_owned);
            assert_eq!((shown.onion_key.clone(), shown.enc_key.clone()), (hex("onion_key"), hex("enc_key")));
            assert_eq!(shown.auth_cert.as_ref().map(|cert| cert.key.clone()), hex("auth_key"));
            assert_eq!(shown.link_specifiers.len(), point["link_specifiers"].as_array().expect("list").len());
            assert!(shown.relay.is_some() && shown.refused.is_none());
        }
    }
}

#[test]
fn the_first_fault_shown_is_the_one_that_a_client_stops_at() {
    for name in folders("bad") {
        let expected = json(&format!("bad/{name}/expected.json"));
        let length_minutes = number(&expected["time_period_minutes"]).try_into().expect("minutes");
        let period = TimePeriod { number: number(&expected["time_period"]), length_minutes };
        let id = HsId(hex32(&expected["identity_public"]));
        let now = Wall::from_secs(number(&expected["made_at"]));
        let text = bytes(&format!("bad/{name}/descriptor.txt"));
        let shown = examine(&text, id, &[period], None, now);
        let first = shown.faults.first().map(|fault| (fault.layer, fault.line, fault.fault));
        let error = open(&text, id, &[period], None, now).err();
        assert_eq!(first, error.map(|error| (error.layer, error.line, error.fault)), "{name}");
        assert!(shown.outer.is_some_and(|outer| !outer.lines.is_empty() || name == "leading-line"), "{name}");
    }
}

#[test]
fn what_a_client_would_not_look_at_any_more_is_shown_nevertheless() {
    let good = examined("plain-3ip");
    let expected = json("cases/plain-3ip/expected.json");
    let id = HsId(hex32(&expected["identity_public"]));
    let period = TimePeriod { number: number(&expected["time_period"]["number"]), length_minutes: 8 };
    let late = Wall::from_secs(number(&expected["captured_at"]) + 100 * 3600);
    let mut text = bytes("cases/plain-3ip/descriptor.txt");
    let last = text.len() - 10;
    text[last] = if text[last] == b'A' { b'B' } else { b'A' };
    let shown = examine(&text, id, &[period], None, late);
    let faults: Vec<_> = shown.faults.iter().map(|fault| fault.text.as_str()).collect();
    assert!(faults[0].contains("expired at") && faults[1].contains("signature does not match"), "{faults:?}");
    assert_eq!((faults.len(), shown.complete, shown.is_good()), (2, true, false));
    let points = |shown: &Examination| shown.inner.clone().expect("inner layer").content.expect("understood").points;
    for (point, good) in points(&shown).into_iter().zip(points(&good)) {
        assert!(point.refused.is_some_and(|fault| fault.text.contains("auth-key: the certificate expired")));
        assert_eq!((point.link_specifiers, point.enc_key), (good.link_specifiers, good.enc_key));
    }
}

#[test]
fn a_fault_is_shown_with_the_byte_where_its_line_begins() {
    let text = "hs-descriptor 3\ndescriptor-lifetime 9999\n";
    let now = Wall::from_secs(0);
    let shown = examine(text.as_bytes(), HsId([0; 32]), &[], None, now);
    let fault = &shown.faults[0];
    assert_eq!((fault.line, fault.byte), (2, 16));
    assert_eq!(fault.text, "outer layer, line 2: a lifetime outside 0 to 720 minutes");
    let lines: Vec<_> = shown.outer.expect("outer layer").lines.into_iter().map(|line| line.text).collect();
    assert_eq!(lines, ["hs-descriptor 3", "descriptor-lifetime 9999"]);
}
