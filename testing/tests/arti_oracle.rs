//! Arti's `tor-netdoc` reads every descriptor we build, and we read every one it builds; both find the same in them.
//! Random services, points and clients; each case's seed is printed, `RUSTBALANCE_SEED` replays one.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "whatever fails, fails the test")]
#![expect(clippy::print_stdout, reason = "a failed case must be replayable")]

use rand_core::Rng as _;
use rustbalance_core::hsdesc::{
    Content, Descriptor, DescriptorError, DescriptorFault, InnerHeader, IntroPoint, Layer, NUM_INTRO_POINT_MAX,
    PowParams, SigningKeys, build, open,
};
use rustbalance_core::onion::client::HsClientDescEncKeypair;
use rustbalance_core::onion::key::HsIdKeypair;
use rustbalance_core::onion::period::TimePeriod;
use rustbalance_core::onion::revision::RevisionCounter;
use rustbalance_core::rng::{Rng, Seed};
use rustbalance_core::time::Wall;
use rustbalance_testing::arti;
use tor_llcrypto::pk::curve25519;
use tor_netdoc::doc::hsdesc::HsDesc;
use tor_netdoc::doc::hsdesc::pow::PowParams as ArtiPow;

/// Random services in each direction, beside every number of points with and without clients.
const RANDOM_CASES: u64 = 40;

/// Everything a descriptor is made of, for either implementation.
struct Case {
    rng: Rng,
    key: HsIdKeypair,
    period: TimePeriod,
    now: Wall,
    revision: u64,
    points: Vec<IntroPoint>,
    /// Secret keys.
    clients: Vec<[u8; 32]>,
    sendme_increment: Option<u8>,
    single_onion: bool,
    /// In what we build; Arti's builder knows none.
    pow: Option<PowParams>,
}

impl Case {
    fn random(seed: u64) -> Self {
        let mut case = Self::empty(seed);
        let count = 1 + case.below(NUM_INTRO_POINT_MAX);
        // Half of them open to all.
        let clients = if case.below(2) == 0 { 0 } else { 1 + case.below(20) };
        case.fill(count, clients);
        case
    }

    fn with(seed: u64, points: usize, clients: usize) -> Self {
        let mut case = Self::empty(seed);
        case.fill(points, clients);
        case
    }

    fn empty(seed: u64) -> Self {
        println!("RUSTBALANCE_SEED={seed}");
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = Seed::new(bytes).fork("arti oracle");
        let key = HsIdKeypair::generate(&mut rng);
        let period = TimePeriod { number: rng.next_u64() % 50_000, length_minutes: 30 + rng.next_u32() % 14_000 };
        let now = Wall::from_secs(1_700_000_000 + u64::from(rng.next_u32() % 200_000_000));
        let sendme_increment = rng.next_u32().is_multiple_of(2).then(|| 1 + (rng.next_u32() % 255) as u8);
        let (revision, single_onion) = (rng.next_u64(), rng.next_u32().is_multiple_of(2));
        let mut pow_seed = [0; 32];
        rng.fill_bytes(&mut pow_seed);
        let (effort, expires) = (rng.next_u32() >> (rng.next_u32() % 32), now.as_secs() + u64::from(rng.next_u32()));
        let pow = rng.next_u32().is_multiple_of(2).then_some(PowParams { seed: pow_seed, effort, expires });
        Self { rng, key, period, now, revision, points: vec![], clients: vec![], sendme_increment, single_onion, pow }
    }

    fn fill(&mut self, points: usize, clients: usize) {
        self.points = (0..points).map(|_| self.point()).collect();
        self.clients = (0..clients).map(|_| self.bytes()).collect();
    }

