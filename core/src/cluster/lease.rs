//! The lease: who publishes. Beacons renew it, silence frees it, claims take it, the higher one wins.
//!
//! ```text
//!             vacant                300 ms            claim on disk
//! Following ─────────► Asking ─────────────► Claiming ─────────────► Holding
//!     ▲                  │ newer beacon         │ newer beacon          │ higher lease: at once
//!     └──────────────────┴──────────────────────┴───────────────────────┤ cannot publish, another can, or shutdown
//!     └───────────────────────────── Releasing (three last beacons) ◄───┘
//! ```
//! Time-driven and recomputed: [`Lease::tick`] asks what should be true now and does the next step towards it.

mod claim;
mod hear;
pub(super) mod reach;

pub(super) use self::hear::Heard;
use self::reach::Reach;

use core::time::Duration;
use std::collections::BTreeMap;

use rand_core::Rng as _;

use super::Publication;
use super::beacon::{Beacon, bitmap};
use super::handover::Handover;
use super::item::Items;
use super::rank::Ranks;
use super::roster::Roster;
use super::sign::{self, Purpose};
use super::timing::{
    BEACON_PEERS, BEAT, HANDOVER, INELIGIBLE_GRACE, JITTER_MS, LISTEN_EXTRA, RELEASE_GAP, RELEASE_HOLDOFF,
    RELEASE_SENDS, RIVAL, TTL,
};
use super::wire::Message;
use crate::id::NodeId;
use crate::onion::period::Slot;
use crate::output::Outbox;
use crate::rng::Rng;
use crate::sabotage::{Rule, is_broken};
use crate::time::Mono;

/// What the lease looks at but does not own.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub ranks: Ranks<'a>,
    pub items: &'a Items,
    pub publication: &'a Publication,
    /// The token generation in force here.
    pub generation: u32,
    /// What [`Lease::epoch_max`] last asked to be on disk is there.
    pub durable: bool,
}

impl Context<'_> {
    fn me(&self) -> NodeId {
        self.ranks.me.id
    }
}

/// The newest beacon and when it came, on our clock.
#[derive(Debug)]
struct Seen {
    beacon: Beacon,
    blob: Vec<u8>,
    at: Mono,
    /// Last time its holder heard us, or the lease's beginning.
    renewed_at: Mono,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Following,
    Asking {
        since: Mono,
        repeated: bool,
    },
    /// `firm`: offered, or taken from a deaf holder, whose beacons do not stop it.
    Claiming {
        epoch: u64,
        firm: bool,
    },
    Holding {
        epoch: u64,
        seq: u64,
        since: Mono,
        beat_at: Mono,
        unfit_since: Option<Mono>,
    },
    Releasing {
        epoch: u64,
        seq: u64,
        left: u8,
        next_at: Mono,
    },
}

/// The lease as this node knows it.
#[derive(Debug)]
pub(super) struct Lease {
    state: State,
    newest: Option<Seen>,
    /// Newest epoch seen or claimed.
    epoch_max: u64,
    reach: Reach,
    /// After a restart we claim nothing before this.
    listen_until: Mono,
    /// After a stall nothing expires before this.
    grace_until: Mono,
    /// After a release we do not claim before this.
    not_before: Mono,
    eligible_since: Option<Mono>,
    jitter: Duration,
    /// Newest (epoch, seq) heard from each holder of a lease lower than the newest. At most one per member.
    rivals: BTreeMap<NodeId, (u64, u64)>,
    rival_until: Option<Mono>,
    handover: Handover,
    /// Our last beacon, once unseated, and how often the winner is still to be shown it: it must know that it had a
    /// rival, whose uploads it has to repair.
    last_words: Option<(Vec<u8>, u8)>,
    /// In our beacons. An epoch's do not change it, or a later one could be lower than one before.
    priority: u8,
    /// We are shutting down: hold nothing, claim nothing.
    stopping: bool,
}

