//! What a tor client or HSDir refuses is refused here by name; what they accept is accepted.
#![expect(clippy::indexing_slicing, reason = "a vector without the expected field fails its test")]

mod ctor;

use ctor::{bytes, folders, hex32, json, number, text};
use rustbalance_core::hsdesc::DescriptorError::{self, Mac, SigningCert, Syntax, TooShort};
use rustbalance_core::hsdesc::Layer::{Inner, Middle, Outer};
use rustbalance_core::hsdesc::{Descriptor, Layer, SyntaxFault, open};
use rustbalance_core::onion::cert::CertError;
use rustbalance_core::onion::key::HsId;
use rustbalance_core::onion::period::TimePeriod;
use rustbalance_core::time::Wall;

/// Refused by an HSDir only because of what it has stored, which [`open`] knows nothing of.
const STALE: [&str; 2] = ["revision-equal", "revision-lower"];

const REFUSED: [(&str, DescriptorError); 39] = [
    ("auth-client-none", syntax(Middle, 3, SyntaxFault::Missing("auth-client"))),
    ("auth-client-short", DescriptorError::AuthClient { line: 3 }),
    ("auth-type-unknown", DescriptorError::AuthType { line: 1 }),
    ("base64-garbage-cert", syntax(Outer, 4, SyntaxFault::Base64)),
    ("base64-garbage-signature", DescriptorError::Signature),
    ("base64-garbage-superencrypted", syntax(Outer, 11, SyntaxFault::Base64)),
    ("body-flipped", DescriptorError::Signature),
    ("create2-not-ntor", DescriptorError::NoNtor { line: 1 }),
    ("flow-control-bad", DescriptorError::FlowControl { line: 2 }),
    ("inner-mac-flipped", Mac(Inner)),
    ("intro-21", DescriptorError::TooManyPoints(21)),
    ("intro-auth-unknown", DescriptorError::IntroAuth { line: 2 }),
    ("leading-line", syntax(Outer, 2, SyntaxFault::NotFirst("hs-descriptor"))),
    ("lifetime--1", DescriptorError::Lifetime { line: 2 }),
    ("lifetime-4294967296", DescriptorError::Lifetime { line: 2 }),
    ("lifetime-721", DescriptorError::Lifetime { line: 2 }),
    ("no-create2", syntax(Inner, 1, SyntaxFault::Missing("create2-formats"))),
    ("other-identity", DescriptorError::OtherIdentity),
    ("outer-mac-flipped", Mac(Middle)),
    ("padding-nonzero", syntax(Middle, 67, SyntaxFault::ObjectLabel)),
    ("pow-v1-short", DescriptorError::PowParams { line: 2 }),
    ("revision-negative", DescriptorError::Revision { line: 9 }),
    ("revision-too-big", DescriptorError::Revision { line: 9 }),
    ("signature-flipped", DescriptorError::Signature),
    ("signature-padded", DescriptorError::SignatureLength(88)),
    ("signing-cert-bad-signature", SigningCert(CertError::Signature)),
    ("signing-cert-expired", SigningCert(CertError::Expired(1_795_442_400))),
    ("signing-cert-no-extension", SigningCert(CertError::NoSigningKey)),
    ("signing-cert-wrong-type", SigningCert(CertError::Type(9))),
    ("size-50000", DescriptorError::TooLarge(50_000)),
    ("superencrypted-48-bytes", TooShort(Middle)),
    ("superencrypted-49-bytes", Mac(Middle)),
    ("superencrypted-wrong-label", syntax(Outer, 10, SyntaxFault::NoObject("MESSAGE"))),
    ("trailing-known-line", syntax(Outer, 224, SyntaxFault::Repeated("revision-counter"))),
    ("trailing-line", syntax(Outer, 223, SyntaxFault::NotLast("signature"))),
    ("truncated-half", syntax(Outer, 114, SyntaxFault::UnterminatedObject)),
    ("truncated-no-signature", syntax(Outer, 10, SyntaxFault::Missing("signature"))),
    ("truncated-signature", DescriptorError::SignatureLength(40)),
    ("version-4", DescriptorError::Version { line: 1 }),
];

#[test]
fn every_vector_has_tors_verdict() {
    for name in folders("bad") {
        let expected = json(&format!("bad/{name}/expected.json"));
        let verdict = |judge: &str| text(&expected["verdict"][judge]).to_owned();
        let tor_accepts = verdict("client") == "accepted" || STALE.contains(&name.as_str());
        assert_eq!(open_vector(&name).is_ok(), tor_accepts, "{name}");
    }
}

#[test]
fn every_refusal_names_its_fault() {
    let mut names = Vec::new();
    for (name, error) in REFUSED {
        assert_eq!(open_vector(name), Err(error), "{name}");
        assert!(!error.to_string().is_empty());
        names.push(name);
    }
    let refused: Vec<String> = folders("bad").into_iter().filter(|name| open_vector(name).is_err()).collect();
    assert_eq!(names, refused, "a vector without an expectation");
}

#[test]
fn broken_points_are_left_out_one_by_one() {
    let counts = |name| {
        let descriptor = open_vector(name).expect("accepted");
        (descriptor.points.len(), descriptor.points_refused)
    };
    assert_eq!(counts("control-good"), (3, 0));
    assert_eq!(counts("intro-one-bad-of-3"), (2, 1));
    assert_eq!(counts("intro-certs-expired"), (0, 3));
    assert_eq!(counts("intro-0"), (0, 0));
    assert_eq!(counts("intro-20"), (20, 0));
}

#[test]
fn unknown_header_lines_are_kept_and_proof_of_work_is_not() {
    let header = |name| open_vector(name).expect("accepted").header.0;
    assert_eq!(header("inner-unknown-lines"), ["create2-formats 2", "x-future 1 2 3", "flow-control 1-2 31"]);
    assert_eq!(header("pow-unknown-type"), ["create2-formats 2"]);
    assert_eq!(header("pow-v1-expired"), ["create2-formats 2"]);
}

const fn syntax(layer: Layer, line: usize, fault: SyntaxFault) -> DescriptorError {
    Syntax { layer, line, fault }
}

fn open_vector(name: &str) -> Result<Descriptor, DescriptorError> {
    let expected = json(&format!("bad/{name}/expected.json"));
    let length_minutes = number(&expected["time_period_minutes"]).try_into().expect("minutes");
    let period = TimePeriod { number: number(&expected["time_period"]), length_minutes };
    let id = HsId(hex32(&expected["identity_public"]));
    let now = Wall::from_secs(number(&expected["made_at"]));
    open(&bytes(&format!("bad/{name}/descriptor.txt")), id, &[period], None, now)
}