    fn point(&mut self) -> IntroPoint {
        // IPv4 address, legacy identity, and of the rest what chance wants: ed25519 identity, IPv6, an unknown type.
        let mut list = vec![(0, self.bytes()[..6].to_vec()), (2, self.bytes()[..20].to_vec())];
        for (kind, length) in [(3, 32), (1, 18), (77, self.below(30))] {
            if self.below(2) == 0 {
                list.push((kind, self.bytes()[..length].to_vec()));
            }
        }
        let mut link_specifiers = vec![list.len() as u8];
        for (kind, body) in list {
            link_specifiers.extend([kind, body.len() as u8]);
            link_specifiers.extend(body);
        }
        let auth_key = ed25519_dalek::SigningKey::from_bytes(&self.bytes()).verifying_key().to_bytes();
        IntroPoint { link_specifiers, onion_key: x25519(self.bytes()), auth_key, enc_key: x25519(self.bytes()) }
    }

    fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.next_u32() as usize % bound
    }

    fn header(&self) -> InnerHeader {
        let mut lines = vec!["create2-formats 2".to_owned()];
        lines.extend(self.single_onion.then(|| "single-onion-service".to_owned()));
        lines.extend(self.sendme_increment.map(|increment| format!("flow-control 1-2 {increment}")));
        InnerHeader(lines)
    }

    fn built_by_us(&mut self) -> String {
        let blind = self.key.blind(self.period);
        let mut keys = SigningKeys::new(&blind, &mut self.rng, self.now);
        let clients: Vec<_> =
            self.clients.iter().map(|secret| HsClientDescEncKeypair::from_bytes(secret).public()).collect();
        let content = Content {
            blind: &blind,
            subcredential: self.key.public().subcredential(blind.public()),
            revision: RevisionCounter(self.revision),
            header: &self.header(),
            pow: self.pow.as_ref(),
            points: &self.points,
            clients: &clients,
            now: self.now,
        };
        build(&mut keys, &content, &mut self.rng).unwrap()
    }

    fn built_by_arti(&mut self) -> String {
        let blinded = arti::Identity::new(&self.key).blind(self.period);
        let signing = arti::SigningKey::new(self.bytes(), &blinded, self.now);
        let points: Vec<_> = self.points.iter().map(arti::point).collect();
        let clients: Vec<_> =
            self.clients.iter().copied().map(|secret| curve25519::PublicKey::from(x25519(secret))).collect();
        let content = arti::Content {
            blinded: &blinded,
            points: &points,
            clients: &clients,
            sendme_increment: self.sendme_increment,
            single_onion: self.single_onion,
            revision: self.revision,
            now: self.now,
        };
        arti::build(&signing, &content, &mut self.rng)
    }

    fn opened_by_us(&self, text: &str, client: Option<&[u8; 32]>) -> Result<Descriptor, DescriptorError> {
        let client = client.map(HsClientDescEncKeypair::from_bytes);
        open(text.as_bytes(), self.key.public(), &[self.period], client.as_ref(), self.now)
    }

    fn opened_by_arti(&self, text: &str, client: Option<&[u8; 32]>) -> anyhow::Result<HsDesc> {
        let blind = arti::Identity::new(&self.key).blind_public(self.period);
        arti::open(text, &blind, client.copied().map(arti::client).as_ref(), self.now)
    }

    /// Both find in `text` what this case is made of and this proof of work, as every one of its clients and as nobody
    /// else.
    fn assert_read_by_both(&self, text: &str, pow: Option<PowParams>) {
        let readers: Vec<_> = self.clients.iter().map(Some).chain(self.clients.is_empty().then_some(None)).collect();
        for client in readers {
            let ours = self.opened_by_us(text, client).expect("we open it");
            let theirs = self.opened_by_arti(text, client).expect("Arti opens it");
            assert_eq!(ours.revision, RevisionCounter(self.revision));
            assert_eq!(theirs.revision(), self.revision.into());
            assert_eq!((ours.period, &ours.refused[..]), (self.period, &[][..]));
            assert_eq!(ours.header, self.header());
            assert_eq!(theirs.is_single_onion_service(), self.single_onion);
            let increment = theirs.flow_control().map(|(_, increment)| increment.get());
            assert_eq!(increment, self.sendme_increment);
            assert_eq!(ours.pow, pow);
            // All that Arti tells, as built here, is that proof of work v1 is offered.
            assert_eq!(theirs.pow_params().len(), usize::from(pow.is_some()));
            assert!(theirs.pow_params().iter().all(|params| matches!(params, ArtiPow::V1(_))));
            assert!(!theirs.requires_intro_authentication());
            // Arti sorts the points it builds.
            assert_eq!(sorted(&ours.points), sorted(&self.points));
            assert_eq!(theirs.intro_points().len(), ours.points.len());
            assert!(theirs.intro_points().iter().zip(&ours.points).all(|(their, our)| arti::is_same_point(their, our)));
        }
        if !self.clients.is_empty() {
            for stranger in [None, Some(&[0xEE; 32])] {
                let refusal = self.opened_by_us(text, stranger).map_err(|error| (error.layer, error.fault));
                assert_eq!(refusal, Err((Layer::Middle, DescriptorFault::Mac)));
                self.opened_by_arti(text, stranger).expect_err("a stranger");
            }
        }
    }
}

