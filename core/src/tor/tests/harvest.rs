//! Points that tor is made to show.

use std::time::Duration;

use super::Dialogue;
use super::fake::{ADDRESS, World, circuit_line, file, relay};
use crate::hsdesc::{Content, InnerHeader, IntroPoint, PowParams, SigningKeys, build};
use crate::id::RelayFingerprint;
use crate::onion::key::HsIdKeypair;
use crate::onion::period::{Slot, TimePeriod};
use crate::onion::revision::RevisionCounter;
use crate::rng::Seed;
use crate::time::Wall;
use crate::tor::{Native, Presence};

/// Of the recorded consensus `tp-to-srv`.
const VALID_AFTER: &str = "2026-11-23 15:17:20";
const VALID_AFTER_SECS: u64 = 1_795_447_040;

/// A tor after the start of a time period: what it shows is of the period before, on relays 1 to 3; its other points are on
/// relays 4 to 6.
struct Fixture {
    dialogue: Dialogue,
    period: TimePeriod,
    /// HSDirs of the current period alone.
    hsdirs: Vec<RelayFingerprint>,
}

impl Fixture {
    fn new() -> Self {
        let mut world = World::serving();
        world.consensus = Some(file("ring/tp-to-srv/consensus-microdesc.txt"));
        world.microdescs = file("ring/tp-to-srv/microdescs.txt");
        world.valid_after = VALID_AFTER.to_owned();
        world.descriptor = None;
        world.circuits = (1..=6).map(|n| (n.into(), relay(n))).collect();
        let mut dialogue = Dialogue::new(world);
        dialogue.now.wall = Wall::from_secs(VALID_AFTER_SECS + 5);
        dialogue.connect();
        dialogue.answer_all();
        dialogue.want_native(false);
        dialogue.answer_all();
        let ring = dialogue.tor.facts().ring.clone().expect("a ring");
        let period = ring.params().client_period(ring.valid_after());
        let store = |slot| {
            let blind = dialogue.tor.service_id.blind(ring.slot_period(slot)).unwrap();
            ring.responsible(slot, blind).store
        };
        let other = store(Slot::First);
        let hsdirs = store(Slot::Second).into_iter().filter(|hsdir| !other.contains(hsdir)).collect();
        let mut fixture = Self { dialogue, period, hsdirs };
        fixture.shows(1);
        assert!(fixture.dialogue.tor.facts().pow.is_some_and(|pow| pow.period < period.number));
        fixture
    }

    /// Tor's descriptor of the period before has this seed now, and is looked at.
    fn shows(&mut self, seed: u8) {
        let shown = TimePeriod { number: self.period.number - 1, ..self.period };
        self.dialogue.world.descriptor = Some(descriptor(shown, seed, &[1, 2, 3]).into_bytes());
        self.dialogue.run(Duration::from_millis(1_100));
    }

    /// Tor has taken the order to publish, and this HSDir what it published.
    fn open(&mut self) {
        self.dialogue.harvest();
        assert_eq!(self.dialogue.open, ["SETCONF PublishHidServDescriptors=\"1\""]);
        self.dialogue.answer_all();
        self.taken(self.hsdirs[0]);
    }

    fn taken(&mut self, hsdir: RelayFingerprint) {
        self.dialogue.hs_desc("UPLOAD", hsdir, "id HSDIR_INDEX=00");
        self.dialogue.hs_desc("UPLOADED", hsdir, "");
    }

    /// That HSDir holds `text`.
    fn fetched(&mut self, hsdir: RelayFingerprint, text: &str) {
        let text = text.replace('\n', "\r\n");
        let event = format!("650+HS_DESC_CONTENT {ADDRESS} id ${hsdir}~x\r\n{text}.\r\n650 OK\r\n");
        self.dialogue.say(event.as_bytes()).unwrap();
    }

    /// Relays of the points that were found, and how often points were looked for.
    fn told(&self) -> Option<(u32, Vec<RelayFingerprint>)> {
        let harvest = self.dialogue.tor.facts().harvest.clone()?;
        assert_eq!(harvest.period, self.period.number);
        let mut relays: Vec<_> = harvest.points.iter().map(|point| point.relay().unwrap()).collect();
        relays.sort();
        Some((harvest.number, relays))
    }
}

