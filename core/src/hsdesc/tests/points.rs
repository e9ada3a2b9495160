//! Each way in which an introduction point can be bad has its name and its line; the others stay.

use ed25519_dalek::{Signer as _, SigningKey};

use super::super::{
    Client, DescriptorFault, Inner, IntroPoint, NUM_INTRO_POINT_MAX, PointError, PointFault, SyntaxFault,
};
use crate::onion::cert::{self, CertError, CertType, ExpirationHours};
use crate::onion::signature::SharedSigner;
use crate::time::Wall;
use PointFault::{Cert, Key, LinkSpecifiers, LowOrderKey, NoNtor, NoRelay, Syntax};

const NOW: Wall = Wall::from_secs(1_795_446_825);
const EXPIRED: u64 = 1_795_446_825 / 3600 * 3600 - 3600;

/// What certifies the points.
fn signer() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

/// What is wrong with a point's certificates.
#[derive(Clone, Copy, PartialEq)]
enum Certs {
    Good,
    Expired,
    OtherSigner,
    Swapped,
}

fn point(relay: u8) -> IntroPoint {
    let key = SigningKey::from_bytes(&[relay; 32]).verifying_key();
    let x25519 = key.to_montgomery().0;
    let link_specifiers = [&[1, 2, 20][..], &[relay; 20]].concat();
    IntroPoint { link_specifiers, onion_key: x25519, auth_key: key.to_bytes(), enc_key: x25519 }
}

/// The point's fifteen lines.
fn lines(point: &IntroPoint, certs: Certs) -> String {
    let signer = if certs == Certs::OtherSigner { SigningKey::from_bytes(&[6; 32]) } else { signer() };
    let expires = ExpirationHours::rounded_down(NOW, 0);
    let expires = ExpirationHours(if certs == Certs::Expired { expires.0 - 1 } else { expires.0 + 54 });
    let certify = |kind, key: &[u8; 32]| {
        cert::build(kind, key, expires, signer.verifying_key().as_bytes(), |body| signer.sign(body).to_bytes())
    };
    let (auth, enc) = (certify(CertType::IntroAuth, &point.auth_key), certify(CertType::IntroEnc, &[9; 32]));
    if certs == Certs::Swapped { point.encode(&enc, &auth) } else { point.encode(&auth, &enc) }
}

/// The points, and those left out.
fn read(points: &str) -> (Vec<IntroPoint>, Vec<PointError>) {
    let text = format!("create2-formats 2\n{points}");
    let items = Inner::parse(&text).expect("lines");
    let inner = Inner::read(&items, &SharedSigner::new(signer().verifying_key()), NOW, &mut Client)
        .expect("not more than twenty");
    let refused = inner.points.iter().filter_map(|listed| listed.refused).collect();
    let good = inner.points.into_iter().filter(|listed| listed.refused.is_none());
    (good.filter_map(|listed| Some(listed.point?.into_point())).collect(), refused)
}

/// A good point's lines with `from` replaced by `to`, once.
fn edited(from: &str, to: &str) -> String {
    let text = lines(&point(1), Certs::Good);
    assert!(text.contains(from), "{from} in {text}");
    text.replacen(from, to, 1)
}

