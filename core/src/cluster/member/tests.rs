//! Silence, probes, verdicts, and clocks.

use rand_core::SeedableRng as _;

use super::*;
use crate::cluster::ClockOffset;
use crate::cluster::beacon::Beacon;
use crate::cluster::item::Items;
use crate::cluster::roster::Roster;
use crate::cluster::tests::{CLUSTER, identity, sent};
use crate::cluster::timing::{CALLS_MAX, CLOCK_KEPT};
use crate::id::WgPublicKey;
use crate::time::Wall;

struct Fixture {
    ids: Vec<NodeId>,
    roster: Roster,
    members: Members,
    rng: Rng,
    out: Outbox,
    hearer: bool,
    told: Option<bool>,
}

impl Fixture {
    fn new(hearer: bool) -> Self {
        Self::of(6, hearer)
    }

    fn of(members: u8, hearer: bool) -> Self {
        let me = identity(1);
        let ids: Vec<NodeId> = (1..=members).map(|n| identity(n).id).collect();
        let mut roster = Roster::new(CLUSTER, me.id);
        let entry = |id: &NodeId| crate::cluster::roster::admit(&me.keypair, CLUSTER, 0, *id, WgPublicKey([1; 32]));
        let entries: Vec<_> = ids.iter().map(entry).collect();
        roster.load(&entries, &mut Items::default());
        let (members, rng, out) = (Members::default(), Rng::seed_from_u64(1), Outbox::default());
        let mut fixture = Self { ids, roster, members, rng, out, hearer, told: None };
        fixture.tick(0);
        fixture
    }

    fn tick(&mut self, ms: u64) -> Vec<(NodeId, Message)> {
        let told = self.told.map(|heard| self.beacon(heard));
        let judgement = Judgement { hearer: self.hearer, holder: None, told: told.as_ref() };
        let now = Mono::from_ms(ms);
        self.members.tick(now, self.ids[0], &self.roster, &judgement, &mut self.rng, &mut self.out);
        sent(&mut self.out)
    }

    /// The holder hears all or nobody.
    fn beacon(&self, heard: bool) -> Beacon {
        Beacon {
            generation: 0,
            epoch: 1,
            seq: 1,
            holder: self.ids[0],
            priority: 100,
            released: false,
            roster_hash: self.roster.hash(),
            unheard: if heard { Vec::new() } else { vec![0xFF; self.ids.len().div_ceil(8)] },
            plan_digest: [0; 16],
            floors: BTreeMap::new(),
            record: (1, 1),
        }
    }

    /// Everyone but the second node beats at `ms`.
    fn others_beat(&mut self, ms: u64) {
        for index in 2..self.ids.len() {
            self.beat(index, ms, 1, 0).unwrap();
        }
    }

    fn beat(&mut self, index: usize, ms: u64, incarnation: u64, ahead: i64) -> Result<(), PeerError> {
        let now = Now { mono: Mono::from_ms(ms), wall: Wall::from_ms(1_000_000 + ms) };
        let wall_ms = now.wall.as_ms().saturating_add_signed(ahead);
        let (epoch, seq, left_out, wants) = (0, 0, false, false);
        let beat = Heartbeat { incarnation, beat: ms + 1, version: 1, wall_ms, epoch, seq, left_out, wants };
        self.members.heartbeat(now, self.ids[index], beat, &mut self.out)
    }

    fn liveness(&self, index: usize) -> Liveness {
        self.members.liveness(self.ids[index])
    }
}

#[test]
fn silence_is_probed_twice_directly_and_thrice_indirectly_before_the_verdict() {
    let mut f = Fixture::new(true);
    let silent = f.ids[1];
    f.beat(1, 0, 1, 0).unwrap();
    f.others_beat(1_000);
    assert!(f.tick(3_249).is_empty());
    assert_eq!(f.liveness(1), Liveness::Live);
    assert_eq!(f.members.next_timeout(), Some(Mono::from_ms(3_250)));
    let first = f.tick(3_250);
    assert!(matches!(first[..], [(to, Message::Ping { .. })] if to == silent), "{first:?}");
    assert_eq!(f.liveness(1), Liveness::Unknown);
    assert!(f.tick(3_449).is_empty());
    let second = f.tick(3_450);
    assert_eq!(second.len(), 4);
    assert!(matches!(second[0], (to, Message::Ping { .. }) if to == silent));
    for (helper, message) in &second[1..] {
        assert!(matches!(message, Message::PingFor { target, .. } if *target == silent));
        assert!(*helper != silent && f.members.liveness(*helper) == Liveness::Live);
    }
    assert!(f.tick(3_749).is_empty());
    assert_eq!(f.liveness(1), Liveness::Unknown);
    f.tick(3_750);
    assert_eq!(f.liveness(1), Liveness::Down);
}

