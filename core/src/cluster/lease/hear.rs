//! Hearing of leases: beacons, questions and answers.

use super::super::PeerError;
use super::super::beacon::Beacon;
use super::super::sign::{Purpose, Unverified};
use super::super::timing::{RELEASE_SENDS, RIVAL, RIVAL_GRACE};
use super::super::wire::Message;
use super::{Context, Lease, Seen, State, jitter};
use crate::id::NodeId;
use crate::output::Outbox;
use crate::rng::Rng;
use crate::sabotage::{Rule, is_broken};
use crate::time::Mono;

/// What a beacon turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Heard {
    /// It renews or takes the lease; to be forwarded.
    Newest(Beacon),
    /// A living rival with a lower lease; whoever sent it should hear of the higher one.
    Rival(NodeId),
    /// Its epoch is too far ahead to be believed yet.
    TooFarAhead,
}

impl Lease {
    /// A beacon that came `age_ms` after it reached whoever sent it to us.
    ///
    /// # Errors
    /// State unchanged; cheap checks come before the signature's.
    pub(in super::super) fn hear(
        &mut self,
        now: Mono,
        ctx: Context<'_>,
        blob: &[u8],
        age_ms: u64,
        rng: &mut Rng,
    ) -> Result<Heard, PeerError> {
        let sealed = Unverified::<Beacon>::decode(blob).ok_or(PeerError::Malformed)?;
        let claim = sealed.claim();
        let holder = claim.holder;
        if !ctx.ranks.roster.contains(holder) {
            return Err(PeerError::NotAMember);
        }
        if !claim.is_within_bounds() {
            return Err(PeerError::Malformed);
        }
        let is_believed = self.reach.believes(claim.epoch);
        if !is_believed && !self.reach.may_grow(now) {
            return Err(PeerError::EpochJump);
        }
        // Older generations are heard, and lose against newer ones: who sends them is a member still.
        if claim.generation > ctx.generation {
            return Err(PeerError::NewGeneration);
        }
        if !is_believed {
            sealed.verify(holder, Purpose::Beacon, ctx.ranks.me.cluster).ok_or(PeerError::BadSignature)?;
            self.reach.grow(now);
            return Ok(Heard::TooFarAhead);
        }
        if let Some(seen) = self.newest.as_mut().filter(|_| is_broken(Rule::RenewByNewerOnly)) {
            (seen.at, seen.renewed_at) = (now, now);
        }
        let newest = self.newest.as_ref().map(|seen| &seen.beacon);
        let order = (claim.epoch, claim.seq);
        let old = |held: &Beacon| held.seq >= claim.seq && !is_broken(Rule::RefuseOldSeq);
        let higher = |held: &Beacon| match is_broken(Rule::EpochsThenRanks) {
            true => held.epoch > claim.epoch,
            false => held.lease() > claim.lease(),
        };
        let is_lower = match newest {
            Some(held) if held.lease() == claim.lease() && old(held) => return Err(PeerError::Duplicate),
            Some(held) if higher(held) => {
                if holder == ctx.me() || self.rivals.get(&holder).is_some_and(|seen| *seen >= order) {
                    return Err(PeerError::Stale);
                }
                true
            }
            _ if self.rivals.get(&holder).is_some_and(|seen| *seen >= order) => return Err(PeerError::Stale),
            _ => false,
        };
        let beacon = sealed.verify(holder, Purpose::Beacon, ctx.ranks.me.cluster).ok_or(PeerError::BadSignature)?;
        if is_lower {
            self.meet_rival(now, holder, order);
            return Ok(Heard::Rival(holder));
        }
        self.accept(now, ctx, beacon.clone(), blob, age_ms, rng);
        Ok(Heard::Newest(beacon))
    }

    fn meet_rival(&mut self, now: Mono, holder: NodeId, order: (u64, u64)) {
        self.rivals.insert(holder, order);
        if let State::Holding { epoch, since, .. } = self.state
            && (order.0 == epoch || now.since(since) >= RIVAL_GRACE)
        {
            self.rival_until = Some(now.plus(RIVAL));
        }
    }