fn x25519(secret: [u8; 32]) -> [u8; 32] {
    x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(secret)).to_bytes()
}

fn sorted(points: &[IntroPoint]) -> Vec<&IntroPoint> {
    let mut sorted: Vec<_> = points.iter().collect();
    sorted.sort();
    sorted
}

/// One from the environment, or new ones each time.
fn seeds() -> Vec<u64> {
    match std::env::var("RUSTBALANCE_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => {
            let first = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
            (0..RANDOM_CASES).map(|number| first.wrapping_add(number)).collect()
        }
    }
}

#[test]
fn arti_reads_any_descriptor_of_ours() {
    for seed in seeds() {
        let mut case = Case::random(seed);
        let text = case.built_by_us();
        case.assert_read_by_both(&text, case.pow);
    }
}

#[test]
fn we_read_any_descriptor_of_artis() {
    for seed in seeds() {
        let mut case = Case::random(seed);
        let text = case.built_by_arti();
        case.assert_read_by_both(&text, None);
    }
}

#[test]
fn every_number_of_points_is_read_with_and_without_clients() {
    for points in 1..=NUM_INTRO_POINT_MAX {
        for clients in [0, 1, 17] {
            let mut case = Case::with(points as u64, points, clients);
            let (ours, theirs) = (case.built_by_us(), case.built_by_arti());
            case.assert_read_by_both(&ours, case.pow);
            case.assert_read_by_both(&theirs, None);
        }
    }
}

#[test]
fn whatever_is_damaged_in_transit_is_refused_by_both() {
    for seed in seeds() {
        let mut case = Case::random(seed);
        let text = case.built_by_us();
        let mut damaged = text.clone().into_bytes();
        let at = case.below(damaged.len() - 1);
        // Still text: another letter or digit in the same place.
        damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
        let damaged = String::from_utf8(damaged).unwrap();
        let client = case.clients.first();
        assert!(case.opened_by_us(&damaged, client).is_err(), "byte {at}");
        assert!(case.opened_by_arti(&damaged, client).is_err(), "byte {at}");
    }
}

#[test]
fn of_more_than_twenty_points_arti_takes_the_first_twenty_and_we_like_c_tor_none() {
    let mut case = Case::with(21, NUM_INTRO_POINT_MAX + 1, 0);
    let text = case.built_by_arti();
    let refusal = case.opened_by_us(&text, None).map_err(|error| error.fault);
    assert_eq!(refusal, Err(DescriptorFault::TooManyPoints(NUM_INTRO_POINT_MAX + 1)));
    assert_eq!(case.opened_by_arti(&text, None).unwrap().intro_points().len(), NUM_INTRO_POINT_MAX);
}