#[test]
fn an_answered_probe_keeps_alive_once_and_makes_us_patient() {
    let mut f = Fixture::new(true);
    f.beat(1, 0, 1, 0).unwrap();
    f.others_beat(1_000);
    let probe = f.tick(3_250);
    let [(target, Message::Ping { nonce, .. })] = probe[..] else { panic!("{probe:?}") };
    let (now, wrong) = (Mono::from_ms(3_400), nonce ^ 1);
    assert_eq!(f.members.pong(now, target, wrong, &mut f.out), Err(PeerError::Stale));
    assert_eq!(f.members.pong(now, target, nonce, &mut f.out), Ok(()));
    assert_eq!(f.members.pong(now, target, nonce, &mut f.out), Err(PeerError::Stale));
    assert_eq!((f.liveness(1), f.members.health), (Liveness::Live, 1));
    f.others_beat(4_000);
    f.tick(6_650);
    f.tick(7_050);
    f.tick(7_649);
    assert_eq!(f.liveness(1), Liveness::Unknown, "twice the patience");
    f.tick(7_650);
    assert_eq!(f.liveness(1), Liveness::Down);
    f.tick(13_400);
    assert_eq!(f.members.health, 0, "forgiven");
}

#[test]
fn local_health_has_a_worst() {
    let mut f = Fixture::new(true);
    for _ in 0..20 {
        f.members.stall(Mono::from_ms(0), Mono::from_ms(1_000));
    }
    assert_eq!(f.members.health, HEALTH_WORST);
}

#[test]
fn a_stall_gives_everyone_two_beats_more() {
    let mut f = Fixture::new(true);
    f.beat(1, 0, 1, 0).unwrap();
    f.members.stall(Mono::from_ms(9_000), Mono::from_ms(10_000));
    f.tick(9_999);
    assert_eq!(f.liveness(1), Liveness::Live);
    f.tick(10_000);
    assert_eq!(f.liveness(1), Liveness::Unknown);
}

#[test]
fn who_was_live_before_a_stall_counts_as_heard_until_there_was_time_to_hear_it() {
    let mut f = Fixture::new(true);
    f.beat(1, 0, 1, 0).unwrap();
    f.members.stall(Mono::from_ms(9_000), Mono::from_ms(10_000));
    let heard = |f: &Fixture, ms, index: usize| f.members.is_heard(Mono::from_ms(ms), f.ids[index]);
    assert!(heard(&f, 9_999, 1), "else a holder's first beacon would leave everyone out");
    assert!(!heard(&f, 9_999, 2), "never heard");
    assert!(!heard(&f, 10_000, 1));
}

#[test]
fn who_begins_to_judge_asks_few_at_once() {
    let mut f = Fixture::of(40, false);
    f.told = Some(false);
    f.tick(10);
    f.hearer = true;
    assert_eq!(f.tick(20).len(), CALLS_MAX);
    assert_eq!(f.tick(30), [], "the others are called one a beat");
}

/// As a member that lied of itself, and is restarted.
#[test]
fn a_heartbeat_that_nothing_followed_for_ten_seconds_makes_no_other_stale() {
    let mut f = Fixture::new(true);
    f.beat(1, 1_000, u64::MAX, 0).unwrap();
    assert_eq!(f.beat(1, 10_999, 7, 0), Err(PeerError::Stale));
    assert_eq!(f.beat(1, 11_000, 7, 0), Ok(()));
    assert_eq!(f.beat(1, 11_500, 7, 0), Ok(()));
    assert_eq!(f.beat(1, 11_500, 6, 0), Err(PeerError::Stale));
}

/// A lease that is given away is taken at once, and the record that says why may come after that.
#[test]
fn a_last_word_names_a_record_until_a_heartbeat_from_after_it() {
    let mut f = Fixture::new(true);
    let node = f.ids[1];
    f.beat(1, 0, 1, 0).unwrap();
    assert!(!f.members.names_newer(node, (1, 1)));
    f.members.last_word(node, (7, 30), (1, 2));
    f.beat(1, 100, 1, 0).unwrap();
    assert!(f.members.names_newer(node, (1, 1)), "that heartbeat was on its way");
    assert!(!f.members.names_newer(node, (1, 2)));
    let now = Now { mono: Mono::from_ms(600), wall: Wall::from_ms(0) };
    let after = Heartbeat { epoch: 7, seq: 30, beat: 601, ..f.members.heartbeats(now.mono).next().unwrap().1.clone() };
    f.members.heartbeat(now, node, after, &mut f.out).unwrap();
    assert!(!f.members.names_newer(node, (1, 1)));
}