impl Lease {
    /// Holds nothing. `epoch_max` is what the disk says.
    pub(super) fn new(now: Mono, epoch_max: u64, rng: &mut Rng) -> Self {
        Self {
            state: State::Following,
            newest: None,
            epoch_max,
            reach: Reach::new(now, epoch_max),
            listen_until: if is_broken(Rule::ListenFirst) { now } else { now.plus(TTL).plus(LISTEN_EXTRA) },
            grace_until: Mono::default(),
            not_before: Mono::default(),
            eligible_since: None,
            jitter: jitter(rng),
            rivals: BTreeMap::new(),
            rival_until: None,
            handover: Handover::default(),
            last_words: None,
            priority: u8::MAX,
            stopping: false,
        }
    }

    /// Which epochs are believed.
    pub(super) fn reach(&mut self) -> &mut Reach {
        &mut self.reach
    }

    /// Newest epoch seen or claimed; to be durable.
    pub(super) fn epoch_max(&self) -> u64 {
        self.epoch_max
    }

    /// Our epoch, if we publish.
    pub(super) fn holding(&self) -> Option<u64> {
        match self.state {
            State::Holding { epoch, .. } => Some(epoch),
            State::Following | State::Asking { .. } | State::Claiming { .. } | State::Releasing { .. } => None,
        }
    }

    /// Who holds, in which epoch; `None` once the lease is vacant.
    pub(super) fn holder(&self, now: Mono) -> Option<(NodeId, u64)> {
        if let (Some(epoch), Some(seen)) = (self.holding(), &self.newest) {
            return Some((seen.beacon.holder, epoch));
        }
        let seen = self.newest.as_ref()?;
        (now < self.vacant_at()).then_some((seen.beacon.holder, seen.beacon.epoch))
    }

    /// Whose beacons should be heard, or should have been.
    pub(super) fn last_holder(&self) -> Option<NodeId> {
        self.newest.as_ref().filter(|seen| !seen.beacon.released).map(|seen| seen.beacon.holder)
    }

    /// (epoch, seq) of the newest beacon known, for heartbeats.
    pub(super) fn newest(&self) -> (u64, u64) {
        self.newest.as_ref().map_or((0, 0), |seen| (seen.beacon.epoch, seen.beacon.seq))
    }

    /// The counter floors that the newest beacon names.
    pub(super) fn floors(&self) -> BTreeMap<Slot, (u64, u32)> {
        self.newest.as_ref().map(|seen| seen.beacon.floors.clone()).unwrap_or_default()
    }

    /// What says whom the current holder hears; nothing without a live lease, under another roster, or if we hold it.
    pub(super) fn told(&self, now: Mono, ranks: Ranks<'_>) -> Option<&Beacon> {
        let live = self.newest.as_ref().filter(|seen| now < self.vacant_at() && seen.beacon.holder != ranks.me.id);
        live.map(|seen| &seen.beacon).filter(|beacon| beacon.roster_hash == ranks.roster.hash())
    }

    /// Until when a rival was about.
    pub(super) fn rival_until(&self, now: Mono) -> Option<Mono> {
        self.rival_until.filter(|until| now < *until)
    }

    /// Beacons have come for a TTL, none with our bit.
    pub(super) fn is_left_out(&self, now: Mono, me: NodeId) -> bool {
        let live = self.newest.as_ref().filter(|seen| seen.beacon.holder != me && now < self.vacant_at());
        live.is_some_and(|seen| now >= seen.renewed_at.plus(TTL).max(self.grace_until))
    }

    /// We were stopped: nothing expires before `until`, and others may have claimed what we were about to claim.
    pub(super) fn stall(&mut self, until: Mono) {
        self.grace_until = until;
        if matches!(self.state, State::Asking { .. } | State::Claiming { .. }) {
            self.state = State::Following;
        }
    }

    /// Releases if we hold, and claims no more.
    pub(super) fn stop(&mut self, now: Mono) {
        self.stopping = true;
        self.release(now);
    }

