//! What is built opens again, for every number of points and clients; nothing panics on damaged text.

mod ctor;

use proptest::prelude::*;
use proptest::sample::Index;
use rustbalance_core::cluster::CLIENTS_MAX;
use rustbalance_core::hsdesc::{
    BuildError, Content, DESCRIPTOR_SIZE_MAX, DescriptorError, DescriptorFault, InnerHeader, IntroPoint,
    LINK_SPECIFIERS_LENGTH_MAX, Layer, PowParams, SigningKeys, build, exercise::Sealer, open, peek_revision,
};
use rustbalance_core::onion::client::{HsClientDescEncKey, HsClientDescEncKeypair};
use rustbalance_core::onion::key::{HsBlindIdKeypair, HsIdKeypair};
use rustbalance_core::onion::period::TimePeriod;
use rustbalance_core::onion::revision::RevisionCounter;
use rustbalance_core::rng::{Rng, Seed};
use rustbalance_core::time::Wall;

const NOW: Wall = Wall::from_secs(1_795_446_825);
const PERIOD: TimePeriod = TimePeriod { number: 20_780, length_minutes: 1440 };

/// One service, ready to publish.
struct Service {
    key: HsIdKeypair,
    blind: HsBlindIdKeypair,
    signing_keys: SigningKeys,
    header: InnerHeader,
    pow: Option<PowParams>,
    rng: Rng,
}

impl Service {
    fn new(seed: u8) -> Self {
        let mut rng = Seed::new([seed; 32]).fork("service");
        let key = HsIdKeypair::generate(&mut rng);
        let blind = key.blind(PERIOD);
        let signing_keys = SigningKeys::new(&blind, &mut rng, NOW);
        let header = InnerHeader(vec!["create2-formats 2".into(), "flow-control 1-2 31".into()]);
        Self { key, blind, signing_keys, header, pow: None, rng }
    }

    fn build(&mut self, points: &[IntroPoint], clients: &[HsClientDescEncKey]) -> Result<String, BuildError> {
        let content = Content {
            blind: &self.blind,
            subcredential: self.key.public().subcredential(self.blind.public()),
            revision: RevisionCounter(12_345),
            header: &self.header,
            pow: self.pow.as_ref(),
            points,
            clients,
            now: NOW,
        };
        build(&mut self.signing_keys, &content, &mut self.rng)
    }
}

/// A point on relay number `relay`.
fn point(relay: u8) -> IntroPoint {
    let ed25519 = |salt| ed25519_dalek::SigningKey::from_bytes(&[relay.wrapping_add(salt); 32]).verifying_key();
    let mut link_specifiers = vec![2, 0, 6, 127, 0, 0, 1, 1, 187, 2, 20];
    link_specifiers.extend([relay; 20]);
    IntroPoint {
        link_specifiers,
        onion_key: ed25519(1).to_montgomery().0,
        auth_key: ed25519(2).to_bytes(),
        enc_key: ed25519(3).to_montgomery().0,
    }
}

fn points(count: u8) -> Vec<IntroPoint> {
    (1..=count).map(point).collect()
}

fn client(number: u8) -> HsClientDescEncKeypair {
    HsClientDescEncKeypair::from_bytes(&[number; 32])
}

/// Pairs, and their public halves.
fn clients(count: u8) -> (Vec<HsClientDescEncKeypair>, Vec<HsClientDescEncKey>) {
    (1..=count).map(|number| (client(number), client(number).public())).unzip()
}

#[test]
fn any_number_of_points_reads_back_in_order() {
    let mut service = Service::new(1);
    for count in 1..=20 {
        let text = service.build(&points(count), &[]).expect("builds");
        let descriptor = open(text.as_bytes(), service.key.public(), &[PERIOD], None, NOW).expect("opens");
        assert_eq!(descriptor.points, points(count));
        assert_eq!(descriptor.refused, []);
        assert_eq!(descriptor.header, service.header);
        assert_eq!(descriptor.period, PERIOD);
        assert_eq!(Some(descriptor.revision), peek_revision(text.as_bytes()));
    }
}

