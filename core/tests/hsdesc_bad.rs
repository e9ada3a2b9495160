//! What a tor client or HSDir refuses is refused here by name; what they accept is accepted.
#![expect(clippy::indexing_slicing, reason = "a vector without the expected field fails its test")]

mod ctor;

use ctor::{bytes, folders, hex32, json, number, text};
use rustbalance_core::hsdesc::DescriptorFault::{self, Mac, SigningCert, Syntax, TooShort};
use rustbalance_core::hsdesc::Layer::{Inner, Middle, Outer};
use rustbalance_core::hsdesc::{Descriptor, DescriptorError, Layer, SyntaxFault, open};
use rustbalance_core::onion::cert::CertError;
use rustbalance_core::onion::key::HsId;
use rustbalance_core::onion::period::TimePeriod;
use rustbalance_core::time::Wall;

/// Refused by an HSDir only because of what it has stored, which [`open`] knows nothing of.
const STALE: [&str; 2] = ["revision-equal", "revision-lower"];

const REFUSED: [(&str, Layer, usize, DescriptorFault); 39] = [
    ("auth-client-none", Middle, 3, Syntax(SyntaxFault::Missing("auth-client"))),
    ("auth-client-short", Middle, 3, DescriptorFault::AuthClient),
    ("auth-type-unknown", Middle, 1, DescriptorFault::AuthType),
    ("base64-garbage-cert", Outer, 5, Syntax(SyntaxFault::Base64)),
    ("base64-garbage-signature", Outer, 223, DescriptorFault::Signature),
    ("base64-garbage-superencrypted", Outer, 12, Syntax(SyntaxFault::Base64)),
    ("body-flipped", Outer, 223, DescriptorFault::Signature),
    ("create2-not-ntor", Inner, 1, DescriptorFault::NoNtor),
    ("flow-control-bad", Inner, 2, DescriptorFault::FlowControl),
    ("inner-mac-flipped", Middle, 19, Mac),
    ("intro-21", Inner, 303, DescriptorFault::TooManyPoints(21)),
    ("intro-auth-unknown", Inner, 2, DescriptorFault::IntroAuth),
    ("leading-line", Outer, 2, Syntax(SyntaxFault::NotFirst("hs-descriptor"))),
    ("lifetime--1", Outer, 2, DescriptorFault::Lifetime),
    ("lifetime-4294967296", Outer, 2, DescriptorFault::Lifetime),
    ("lifetime-721", Outer, 2, DescriptorFault::Lifetime),
    ("no-create2", Inner, 1, Syntax(SyntaxFault::Missing("create2-formats"))),
    ("other-identity", Outer, 3, DescriptorFault::OtherIdentity),
    ("outer-mac-flipped", Outer, 10, Mac),
    ("padding-nonzero", Middle, 67, Syntax(SyntaxFault::ObjectLabel)),
    ("pow-v1-short", Inner, 2, DescriptorFault::PowParams),
    ("revision-negative", Outer, 9, DescriptorFault::Revision),
    ("revision-too-big", Outer, 9, DescriptorFault::Revision),
    ("signature-flipped", Outer, 223, DescriptorFault::Signature),
    ("signature-padded", Outer, 223, DescriptorFault::SignatureLength(88)),
    ("signing-cert-bad-signature", Outer, 3, SigningCert(CertError::Signature)),
    ("signing-cert-expired", Outer, 3, SigningCert(CertError::Expired(1_795_442_400))),
    ("signing-cert-no-extension", Outer, 3, SigningCert(CertError::NoSigningKey)),
    ("signing-cert-wrong-type", Outer, 3, SigningCert(CertError::Type(9))),
    ("size-50000", Outer, 224, DescriptorFault::TooLarge(50_000)),
    ("superencrypted-48-bytes", Outer, 10, TooShort),
    ("superencrypted-49-bytes", Outer, 10, Mac),
    ("superencrypted-wrong-label", Outer, 10, Syntax(SyntaxFault::NoObject("MESSAGE"))),
    ("trailing-known-line", Outer, 224, Syntax(SyntaxFault::Repeated("revision-counter"))),
    ("trailing-line", Outer, 223, Syntax(SyntaxFault::NotLast("signature"))),
    ("truncated-half", Outer, 114, Syntax(SyntaxFault::UnterminatedObject)),
    ("truncated-no-signature", Outer, 10, Syntax(SyntaxFault::Missing("signature"))),
    ("truncated-signature", Outer, 223, DescriptorFault::SignatureLength(40)),
    ("version-4", Outer, 1, DescriptorFault::Version),
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
    for (name, layer, line, fault) in REFUSED {
        let error = DescriptorError { layer, line, fault };
        assert_eq!(open_vector(name), Err(error), "{name}");
        assert!(error.to_string().starts_with(&format!("{layer}, line {line}: ")), "{error}");
        names.push(name);
    }
    let refused: Vec<String> = folders("bad").into_iter().filter(|name| open_vector(name).is_err()).collect();
    assert_eq!(names, refused, "a vector without an expectation");
}

#[test]
fn broken_points_are_left_out_one_by_one() {
    let counts = |name| {
        let descriptor = open_vector(name).expect("accepted");
        (descriptor.points.len(), descriptor.refused.len())
    };
    assert_eq!(counts("control-good"), (3, 0));
    assert_eq!(counts("intro-one-bad-of-3"), (2, 1));
    assert_eq!(counts("intro-certs-expired"), (0, 3));
    assert_eq!(counts("intro-0"), (0, 0));
    assert_eq!(counts("intro-20"), (20, 0));
}

#[test]
fn unknown_header_lines_are_kept_and_proof_of_work_stands_apart() {
    let header = |name| open_vector(name).expect("accepted").header.0;
    assert_eq!(header("inner-unknown-lines"), ["create2-formats 2", "x-future 1 2 3", "flow-control 1-2 31"]);
    assert_eq!(header("pow-unknown-type"), ["create2-formats 2"]);
    assert_eq!(header("pow-v1-expired"), ["create2-formats 2"]);
    let pow = |name| open_vector(name).expect("accepted").pow.map(|params| params.effort);
    assert_eq!((pow("pow-unknown-type"), pow("pow-v1-expired").is_some()), (None, true));
}

fn open_vector(name: &str) -> Result<Descriptor, DescriptorError> {
    let expected = json(&format!("bad/{name}/expected.json"));
    let length_minutes = number(&expected["time_period_minutes"]).try_into().expect("minutes");
    let period = TimePeriod { number: number(&expected["time_period"]), length_minutes };
    let id = HsId(hex32(&expected["identity_public"]));
    let now = Wall::from_secs(number(&expected["made_at"]));
    open(&bytes(&format!("bad/{name}/descriptor.txt")), id, &[period], None, now)
}
