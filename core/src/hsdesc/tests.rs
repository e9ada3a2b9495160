//! What we build has C tor's layout, token by token.

mod bad;
mod lasting;
mod points;

use super::outer::CERT_LABEL;
use super::*;
use crate::onion::key::HsIdKeypair;
use crate::rng::Seed;
use serde_json::Value;

/// The open layers of one descriptor.
struct Text {
    outer: String,
    middle: String,
    middle_padded_length: usize,
    inner: String,
}

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/ctor/cases");

fn vector(relative: &str) -> Vec<u8> {
    std::fs::read(format!("{CASES}/{relative}")).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

/// Every folder there is, so that none can be forgotten.
fn cases() -> Vec<String> {
    let folders = std::fs::read_dir(CASES).expect("cases");
    let cases: Vec<_> =
        folders.map(|folder| folder.expect("a folder").file_name().into_string().expect("ASCII")).collect();
    assert!(cases.len() >= 11, "{cases:?}");
    cases
}

fn open_layers(
    outer: String,
    key: &HsIdKeypair,
    period: TimePeriod,
    client: Option<&HsClientDescEncKeypair>,
    now: Wall,
) -> Text {
    let blind = key.blind(period).public();
    let subcredential = key.public().subcredential(blind);
    let verified = UnverifiedOuter::parse(&outer).expect("outer").verify(blind, now, &mut Client).expect("verified");
    let layers = Layers { blind, subcredential, revision: verified.revision };
    let middle_padded_length = layers.middle().decrypt(&verified.superencrypted).expect("decrypts").len();
    let text = |cipher: &LayerCipher<'_>, blob: &[u8]| {
        let plaintext = cipher.decrypt(blob).expect("decrypts");
        String::from_utf8(until_nul(&plaintext).to_vec()).expect("text")
    };
    let middle = text(&layers.middle(), &verified.superencrypted);
    let parsed = Middle::parse(&middle).expect("middle");
    let cookie = client.and_then(|secret| cookie_for(&parsed, secret, subcredential));
    let inner = text(&layers.inner(cookie.as_ref()), &parsed.encrypted);
    Text { outer, middle, middle_padded_length, inner }
}

fn expected(case: &str) -> Value {
    serde_json::from_slice(&vector(&format!("{case}/expected.json"))).expect("JSON")
}

/// The keys of a case's clients, if it has any.
fn secrets(expected: &Value) -> Vec<HsClientDescEncKeypair> {
    let clients = expected["client_auth"].as_array().into_iter().flatten();
    clients.map(|client| HsClientDescEncKeypair::from_bytes(&hex32(&client["secret"]))).collect()
}

/// Service, period and time of a case.
fn place(case: &str, expected: &Value) -> (HsIdKeypair, TimePeriod, Wall) {
    let key = HsIdKeypair::from_tor_file(&vector(&format!("{case}/hs_ed25519_secret_key"))).expect("key");
    let number = expected["time_period"]["number"].as_u64().expect("number");
    let now = Wall::from_secs(expected["captured_at"].as_u64().expect("time"));
    (key, TimePeriod { number, length_minutes: 8 }, now)
}

/// Tor's descriptor of a case, and ours of the same content.
fn both(case: &str) -> (Text, Text) {
    let expected = expected(case);
    let (key, period, now) = place(case, &expected);
    let secrets = secrets(&expected);

    let theirs = vector(&format!("{case}/descriptor.txt"));
    let content = open(&theirs, key.public(), &[period], secrets.first(), now).expect("tor's own");
    let theirs = open_layers(String::from_utf8(theirs).expect("ASCII"), &key, period, secrets.first(), now);

    let mut rng = Seed::new([1; 32]).fork("layout");
    let blind = key.blind(period);
    let mut signing_keys = SigningKeys::new(&blind, &mut rng, now);
    let ours = Content {
        blind: &blind,
        subcredential: key.public().subcredential(blind.public()),
        revision: content.revision,
        header: &content.header,
        pow: content.pow.as_ref(),
        points: &content.points,
        clients: &secrets.iter().map(HsClientDescEncKeypair::public).collect::<Vec<_>>(),
        now,
    };
    let ours = build(&mut signing_keys, &ours, &mut rng).expect("builds");
    assert_eq!(ours.len() as u64, expected["size"].as_u64().expect("size"), "{case}");
    let ours = open_layers(ours, &key, period, secrets.first(), now);
    assert_eq!(ours.middle_padded_length as u64, expected["middle"]["padded_length"].as_u64().expect("length"));
    (theirs, ours)
}

fn hex32(value: &Value) -> [u8; 32] {
    let digits = value.as_str().expect("hex").as_bytes();
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    digits.chunks(2).map(byte).collect::<Vec<_>>().try_into().expect("32 bytes")
}