fn place(error: DescriptorError) -> (Layer, DescriptorFault) {
    (error.layer, error.fault)
}

#[test]
fn each_of_many_clients_can_open_and_nobody_else() {
    let mut service = Service::new(2);
    for count in [1, 2, 16, 17, 128] {
        let (secrets, keys) = clients(count);
        let text = service.build(&points(20), &keys).expect("builds");
        let open_with = |client| open(text.as_bytes(), service.key.public(), &[PERIOD], client, NOW);
        for secret in &secrets {
            let descriptor = open_with(Some(secret)).expect("authorised");
            assert_eq!((descriptor.points, descriptor.restricted), (points(20), true));
        }
        assert_eq!(open_with(None).map_err(place), Err((Layer::Middle, DescriptorFault::Mac)));
        assert_eq!(open_with(Some(&client(0xEE))).map_err(place), Err((Layer::Middle, DescriptorFault::Mac)));
    }
}

#[test]
fn a_rebuild_differs_in_nothing_but_randomness() {
    let mut service = Service::new(3);
    let (first, second) =
        (service.build(&points(3), &[]).expect("builds"), service.build(&points(3), &[]).expect("builds"));
    assert_ne!(first, second);
    let cert = |text: &str| text.lines().take_while(|line| *line != "superencrypted").collect::<String>();
    assert_eq!(cert(&first), cert(&second));
    let opened = |text: &str| open(text.as_bytes(), service.key.public(), &[PERIOD], None, NOW);
    assert_eq!(opened(&first), opened(&second));
}

#[test]
fn proof_of_work_opens_as_it_was_given() {
    let mut service = Service::new(8);
    for effort in [0, 1, u32::MAX] {
        service.pow = Some(PowParams { seed: [0xFB; 32], effort, expires: NOW.as_secs() + 7200 });
        let text = service.build(&points(3), &[]).expect("builds");
        let opened = open(text.as_bytes(), service.key.public(), &[PERIOD], None, NOW).expect("opens");
        assert_eq!((opened.pow, opened.header), (service.pow, service.header.clone()));
    }
}

#[test]
fn text_ends_at_the_first_nul_as_for_tor() {
    let mut service = Service::new(7);
    let text = service.build(&points(1), &[]).expect("builds");
    let opened = |text: &[u8]| open(text, service.key.public(), &[PERIOD], None, NOW);
    assert_eq!(opened(format!("{text}\0anything").as_bytes()), opened(text.as_bytes()));
    assert!(opened(format!("\0{text}").as_bytes()).is_err());
}

#[test]
fn what_cannot_be_published_is_not_built() {
    let mut service = Service::new(4);
    assert_eq!(service.build(&[], &[]), Err(BuildError::NoPoints));
    assert_eq!(service.build(&points(21), &[]), Err(BuildError::TooManyPoints(21)));
    let same_relay = IntroPoint { enc_key: point(9).enc_key, ..point(1) };
    assert_eq!(service.build(&[point(1), point(2), same_relay], &[]), Err(BuildError::RelayTwice));
    let no_relay = IntroPoint { link_specifiers: vec![0], ..point(1) };
    assert_eq!(service.build(&[no_relay], &[]), Err(BuildError::NoRelay));
    for field in [0, 1, 2] {
        let mut bad = point(1);
        *[&mut bad.onion_key, &mut bad.auth_key, &mut bad.enc_key][field] = [0; 32];
        assert_eq!(service.build(&[bad], &[]), Err(BuildError::BadKey), "field {field}");
    }
    let (_, too_many) = clients(255);
    assert!(
        matches!(service.build(&points(20), &too_many), Err(BuildError::TooLarge(size)) if size > DESCRIPTOR_SIZE_MAX)
    );
    service.blind = service.key.blind(TimePeriod { number: PERIOD.number + 1, ..PERIOD });
    assert_eq!(service.build(&points(1), &[]), Err(BuildError::OtherPeriod));
}