#[test]
fn whom_we_asked_before_we_began_to_judge_gets_a_ttl_of_silence_like_everyone() {
    let mut f = Fixture::new(false);
    f.told = Some(false);
    f.tick(1);
    let (me, node) = (f.ids[0], f.ids[1]);
    f.members.call(Mono::from_ms(10), me, node, &mut f.rng, &mut f.out);
    f.told = Some(true);
    f.tick(5_000);
    f.hearer = true;
    f.tick(5_000);
    assert_eq!(f.members.next_timeout(), Some(Mono::from_ms(5_000).plus(TTL)));
}

#[test]
fn a_follower_believes_the_holder_until_it_hears_everyone_itself() {
    let mut f = Fixture::new(false);
    f.told = Some(false);
    f.tick(10);
    assert_eq!(f.liveness(1), Liveness::Down);
    f.hearer = true;
    let asked = f.tick(20_000);
    assert_eq!(asked.len(), 5, "each is asked whether that is true");
    assert_eq!(f.liveness(1), Liveness::Down, "else ranks, and who judges, would go to and fro");
    let to_first = asked.iter().find(|(to, _)| *to == f.ids[1]);
    let Some((first, Message::Ping { nonce, .. })) = to_first else { panic!("{asked:?}") };
    f.members.pong(Mono::from_ms(20_050), *first, *nonce, &mut f.out).unwrap();
    assert_eq!(f.liveness(1), Liveness::Live);
    f.told = Some(true);
    f.hearer = false;
    f.tick(20_060);
    f.hearer = true;
    assert_eq!(f.tick(20_070), [], "who is live is not asked");
}

#[test]
fn old_heartbeats_are_stale_and_a_new_life_is_newer() {
    let mut f = Fixture::new(true);
    assert_eq!(f.beat(1, 100, 5, 0), Ok(()));
    assert_eq!(f.beat(1, 100, 5, 0), Err(PeerError::Stale));
    assert_eq!(f.beat(1, 99, 5, 0), Err(PeerError::Stale));
    assert_eq!(f.beat(1, 5, 6, 0), Ok(()));
}

impl Fixture {
    fn clock_offset(&self, ms: u64) -> (i64, i64, usize) {
        let now = Now { mono: Mono::from_ms(ms), wall: Wall::from_ms(1_000_000 + ms) };
        let ClockOffset { lower_ms, upper_ms, others } = self.members.clock_offset(now);
        (lower_ms, upper_ms, others)
    }
}

#[test]
fn the_clock_offset_is_the_median_of_clocks_and_ours() {
    let mut f = Fixture::new(true);
    assert_eq!(f.clock_offset(0), (0, 0, 0));
    f.beat(1, 10, 1, 9_000).unwrap();
    assert_eq!(f.clock_offset(10), (0, 9_000, 1));
    f.beat(2, 10, 1, 7_000).unwrap();
    assert_eq!(f.clock_offset(10), (7_000, 7_000, 2));
    f.beat(3, 10, 1, i64::MAX).unwrap();
    f.beat(4, 10, 1, -500_000_000_000).unwrap();
    assert_eq!(f.clock_offset(10), (7_000, 7_000, 4));
}

#[test]
fn clocks_go_on_without_heartbeats_for_an_hour_unless_their_node_is_down() {
    let mut f = Fixture::new(true);
    f.beat(1, 0, 1, 9_000).unwrap();
    f.beat(2, 0, 1, 9_000).unwrap();
    let hour = u64::try_from(CLOCK_KEPT.as_millis()).unwrap();
    assert_eq!(f.clock_offset(hour - 1), (9_000, 9_000, 2));
    assert_eq!(f.clock_offset(hour), (0, 0, 0));
    f.hearer = false;
    f.told = Some(false);
    f.tick(10_000);
    assert_eq!(f.clock_offset(10_000), (0, 0, 0));
}

#[test]
fn a_step_of_our_clock_shows_at_once() {
    let mut f = Fixture::new(true);
    f.beat(1, 0, 1, 0).unwrap();
    let stepped = Now { mono: Mono::from_ms(3_000), wall: Wall::from_ms(1_000_000 + 3_000 + 3_600_000) };
    assert_eq!(f.members.clock_offset(stepped).lower_ms, -3_600_000);
}
