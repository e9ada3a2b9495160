//! Liveness: who is heard, who is silent, who is down. Only our own probes make a member down; followers, who hear
//! few heartbeats, show what the holder's beacons say until they are hearers themselves.

use std::collections::BTreeMap;

use rand_core::Rng as _;

use super::PeerError;
use super::roster::Roster;
use super::timing::{
    CALLS_MAX, CLOCK_KEPT, HEALTH_FORGIVE, HEALTH_WORST, PROBE_HELPERS, PROBE_RETRY, PROBE_VERDICT, TTL,
};
use super::wire::{Heartbeat, Message};
use super::{ClockOffset, Liveness};
use crate::id::NodeId;
use crate::output::{Event, Outbox};
use crate::rng::Rng;
use crate::time::{Mono, Now};

/// Two direct tries and three indirect ones, under one nonce.
#[derive(Debug)]
struct Probe {
    nonce: u64,
    started: Mono,
    retried: bool,
}

#[derive(Debug)]
struct Peer {
    liveness: Liveness,
    since: Mono,
    heard_at: Option<Mono>,
    /// Silence counts from here at the earliest: when we met, or began to judge.
    silent_from: Mono,
    heartbeat: Option<Heartbeat>,
    heartbeat_at: Mono,
    probe: Option<Probe>,
}

impl Peer {
    fn new(now: Mono) -> Self {
        Self {
            liveness: Liveness::Unknown,
            since: now,
            heard_at: None,
            silent_from: now,
            heartbeat: None,
            heartbeat_at: now,
            probe: None,
        }
    }

    /// Its clock minus ours, milliseconds, if it told us lately. Boot time carries its clock on, so that a step of ours
    /// shows at once.
    fn clock_offset_ms(&self, now: Now) -> Option<i64> {
        let age = now.mono.since(self.heartbeat_at);
        let heartbeat = self.heartbeat.as_ref().filter(|_| age < CLOCK_KEPT)?;
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        Some(signed(heartbeat.wall_ms).saturating_add(age_ms).saturating_sub(signed(now.wall.as_ms())))
    }

    fn suspect_at(&self) -> Mono {
        self.heard_at.unwrap_or_default().max(self.silent_from).plus(TTL)
    }

    fn become_(&mut self, node: NodeId, now: Mono, liveness: Liveness, out: &mut Outbox) {
        if self.liveness != liveness {
            self.liveness = liveness;
            self.since = now;
            out.event(Event::Member(node, liveness));
        }
    }
}

/// Where judgement comes from in one tick.
pub(super) struct Judgement<'a> {
    /// Everybody sends us heartbeats, so silence means something.
    pub hearer: bool,
    /// Whose beacons reach everyone, so that his silence means something to everyone.
    pub holder: Option<NodeId>,
    /// What the holder says of who is heard, if there is a live lease.
    pub told: &'a dyn Fn(NodeId) -> Option<bool>,
}

/// All members but ourselves.
#[derive(Debug, Default)]
pub(super) struct Members {
    peers: BTreeMap<NodeId, Peer>,
    hearer: bool,
    holder: Option<NodeId>,
    /// Lifeguard's local health: 0 is well; probes wait `health + 1` times as long.
    health: u8,
    forgive_at: Mono,
    grace_until: Mono,
}

impl Members {
    pub(super) fn liveness(&self, node: NodeId) -> Liveness {
        self.peers.get(&node).map_or(Liveness::Unknown, |peer| peer.liveness)
    }

    pub(super) fn since(&self, node: NodeId) -> Mono {
        self.peers.get(&node).map_or(Mono::default(), |peer| peer.since)
    }

    /// Whether `node` proved to be alive within the TTL, or could not within a stall of ours.
    pub(super) fn is_heard(&self, now: Mono, node: NodeId) -> bool {
        let in_grace = |peer: &Peer| now < self.grace_until && peer.liveness == Liveness::Live;
        let is_heard = |peer: &Peer| peer.heard_at.is_some_and(|at| now.since(at) < TTL || in_grace(peer));
        self.peers.get(&node).is_some_and(is_heard)
    }

    /// How many members are heard.
    pub(super) fn heard_count(&self, now: Mono) -> usize {
        self.peers.keys().filter(|node| self.is_heard(now, **node)).count()
    }

    /// The record order its last heartbeat named.
    pub(super) fn named_order(&self, node: NodeId) -> Option<(u64, u64)> {
        let heartbeat = self.peers.get(&node)?.heartbeat.as_ref()?;
        Some((heartbeat.incarnation, heartbeat.version))
    }