/// A point on relay number `relay` whose link specifiers are as long as can be: `length` bytes.
fn long_point(relay: u8, length: usize) -> IntroPoint {
    // IPv4, legacy identity, ed25519 identity, IPv6: all that tor writes.
    let rest = length.checked_sub(1 + 8 + 22 + 34 + 20 + 2);
    let mut link_specifiers = vec![4 + u8::from(rest.is_some())];
    for (kind, length) in [(0, 6), (2, 20), (3, 32), (1, 18)] {
        link_specifiers.extend([kind, length]);
        link_specifiers.extend(vec![relay; usize::from(length)]);
    }
    if let Some(rest) = rest {
        link_specifiers.extend([77, rest as u8]);
        link_specifiers.extend(vec![relay; rest]);
    }
    assert_eq!(link_specifiers.len(), length);
    IntroPoint { link_specifiers, ..point(relay) }
}

/// With every header line that tor knows, and proof of work.
fn talkative() -> Service {
    let mut service = Service::new(9);
    let lines = ["create2-formats 2", "intro-auth-required ed25519", "single-onion-service", "flow-control 1-2 255"];
    service.header = InnerHeader(lines.map(str::to_owned).to_vec());
    service.pow = Some(PowParams { seed: [0xFB; 32], effort: u32::MAX, expires: NOW.as_secs() + 7200 });
    service
}

/// The longest link specifiers that tor writes, bytes.
const TORS_LONGEST: usize = 85;

#[test]
fn as_many_clients_as_can_be_authorised_fit_beside_twenty_of_tors_longest_points() {
    let points: Vec<_> = (1..=20).map(|relay| long_point(relay, TORS_LONGEST)).collect();
    let mut service = talkative();
    // The service itself is one more.
    let (secrets, keys) = clients(CLIENTS_MAX as u8 + 1);
    let text = service.build(&points, &keys).expect("builds");
    assert!(text.len() <= DESCRIPTOR_SIZE_MAX, "{}", text.len());
    let opened = open(text.as_bytes(), service.key.public(), &[PERIOD], secrets.last(), NOW).expect("opens");
    assert_eq!((opened.points, opened.pow), (points, service.pow));
}

#[test]
fn points_longer_than_tors_that_only_a_member_can_offer_leave_room_for_fewer_clients() {
    let points: Vec<_> = (1..=20).map(|relay| long_point(relay, LINK_SPECIFIERS_LENGTH_MAX)).collect();
    let mut service = talkative();
    let mut length = |clients_and_service| {
        let (_, keys) = clients(clients_and_service);
        service.build(&points, &keys).map(|text| text.len())
    };
    assert_eq!((length(0), length(32)), (Ok(41_186), Ok(41_186)));
    assert_eq!((length(33), length(112)), (Err(BuildError::TooLarge(54_731)), Err(BuildError::TooLarge(54_731))));
}

#[test]
fn a_header_that_clients_would_refuse_or_misread_is_not_built() {
    let mut service = Service::new(5);
    for lines in [
        &[][..],
        &["flow-control 1-2 31"],
        &["flow-control 1-2 31", "create2-formats 2"],
        &["create2-formats 9"],
        &["create2-formats 2", ""],
        &["create2-formats 2", "x\nintroduction-point AA"],
        &["create2-formats 2", "x\ny"],
        &["create2-formats 2", "introduction-point AA"],
        &["create2-formats 2", "pow-params v1 x 0 y"],
        &["create2-formats 2", "-----BEGIN X-----"],
        &["create2-formats 2", "flow-control 1-2 0"],
        &["create2-formats 2", "single-onion-service", "single-onion-service"],
    ] {
        service.header = InnerHeader(lines.iter().map(|line| (*line).to_owned()).collect());
        assert_eq!(service.build(&points(1), &[]), Err(BuildError::BadHeader), "{lines:?}");
    }
    service.header = InnerHeader(vec!["create2-formats 2".into(), "x-unknown 1".into(), "single-onion-service".into()]);
    assert!(service.build(&points(1), &[]).is_ok());
}

