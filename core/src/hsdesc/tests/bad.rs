//! Bad input beyond tor's own vectors (`tests/hsdesc_bad.rs`): what tor's `hs_descriptor.c` refuses has its name and line
//! here, what it accepts is accepted.

use std::cell::Cell;

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::{Signature, SigningKey, Verifier as _, VerifyingKey};

use super::super::exercise::Sealer;
use super::super::*;
use super::{cases, expected, place, secrets, vector};
use crate::onion::cert::{self, CertError, CertType, ExpirationHours};

const REVISION: RevisionCounter = RevisionCounter(77);

/// Every header line that may stand there once.
const HEADER: [&str; 5] = [
    "create2-formats 2",
    "intro-auth-required ed25519",
    "single-onion-service",
    "flow-control 1-2 31",
    "pow-params v1 +Hj4mqpeqs25GDuIUhXfCMkzZTpt5IfmEv/zGuKvAQA= 30 2026-11-23T16:53:32",
];

fn point(relay: u8) -> IntroPoint {
    let key = SigningKey::from_bytes(&[relay; 32]).verifying_key();
    let x25519 = key.to_montgomery().0;
    let link_specifiers = [&[1, 2, 20][..], &[relay; 20]].concat();
    IntroPoint { link_specifiers, onion_key: x25519, auth_key: key.to_bytes(), enc_key: x25519 }
}

/// An inner layer with all that it may have, and two points.
fn inner_text(sealer: &mut Sealer) -> String {
    let header = InnerHeader(HEADER.map(str::to_owned).to_vec());
    sealer.inner(&header, &[point(1), point(2)]).expect("sound points")
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(until_nul(bytes).to_vec()).expect("text")
}

/// `text` with the first `keyword` line and its object there twice, and the number of the second's line.
fn twice(text: &str, keyword: &str) -> (String, usize) {
    let items = netdoc::parse(text).expect("lines");
    let item = items.iter().find(|item| item.keyword == keyword).unwrap_or_else(|| panic!("no {keyword}"));
    (text.replacen(item.text, &format!("{0}\n{0}", item.text), 1), item.line + item.text.lines().count())
}

/// `text` with the `keyword` line's first argument replaced.
fn with_argument(text: &str, keyword: &str, argument: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(keyword)).expect("the line");
    text.replacen(line, &format!("{keyword} {argument}"), 1)
}

#[test]
fn a_line_that_stands_there_twice_is_refused_where_it_stands_again() {
    let mut sealer = Sealer::default();
    let inner = inner_text(&mut sealer);
    let middle = text_of(&sealer.middle(inner.as_bytes()));
    let outer = sealer.with_middle(middle.as_bytes());
    assert!(sealer.open(outer.as_bytes()).is_ok_and(|descriptor| descriptor.points.len() == 2));
    let refused = |text: String, layer, line, fault| {
        let error = DescriptorError { layer, line, fault };
        assert_eq!(sealer.open(text.as_bytes()), Err(error));
        sealer.exercise(text.as_bytes());
    };
    let repeated = |keyword| DescriptorFault::Syntax(SyntaxFault::Repeated(keyword));

    let unsigned = outer.split_inclusive('\n').filter(|line| !line.starts_with("signature ")).collect::<String>();
    for keyword in
        ["hs-descriptor", "descriptor-lifetime", "descriptor-signing-key-cert", "revision-counter", "superencrypted"]
    {
        let (text, line) = twice(&unsigned, keyword);
        refused(text_of(&sealer.signed(text.as_bytes())), Layer::Outer, line, repeated(keyword));
    }
    let (text, line) = twice(&outer, "signature");
    refused(text, Layer::Outer, line, repeated("signature"));
    for keyword in ["desc-auth-type", "desc-auth-ephemeral-key", "encrypted"] {
        let (text, line) = twice(&middle, keyword);
        refused(sealer.with_middle(text.as_bytes()), Layer::Middle, line, repeated(keyword));
    }
    for keyword in ["create2-formats", "intro-auth-required", "single-onion-service", "flow-control"] {
        let (text, line) = twice(&inner, keyword);
        refused(sealer.with_inner(text.as_bytes()), Layer::Inner, line, repeated(keyword));
    }
    let (text, line) = twice(&inner, "pow-params");
    refused(sealer.with_inner(text.as_bytes()), Layer::Inner, line, DescriptorFault::PowParams);
    for keyword in ["auth-key", "enc-key", "enc-key-cert"] {
        let (text, line) = twice(&inner, keyword);
        let descriptor = sealer.open(sealer.with_inner(text.as_bytes()).as_bytes()).expect("the other point is good");
        let fault = PointFault::Syntax(SyntaxFault::Repeated(keyword));
        assert_eq!((descriptor.points, descriptor.refused), (vec![point(2)], vec![PointError { line, fault }]));
    }
}