/// The same keywords in the same order, lines and arguments of the same length, objects of the same shape.
fn assert_same_layout(theirs: &str, ours: &str) {
    assert_eq!(theirs.lines().count(), ours.lines().count());
    assert_eq!(theirs.ends_with('\n'), ours.ends_with('\n'));
    let mut in_object = false;
    for (number, (theirs, ours)) in theirs.lines().zip(ours.lines()).enumerate() {
        in_object = (in_object || theirs.starts_with("-----BEGIN")) && !theirs.starts_with("-----END");
        if in_object && !theirs.starts_with('-') {
            assert_eq!(shape(theirs), shape(ours), "line {}", number + 1);
        } else {
            assert_eq!(theirs.split(' ').next(), ours.split(' ').next(), "line {}", number + 1);
            assert!(theirs.split(' ').map(shape).eq(ours.split(' ').map(shape)), "line {}", number + 1);
        }
    }
}

/// Length and padding.
fn shape(word: &str) -> (usize, usize) {
    (word.len(), word.chars().rev().take_while(|letter| *letter == '=').count())
}

#[test]
fn every_layer_has_tors_layout() {
    for case in cases() {
        let (theirs, ours) = both(&case);
        assert_same_layout(&theirs.outer, &ours.outer);
        assert_same_layout(&theirs.middle, &ours.middle);
        assert_same_layout(&theirs.inner, &ours.inner);
        assert_eq!(theirs.middle_padded_length, ours.middle_padded_length, "{case}");
    }
}

/// The certificates of a layer, in order.
fn certs(text: &str) -> Vec<Vec<u8>> {
    let items = netdoc::parse(text).expect("lines");
    items.iter().filter_map(|item| item.object(CERT_LABEL).ok()).map(<[u8]>::to_vec).collect()
}

#[test]
fn whatever_does_not_depend_on_the_signing_key_is_equal() {
    for case in cases() {
        let (theirs, ours) = both(&case);
        for (theirs, ours) in theirs.inner.lines().zip(ours.inner.lines()).filter(|(theirs, _)| theirs.contains(' ')) {
            assert_eq!(theirs, ours, "{case}");
        }
        // Version, type, expiration, the certified key; then comes the key that signed it.
        let (their_certs, our_certs) = (certs(&theirs.inner), certs(&ours.inner));
        let start = |certs: &[Vec<u8>]| certs.iter().map(|cert| cert[..44].to_vec()).collect::<Vec<_>>();
        assert_eq!(start(&their_certs), start(&our_certs), "{case}");
        assert_eq!(their_certs.len(), 2 * expected(&case)["intro_points"].as_array().map_or(0, Vec::len), "{case}");

        let start = |text: &str| text.lines().take(4).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(start(&theirs.outer), start(&ours.outer), "{case}: version and lifetime");
        let counter = |text: &str| text.lines().find(|line| line.starts_with("revision-counter ")).map(str::to_owned);
        assert_eq!(counter(&theirs.outer), counter(&ours.outer), "{case}");
        // All but the signing key and the signature: type, expiration, and the blinded key.
        let only = |text: &str| <[Vec<u8>; 1]>::try_from(certs(text)).expect("one certificate");
        let ([their_cert], [our_cert]) = (only(&theirs.outer), only(&ours.outer));
        assert_eq!((&their_cert[..7], &their_cert[39..76]), (&our_cert[..7], &our_cert[39..76]), "{case}");
    }
}

#[test]
fn certificates_are_reused_within_the_hour_and_renewed_after() {
    let key = HsIdKeypair::generate(&mut Seed::new([2; 32]).fork("identity"));
    let mut rng = Seed::new([3; 32]).fork("signing");
    let start = Wall::from_secs(1_795_446_825 / 3600 * 3600);
    let later = |secs| Wall::from_secs(start.as_secs() + secs);
    let period = TimePeriod { number: 20_780, length_minutes: 1440 };
    let mut keys = SigningKeys::new(&key.blind(period), &mut rng, start);

    let descriptor = vector("plain-3ip/inner.txt");
    let text = String::from_utf8(descriptor).expect("ASCII");
    let line = text.lines().find(|line| line.starts_with("introduction-point")).expect("a point");
    let x25519 = ed25519_dalek::SigningKey::from_bytes(&[4; 32]).verifying_key().to_montgomery().0;
    let point = IntroPoint {
        link_specifiers: netdoc::decode_base64_vec(line.split(' ').nth(1).expect("argument")).expect("base64"),
        onion_key: x25519,
        auth_key: ed25519_dalek::SigningKey::from_bytes(&[5; 32]).verifying_key().to_bytes(),
        enc_key: x25519,
    };
    let mut certify = |now| keys.certify(std::slice::from_ref(&point), now).expect("sound").concat();
    let first = certify(start);
    assert_eq!(certify(later(3599)), first);
    assert_ne!(certify(later(3600)), first);
}
