//! Publication: the plan, descriptors built from it, and what each HSDir has confirmed (`docs/PROTOCOL.md`).
//!
//! Time-driven: every [`Publisher::tick`] works out what every responsible HSDir of both slots should hold and takes
//! the next steps towards it. A *round* is one upload to each of them; it starts for a new plan, a new epoch, a rival
//! come or gone, a new period, or old age. Each HSDir then is *wanted*, *sent*, *confirmed* or *refused* on its own,
//! and one upload is in flight per HSDir, since tor's answers name neither slot nor descriptor. Those of the
//! current slot are read back, after every upload and then every few minutes: *verified*, or *gone*, *stale* or
//! *foreign* and served again.

mod answer;
mod build;
mod counter;
mod event;
mod fetch;
mod foreign;
mod gathering;
mod majority;
mod mode;
mod plan;
mod planner;
mod proof;
mod report;
mod schedule;
mod target;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod upload;
mod waiting;
mod wake;

use crate::cluster::{ClockOffset, ProvenPlan, View};
use crate::hsdir::ring::Ring;
use crate::id::RelayFingerprint;
use crate::onion::key::HsIdKeypair;
use crate::onion::period::{Slot, TimePeriod};
use crate::output::{Outbox, TimerName};
use crate::rng::Rng;
use crate::time::{Mono, Now};
use build::{Builder, Encoded};
use core::time::Duration;
use counter::{CLOCK_OFFSET_MAX_MS, ClockWatch, CounterClock};
pub use event::PublicationEvent;
use fetch::Fetching;
use foreign::{Sighting, Suspect};
use gathering::Gathering;
use majority::Majority;
use mode::{Duty, Mode};
use planner::{Change, Planner};
use schedule::Schedule;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use target::Confirmed;
use upload::{Context, Descriptor, SlotUploads};
use waiting::Waiting;
use wake::Wake;

/// Uploads in flight together: both slots of a network with default parameters.
const UPLOADS_IN_FLIGHT_MAX: usize = 16;
/// Where tor takes no upload now (connection lost), ask again after this at the latest.
const TOR_BUSY: Duration = Duration::from_secs(1);

/// What tor should do now; hand each to [`Tor::upload`](crate::tor::Tor::upload) or
/// [`Tor::fetch`](crate::tor::Tor::fetch), whose outcome comes back to [`Publisher::handle`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Upload `descriptor` to `hsdir`.
    Upload {
        /// To whom.
        hsdir: RelayFingerprint,
        /// The text.
        descriptor: Arc<str>,
    },
    /// Fetch the current period's descriptor from `hsdir`.
    Fetch {
        /// From whom.
        hsdir: RelayFingerprint,
    },
}

/// An upload tor has not answered yet.
struct Flight {
    period: TimePeriod,
    confirmed: Confirmed,
    ahead: bool,
}

/// The publication part. Recomputes what every HSDir should hold and does the next difference.
pub struct Publisher {
    builder: Builder,
    rng: Rng,
    ring: Option<Arc<Ring>>,
    /// Empty until a consensus is known.
    slots: BTreeMap<Slot, SlotUploads>,
    flights: BTreeMap<RelayFingerprint, Flight>,
    /// The one fetch under way.
    fetching: Option<Fetching>,
    gathering: Gathering,
    /// What the last one brought, if it was not ours.
    suspect: Option<Suspect>,
    /// Somebody else's that was read,
    stranger: Sighting,
    /// and one that cannot be.
    unread_stranger: Sighting,
    planner: Planner,
    schedule: Schedule,
    majority: Majority,
    mode: Mode,
    clock: ClockWatch,
    proven: Option<Arc<ProvenPlan>>,
    /// Serial of the last plan reported as confirmed.
    reported: u64,
    /// What was last said of proof of work.
    pow_reported: Option<String>,
    /// What others proved, for status.
    known: Option<Arc<ProvenPlan>>,
    waiting: Option<Waiting>,
    wake: Wake,
}

impl Publisher {
    /// `master` signs; only a blinded key per period is derived from it, so custody can change later.
    /// No descriptor lists more than `places` points, 1 to 20. `tors` is how many there are on this node.
    pub fn new(master: HsIdKeypair, places: usize, tors: u8, rng: Rng) -> Self {
        Self {
            builder: Builder::new(master),
            rng,
            ring: None,
            slots: BTreeMap::new(),
            flights: BTreeMap::new(),
            fetching: None,
            gathering: Gathering::default(),
            suspect: None,
            stranger: Sighting::default(),
            unread_stranger: Sighting::default(),
            planner: Planner::new(places),
            schedule: Schedule::default(),
            majority: Majority::default(),
            mode: Mode::new(tors),
            clock: ClockWatch::default(),
            proven: None,
            reported: 0,
            pow_reported: None,
            known: None,
            waiting: None,
            wake: Wake::default(),
        }
    }

    /// The master key, for nodes that were invited.
    pub(crate) fn master(&self) -> &HsIdKeypair {
        self.builder.master()
    }

