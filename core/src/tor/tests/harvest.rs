//! Points that tor is made to show.

use std::time::Duration;

use super::Dialogue;
use super::fake::{self, ADDRESS, HIDING_SECS, World, circuit_line, relay};
use crate::hsdesc::PowParams;
use crate::id::RelayFingerprint;
use crate::onion::period::{Slot, TimePeriod};
use crate::time::Wall;
use crate::tor::{Native, Presence, TorEvent};

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
        let mut dialogue = Dialogue::new(World::hiding(1));
        dialogue.now.wall = Wall::from_secs(HIDING_SECS + 5);
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
        self.suggests(0, seed);
    }

    /// The same, with this effort.
    fn suggests(&mut self, effort: u32, seed: u8) {
        let shown = TimePeriod { number: self.period.number - 1, ..self.period };
        self.dialogue.world.descriptor = Some(descriptor(shown, (seed, effort), &[1, 2, 3]).into_bytes());
        self.dialogue.run(Duration::from_millis(1_100));
    }

    /// The circuit to that relay is closed.
    fn loses(&mut self, on: u8) {
        self.dialogue.world.circuits.retain(|(id, _)| *id != u32::from(on));
        let closed = format!("650 CIRC {}\r\n", circuit_line(on.into(), relay(on), "CLOSED"));
        self.dialogue.say(closed.as_bytes()).unwrap();
    }

    /// So many of the points that were found have a circuit left, for so long that it counts.
    fn is_left_with(&mut self, points: u8) {
        self.dialogue.run(Duration::from_secs(600));
        (4..=6).skip(points.into()).for_each(|on| self.loses(on));
        self.dialogue.run(Duration::from_secs(62));
    }

    fn wants_harvest(&self) -> bool {
        let wanted = self.dialogue.tor.wants_harvest(self.dialogue.now.mono);
        assert!(wanted.is_none_or(|period| period == self.period.number));
        wanted.is_some()
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

/// A descriptor with proof of work of this seed and effort that has points on these relays.
fn descriptor(period: TimePeriod, (seed, effort): (u8, u32), relays: &[u8]) -> String {
    let pow = PowParams { seed: [seed; 32], effort, expires: HIDING_SECS + 7200 };
    let revision = u64::from(seed) * 1_000 + u64::from(effort);
    fake::descriptor(period, revision, Some(pow), relays, &[])
}

#[test]
fn tor_publishes_for_a_moment_and_what_an_hsdir_took_names_the_points() {
    let mut fixture = Fixture::new();
    assert!(fixture.wants_harvest());
    assert_eq!(fixture.told(), None);
    fixture.open();
    let hsdir = fixture.hsdirs[0];
    assert_eq!(fixture.dialogue.open, [format!("HSFETCH {ADDRESS} SERVER={hsdir}")]);
    assert!(!fixture.dialogue.tor.can_upload(fixture.hsdirs[1]), "answers would be mistaken");
    fixture.dialogue.answer_all();
    fixture.fetched(hsdir, &descriptor(fixture.period, (2, 0), &[4, 5, 6]));
    assert!(fixture.dialogue.open.is_empty(), "it may be anybody's");
    fixture.shows(2);
    assert_eq!((fixture.told(), fixture.dialogue.tor.native()), (None, Native::Off), "until tor's uploads are over");
    fixture.taken(fixture.hsdirs[1]);
    fixture.dialogue.run(Duration::from_millis(900));
    assert_eq!(fixture.told(), None);
    fixture.dialogue.run(Duration::from_millis(200));
    assert_eq!(fixture.told(), Some((1, vec![relay(4), relay(5), relay(6)])));
    assert!(fixture.dialogue.tor.can_upload(hsdir) && !fixture.wants_harvest());
    assert!(fixture.dialogue.warnings.is_empty(), "{:?}", fixture.dialogue.warnings);
}

#[test]
fn descriptor_with_another_seed_is_not_taken_for_tors_and_the_next_hsdir_is_asked() {
    let mut fixture = Fixture::new();
    fixture.open();
    fixture.dialogue.answer_all();
    for seed in [3, 1] {
        fixture.fetched(fixture.hsdirs[0], &descriptor(fixture.period, (seed, 0), &[4, 5, 6]));
    }
    assert!(fixture.dialogue.open.is_empty(), "one it does not have, and one that it had");
    fixture.taken(relay(0xEE));
    assert!(fixture.dialogue.open.is_empty(), "no HSDir of this period");
    fixture.taken(fixture.hsdirs[1]);
    assert_eq!(fixture.dialogue.open_with("HSFETCH"), 1);
    fixture.dialogue.answer_all();
    fixture.shows(2);
    assert_eq!(fixture.dialogue.tor.native(), Native::On);
    fixture.fetched(fixture.hsdirs[1], &descriptor(fixture.period, (2, 0), &[4, 5]));
    assert_eq!(fixture.dialogue.open, ["SETCONF PublishHidServDescriptors=\"0\""], "at once");
    fixture.dialogue.answer_all();
    fixture.dialogue.run(Duration::from_secs(2));
    assert_eq!(fixture.told(), Some((1, vec![relay(4), relay(5)])));
}

#[test]
fn in_vain_it_ends_after_half_a_minute_is_told_and_tried_again_ten_minutes_later() {
    let mut fixture = Fixture::new();
    fixture.open();
    fixture.dialogue.run(Duration::from_secs(29));
    assert_eq!(fixture.dialogue.tor.native(), Native::On);
    fixture.dialogue.want_native(false);
    assert!(fixture.dialogue.open.is_empty(), "it is not for others to end it");
    fixture.dialogue.run(Duration::from_secs(1));
    fixture.dialogue.want_native(false);
    fixture.dialogue.answer_all();
    fixture.dialogue.run(Duration::from_secs(2));
    assert_eq!((fixture.told(), fixture.dialogue.tor.native()), (Some((1, vec![])), Native::Off));
    assert_eq!(fixture.dialogue.warnings.len(), 1);
    fixture.dialogue.run(Duration::from_secs(567));
    assert!(!fixture.wants_harvest());
    fixture.dialogue.run(Duration::from_secs(2));
    assert!(fixture.wants_harvest());
}

/// Ends a harvest well.
fn done() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.open();
    fixture.dialogue.answer_all();
    fixture.fetched(fixture.hsdirs[0], &descriptor(fixture.period, (2, 0), &[4, 5, 6]));
    fixture.shows(2);
    fixture.dialogue.run(Duration::from_secs(2));
    assert!(fixture.told().is_some_and(|(_, points)| points.len() == 3));
    fixture
}