#[test]
fn create2_formats_are_numbers_with_single_spaces_between_them() {
    let sealer = Sealer::default();
    for (formats, is_taken) in [
        ("2", true),
        ("2 3", true),
        ("3 \t2", true),
        ("junk +02", true),
        ("3", false),
        ("2\t3", false),
        ("2\x0c3", false),
        ("2\r", false),
    ] {
        let text = sealer.with_inner(format!("create2-formats {formats}\n").as_bytes());
        let error = DescriptorError { layer: Layer::Inner, line: 1, fault: DescriptorFault::NoNtor };
        assert_eq!(sealer.open(text.as_bytes()).err(), (!is_taken).then_some(error), "{formats:?}");
    }
}

#[test]
fn header_lines_among_the_points_count_like_others() {
    let mut sealer = Sealer::default();
    let inner = inner_text(&mut sealer);
    let header = inner.lines().position(|line| line.starts_with("introduction-point")).expect("a point");
    let without: String = inner.split_inclusive('\n').filter(|line| !line.starts_with("flow-control")).collect();
    let line = inner.lines().count() + 1;
    for (text, added, expected) in [
        (&inner, "flow-control 1-2 31", Err((line, DescriptorFault::Syntax(SyntaxFault::Repeated("flow-control"))))),
        (&without, "flow-control 1-2 0", Err((line - 1, DescriptorFault::FlowControl))),
        (&without, "flow-control 1-2 31", Ok((2, header - 2))),
    ] {
        let opened = sealer.open(sealer.with_inner(format!("{text}{added}\n").as_bytes()).as_bytes());
        let found = opened.map(|descriptor| (descriptor.points.len(), descriptor.header.0.len()));
        assert_eq!(found.map_err(|error| (error.line, error.fault)), expected, "{added}");
    }
}

#[test]
fn a_signature_and_points_begin_where_tor_looks_for_them() {
    let mut sealer = Sealer::default();
    let inner = inner_text(&mut sealer);
    let outer = sealer.with_inner(inner.as_bytes());
    for instead in ["signature\t", " signature "] {
        let text = outer.replace("\nsignature ", &format!("\n{instead}"));
        let (layer, line) = (Layer::Outer, text.lines().count());
        let error = DescriptorError { layer, line, fault: DescriptorFault::Signature };
        assert_eq!(sealer.open(text.as_bytes()), Err(error), "{instead:?}");
    }
    let second = inner.rfind("introduction-point ").expect("a point");
    for instead in ["introduction-point\n", "introduction-point\t", " introduction-point "] {
        let (before, after) = inner.split_at(second);
        let text = format!("{before}{}", after.replacen("introduction-point ", instead, 1));
        let line = before.lines().count() + 1;
        let descriptor = sealer.open(sealer.with_inner(text.as_bytes()).as_bytes()).expect("all is the first point's");
        let fault = PointFault::Syntax(SyntaxFault::Repeated("introduction-point"));
        assert_eq!((descriptor.points, descriptor.refused), (vec![], vec![PointError { line, fault }]), "{instead:?}");
    }
}