    /// Whether our clock is near enough to the others' to publish: part of being eligible.
    /// Of an even number, two nodes among them, either middle will do: nobody can tell which half is right, and one that
    /// is cannot be ruled out by one that is not.
    pub fn clock_sane(offset: ClockOffset) -> bool {
        offset.nearest_ms().unsigned_abs() <= CLOCK_OFFSET_MAX_MS
    }

    /// Whether a node alone, too, publishes itself, and tor never.
    pub fn keep_merged(&mut self, keep: bool) {
        self.mode.keep_merged(keep);
    }

    /// Whether tor's own publishing cannot be turned off, and is left alone whatever comes of it.
    pub fn keep_native(&mut self, keep: bool) {
        self.mode.keep_native(keep);
    }

    /// Tor must not publish by itself now: nothing could take the place of that, or everybody could read it.
    pub fn publish_instead(&mut self, now: Mono) {
        self.mode.publish_instead(now);
    }

    /// Whether tor's native publishing should be on (`docs/PROTOCOL.md`, Modes).
    pub fn wants_native(&self, view: &View) -> bool {
        self.mode.wants_native(view)
    }

    /// Whether it ever should be.
    pub fn may_be_native(&self) -> bool {
        self.mode.may_be_native()
    }

    /// When, and why. Valid until the next [`Self::tick`] or [`Self::handle`].
    pub fn next_timeout(&self) -> Option<(Mono, TimerName)> {
        self.wake.get().map(|at| (at, TimerName::Publish))
    }

    /// Does the next things: plan, build, upload, fetch, mode. Idempotent. `ring` is that of the newest live consensus
    /// (the last one known is kept where it goes away); `can_upload` tells whether tor takes an upload to an HSDir now.
    pub fn tick(
        &mut self,
        now: Now,
        view: &View,
        ring: Option<&Arc<Ring>>,
        can_upload: &dyn Fn(RelayFingerprint) -> bool,
        out: &mut Outbox,
    ) -> Vec<Wish> {
        self.wake = Wake::default();
        self.follow_ring(ring);
        self.clock.look(now, view.clock_offset, self.ring.as_ref().map(|ring| ring.valid_after()));
        self.heed_floors(now, view);
        self.judge_suspect(now.mono, view, out);
        let Self { mode, slots, wake, .. } = self;
        mode.tick(now.mono, view, || native_overtakes(slots, now), || all_hsdirs(slots), wake);
        let mut wishes = Vec::new();
        self.waiting = self.step(now, view, can_upload, &mut wishes, out).err();
        let name = |plan: &Option<Arc<ProvenPlan>>| plan.as_ref().map(|plan| (plan.epoch, plan.serial));
        if name(&self.known) != name(&view.proven) {
            self.known.clone_from(&view.proven);
        }
        wishes
    }

    /// One step of publishing, up to what it has to wait for.
    fn step(
        &mut self,
        now: Now,
        view: &View,
        can_upload: &dyn Fn(RelayFingerprint) -> bool,
        wishes: &mut Vec<Wish>,
        out: &mut Outbox,
    ) -> Result<(), Waiting> {
        match self.mode.duty(view) {
            Duty::Publish(epoch) => self.schedule.publish_under(now.mono, epoch, view.members.len() > 1),
            Duty::Native => return Err(self.stop(Waiting::Native)),
            Duty::Follow if view.holder.is_none() => return Err(self.stop(Waiting::Nobody)),
            Duty::Follow => return Err(self.stop(Waiting::Follower)),
        }
        if self.slots.is_empty() {
            return Err(Waiting::NoConsensus);
        }
        if !self.schedule.records_are_here(now.mono, view, &mut self.wake) {
            return Err(Waiting::Records);
        }
        let mut offers = self.gathering.gather(now, view, self.planner.kept(view), &mut self.wake);
        if offers.is_empty() {
            return Err(Waiting::NoPoints);
        }
        self.heed_majority(now, view, &mut offers, can_upload, wishes)?;
        // What a minority uploads must follow from the answer it has; the plan in force may be from before the partition.
        let urgent = self.schedule.is_first_plan() | !view.sees_majority;
        let read = self.slots.values().map(|uploads| uploads.fetch.len()).min().unwrap_or(0);
        let before = (self.schedule.round(), self.planner.serial());
        let change = self.planner.follow(now.mono, offers, view, read, urgent, &mut self.wake);
        self.start_round(before, &change);
        if change != Change::Nothing {
            self.report_plan(out);
        }
        if let Some(plan) = self.planner.plan() {
            self.slots.values_mut().for_each(|uploads| uploads.assign(plan.contents(uploads.period.number).len()));
        }
        self.report_pow(out);
        self.schedule.tick(now.mono, view, &mut self.rng, &mut self.wake);
        if view.hold_uploads {
            return Err(Waiting::Stall);
        }
        let uploading = self.upload(now, view, can_upload, wishes);
        self.read_back(now, can_upload, wishes);
        self.prove(now, view, out);
        uploading
    }