    /// Whether the last word has been said.
    pub(super) fn is_released(&self) -> bool {
        self.stopping && self.state == State::Following
    }

    /// With every heartbeat: shows the winner whom it has beaten, a few times.
    pub(super) fn confess(&mut self, out: &mut Outbox) {
        let Some(((blob, left), seen)) = self.last_words.as_mut().zip(self.newest.as_ref()) else { return };
        Message::Beacon(blob.clone()).send(seen.beacon.holder, out);
        *left -= 1;
        if *left == 0 {
            self.last_words = None;
        }
    }

    /// The roster is ourselves alone, or without us: there is no lease to hold, and none to wait for later.
    pub(super) fn rest(&mut self) {
        self.state = State::Following;
        self.newest = None;
        self.listen_until = Mono::default();
        self.eligible_since = None;
        self.rivals.clear();
        self.last_words = None;
    }

    /// We publish, and somebody whom we did not hear is a member no more: it may have published, and may until it has
    /// been told. Its beacons will not be heard, so it counts as a rival from now on.
    pub(super) fn part_unheard(&mut self, now: Mono) {
        self.rival_until = Some(now.plus(RIVAL));
    }

    /// A lease whose holder is no member any more is free, as if it had been released.
    pub(super) fn vacate(&mut self, now: Mono, roster: &Roster) {
        let gone = self.newest.as_mut().filter(|seen| !seen.beacon.released && !roster.contains(seen.beacon.holder));
        if let Some(seen) = gone {
            seen.beacon.released = true;
            seen.at = now;
        }
    }

    /// Does the next step. True if we began to hold.
    pub(super) fn tick(&mut self, now: Mono, ctx: Context<'_>, rng: &mut Rng, out: &mut Outbox) -> bool {
        let own = ctx.ranks.records.own();
        self.eligible_since = own.eligible.then(|| self.eligible_since.unwrap_or(now));
        self.reach.follow(now, self.epoch_max);
        if !matches!(self.state, State::Holding { .. } | State::Releasing { .. }) {
            self.priority = own.priority;
        }
        match self.state {
            State::Following => self.follow(now, ctx, rng, out),
            State::Asking { since, repeated } => self.ask_on(now, ctx, since, repeated, rng, out),
            State::Claiming { epoch, .. } if ctx.durable || is_broken(Rule::ClaimOnDisk) => {
                self.state = State::Holding { epoch, seq: 0, since: now, beat_at: now, unfit_since: None };
                self.hold(now, ctx, rng, out);
                return true;
            }
            State::Claiming { .. } => {}
            State::Holding { .. } => self.hold(now, ctx, rng, out),
            State::Releasing { .. } => self.say_goodbye(now, ctx, rng, out),
        }
        false
    }

    /// Publishes: beats, and gives the lease up if another can do what we cannot.
    fn hold(&mut self, now: Mono, ctx: Context<'_>, rng: &mut Rng, out: &mut Outbox) {
        let State::Holding { epoch, seq, since, beat_at, unfit_since } = self.state else { return };
        let unfit = !ctx.ranks.records.own().eligible || ctx.publication.failing;
        let unfit_since = unfit.then(|| unfit_since.unwrap_or(now));
        let another = ctx.ranks.is_another_eligible();
        if another && unfit_since.is_some_and(|at| now.since(at) >= INELIGIBLE_GRACE) {
            self.handover.lose(now);
            self.release(now);
            return self.say_goodbye(now, ctx, rng, out);
        }
        let due = now >= beat_at;
        let next = if now.since(beat_at) < BEAT { beat_at.plus(BEAT) } else { now.plus(BEAT) };
        let (seq, beat_at) = if due { (seq + 1, next) } else { (seq, beat_at) };
        self.state = State::Holding { epoch, seq, since, beat_at, unfit_since };
        if due {
            self.beat(now, ctx, epoch, seq, false, rng, out);
        }
    }