/// How a text is damaged.
#[derive(Clone, Debug)]
enum Damage {
    Replace(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    RepeatLine(Index),
    Truncate(Index),
}

impl Damage {
    fn strategy() -> impl Strategy<Value = Self> {
        let bytes = || {
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 1..4),
                proptest::sample::select(vec![
                    "\n",
                    " ",
                    "=",
                    "\0",
                    "-----",
                    "-----BEGIN X-----\n",
                    "\nintroduction-point ",
                    "\nauth-key\n",
                    "18446744073709551616",
                ])
                .prop_map(|text| text.as_bytes().to_vec()),
            ]
        };
        prop_oneof![
            (any::<Index>(), bytes()).prop_map(|(at, bytes)| Self::Replace(at, bytes)),
            (any::<Index>(), bytes()).prop_map(|(at, bytes)| Self::Insert(at, bytes)),
            (any::<Index>(), 1..200_usize).prop_map(|(at, length)| Self::Remove(at, length)),
            any::<Index>().prop_map(Self::RepeatLine),
            any::<Index>().prop_map(Self::Truncate),
        ]
    }

    fn apply(&self, text: &mut Vec<u8>) {
        let length = text.len().max(1);
        match self {
            Self::Replace(at, bytes) => {
                let at = at.index(length).min(text.len());
                let end = (at + bytes.len()).min(text.len());
                text.splice(at..end, bytes.iter().copied());
            }
            Self::Insert(at, bytes) => {
                let at = at.index(length).min(text.len());
                text.splice(at..at, bytes.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = at.index(length).min(text.len());
                let end = (at + count).min(text.len());
                text.drain(at..end);
            }
            Self::RepeatLine(at) => {
                let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
                let at = at.index(lines.len().max(1));
                if let Some(line) = lines.get(at).copied() {
                    lines.insert(at, line);
                }
                *text = lines.concat();
            }
            Self::Truncate(at) => text.truncate(at.index(length)),
        }
    }
}

/// Reads `bytes` as every layer.
fn exercise(bytes: &[u8]) {
    let sealer = Sealer::default();
    sealer.exercise(bytes);
    sealer.exercise(&sealer.signed(bytes));
    sealer.exercise(sealer.with_middle(bytes).as_bytes());
    sealer.exercise(sealer.with_inner(bytes).as_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2 * ProptestConfig::default().cases, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_parser_panics_on_damaged_vectors(
        file in proptest::sample::select(vec!["descriptor.txt", "middle.txt", "inner.txt"]),
        case in proptest::sample::select(vec!["plain-3ip", "pow-on", "client-auth-2", "single-onion-hop"]),
        damages in proptest::collection::vec(Damage::strategy(), 1..6),
    ) {
        let mut text = ctor::bytes(&format!("cases/{case}/{file}"));
        damages.iter().for_each(|damage| damage.apply(&mut text));
        exercise(&text);
    }

    #[test]
    fn no_parser_panics_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        exercise(&bytes);
    }

    #[test]
    fn a_damaged_descriptor_never_opens_to_anything_else(damage in Damage::strategy()) {
        let mut service = Service::new(6);
        let good = service.build(&points(3), &[]).expect("builds").into_bytes();
        let mut damaged = good.clone();
        damage.apply(&mut damaged);
        let opened = |text: &[u8]| open(text, service.key.public(), &[PERIOD], None, NOW);
        if let Ok(descriptor) = opened(&damaged) {
            prop_assert_eq!(Ok(descriptor), opened(&good));
        }
    }
}