    /// Members heard within the TTL, with their last heartbeat.
    pub(super) fn heartbeats(&self, now: Mono) -> impl Iterator<Item = (NodeId, &Heartbeat)> {
        let fresh = self.peers.iter().filter(move |(_, peer)| now.since(peer.heartbeat_at) < TTL);
        fresh.filter_map(|(node, peer)| Some((*node, peer.heartbeat.as_ref()?)))
    }

    /// How the clocks of members that are not down differ from ours. Those who send us heartbeats no longer count, too:
    /// else a clock found wrong, and so not to be sent any, would be right again.
    pub(super) fn clock_offset(&self, now: Now) -> ClockOffset {
        let known = self.peers.values().filter(|peer| peer.liveness != Liveness::Down);
        let mut offsets: Vec<i64> = known.filter_map(|peer| peer.clock_offset_ms(now)).chain([0]).collect();
        offsets.sort_unstable();
        let others = offsets.len() - 1;
        let at = |index: usize| offsets.get(index).copied().unwrap_or_default();
        ClockOffset { lower_ms: at(others / 2), upper_ms: at(others.div_ceil(2)), others }
    }

    /// Members that are down.
    pub(super) fn down(&self) -> impl Iterator<Item = NodeId> {
        self.peers.iter().filter(|(_, peer)| peer.liveness == Liveness::Down).map(|(node, _)| *node)
    }

    /// Something that cannot be a replay came from `node`.
    pub(super) fn heard(&mut self, now: Mono, node: NodeId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let was_down = peer.liveness == Liveness::Down;
        peer.heard_at = Some(now);
        peer.become_(node, now, Liveness::Live, out);
        if peer.probe.take().is_some() && !was_down {
            self.ail(now);
        }
    }

    /// A heartbeat.
    ///
    /// # Errors
    /// `Stale` if a newer one came before.
    pub(super) fn heartbeat(
        &mut self,
        now: Now,
        from: NodeId,
        beat: Heartbeat,
        out: &mut Outbox,
    ) -> Result<(), PeerError> {
        let peer = self.peers.get_mut(&from).ok_or(PeerError::NotAMember)?;
        let order = |beat: &Heartbeat| (beat.incarnation, beat.beat);
        if peer.heartbeat.as_ref().is_some_and(|held| order(held) >= order(&beat)) {
            return Err(PeerError::Stale);
        }
        peer.heartbeat = Some(beat);
        peer.heartbeat_at = now.mono;
        self.heard(now.mono, from, out);
        Ok(())
    }

    /// The answer to a probe of ours.
    ///
    /// # Errors
    /// `Stale` if no such probe is under way.
    pub(super) fn pong(&mut self, now: Mono, target: NodeId, nonce: u64, out: &mut Outbox) -> Result<(), PeerError> {
        let probe = self.peers.get(&target).and_then(|peer| peer.probe.as_ref());
        if probe.is_none_or(|probe| probe.nonce != nonce) {
            return Err(PeerError::Stale);
        }
        self.heard(now, target, out);
        Ok(())
    }

    /// Asks a member that is down whether it is back. It may send its heartbeats to others only: who hears everyone is
    /// judged by ranks, and ours differ from theirs as long as we believe it down.
    pub(super) fn call(&mut self, now: Mono, me: NodeId, node: NodeId, rng: &mut Rng, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let nonce = rng.next_u64();
        peer.probe = Some(Probe { nonce, started: now, retried: true });
        Message::Ping { nonce, origin: me }.send(node, out);
    }

    /// We were stopped: everyone gets time to be heard again.
    pub(super) fn stall(&mut self, now: Mono, until: Mono) {
        self.grace_until = until;
        self.ail(now);
        for peer in self.peers.values_mut() {
            peer.probe = None;
        }
    }

    fn ail(&mut self, now: Mono) {
        self.health = (self.health + 1).min(HEALTH_WORST);
        self.forgive_at = now.plus(HEALTH_FORGIVE);
    }

    /// Follows the roster, judges silence, probes.
    pub(super) fn tick(
        &mut self,
        now: Mono,
        me: NodeId,
        roster: &Roster,
        judgement: &Judgement<'_>,
        rng: &mut Rng,
        out: &mut Outbox,
    ) {
        self.peers.retain(|node, _| roster.contains(*node));
        for node in roster.members().keys().filter(|node| **node != me) {
            self.peers.entry(*node).or_insert_with(|| Peer::new(now));
        }
        if self.health > 0 && now >= self.forgive_at {
            self.health -= 1;
            self.forgive_at = now.plus(HEALTH_FORGIVE);
        }
        self.begin_judging(now, me, judgement, rng, out);
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        for node in nodes {
            if self.is_judged(node) {
                self.judge(now, me, node, rng, out);
            } else {
                self.believe(now, node, (judgement.told)(node), out);
            }
        }
    }