#[test]
fn an_ephemeral_key_of_low_order_is_refused_by_who_reads_as_a_client_alone() {
    let mut sealer = Sealer::default();
    let inner = inner_text(&mut sealer);
    let middle = text_of(&sealer.middle(inner.as_bytes()));
    let client = HsClientDescEncKeypair::from_bytes(&[9; 32]);
    let minus_one =
        *b"\xEC\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\
                       \xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F";
    let of_order_8 = EIGHT_TORSION[1].to_montgomery().0;
    for key in [[0; 32], core::array::from_fn(|at| u8::from(at == 0)), minus_one, of_order_8] {
        let base64 = base64::Engine::encode(&*netdoc::BASE64_PADDED, key);
        let text = sealer.with_middle(with_argument(&middle, "desc-auth-ephemeral-key", &base64).as_bytes());
        assert!(sealer.open(text.as_bytes()).is_ok_and(|descriptor| descriptor.points.len() == 2));
        let (id, periods) = (sealer.master().public(), [sealer.period()]);
        let error = DescriptorError { layer: Layer::Middle, line: 2, fault: DescriptorFault::LowOrderEphemeralKey };
        assert_eq!(open(text.as_bytes(), id, &periods, Some(&client), sealer.now()), Err(error));
        let shown = examine(text.as_bytes(), id, &periods, Some(&client), sealer.now());
        assert_eq!((shown.complete, shown.faults.len()), (true, 1), "who examines it reads on");
    }
}

/// A descriptor without points whose signing key, certificate and signature are whatever is wanted.
fn forged(sealer: &Sealer, key: &[u8; 32], expires: ExpirationHours, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> String {
    let blind = sealer.master().blind(sealer.period());
    let cert = cert::build(CertType::DescSigning, key, expires, &blind.public().0, |body| blind.sign(body));
    let subcredential = sealer.master().public().subcredential(blind.public());
    let layers = Layers { blind: blind.public(), subcredential, revision: REVISION };
    let middle = text_of(&sealer.middle(b""));
    let encrypted = layers.inner(None).encrypt([8; 16], b"create2-formats 2\n");
    let mut middle = Middle::parse(&middle).expect("our own");
    middle.encrypted = encrypted;
    let superencrypted = layers.middle().encrypt([7; 16], &middle.encode());
    let (text, _) = outer::unsigned(&cert, REVISION, &superencrypted);
    let signature = sign(&outer::signed_bytes(text.as_bytes()));
    format!("{text}signature {}\n", base64::Engine::encode(&netdoc::BASE64_UNPADDED, signature))
}

fn fresh(sealer: &Sealer) -> ExpirationHours {
    ExpirationHours::rounded_up(sealer.now(), 54)
}

/// The error for the last line of `text`, the signature.
fn bad_signature(text: &str) -> DescriptorError {
    DescriptorError { layer: Layer::Outer, line: text.lines().count(), fault: DescriptorFault::Signature }
}

#[test]
fn a_signing_key_that_is_no_point_has_signed_nothing() {
    let sealer = Sealer::default();
    let no_points = (0..=255).map(|low| [[low; 1].as_slice(), &[0x33; 31]].concat().try_into().expect("32 bytes"));
    let no_points: Vec<[u8; 32]> = no_points.filter(|key| VerifyingKey::from_bytes(key).is_err()).take(8).collect();
    assert_eq!(no_points.len(), 8);
    for key in no_points {
        let text = forged(&sealer, &key, fresh(&sealer), |_| [0; 64]);
        assert_eq!(sealer.open(text.as_bytes()), Err(bad_signature(&text)));
        sealer.exercise(text.as_bytes());
    }
}

/// Tor checks `R = s B - h A` whatever the order of `A`. With `R = s B` that holds where `h A` is neutral, as it is once
/// in so many times as is the order.
#[test]
fn a_signing_key_of_low_order_is_judged_by_tors_equation_alone() {
    let sealer = Sealer::default();
    let not_reduced: [u8; 32] =
        core::array::from_fn(|at| [0xEE, 0xFF, 0x7F][usize::from(at > 0) + usize::from(at > 30)]);
    let keys = [0, 4, 2, 1].map(|index| EIGHT_TORSION[index].compress().to_bytes());
    for key in keys.into_iter().chain([not_reduced]) {
        let mut accepted = 0;
        for s in 1..=48_u64 {
            let (s, holds) = (Scalar::from(s), Cell::new(false));
            let text = forged(&sealer, &key, fresh(&sealer), |message| {
                let r = EdwardsPoint::mul_base(&s).compress().to_bytes();
                let signature = Signature::from_components(r, s.to_bytes());
                holds.set(VerifyingKey::from_bytes(&key).expect("a point").verify(message, &signature).is_ok());
                signature.to_bytes()
            });
            let opened = sealer.open(text.as_bytes());
            let verdict = if holds.get() { Ok(REVISION) } else { Err(bad_signature(&text)) };
            assert_eq!(opened.map(|descriptor| descriptor.revision), verdict, "{key:?}");
            accepted += u32::from(holds.get());
        }
        assert!(accepted > 0, "{key:?}");
        assert_eq!(accepted == 48, key == keys[0] || key == not_reduced, "{key:?}");
    }
}

#[test]
fn a_certificate_may_be_good_for_half_a_million_years_but_not_since_1970() {
    let sealer = Sealer::default();
    let key = SigningKey::from_bytes(&[5; 32]);
    let sign = |message: &[u8]| ed25519_dalek::Signer::sign(&key, message).to_bytes();
    let with = |hours| forged(&sealer, key.verifying_key().as_bytes(), ExpirationHours(hours), sign);
    let opened = |hours| sealer.open(with(hours).as_bytes()).map(|descriptor| descriptor.revision);
    assert_eq!(opened(u32::MAX), Ok(REVISION));
    sealer.exercise(with(u32::MAX).as_bytes());
    let fault = DescriptorFault::SigningCert(CertError::Expired(0));
    assert_eq!(opened(0), Err(DescriptorError { layer: Layer::Outer, line: 3, fault }));
}

/// One bit of every 97th byte, each of the eight in turn.
fn flipped(text: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..text.len()).step_by(97).map(|at| {
        let mut flipped = text.to_vec();
        flipped[at] ^= 1 << (at % 8);
        (at, flipped)
    })
}