    fn accept(&mut self, now: Mono, ctx: Context<'_>, beacon: Beacon, blob: &[u8], age_ms: u64, rng: &mut Rng) {
        let at = Mono::from_ms(now.as_ms().saturating_sub(age_ms));
        let same = self.newest.as_ref().filter(|seen| seen.beacon.lease() == beacon.lease());
        let (before, renewed, released_at) = same.map_or((Mono::default(), at, None), |seen| {
            (seen.at, seen.renewed_at, seen.beacon.released.then_some(seen.at))
        });
        let hears_us = beacon.hears(ctx.ranks.roster, ctx.me()) || is_broken(Rule::HeedHeard);
        let renewed_at = if hears_us { at.max(renewed) } else { renewed };
        // The first of the last words counts.
        let at = released_at.filter(|_| beacon.released).unwrap_or(at.max(before));
        if same.is_none() {
            self.jitter = jitter(rng);
            let held = self.holding().is_some();
            if held {
                self.handover.unseated(now, beacon.holder);
            }
            if let Some(old) = self.newest.take() {
                let rivalled = held && !self.handover.is_handed_to(beacon.holder);
                self.last_words = rivalled.then_some((old.blob, RELEASE_SENDS));
                self.rivals.insert(old.beacon.holder, (old.beacon.epoch, old.beacon.seq));
            }
        }
        self.handover.witness(beacon.holder, beacon.seq);
        self.epoch_max = self.epoch_max.max(beacon.epoch);
        self.rivals.retain(|node, _| ctx.ranks.roster.contains(*node) && *node != beacon.holder);
        let epoch = beacon.epoch;
        self.newest = Some(Seen { beacon, blob: blob.to_vec(), at, renewed_at });
        self.yield_to(epoch, now < self.vacant_at());
    }

    /// A holder stops at once. A claim goes on only if the lease is still free, or was ours to take anyway.
    fn yield_to(&mut self, epoch: u64, is_held: bool) {
        let goes_on = match self.state {
            State::Holding { .. } => is_broken(Rule::LoserStops),
            State::Following | State::Releasing { .. } => false,
            State::Asking { .. } => !is_held,
            State::Claiming { epoch: ours, firm } => epoch < ours && (firm || !is_held),
        };
        if !goes_on {
            self.state = State::Following;
        }
    }

    /// "Have you a newer beacon?" A released one is no reason not to claim.
    pub(in super::super) fn answer(&self, now: Mono, from: NodeId, asked: (u64, u64), out: &mut Outbox) {
        if let Some(seen) = self.newest.as_ref().filter(|seen| !seen.beacon.released && self.newest() > asked) {
            let age_ms = now.as_ms().saturating_sub(seen.at.as_ms());
            Message::Answer { age_ms, beacon: seen.blob.clone() }.send(from, out);
        }
    }