#[test]
fn point_without_a_circuit_is_told_no_more_and_while_two_are_left_no_others_are_looked_for() {
    let mut fixture = done();
    fixture.is_left_with(2);
    assert_eq!(fixture.told(), Some((1, vec![relay(4), relay(5)])));
    assert!(!fixture.wants_harvest());
    fixture.loses(5);
    assert_eq!(fixture.told(), Some((1, vec![relay(4)])));
    assert!(!fixture.wants_harvest(), "its circuit may be opened again");
    fixture.dialogue.run(Duration::from_secs(62));
    assert!(fixture.wants_harvest());
}

#[test]
fn tor_that_demands_an_effort_is_left_alone_until_no_point_is_left() {
    let mut fixture = done();
    fixture.suggests(7, 2);
    fixture.is_left_with(1);
    assert!(!fixture.wants_harvest());
    fixture.suggests(0, 2);
    fixture.dialogue.run(Duration::from_secs(61));
    assert!(fixture.wants_harvest(), "one is too few again");
    fixture.suggests(7, 3);
    assert!(!fixture.wants_harvest());
    fixture.loses(4);
    fixture.dialogue.run(Duration::from_secs(62));
    assert!(fixture.wants_harvest());
}

#[test]
fn points_that_are_left_stay_where_others_were_looked_for_in_vain() {
    let mut fixture = done();
    fixture.is_left_with(1);
    fixture.open();
    fixture.dialogue.run(Duration::from_secs(40));
    fixture.dialogue.want_native(false);
    fixture.dialogue.answer_all();
    fixture.dialogue.run(Duration::from_secs(90));
    assert_eq!((fixture.told(), fixture.dialogue.tor.native()), (Some((2, vec![relay(4)])), Native::Off));
    assert!(!fixture.wants_harvest());
    fixture.dialogue.run(Duration::from_secs(600));
    assert!(fixture.wants_harvest());
}