    /// The round that a new plan asks for. HSDirs for which it says nothing new, and which have confirmed all of the round
    /// and plan `before`, need no upload for it.
    fn start_round(&mut self, before: (u64, u64), change: &Change) {
        match change {
            Change::Nothing => {}
            Change::All => self.schedule.start_round(),
            Change::Part(altered) => {
                self.schedule.start_round_of_some();
                let after = (self.schedule.round(), self.planner.serial());
                self.slots.values_mut().for_each(|uploads| uploads.carry_over(altered, before, after));
            }
        }
    }

    /// Not publishing (any more).
    fn stop(&mut self, why: Waiting) -> Waiting {
        self.schedule.stop();
        self.gathering.stop();
        self.planner.stop();
        self.majority.in_sight();
        self.slots.values_mut().for_each(SlotUploads::stand_down);
        why
    }

    /// Takes over a new consensus: HSDirs may move, and slots shift to the next period.
    fn follow_ring(&mut self, ring: Option<&Arc<Ring>>) {
        let Some(ring) = ring else { return };
        if self.ring.as_ref().is_some_and(|known| Arc::ptr_eq(known, ring)) {
            return;
        }
        self.ring = Some(Arc::clone(ring));
        let periods = [Slot::First, Slot::Second].map(|slot| ring.slot_period(slot));
        self.builder.retain(&periods);
        let mut old: BTreeMap<TimePeriod, SlotUploads> =
            core::mem::take(&mut self.slots).into_values().map(|uploads| (uploads.period, uploads)).collect();
        let known: BTreeSet<_> = old.keys().copied().collect();
        for (slot, period) in [Slot::First, Slot::Second].into_iter().zip(periods) {
            let mut uploads = old.remove(&period).unwrap_or_else(|| SlotUploads::new(period));
            uploads.follow(ring, slot, &mut self.builder);
            self.slots.insert(slot, uploads);
        }
        if !known.is_empty() && periods.iter().any(|period| !known.contains(period)) {
            self.schedule.start_round();
        }
    }

    /// Remembers what the publisher says of counters, to go on above them when it is our turn.
    fn heed_floors(&mut self, now: Now, view: &View) {
        let clock = self.clock.counter_clock(now);
        self.slots.values_mut().for_each(|uploads| uploads.heed_floors(view, &clock));
    }

    /// Starts the uploads that are due.
    fn upload(
        &mut self,
        now: Now,
        view: &View,
        can_upload: &dyn Fn(RelayFingerprint) -> bool,
        wishes: &mut Vec<Wish>,
    ) -> Result<(), Waiting> {
        let clock = self.clock.counter_clock(now);
        let Self { slots, planner, schedule, flights, builder, rng, wake, .. } = self;
        let Some(plan) = planner.plan() else { return Err(Waiting::NoPoints) };
        let context =
            Context { now, clock, era: view.build_era, round: schedule.round(), plan, spacing: schedule.spacing() };
        let mut outcome = Ok(());
        let mut in_order: Vec<_> = slots.values_mut().collect();
        in_order.sort_by_key(|uploads| !uploads.current);
        for uploads in in_order {
            for hsdir in uploads.due(now.mono, context.round, wake) {
                // Its answer wakes us.
                if flights.contains_key(&hsdir) || flights.len() >= UPLOADS_IN_FLIGHT_MAX {
                    continue;
                }
                if !can_upload(hsdir) {
                    wake.at(now.mono.plus(TOR_BUSY));
                    continue;
                }
                match uploads.descriptor(hsdir, &context, builder, rng) {
                    Descriptor::Ready { encoded: Encoded { text, digest }, content, revision, n, ahead } => {
                        let (round, serial, at) = (context.round, planner.serial(), now.mono);
                        let confirmed = Confirmed { round, serial, content, revision, n, digest, at };
                        uploads.sent(hsdir, revision);
                        flights.insert(hsdir, Flight { period: uploads.period, confirmed, ahead });
                        wishes.push(Wish::Upload { hsdir, descriptor: text });
                    }
                    Descriptor::NotBefore(at) => wake.at(at),
                    Descriptor::ClockOutOfRange => {
                        wake.at(now.mono.plus(TOR_BUSY));
                        outcome = Err(Waiting::Clock);
                    }
                    Descriptor::Impossible(error, until) => {
                        wake.at(until);
                        outcome = Err(Waiting::Build(error));
                    }
                }
            }
        }
        outcome
    }
}

/// Whether tor's own counters, by our clock alone, are above all we know to be stored.
fn native_overtakes(slots: &BTreeMap<Slot, SlotUploads>, now: Now) -> bool {
    let clock = CounterClock::own(now);
    !slots.is_empty() && slots.values().all(|uploads| clock.n(uploads.origin) > uploads.highest_n())
}

fn all_hsdirs(slots: &BTreeMap<Slot, SlotUploads>) -> BTreeSet<RelayFingerprint> {
    slots.values().flat_map(|uploads| uploads.targets.keys().copied()).collect()
}
