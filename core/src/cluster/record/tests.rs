//! Records: what is accepted, what is refused, and which of two holds.

use super::*;
use crate::cluster::roster;
use crate::cluster::tests::{CLUSTER, identity};
use crate::hsdesc::{Harvest, PowParams};
use crate::id::WgPublicKey;

struct Fixture {
    me: Identity,
    other: Identity,
    roster: Roster,
    items: Items,
    records: Records,
}

impl Fixture {
    fn new() -> Self {
        let (me, other) = (identity(1), identity(2));
        let (mut roster, mut items) = (Roster::new(CLUSTER, me.id), Items::default());
        let entry = |node| roster::admit(&me.keypair, CLUSTER, 0, node, WgPublicKey([9; 32]));
        roster.load(&[entry(me.id), entry(other.id)], &mut items);
        let mut records = Records::new(&me, 100);
        records.amend(&me, &mut items, |_| ());
        Self { me, other, roster, items, records }
    }

    fn accept(&mut self, at: u64, blob: &[u8]) -> Result<bool, PeerError> {
        let now = Mono::from_ms(at);
        let accepted = self.records.accept(now, &self.me, &self.roster, &mut self.items, blob)?;
        Ok(accepted.is_some())
    }

    fn record(&self, who: &Identity, incarnation: u64, version: u64, name: &str) -> Vec<u8> {
        let mut record = Records::new(who, incarnation).own().clone();
        record.version = version;
        record.name = name.to_owned();
        sign::seal(&who.keypair, Purpose::Record, CLUSTER, &record)
    }
}

#[test]
fn newer_wins_by_incarnation_then_version_and_a_replay_is_stale() {
    let mut f = Fixture::new();
    let record = |f: &Fixture, incarnation, version| f.record(&f.other, incarnation, version, "b");
    let (old, new, newest) = (record(&f, 5, 9), record(&f, 6, 1), record(&f, 6, 2));
    assert_eq!(f.accept(0, &new), Ok(true));
    assert_eq!(f.accept(0, &old), Err(PeerError::Stale));
    assert_eq!(f.accept(0, &newest), Ok(true));
    assert_eq!(f.accept(0, &newest), Err(PeerError::Stale));
    assert_eq!(f.records.get(f.other.id).map(|r| r.version), Some(2));
}

#[test]
fn at_equal_order_every_node_keeps_the_same_bytes() {
    let (mut one, mut two) = (Fixture::new(), Fixture::new());
    let (a, b) = (one.record(&one.other, 5, 1, "a"), one.record(&one.other, 5, 1, "b"));
    let _ = (one.accept(0, &a), one.accept(0, &b), two.accept(0, &b), two.accept(0, &a));
    assert_eq!(one.records.get(one.other.id), two.records.get(two.other.id));
}

#[test]
fn a_record_of_ours_from_before_a_lost_disk_is_outbid() {
    let mut f = Fixture::new();
    let old = f.record(&f.me, 900, 7, "me");
    assert_eq!(f.accept(0, &old), Ok(false));
    assert_eq!((f.records.own().incarnation, f.records.own().version), (901, 2));
    assert_eq!(f.accept(0, &old), Err(PeerError::Stale));
}

#[test]
fn three_conflicts_a_minute_are_a_duplicate_identity() {
    let mut f = Fixture::new();
    for incarnation in [900, 910] {
        let twin = f.record(&f.me, incarnation, 1, "twin");
        assert_eq!(f.accept(0, &twin), Ok(false));
    }
    assert!(!f.records.is_duplicate());
    let twin = f.record(&f.me, 920, 1, "twin");
    assert_eq!(f.accept(59_999, &twin), Ok(false));
    assert!(f.records.is_duplicate());
    let own = f.records.own().clone();
    assert_eq!(own.incarnation, 911, "the other is not provoked once more");
    f.records.amend(&f.me, &mut f.items, |record| record.eligible = true);
    assert_eq!(*f.records.own(), own);
}

#[test]
fn conflicts_a_minute_apart_are_forgiven() {
    let mut f = Fixture::new();
    for (at, incarnation) in [(0, 900), (0, 910), (60_000, 920)] {
        let twin = f.record(&f.me, incarnation, 1, "twin");
        assert_eq!(f.accept(at, &twin), Ok(false));
    }
    assert!(!f.records.is_duplicate());
}

#[test]
fn strangers_forgeries_and_oversize_are_refused() {
    let mut f = Fixture::new();
    let stranger = f.record(&identity(3), 1, 1, "x");
    assert_eq!(f.accept(0, &stranger), Err(PeerError::NotAMember));
    let mut record = Records::new(&f.other, 1).own().clone();
    let forged = sign::seal(&f.me.keypair, Purpose::Record, CLUSTER, &record);
    assert_eq!(f.accept(0, &forged), Err(PeerError::BadSignature));
    for name in ["x".repeat(NAME_MAX + 1), "\x1b[2Jb".to_owned()] {
        record.name = name;
        let bad = sign::seal(&f.other.keypair, Purpose::Record, CLUSTER, &record);
        assert_eq!(f.accept(0, &bad), Err(PeerError::Malformed), "{:?}", record.name);
    }
}

const POW: PowOffer =
    PowOffer { period: 20_780, params: PowParams { seed: [9; 32], effort: 3, expires: 2_000_000_000 } };