    /// Gives the lease away, and claims none for a moment.
    pub(super) fn release(&mut self, now: Mono) {
        self.state = match self.state {
            State::Holding { epoch, seq, .. } => State::Releasing { epoch, seq, left: RELEASE_SENDS, next_at: now },
            State::Releasing { .. } => self.state,
            State::Following | State::Asking { .. } | State::Claiming { .. } => State::Following,
        };
        self.not_before = now.plus(RELEASE_HOLDOFF);
    }

    fn say_goodbye(&mut self, now: Mono, ctx: Context<'_>, rng: &mut Rng, out: &mut Outbox) {
        let State::Releasing { epoch, seq, left, next_at } = self.state else { return };
        if now < next_at {
            return;
        }
        self.state = match left {
            0 => State::Following,
            _ => State::Releasing { epoch, seq: seq + 1, left: left - 1, next_at: now.plus(RELEASE_GAP) },
        };
        if left > 0 {
            self.beat(now, ctx, epoch, seq + 1, true, rng, out);
        }
    }

    /// Signs a beacon and sends it to everyone, or to enough for the flood to reach everyone.
    #[expect(clippy::too_many_arguments, reason = "one beacon is made of just these")]
    fn beat(
        &mut self,
        now: Mono,
        ctx: Context<'_>,
        epoch: u64,
        seq: u64,
        released: bool,
        rng: &mut Rng,
        out: &mut Outbox,
    ) {
        let Ranks { me, roster, members, records, .. } = ctx.ranks;
        let beacon = Beacon {
            generation: ctx.generation,
            epoch,
            seq,
            holder: me.id,
            priority: self.priority,
            released,
            roster_hash: roster.hash(),
            unheard: bitmap(roster, |node| node == me.id || members.is_heard(now, node)),
            plan_digest: ctx.publication.plan_digest,
            floors: ctx.publication.floors.clone(),
            record: records.own().order(),
        };
        let blob = sign::seal(&me.keypair, Purpose::Beacon, me.cluster, &beacon);
        let others = roster.members().keys().copied().filter(|node| *node != me.id).collect();
        for to in super::pick(others, BEACON_PEERS, rng) {
            Message::Beacon(blob.clone()).send(to, out);
        }
        self.newest = Some(Seen { beacon, blob, at: now, renewed_at: now });
    }

    /// When the lease is, or was, free on our clock.
    fn vacant_at(&self) -> Mono {
        let silent_at = match &self.newest {
            None => Mono::default(),
            Some(seen) if seen.beacon.released => seen.at,
            Some(seen) if self.handover.is_handed_to(seen.beacon.holder) => {
                seen.at.plus(HANDOVER).max(self.grace_until)
            }
            Some(seen) => seen.at.plus(TTL).max(self.grace_until),
        };
        silent_at.max(self.listen_until)
    }

    /// When [`Lease::tick`] has something to do.
    pub(super) fn next_timeout(&self, now: Mono, ctx: Context<'_>) -> Option<Mono> {
        let step = match self.state {
            State::Following => [self.claim_at(ctx), self.deaf_at(now, ctx)].into_iter().flatten().min(),
            State::Asking { since, repeated } => Some(Self::asking_step(since, repeated)),
            State::Claiming { .. } => None,
            State::Holding { beat_at, unfit_since, .. } => {
                let release = unfit_since.filter(|_| ctx.ranks.is_another_eligible());
                Some(release.map_or(beat_at, |at| beat_at.min(at.plus(INELIGIBLE_GRACE))))
            }
            State::Releasing { next_at, .. } => Some(next_at),
        };
        // The lease becoming vacant changes what the view shows.
        let vacancy = Some(self.vacant_at()).filter(|at| *at > now && self.holding().is_none());
        [step, vacancy].into_iter().flatten().min()
    }
}

fn jitter(rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.next_u64() % JITTER_MS)
}