    /// Tells `to` of the newest lease.
    pub(in super::super) fn tell(&self, now: Mono, to: NodeId, out: &mut Outbox) {
        self.answer(now, to, (0, 0), out);
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng as _;

    use super::super::super::item::Items;
    use super::super::super::member::Members;
    use super::super::super::rank::{Ranking, Ranks};
    use super::super::super::record::Records;
    use super::super::super::roster::{Roster, admit};
    use super::super::super::sign;
    use super::super::super::tests::{CLUSTER, identity};
    use super::super::super::timing::{EPOCH_JUMP_MAX, TTL};
    use super::super::super::{Identity, Publication};
    use super::*;
    use crate::id::WgPublicKey;

    /// We are the first of three nodes; beacons come from any of them.
    struct Fixture {
        ids: Vec<Identity>,
        roster: Roster,
        records: Records,
        items: Items,
        lease: Lease,
        rng: Rng,
    }

    impl Fixture {
        fn new() -> Self {
            let ids: Vec<Identity> = (1..=3).map(identity).collect();
            let mut items = Items::default();
            let mut roster = Roster::new(CLUSTER, ids[0].id);
            let entry = |other: &Identity| admit(&ids[0].keypair, CLUSTER, 0, other.id, WgPublicKey([1; 32]));
            let entries: Vec<_> = ids.iter().map(entry).collect();
            roster.load(&entries, &mut items);
            let records = Records::new(&ids[0], 1);
            let mut rng = Rng::seed_from_u64(1);
            let lease = Lease::new(Mono::default(), 5, &mut rng);
            Self { ids, roster, records, items, lease, rng }
        }

        fn beacon(&self, by: usize, epoch: u64, seq: u64) -> Beacon {
            Beacon {
                generation: 3,
                epoch,
                seq,
                holder: self.ids[by].id,
                priority: 100,
                released: false,
                roster_hash: self.roster.hash(),
                unheard: Vec::new(),
                plan_digest: [0; 16],
                floors: Default::default(),
                record: (1, 1),
            }
        }

        fn hear(&mut self, ms: u64, signer: usize, beacon: &Beacon) -> Result<Heard, PeerError> {
            let blob = sign::seal(&self.ids[signer].keypair, Purpose::Beacon, CLUSTER, beacon);
            let (members, publication) = (Members::default(), Publication::default());
            let me = &self.ids[0];
            let ranks = Ranks {
                me,
                roster: &self.roster,
                records: &self.records,
                members: &members,
                ranking: &Ranking::default(),
            };
            let (items, publication) = (&self.items, &publication);
            let ctx = Context { ranks, items, publication, generation: 3, durable: true };
            self.lease.hear(Mono::from_ms(ms), ctx, &blob, 0, &mut self.rng)
        }
    }

    #[test]
    fn only_strictly_newer_renews() {
        let mut f = Fixture::new();
        let beacon = |f: &Fixture, epoch, seq| f.beacon(1, epoch, seq);
        let (first, second, next) = (beacon(&f, 6, 1), beacon(&f, 6, 2), beacon(&f, 7, 1));
        assert_eq!(f.hear(10_000, 1, &second), Ok(Heard::Newest(second.clone())));
        assert_eq!(f.hear(10_001, 1, &second), Err(PeerError::Duplicate));
        assert_eq!(f.hear(10_002, 1, &first), Err(PeerError::Duplicate));
        assert_eq!(f.lease.holder(Mono::from_ms(13_249)), Some((f.ids[1].id, 6)));
        assert_eq!(f.lease.holder(Mono::from_ms(13_250)), None);
        assert_eq!(f.hear(13_000, 1, &next), Ok(Heard::Newest(next.clone())));
        assert_eq!(f.lease.epoch_max(), 7);
    }

    #[test]
    fn epochs_jump_at_most_so_far() {
        let mut f = Fixture::new();
        let (far, most) = (f.beacon(1, 5 + EPOCH_JUMP_MAX + 1, 1), f.beacon(1, 5 + EPOCH_JUMP_MAX, 1));
        assert_eq!(f.hear(0, 1, &far), Err(PeerError::EpochJump));
        assert_eq!(f.lease.epoch_max(), 5);
        assert!(f.hear(0, 1, &most).is_ok());
    }

    #[test]
    fn a_jump_too_far_is_believed_once_it_was_told_for_as_many_beats() {
        let mut f = Fixture::new();
        let (far, forged) = (f.beacon(1, 6 + 3 * EPOCH_JUMP_MAX, 1), f.beacon(2, 6 + 3 * EPOCH_JUMP_MAX, 1));
        assert_eq!(f.hear(500, 1, &forged), Err(PeerError::BadSignature), "of this nobody learns anything");
        for ms in [500, 1_000] {
            assert_eq!(f.hear(ms, 1, &far), Ok(Heard::TooFarAhead));
            assert_eq!(f.hear(ms + 499, 1, &far), Err(PeerError::EpochJump));
        }
        assert_eq!(f.hear(1_500, 1, &far), Ok(Heard::TooFarAhead));
        assert_eq!((f.lease.epoch_max(), f.lease.newest()), (5, (0, 0)));
        assert_eq!(f.hear(1_501, 1, &far), Ok(Heard::Newest(far.clone())));
    }

    #[test]
    fn strangers_forgeries_and_newer_generations_are_refused() {
        let mut f = Fixture::new();
        let beacon = f.beacon(1, 6, 1);
        assert_eq!(f.hear(0, 2, &beacon), Err(PeerError::BadSignature));
        let stranger = Beacon { holder: identity(9).id, ..beacon.clone() };
        assert_eq!(f.hear(0, 2, &stranger), Err(PeerError::NotAMember));
        let generation = Beacon { generation: beacon.generation + 1, ..beacon };
        assert_eq!(f.hear(0, 1, &generation), Err(PeerError::NewGeneration));
        assert_eq!(f.lease.newest(), (0, 0));
    }

    #[test]
    fn a_member_is_one_rival_however_much_it_says() {
        let mut f = Fixture::new();
        let higher = f.beacon(1, 100, 1);
        f.hear(0, 1, &higher).unwrap();
        for seq in 1..=50 {
            let lower = f.beacon(2, 6 + seq / 10, seq);
            assert!(matches!(f.hear(seq, 2, &lower), Ok(Heard::Rival(_))), "{seq}");
        }
        assert_eq!(f.lease.rivals.len(), 1);
        let next = f.beacon(2, 101, 1);
        f.hear(60, 2, &next).unwrap();
        assert!(!f.lease.rivals.contains_key(&f.ids[2].id), "who has the newest lease is no rival of itself");
    }

    #[test]
    fn only_being_heard_renews_for_us() {
        let mut f = Fixture::new();
        let me = f.ids[0].id;
        let deaf = |f: &Fixture, seq| Beacon { unheard: vec![0b111], ..f.beacon(1, 6, seq) };
        for beat in 0..=6 {
            let beacon = deaf(&f, beat + 1);
            f.hear(beat * 500, 1, &beacon).unwrap();
        }
        assert!(!f.lease.is_left_out(Mono::from_ms(3_249), me), "a new lease has a TTL to hear us");
        assert!(f.lease.is_left_out(Mono::from_ms(3_250), me));
        let heard = f.beacon(1, 6, 9);
        f.hear(3_300, 1, &heard).unwrap();
        assert!(!f.lease.is_left_out(Mono::from_ms(3_300), me));
        let other_roster = Beacon { roster_hash: [9; 16], ..deaf(&f, 10) };
        f.hear(6_000, 1, &other_roster).unwrap();
        assert!(!f.lease.is_left_out(Mono::from_ms(6_600), me), "bits of another roster mean nothing");
    }

    #[test]
    fn of_one_epoch_the_better_rank_wins_whatever_comes_first() {
        for order in [[1, 2], [2, 1]] {
            let mut f = Fixture::new();
            for by in order {
                let beacon = f.beacon(by, 6, 1);
                let _ = f.hear(0, by, &beacon);
            }
            let best = f.ids[1].id.min(f.ids[2].id);
            assert_eq!(f.lease.holder(Mono::from_ms(1)).map(|(holder, _)| holder), Some(best));
        }
    }

    #[test]
    fn a_holder_stops_at_once_for_the_higher_and_notes_the_lower() {
        let mut f = Fixture::new();
        let ours = f.beacon(0, 6, 4);
        let blob = sign::seal(&f.ids[0].keypair, Purpose::Beacon, CLUSTER, &ours);
        let at = Mono::from_ms(10_000);
        let hold = |f: &mut Fixture| {
            f.lease.newest = Some(Seen { beacon: ours.clone(), blob: blob.clone(), at, renewed_at: at });
            f.lease.state = State::Holding { epoch: 6, seq: 4, since: at, beat_at: at, unfit_since: None };
        };
        hold(&mut f);
        let late = f.beacon(1, 5, 90);
        assert_eq!(f.hear(10_999, 1, &late), Ok(Heard::Rival(f.ids[1].id)));
        assert_eq!(f.lease.rival_until(at), None, "it was under way when we took over");
        let rival = f.beacon(1, 5, 91);
        assert_eq!(f.hear(11_000, 1, &rival), Ok(Heard::Rival(f.ids[1].id)));
        let until = Mono::from_ms(11_000).plus(RIVAL);
        assert_eq!(f.lease.rival_until(Mono::from_ms(11_001)), Some(until));
        assert_eq!(f.lease.rival_until(until), None);
        assert_eq!(f.hear(11_100, 1, &rival), Err(PeerError::Stale), "a replay is no rival");
        assert_eq!(f.lease.holding(), Some(6));
        let winner = f.beacon(2, 7, 1);
        f.hear(11_200, 2, &winner).unwrap();
        assert_eq!(f.lease.holding(), None);
        assert!(f.lease.last_words.is_some(), "the winner will be shown whom it beat");
    }

    #[test]
    fn what_was_asked_or_claimed_before_a_stall_is_taken_back() {
        let mut f = Fixture::new();
        let asking = State::Asking { since: Mono::default(), repeated: true };
        for state in [asking, State::Claiming { epoch: 6, firm: true }, State::Claiming { epoch: 6, firm: false }] {
            f.lease.state = state;
            f.lease.stall(Mono::from_ms(60_000));
            assert_eq!(f.lease.state, State::Following, "others may have claimed meanwhile");
        }
        let holding =
            State::Holding { epoch: 6, seq: 4, since: Mono::default(), beat_at: Mono::default(), unfit_since: None };
        f.lease.state = holding;
        f.lease.stall(Mono::from_ms(60_000));
        assert_eq!(f.lease.state, holding);
    }

    #[test]
    fn answers_count_from_when_they_were_heard_there() {
        let mut f = Fixture::new();
        let beacon = f.beacon(1, 6, 1);
        let blob = sign::seal(&f.ids[1].keypair, Purpose::Beacon, CLUSTER, &beacon);
        let (members, publication) = (Members::default(), Publication::default());
        let ranks = Ranks {
            me: &f.ids[0],
            roster: &f.roster,
            records: &f.records,
            members: &members,
            ranking: &Ranking::default(),
        };
        let (items, publication) = (&f.items, &publication);
        let ctx = Context { ranks, items, publication, generation: 3, durable: true };
        f.lease.hear(Mono::from_ms(20_000), ctx, &blob, 3_000, &mut f.rng).unwrap();
        assert_eq!(f.lease.vacant_at(), Mono::from_ms(17_000).plus(TTL));
    }
}