#[test]
fn proof_of_work_stands_at_the_end_or_not_at_all() {
    let mut f = Fixture::new();
    let mut record = Records::new(&f.other, 5).own().clone();
    let without = sign::encode(&record);
    record.pow = Some(POW);
    let with = sign::encode(&record);
    assert!(with.starts_with(&without) && with.len() > without.len());
    let blob = sign::seal(&f.other.keypair, Purpose::Record, CLUSTER, &record);
    assert_eq!(f.accept(0, &blob), Ok(true));
    assert_eq!(f.records.get(f.other.id).and_then(|record| record.pow), Some(POW));
}

/// What it was made to show is of no use without it.
#[test]
fn points_that_tor_was_made_to_show_stand_behind_proof_of_work_and_not_without() {
    let point = |n| IntroPoint { link_specifiers: vec![1; n], onion_key: [1; 32], auth_key: [2; 32], enc_key: [3; 32] };
    let harvest = |points| Some(Harvest { period: 20_781, number: 2, points });
    let mut f = Fixture::new();
    let record = Record { pow: Some(POW), ..Records::new(&f.other, 5).own().clone() };
    let with = Record { harvest: harvest(vec![point(255); NUM_INTRO_POINT_MAX]), ..record.clone() };
    assert!(sign::encode(&with).starts_with(&sign::encode(&record)));
    let seal = |record: &Record| sign::seal(&f.other.keypair, Purpose::Record, CLUSTER, record);
    let (good, without_pow) = (seal(&with), seal(&Record { pow: None, ..with.clone() }));
    let too_many = seal(&Record { harvest: harvest(vec![point(3); NUM_INTRO_POINT_MAX + 1]), ..record });
    assert_eq!(f.accept(0, &without_pow), Err(PeerError::Malformed));
    assert_eq!(f.accept(0, &too_many), Err(PeerError::Malformed));
    assert_eq!(f.accept(0, &good), Ok(true));
    assert_eq!(f.records.get(f.other.id).and_then(|record| record.harvest.clone()), with.harvest);

    let local = Local { harvest: harvest(vec![point(3)]), ..Local::default() };
    f.records.set_local(&f.me, &mut f.items, local.clone());
    assert_eq!(f.records.own().harvest, None);
    f.records.set_local(&f.me, &mut f.items, Local { pow: Some(POW), ..local });
    assert_eq!(f.records.own().harvest, harvest(vec![point(3)]));
}

#[test]
fn a_malformed_end_is_refused() {
    let mut f = Fixture::new();
    let mut record = Records::new(&f.other, 5).own().clone();
    record.pow = Some(POW);
    let whole = sign::encode(&record);
    for length in 1 + sign::encode(&Record { pow: None, ..record.clone() }).len()..whole.len() {
        let cut = sign::seal_body(&f.other.keypair, Purpose::Record, CLUSTER, whole[..length].to_vec());
        assert_eq!(f.accept(0, &cut), Err(PeerError::Malformed), "{length}");
    }
    record.pow = Some(PowOffer { params: PowParams { expires: u64::MAX, ..POW.params }, ..POW });
    let endless = sign::seal(&f.other.keypair, Purpose::Record, CLUSTER, &record);
    assert_eq!(f.accept(0, &endless), Err(PeerError::Malformed));
}

#[test]
fn our_own_texts_are_ones_that_others_accept() {
    let mut me = identity(1);
    me.name = format!("a\x1b[2J\n{}", "é".repeat(NAME_MAX));
    me.contact = Some("host\n:1".to_owned());
    assert!(is_within_bounds(&Records::new(&me, 1).own));
}

#[test]
fn software_and_header_have_their_bounds() {
    let record = Records::new(&identity(1), 1).own().clone();
    let software = |length| Record { software: "x".repeat(length), ..record.clone() };
    assert!(is_within_bounds(&software(SOFTWARE_MAX)) && !is_within_bounds(&software(SOFTWARE_MAX + 1)));
    // Each line ends with one more byte.
    let header = |length| Record { header: InnerHeader(vec!["x".repeat(length), "y".to_owned()]), ..record.clone() };
    assert!(is_within_bounds(&header(HEADER_MAX - 3)) && !is_within_bounds(&header(HEADER_MAX - 2)));
}

#[test]
fn our_own_record_stays_within_the_bounds_others_check() {
    let mut f = Fixture::new();
    let point = |n| IntroPoint { link_specifiers: vec![1; n], onion_key: [1; 32], auth_key: [2; 32], enc_key: [3; 32] };
    let points = [vec![point(256)], vec![point(255); 25]].concat();
    let header = InnerHeader(vec!["x".repeat(1500); 4]);
    f.records.set_local(
        &f.me,
        &mut f.items,
        Local { points: points.into(), header: header.into(), ..Local::default() },
    );
    assert!(is_within_bounds(f.records.own()));
    assert_eq!(f.records.own().points.len(), NUM_INTRO_POINT_MAX);
    assert_eq!(f.records.own().header.0.len(), 2);
    assert!(f.items.blob(Key::Record(f.me.id)).is_some_and(|(_, blob)| blob.len() <= ITEM_MAX));
    assert_eq!(truncated("aéé", 4), "aé");
}