#[test]
fn it_is_stopped_at_once_with_publishing_off() {
    let mut fixture = Fixture::new();
    fixture.dialogue.stop_harvest();
    assert!(fixture.dialogue.open.is_empty(), "there is none");
    fixture.open();
    fixture.dialogue.answer_all();
    assert!(fixture.dialogue.tor.is_harvesting());
    fixture.dialogue.stop_harvest();
    assert_eq!(fixture.dialogue.open, ["SETCONF PublishHidServDescriptors=\"0\""]);
    fixture.dialogue.answer_all();
    fixture.dialogue.want_native(false);
    fixture.dialogue.run(Duration::from_secs(2));
    assert_eq!((fixture.told(), fixture.dialogue.tor.native()), (Some((1, vec![])), Native::Off));
    assert!(fixture.dialogue.warnings.is_empty() && !fixture.wants_harvest());
}

/// The points are found, and others have heard so; two HSDirs owe an answer to uploads of tor's own.
fn told_with_uploads_under_way() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.open();
    fixture.dialogue.answer_all();
    for hsdir in [fixture.hsdirs[1], fixture.hsdirs[2]] {
        fixture.dialogue.hs_desc("UPLOAD", hsdir, "id HSDIR_INDEX=00");
    }
    fixture.fetched(fixture.hsdirs[0], &descriptor(fixture.period, (2, 0), &[4, 5, 6]));
    fixture.shows(2);
    fixture.dialogue.run(Duration::from_secs(2));
    assert_eq!(fixture.told(), Some((1, vec![relay(4), relay(5), relay(6)])), "the others need not wait for them");
    assert!(fixture.dialogue.tor.can_upload(fixture.hsdirs[0]) && !fixture.dialogue.tor.can_upload(fixture.hsdirs[1]));
    fixture.dialogue.events();
    fixture
}

#[test]
fn upload_of_tors_own_that_arrives_late_is_told_of_and_one_that_is_refused_late_is_nobody_elses_doing() {
    let mut fixture = told_with_uploads_under_way();
    fixture.dialogue.hs_desc("FAILED", fixture.hsdirs[1], "id REASON=UPLOAD_REJECTED");
    fixture.dialogue.run(Duration::from_secs(2));
    assert_eq!((fixture.told().unwrap().0, fixture.dialogue.events()), (1, vec![]));
    fixture.dialogue.upload(fixture.hsdirs[0]);
    fixture.dialogue.answer_all();
    fixture.dialogue.hs_desc("UPLOADED", fixture.hsdirs[0], "");
    fixture.dialogue.run(Duration::from_secs(2));
    assert_eq!((fixture.told().unwrap().0, fixture.dialogue.events().len()), (1, 1), "that one is ours");
    fixture.dialogue.hs_desc("UPLOADED", fixture.hsdirs[2], "");
    fixture.dialogue.run(Duration::from_secs(2));
    assert_eq!((fixture.told().unwrap().0, fixture.dialogue.events()), (2, vec![]));
    fixture.taken(fixture.hsdirs[1]);
    assert_eq!(fixture.dialogue.events(), [TorEvent::NativeUploaded(fixture.hsdirs[1])], "it is over");
}

#[test]
fn answers_that_never_come_are_waited_for_no_longer_than_a_minute() {
    let mut fixture = told_with_uploads_under_way();
    fixture.dialogue.run(Duration::from_secs(50));
    fixture.taken(fixture.hsdirs[0]);
    assert_eq!(fixture.dialogue.events(), [], "not over yet");
    fixture.dialogue.run(Duration::from_secs(62));
    fixture.taken(fixture.hsdirs[0]);
    assert_eq!(fixture.dialogue.events().len(), 1);
    assert!(fixture.dialogue.tor.can_upload(fixture.hsdirs[1]));
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
    assert!(fixture.wants_harvest());
}

#[test]
fn it_is_over_where_tor_is_to_publish_by_itself_for_good() {
    let mut fixture = Fixture::new();
    fixture.open();
    fixture.dialogue.close();
    fixture.dialogue.connect();
    fixture.dialogue.want_native(true);
    fixture.dialogue.answer_all();
    fixture.dialogue.run(Duration::from_secs(3));
    assert_eq!((fixture.told(), fixture.dialogue.tor.native()), (Some((1, vec![])), Native::On));
    assert!(fixture.dialogue.tor.can_upload(fixture.hsdirs[1]));
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