    /// Whoever we judge from now on gets a TTL of silence. One that the holder called down stays so, lest ranks and
    /// with them this duty go to and fro, but is asked at once whether that is true, with a few others of its kind.
    fn begin_judging(&mut self, now: Mono, me: NodeId, judgement: &Judgement<'_>, rng: &mut Rng, out: &mut Outbox) {
        let before: Vec<NodeId> = self.peers.keys().copied().filter(|node| self.is_judged(*node)).collect();
        self.hearer = judgement.hearer;
        self.holder = judgement.holder;
        let fresh: Vec<NodeId> =
            self.peers.keys().copied().filter(|node| self.is_judged(*node) && !before.contains(node)).collect();
        for node in &fresh {
            if let Some(peer) = self.peers.get_mut(node) {
                peer.silent_from = now;
            }
        }
        let down = fresh.into_iter().filter(|node| self.liveness(*node) == Liveness::Down).collect();
        super::pick(down, CALLS_MAX, rng).into_iter().for_each(|node| self.call(now, me, node, rng, out));
    }

    fn is_judged(&self, node: NodeId) -> bool {
        self.hearer || self.holder == Some(node)
    }

    fn believe(&mut self, now: Mono, node: NodeId, told: Option<bool>, out: &mut Outbox) {
        let heard = self.is_heard(now, node);
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.liveness != Liveness::Down {
            peer.probe = None;
        }
        match told {
            _ if heard => peer.become_(node, now, Liveness::Live, out),
            Some(true) => peer.become_(node, now, Liveness::Live, out),
            Some(false) => peer.become_(node, now, Liveness::Down, out),
            None => {}
        }
    }

    fn judge(&mut self, now: Mono, me: NodeId, node: NodeId, rng: &mut Rng, out: &mut Outbox) {
        let patience = u32::from(self.health) + 1;
        let grace_until = self.grace_until;
        let helpers = self.helpers(now, node, rng);
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.liveness == Liveness::Down || now < peer.suspect_at().max(grace_until) {
            return;
        }
        match &mut peer.probe {
            None => {
                let nonce = rng.next_u64();
                peer.probe = Some(Probe { nonce, started: now, retried: false });
                peer.become_(node, now, Liveness::Unknown, out);
                Message::Ping { nonce, origin: me }.send(node, out);
            }
            Some(probe) if now >= probe.started.plus(PROBE_VERDICT * patience) => {
                peer.probe = None;
                peer.become_(node, now, Liveness::Down, out);
            }
            Some(probe) if !probe.retried && now >= probe.started.plus(PROBE_RETRY * patience) => {
                probe.retried = true;
                let nonce = probe.nonce;
                Message::Ping { nonce, origin: me }.send(node, out);
                for helper in helpers {
                    Message::PingFor { nonce, target: node }.send(helper, out);
                }
            }
            Some(_) => {}
        }
    }

    /// Random live members to probe `node` for us; drawn only when they are about to be needed.
    fn helpers(&self, now: Mono, node: NodeId, rng: &mut Rng) -> Vec<NodeId> {
        let patience = u32::from(self.health) + 1;
        let probe = self.peers.get(&node).and_then(|peer| peer.probe.as_ref());
        if probe.is_none_or(|probe| probe.retried || now < probe.started.plus(PROBE_RETRY * patience)) {
            return Vec::new();
        }
        let live = self.peers.iter().filter(|(other, peer)| **other != node && peer.liveness == Liveness::Live);
        super::pick(live.map(|(other, _)| *other).collect(), PROBE_HELPERS, rng)
    }

    /// When a judgement is due.
    pub(super) fn next_timeout(&self) -> Option<Mono> {
        let patience = u32::from(self.health) + 1;
        let judged = self.peers.iter().filter(|(node, peer)| self.is_judged(**node) && peer.liveness != Liveness::Down);
        let due = judged.map(|(_, peer)| match &peer.probe {
            None => peer.suspect_at().max(self.grace_until),
            Some(probe) if probe.retried => probe.started.plus(PROBE_VERDICT * patience),
            Some(probe) => probe.started.plus(PROBE_RETRY * patience),
        });
        due.min()
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::cluster::item::Items;
    use crate::cluster::tests::{CLUSTER, identity, sent};
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
            let told = |_| self.told;
            let judgement = Judgement { hearer: self.hearer, holder: None, told: &told };
            let now = Mono::from_ms(ms);
            self.members.tick(now, self.ids[0], &self.roster, &judgement, &mut self.rng, &mut self.out);
            sent(&mut self.out)
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
}
