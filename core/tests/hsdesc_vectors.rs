//! Descriptors that C tor made open to exactly what C tor put in.
#![expect(clippy::indexing_slicing, reason = "a vector without the expected field fails its test")]

mod ctor;

use ctor::{bytes, folders, hex, hex32, json, list, number, text};
use rustbalance_core::hsdesc::{Descriptor, DescriptorError, DescriptorFault, IntroPoint, Layer, open, peek_revision};
use rustbalance_core::onion::client::HsClientDescEncKeypair;
use rustbalance_core::onion::key::HsId;
use rustbalance_core::onion::period::TimePeriod;
use rustbalance_core::onion::revision::RevisionCounter;
use rustbalance_core::time::Wall;
use serde_json::Value;

/// One folder of `cases`.
struct Case {
    name: String,
    descriptor: Vec<u8>,
    expected: Value,
}

impl Case {
    fn all() -> Vec<Self> {
        folders("cases").into_iter().map(Self::named).collect()
    }

    fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        let descriptor = bytes(&format!("cases/{name}/descriptor.txt"));
        let expected = json(&format!("cases/{name}/expected.json"));
        Self { name, descriptor, expected }
    }

    fn open_with(&self, client: Option<&HsClientDescEncKeypair>) -> Result<Descriptor, DescriptorError> {
        let id = HsId(hex32(&self.expected["identity_public"]));
        let number = number(&self.expected["time_period"]["client_period"]);
        let periods = [number - 1, number, number + 1].map(|number| TimePeriod { number, length_minutes: 8 });
        let now = Wall::from_secs(ctor::number(&self.expected["captured_at"]));
        open(&self.descriptor, id, &periods, client, now)
    }

    fn clients(&self) -> Vec<HsClientDescEncKeypair> {
        let clients = self.expected["client_auth"].as_array().into_iter().flatten();
        clients.map(|client| HsClientDescEncKeypair::from_bytes(&hex32(&client["secret"]))).collect()
    }

    fn points(&self) -> Vec<IntroPoint> {
        let point = |point: &Value| IntroPoint {
            link_specifiers: hex(&point["link_specifiers_raw"]),
            onion_key: hex32(&point["onion_key"]),
            auth_key: hex32(&point["auth_key"]),
            enc_key: hex32(&point["enc_key"]),
        };
        list(&self.expected["intro_points"]).iter().map(point).collect()
    }
}

#[test]
fn every_case_opens_to_what_tor_put_in() {
    for case in Case::all() {
        let descriptor =
            case.open_with(case.clients().first()).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(descriptor.revision.0, number(&case.expected["revision_counter"]), "{}", case.name);
        assert_eq!(descriptor.period.number, number(&case.expected["time_period"]["number"]), "{}", case.name);
        assert_eq!(descriptor.points, case.points(), "{}", case.name);
        assert_eq!(descriptor.refused, [], "{}", case.name);
        let lines = list(&case.expected["inner"]["header"]["lines"]).iter().map(text);
        let header: Vec<&str> = lines.filter(|line| !line.starts_with("pow-params")).collect();
        assert_eq!(descriptor.header.0, header, "{}", case.name);
        assert_eq!(descriptor.pow.is_some(), case.name == "pow-on", "{}", case.name);
    }
}

#[test]
fn the_relay_of_each_point_is_its_legacy_identity() {
    for case in Case::all() {
        for (point, expected) in case.points().iter().zip(list(&case.expected["intro_points"])) {
            let specifiers = list(&expected["link_specifiers"]);
            let identity =
                specifiers.iter().find(|specifier| number(&specifier["type"]) == 2).expect("legacy identity");
            assert_eq!(point.relay().map(|relay| relay.0.to_vec()), Some(hex(&identity["raw"])));
            assert!(point.has_sound_keys());
        }
    }
}

#[test]
fn every_authorised_client_can_open_and_nobody_else() {
    let (mut authorised, stranger) = (0, HsClientDescEncKeypair::from_bytes(&[0x42; 32]));
    for case in Case::all().into_iter().filter(|case| !case.clients().is_empty()) {
        for client in case.clients() {
            assert_eq!(case.open_with(Some(&client)).expect("authorised").points, case.points(), "{}", case.name);
            authorised += 1;
        }
        for refused in [None, Some(&stranger)] {
            let refusal = case.open_with(refused).map_err(|error| (error.layer, error.fault));
            assert_eq!(refusal, Err((Layer::Middle, DescriptorFault::Mac)), "{}", case.name);
        }
    }
    assert!(authorised >= 4, "the vectors have cases with two clients");
}

#[test]
fn a_client_key_does_no_harm_where_none_is_needed() {
    let case = Case::named("plain-3ip");
    assert_eq!(case.open_with(Some(&HsClientDescEncKeypair::from_bytes(&[0x42; 32]))), case.open_with(None));
}

#[test]
fn the_revision_counter_is_read_without_opening() {
    for case in Case::all() {
        let counter = RevisionCounter(number(&case.expected["revision_counter"]));
        assert_eq!(peek_revision(&case.descriptor), Some(counter), "{}", case.name);
    }
    assert_eq!(peek_revision(b""), None);
    assert_eq!(peek_revision(b"hs-descriptor 3\nsuperencrypted\nrevision-counter 5\n"), None);
    assert_eq!(peek_revision(b"revision-counter -1\n"), None);
}

#[test]
fn only_the_offered_periods_are_opened() {
    let case = Case::named("plain-3ip");
    let id = HsId(hex32(&case.expected["identity_public"]));
    let now = Wall::from_secs(number(&case.expected["captured_at"]));
    let other = Err(DescriptorError { layer: Layer::Outer, line: 3, fault: DescriptorFault::OtherIdentity });
    assert_eq!(open(&case.descriptor, id, &[], None, now), other);
    let same_number = TimePeriod { number: number(&case.expected["time_period"]["number"]), length_minutes: 1440 };
    assert_eq!(open(&case.descriptor, id, &[same_number], None, now), other);
}