fn point(on: u8) -> IntroPoint {
    let mut base_point = [0; 32];
    base_point[0] = 9;
    let auth_key = ed25519_dalek::SigningKey::from_bytes(&[on; 32]).verifying_key().to_bytes();
    let link_specifiers = [&[1, 2, 20][..], &relay(on).0].concat();
    IntroPoint { link_specifiers, onion_key: base_point, auth_key, enc_key: base_point }
}

/// A descriptor with proof of work of this seed that has points on these relays.
fn descriptor(period: TimePeriod, seed: u8, relays: &[u8]) -> String {
    let key = HsIdKeypair::from_tor_file(&file("cases/plain-3ip/hs_ed25519_secret_key")).unwrap();
    let (blind, now) = (key.blind(period), Wall::from_secs(VALID_AFTER_SECS));
    let mut rng = Seed::new([7; 32]).fork("descriptor");
    let content = Content {
        blind: &blind,
        subcredential: key.public().subcredential(blind.public()),
        revision: RevisionCounter(seed.into()),
        header: &InnerHeader(vec!["create2-formats 2".to_owned()]),
        pow: Some(&PowParams { seed: [seed; 32], effort: 0, expires: VALID_AFTER_SECS + 7200 }),
        points: &relays.iter().map(|on| point(*on)).collect::<Vec<_>>(),
        clients: &[],
        now,
    };
    build(&mut SigningKeys::new(&blind, &mut rng, now), &content, &mut rng).unwrap()
}

#[test]
fn tor_publishes_for_a_moment_and_what_an_hsdir_took_names_the_points() {
    let mut fixture = Fixture::new();
    assert!(fixture.dialogue.tor.wants_harvest(fixture.dialogue.now.mono));
    assert_eq!(fixture.told(), None);
    fixture.open();
    let hsdir = fixture.hsdirs[0];
    assert_eq!(fixture.dialogue.open, [format!("HSFETCH {ADDRESS} SERVER={hsdir}")]);
    assert!(!fixture.dialogue.tor.can_upload(fixture.hsdirs[1]), "answers would be mistaken");
    fixture.dialogue.answer_all();
    fixture.fetched(hsdir, &descriptor(fixture.period, 2, &[4, 5, 6]));
    assert!(fixture.dialogue.open.is_empty(), "it may be anybody's");
    fixture.shows(2);
    assert_eq!((fixture.told(), fixture.dialogue.tor.native()), (None, Native::Off), "until tor's uploads are over");
    fixture.taken(fixture.hsdirs[1]);
    fixture.dialogue.run(Duration::from_millis(900));
    assert_eq!(fixture.told(), None);
    fixture.dialogue.run(Duration::from_millis(200));
    assert_eq!(fixture.told(), Some((1, vec![relay(4), relay(5), relay(6)])));
    assert!(fixture.dialogue.tor.can_upload(hsdir) && !fixture.dialogue.tor.wants_harvest(fixture.dialogue.now.mono));
    assert!(fixture.dialogue.warnings.is_empty(), "{:?}", fixture.dialogue.warnings);
}

#[test]
fn descriptor_with_another_seed_is_not_taken_for_tors_and_the_next_hsdir_is_asked() {
    let mut fixture = Fixture::new();
    fixture.open();
    fixture.dialogue.answer_all();
    for seed in [3, 1] {
        fixture.fetched(fixture.hsdirs[0], &descriptor(fixture.period, seed, &[4, 5, 6]));
    }
    assert!(fixture.dialogue.open.is_empty(), "one it does not have, and one that it had");
    fixture.taken(relay(0xEE));
    assert!(fixture.dialogue.open.is_empty(), "no HSDir of this period");
    fixture.taken(fixture.hsdirs[1]);
    assert_eq!(fixture.dialogue.open_with("HSFETCH"), 1);
    fixture.dialogue.answer_all();
    fixture.shows(2);
    assert_eq!(fixture.dialogue.tor.native(), Native::On);
    fixture.fetched(fixture.hsdirs[1], &descriptor(fixture.period, 2, &[4, 5]));
    assert_eq!(fixture.dialogue.open, ["SETCONF PublishHidServDescriptors=\"0\""], "at once");
    fixture.dialogue.answer_all();
    fixture.dialogue.run(Duration::from_secs(2));
    assert_eq!(fixture.told(), Some((1, vec![relay(4), relay(5)])));
}