#[test]
fn a_flipped_bit_is_refused_on_a_line_or_changes_nothing() {
    for case in cases() {
        let expected = expected(&case);
        let (key, period, now) = place(&case, &expected);
        let secrets = secrets(&expected);
        let opened = |text: &[u8]| open(text, key.public(), &[period], secrets.first(), now);
        let good = vector(&format!("{case}/descriptor.txt"));
        let (content, lines) = (opened(&good), text_of(&good).lines().count());
        assert!(content.is_ok(), "{case}");
        let mut refused = 0;
        for (at, text) in flipped(&good) {
            let opened = opened(&text);
            match &opened {
                Err(error) => assert!((1..=lines + 1).contains(&error.line), "{case}, byte {at}: {error}"),
                Ok(_) => assert_eq!(opened, content, "{case}, byte {at}"),
            }
            refused += usize::from(opened.is_err());
        }
        // All but the last lines is signed.
        assert!(refused >= good.len() / 97, "{case}: {refused} of {}", good.len());
    }
}

#[test]
fn a_bit_flipped_before_the_encryption_is_refused_on_a_line_of_that_layer() {
    let mut sealer = Sealer::default();
    let inner = inner_text(&mut sealer);
    let middle = text_of(&sealer.middle(inner.as_bytes()));
    for (layer, text) in [(Layer::Middle, middle), (Layer::Inner, inner)] {
        let lines = text.lines().count();
        let mut refused = 0;
        for (at, flipped) in flipped(text.as_bytes()) {
            let sealed =
                if layer == Layer::Middle { sealer.with_middle(&flipped) } else { sealer.with_inner(&flipped) };
            sealer.exercise(sealed.as_bytes());
            let places: Vec<_> = match sealer.open(sealed.as_bytes()) {
                Err(error) => vec![(error.layer, error.line)],
                Ok(descriptor) => descriptor.refused.iter().map(|error| (Layer::Inner, error.line)).collect(),
            };
            for (where_, line) in &places {
                assert_eq!(*where_, layer, "byte {at}");
                assert!((1..=lines + 1).contains(line), "byte {at}, line {line}");
            }
            refused += usize::from(!places.is_empty());
        }
        assert!(refused > 0, "{layer}");
    }
}