#[test]
fn each_fault_of_a_point_has_its_name_and_line_and_leaves_the_others() {
    let changed = |change: fn(&mut IntroPoint)| {
        let mut point = point(1);
        change(&mut point);
        lines(&point, Certs::Good)
    };
    let certs = |certs| lines(&point(1), certs);
    let auth_key = edited("", "")
        .split("enc-key ntor")
        .next()
        .and_then(|text| text.split_once("auth-key"))
        .map(|(_, text)| text.to_owned());
    let auth_key = format!("auth-key{}", auth_key.expect("an auth-key"));
    let cases = [
        ("no link specifier", changed(|point| point.link_specifiers = vec![0]), 2, NoRelay),
        ("no legacy identity", changed(|point| point.link_specifiers = vec![1, 0, 6, 1, 2, 3, 4, 5, 6]), 2, NoRelay),
        ("link specifiers cut off", changed(|point| _ = point.link_specifiers.pop()), 2, LinkSpecifiers),
        ("bytes after the last", changed(|point| point.link_specifiers.push(0)), 2, LinkSpecifiers),
        ("nothing", changed(|point| point.link_specifiers.clear()), 2, Syntax(SyntaxFault::Arguments)),
        ("zero onion key", changed(|point| point.onion_key = [0; 32]), 3, LowOrderKey("onion-key")),
        ("zero session key", changed(|point| point.auth_key = [0; 32]), 4, LowOrderKey("auth-key")),
        ("neutral session key", changed(|point| point.auth_key = one()), 4, LowOrderKey("auth-key")),
        ("zero encryption key", changed(|point| point.enc_key = [0; 32]), 10, LowOrderKey("enc-key")),
        ("encryption key of order 4", changed(|point| point.enc_key = one()), 10, LowOrderKey("enc-key")),
        ("short onion key", edited("onion-key ntor ", "onion-key ntor AAAA"), 3, Key("onion-key")),
        ("short encryption key", edited("\nenc-key ntor ", "\nenc-key ntor AAAA"), 10, Key("enc-key")),
        ("onion key of another kind", edited("onion-key ntor", "onion-key rtno"), 2, NoNtor("onion-key")),
        ("encryption key of another kind", edited("\nenc-key ntor", "\nenc-key rtno"), 10, NoNtor("enc-key")),
        ("no onion key", edited("onion-key ntor", "x-key ntor"), 2, NoNtor("onion-key")),
        ("no encryption key", edited("\nenc-key ntor", "\nx-key ntor"), 11, Syntax(SyntaxFault::Missing("enc-key"))),
        ("no certificate", edited("enc-key-cert", "x-cert"), 11, Syntax(SyntaxFault::Missing("enc-key-cert"))),
        ("session key twice", edited(&auth_key, &auth_key.repeat(2)), 10, Syntax(SyntaxFault::Repeated("auth-key"))),
        (
            "another label",
            edited("ED25519 CERT", "X").replacen("ED25519 CERT", "X", 1),
            4,
            Syntax(SyntaxFault::NoObject("ED25519 CERT")),
        ),
        ("expired", certs(Certs::Expired), 4, Cert("auth-key", CertError::Expired(EXPIRED))),
        ("by another key", certs(Certs::OtherSigner), 4, Cert("auth-key", CertError::WrongSigner)),
        ("each in the other's place", certs(Certs::Swapped), 4, Cert("auth-key", CertError::Type(0x0B))),
        ("another version", edited("-----\nAQ", "-----\nAg"), 4, Cert("auth-key", CertError::Malformed)),
        ("a flipped bit", edited("-----\nAQkAB", "-----\nAQkAA"), 4, Cert("auth-key", CertError::Signature)),
    ];
    for (what, bad, line, fault) in cases {
        let error = PointError { line, fault };
        let (good, refused) = read(&(bad + &lines(&point(2), Certs::Good)));
        assert_eq!((good, refused), (vec![point(2)], vec![error]), "{what}");
        assert!(error.to_string().starts_with(&format!("inner layer, line {line}: ")), "{error}");
    }
}

fn one() -> [u8; 32] {
    let mut one = [0; 32];
    one[0] = 1;
    one
}

#[test]
fn points_that_tor_would_keep_count_among_the_twenty() {
    let mut zero = point(1);
    zero.onion_key = [0; 32];
    let others: String = (2..=NUM_INTRO_POINT_MAX + 1).map(|relay| lines(&point(relay as u8), Certs::Good)).collect();
    let text = format!("create2-formats 2\n{}{others}", lines(&zero, Certs::Good));
    let items = Inner::parse(&text).expect("lines");
    let error = Inner::read(&items, &SharedSigner::new(signer().verifying_key()), NOW, &mut Client)
        .err()
        .expect("one too many");
    assert_eq!((error.line, error.fault), (302, DescriptorFault::TooManyPoints(21)));
    let (good, refused) = read(&(lines(&point(1), Certs::Expired) + &others));
    assert_eq!((good.len(), refused.len()), (20, 1), "tor drops an expired one before it counts");
}