#[test]
fn in_vain_it_ends_after_ten_seconds_is_told_and_tried_again_ten_minutes_later() {
    let mut fixture = Fixture::new();
    fixture.open();
    fixture.dialogue.run(Duration::from_secs(9));
    assert_eq!(fixture.dialogue.tor.native(), Native::On);
    fixture.dialogue.want_native(false);
    assert!(fixture.dialogue.open.is_empty(), "it is not for others to end it");
    fixture.dialogue.run(Duration::from_secs(1));
    fixture.dialogue.want_native(false);
    fixture.dialogue.answer_all();
    fixture.dialogue.run(Duration::from_secs(2));
    assert_eq!((fixture.told(), fixture.dialogue.tor.native()), (Some((1, vec![])), Native::Off));
    assert_eq!(fixture.dialogue.warnings.len(), 1);
    let wants = |fixture: &Fixture| fixture.dialogue.tor.wants_harvest(fixture.dialogue.now.mono);
    fixture.dialogue.run(Duration::from_secs(587));
    assert!(!wants(&fixture));
    fixture.dialogue.run(Duration::from_secs(2));
    assert!(wants(&fixture));
}

/// Ends a harvest well.
fn done() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.open();
    fixture.dialogue.answer_all();
    fixture.fetched(fixture.hsdirs[0], &descriptor(fixture.period, 2, &[4, 5, 6]));
    fixture.shows(2);
    fixture.dialogue.run(Duration::from_secs(2));
    assert!(fixture.told().is_some_and(|(_, points)| points.len() == 3));
    fixture
}

#[test]
fn point_without_a_circuit_is_told_no_more_and_after_a_while_they_are_looked_for_again() {
    let mut fixture = done();
    fixture.dialogue.run(Duration::from_secs(600));
    fixture.dialogue.world.circuits.retain(|(id, _)| *id != 5);
    fixture.dialogue.say(format!("650 CIRC {}\r\n", circuit_line(5, relay(5), "CLOSED")).as_bytes()).unwrap();
    assert_eq!(fixture.told(), Some((1, vec![relay(4), relay(6)])));
    assert!(!fixture.dialogue.tor.wants_harvest(fixture.dialogue.now.mono));
    fixture.dialogue.run(Duration::from_secs(62));
    assert!(fixture.dialogue.tor.wants_harvest(fixture.dialogue.now.mono));
}

#[test]
fn points_outlive_the_control_connection_and_not_the_process() {
    let mut fixture = done();
    fixture.dialogue.close();
    fixture.dialogue.connect();
    fixture.dialogue.answer_all();
    assert!(fixture.told().is_some_and(|(_, points)| points.len() == 3));
    fixture.dialogue.world.process = 2;
    fixture.dialogue.close();
    fixture.dialogue.connect();
    fixture.dialogue.answer_all();
    assert_eq!(fixture.told(), Some((1, vec![])));
    assert!(fixture.dialogue.tor.wants_harvest(fixture.dialogue.now.mono));
}

#[test]
fn connection_lost_meanwhile_ends_it_with_publishing_off() {
    let mut fixture = Fixture::new();
    fixture.open();
    fixture.dialogue.close();
    fixture.dialogue.want_native(false);
    fixture.dialogue.connect();
    fixture.dialogue.answer_all();
    fixture.dialogue.run(Duration::from_secs(3));
    assert_eq!((fixture.told(), fixture.dialogue.tor.native()), (Some((1, vec![])), Native::Off));
}

#[test]
fn circuits_of_points_that_it_was_made_to_show_are_closed_too_when_the_node_is_out() {
    let mut fixture = done();
    fixture.dialogue.set_presence(Presence::Out);
    let mut closed = Vec::new();
    while let Some(command) = fixture.dialogue.open.front().cloned() {
        closed.push(command);
        fixture.dialogue.answer();
    }
    assert_eq!(closed, (1..=6).map(|circuit| format!("CLOSECIRCUIT {circuit}")).collect::<Vec<_>>());
    assert!(fixture.told().is_some_and(|(_, points)| points.is_empty()));
}
