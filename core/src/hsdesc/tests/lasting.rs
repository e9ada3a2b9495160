//! What stays in a service's descriptors from one upload to the next, and what does not: as with tor.

use super::*;
use crate::onion::cert::ExpirationHours;

const PERIOD: TimePeriod = TimePeriod { number: 20_780, length_minutes: 1440 };
/// On the hour.
const START: u64 = 498_735 * 3600;

/// A service, and what is drawn for it.
struct Service {
    key: HsIdKeypair,
    rng: crate::rng::Rng,
}

impl Service {
    /// `node` draws other salts.
    fn on(node: &str) -> Self {
        let key = HsIdKeypair::generate(&mut Seed::new([2; 32]).fork("identity"));
        Self { key, rng: Seed::new([3; 32]).fork(node) }
    }

    fn keys(&self, now: Wall) -> SigningKeys {
        SigningKeys::of_period(&self.key.blind(PERIOD), now)
    }

    /// What is uploaded at `now` for these clients, whose first one reads it.
    fn upload(&mut self, keys: &mut SigningKeys, clients: &[HsClientDescEncKeypair], now: Wall) -> Text {
        let blind = self.key.blind(PERIOD);
        let case = expected("plain-3ip");
        let (tors_key, tors_period, then) = place("plain-3ip", &case);
        let tors = vector("plain-3ip/descriptor.txt");
        let tors = open(&tors, tors_key.public(), &[tors_period], None, then).expect("tor's own");
        let content = Content {
            blind: &blind,
            subcredential: self.key.public().subcredential(blind.public()),
            revision: RevisionCounter(7),
            header: &tors.header,
            pow: None,
            points: &tors.points,
            clients: &clients.iter().map(HsClientDescEncKeypair::public).collect::<Vec<_>>(),
            now,
        };
        let text = build(keys, &content, &mut self.rng).expect("builds");
        open_layers(text, &self.key, PERIOD, clients.first(), now)
    }
}

fn client(n: u8) -> HsClientDescEncKeypair {
    HsClientDescEncKeypair::from_bytes(&[n; 32])
}

/// The middle layer's lines that say who may read.
fn authorisation(text: &Text) -> &str {
    text.middle.split("encrypted\n").next().expect("lines")
}

/// The signing key, when its certificate ends, and the certificate.
fn signing_key(text: &Text) -> ([u8; 32], u64, Vec<u8>) {
    let [cert] = <[Vec<u8>; 1]>::try_from(certs(&text.outer)).expect("one certificate");
    let hours = u32::from_be_bytes(cert[2..6].try_into().expect("four bytes"));
    (cert[7..39].try_into().expect("a key"), ExpirationHours(hours).as_secs(), cert)
}

#[test]
fn tor_keeps_its_lines_of_clients_from_upload_to_upload_and_so_do_we() {
    let theirs = ["plain-3ip", "native-upload-first"].map(|case| both(case).0.middle);
    let [first, second] = theirs.each_ref().map(|middle| middle.split("encrypted\n").next());
    assert_eq!(first, second, "the premise");

    let (mut service, now) = (Service::on("node 1"), Wall::from_secs(START));
    for clients in [vec![], vec![client(1), client(2)]] {
        let mut keys = service.keys(now);
        let first = service.upload(&mut keys, &clients, now);
        let later = service.upload(&mut keys, &clients, Wall::from_secs(START + 40_000));
        assert_eq!(authorisation(&first), authorisation(&later));
        assert_ne!(first.outer, later.outer);
    }
}

#[test]
fn nobody_sees_by_keys_or_clients_that_another_node_publishes() {
    let now = Wall::from_secs(START);
    for clients in [vec![], vec![client(1), client(2)]] {
        let [one, other] = ["node 1", "node 2"].map(Service::on).map(|mut service| {
            let mut keys = service.keys(now);
            service.upload(&mut keys, &clients, now)
        });
        assert_eq!((signing_key(&one), authorisation(&one)), (signing_key(&other), authorisation(&other)));
        assert_eq!(one.inner, other.inner);
        assert_ne!(one.outer, other.outer, "salts differ");
    }
}

#[test]
fn other_clients_are_told_another_secret_with_another_key() {
    let (mut service, now) = (Service::on("node 1"), Wall::from_secs(START));
    let mut keys = service.keys(now);
    let lists = [vec![], vec![client(1)], vec![client(2)], vec![client(1), client(2)]];
    let texts = lists.each_ref().map(|clients| service.upload(&mut keys, clients, now));
    let ephemeral = |text: &Text| authorisation(text).lines().nth(1).map(str::to_owned);
    assert_eq!(texts.iter().map(ephemeral).collect::<BTreeSet<_>>().len(), lists.len());
    let lines = |text: &Text| authorisation(text).lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(texts.iter().flat_map(lines).collect::<BTreeSet<_>>().len(), 16 * lists.len());
}

#[test]
fn the_signing_key_is_certified_anew_with_each_upload_as_long_as_its_period_lasts() {
    let mut service = Service::on("node 1");
    let mut keys = service.keys(Wall::from_secs(START));
    let mut seen = BTreeSet::new();
    for after in [0, 1, 3600, 5 * 3600 + 1, 23 * 3600, 35 * 3600, 36 * 3600 - 1, 7200] {
        let now = Wall::from_secs(START + after);
        let (key, ends, cert) = signing_key(&service.upload(&mut keys, &[], now));
        assert!((54 * 3600..55 * 3600).contains(&(ends - now.as_secs())), "{after} s later");
        let (_, _, anew) = signing_key(&service.upload(&mut service.keys(now), &[], now));
        assert_eq!(cert, anew);
        seen.insert(key);
    }
    assert_eq!(seen.len(), 1);
}
