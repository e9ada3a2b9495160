//! The uploads of one slot: which HSDirs, which descriptor, what became of it.

use super::build::{Builder, Built, Digest, Encoded};
use super::counter::{AHEAD_MAX_SECS, CounterClock, Counters, Next};
use super::plan::Plan;
use super::plan::pow::Altered;
use super::target::{Confirmed, Lapse, Need, Target};
use super::wake::Wake;
use crate::cluster::View;
use crate::hsdesc::BuildError;
use crate::hsdir::ring::{Responsible, Ring};
use crate::id::RelayFingerprint;
use crate::onion::period::{Slot, TimePeriod};
use crate::onion::revision::{REVISION_N_MAX, RevisionCounter};
use crate::rng::Rng;
use crate::sabotage::{Rule, is_broken};
use crate::shared;
use crate::time::{Mono, Now};
use core::time::Duration;
use std::collections::BTreeMap;

/// Further HSDirs get a descriptor under the same counter for this long; then it is a fresh one.
const REUSE: Duration = Duration::from_secs(30);
/// After a build that failed.
const BUILD_AGAIN: Duration = Duration::from_secs(10);

/// One slot's work, following its period: when slots shift, the period's work moves along.
#[derive(Debug)]
pub(super) struct SlotUploads {
    pub(super) period: TimePeriod,
    /// Clients fetch this one now; it can be read back.
    pub(super) current: bool,
    /// What counters count from, unix seconds.
    pub(super) origin: u64,
    /// Where clients look, in their order.
    pub(super) fetch: Vec<RelayFingerprint>,
    /// Where uploads go, in tor's order.
    pub(super) store: Vec<RelayFingerprint>,
    pub(super) targets: BTreeMap<RelayFingerprint, Target>,
    /// Among how many contents the targets are shared out; not yet, if they have changed.
    assigned: Option<usize>,
    counters: Counters,
    /// The highest `n` an HSDir accepted from us or another publisher, those far ahead of the clock apart.
    accepted: Option<u32>,
    /// The round that was last asked for.
    round: u64,
    built: Option<Built>,
    /// When the last build was, and in which round.
    built_at: Option<(Mono, u64)>,
    /// The last build failed: not again before this instant.
    failed: Option<(BuildError, Mono)>,
}

/// What was read from an HSDir.
#[derive(Clone, Copy)]
pub(super) struct Stored {
    pub(super) revision: RevisionCounter,
    /// The seconds behind it.
    pub(super) n: u32,
    pub(super) digest: Digest,
}

/// What a build needs besides the slot.
pub(super) struct Context<'a> {
    pub(super) now: Now,
    pub(super) clock: CounterClock,
    pub(super) era: u64,
    pub(super) round: u64,
    pub(super) plan: &'a Plan,
    /// How far apart builds of this slot must be, and since which round they count; none without a rival.
    pub(super) spacing: Option<(Duration, u64)>,
}

/// A descriptor for one HSDir, or why not now.
#[derive(Debug)]
pub(super) enum Descriptor {
    /// `ahead`: its counter is ahead of the clock, for this HSDir alone.
    Ready {
        encoded: Encoded,
        content: usize,
        revision: RevisionCounter,
        n: u32,
        ahead: bool,
    },
    NotBefore(Mono),
    ClockOutOfRange,
    Impossible(BuildError, Mono),
}

impl SlotUploads {
    pub(super) fn new(period: TimePeriod) -> Self {
        Self {
            period,
            current: false,
            origin: 0,
            fetch: Vec::new(),
            store: Vec::new(),
            targets: BTreeMap::new(),
            assigned: None,
            counters: Counters::default(),
            accepted: None,
            round: 0,
            built: None,
            built_at: None,
            failed: None,
        }
    }

    /// Whether some HSDir has not confirmed this round.
    pub(super) fn is_unfinished(&self, round: u64) -> bool {
        self.targets.values().any(|target| target.is_wanted(round))
    }

    /// Takes over the HSDirs of a newer consensus; what is known of those that stay is kept.
    pub(super) fn follow(&mut self, ring: &Ring, slot: Slot, builder: &mut Builder) {
        let (params, valid_after) = (ring.params(), ring.valid_after());
        let Responsible { store, fetch } = ring.responsible(slot, builder.blind_id(self.period));
        self.current = params.current_slot(valid_after) == slot;
        self.origin = params.counter_origin(valid_after, slot);
        self.assigned = None;
        self.targets = store.iter().map(|hsdir| (*hsdir, self.targets.remove(hsdir).unwrap_or_default())).collect();
        self.store = store;
        self.fetch = fetch;
    }

    /// Says which of so many contents each HSDir is to hold: those that clients read get all of them, one after the other
    /// along the clients' walk, and begin with another one in every period. So do the others, among themselves.
    pub(super) fn assign(&mut self, contents: usize) {
        if self.assigned.replace(contents) == Some(contents) {
            return;
        }
        let unread = self.store.iter().filter(|hsdir| !self.fetch.contains(hsdir));
        let first = usize::try_from(self.period.number % contents.max(1) as u64).unwrap_or(0);
        for (place, hsdir) in self.fetch.iter().enumerate().chain(unread.enumerate()) {
            if let Some(target) = self.targets.get_mut(hsdir) {
                target.content = (first + place) % contents.max(1);
            }
        }
    }

    /// A new round, for `altered` contents alone: who has confirmed another in the round and plan `before` has its part.
    pub(super) fn carry_over(&mut self, altered: &Altered, before: (u64, u64), after: (u64, u64)) {
        let period = self.period.number;
        let others = self.targets.values_mut().filter(|target| !altered.has(period, target.content));
        others.for_each(|target| target.carry_over(before, after));
    }

    /// Raises the floor to what other publishers' beacons name for this period, if an honest rival's clock can have
    /// shown it: one false beacon must not carry our counters into the future, and past the last one there is.
    pub(super) fn heed_floors(&mut self, view: &View, clock: &CounterClock) {
        let highest = clock.n(self.origin).saturating_add(AHEAD_MAX_SECS).min(REVISION_N_MAX - 1);
        for (_, n) in view.floors.values().filter(|(period, n)| *period == self.period.number && *n <= highest) {
            self.counters.raise(*n);
            self.accepted = self.accepted.max(Some(*n));
        }
    }

    /// No longer the publisher.
    pub(super) fn stand_down(&mut self) {
        self.targets.values_mut().for_each(Target::stand_down);
    }

    /// HSDirs that lack this round's upload and may be tried now. With a new round each is tried soon, however long the
    /// last one has made us wait for it: what they refused then may be what is new.
    pub(super) fn due(&mut self, now: Mono, round: u64, wake: &mut Wake) -> Vec<RelayFingerprint> {
        if core::mem::replace(&mut self.round, round) != round {
            self.targets.values_mut().for_each(|target| target.hurry(now));
        }
        let wanted = |hsdir: &&RelayFingerprint| {
            self.targets.get(*hsdir).is_some_and(|target| {
                let wanted = target.is_wanted(round);
                if wanted && now < target.next_try() {
                    wake.at(target.next_try());
                }
                wanted && now >= target.next_try()
            })
        };
        self.store.iter().filter(wanted).copied().collect()
    }

    /// The highest `n` accepted, for beacons.
    pub(super) fn accepted(&self) -> Option<u32> {
        self.accepted
    }

    /// The highest `n` that any HSDir may hold.
    pub(super) fn highest_n(&self) -> u32 {
        let confirmed = self.targets.values().filter_map(|target| target.confirmed).map(|confirmed| confirmed.n);
        confirmed.max().unwrap_or(0).max(self.counters.floor())
    }

    /// An upload to `hsdir` has started.
    pub(super) fn sent(&mut self, hsdir: RelayFingerprint, revision: RevisionCounter) {
        if let Some(target) = self.targets.get_mut(&hsdir) {
            target.sent(revision);
        }
    }

    /// `hsdir` confirmed an upload; `ahead` as in [`Descriptor::Ready`].
    pub(super) fn confirm(&mut self, hsdir: RelayFingerprint, confirmed: Confirmed, ahead: bool) {
        if !ahead {
            self.accepted = self.accepted.max(Some(confirmed.n));
        }
        if let Some(target) = self.targets.get_mut(&hsdir) {
            target.confirm(confirmed);
        }
    }

    /// The HSDir to read next: one that refused, then (if `verify`) one that confirmed.
    pub(super) fn to_read(
        &self,
        now: Mono,
        verify: bool,
        mut is_free: impl FnMut(RelayFingerprint) -> bool,
        wake: &mut Wake,
    ) -> Option<RelayFingerprint> {
        let targets = self.targets.iter().filter(|(hsdir, _)| is_free(**hsdir));
        let mut to_verify = None;
        for (hsdir, target) in targets {
            if target.probe {
                return Some(*hsdir);
            }
            match target.read_back_at().filter(|_| verify) {
                Some(at) if at <= now => to_verify = to_verify.or(Some(*hsdir)),
                Some(at) => wake.at(at),
                None => {}
            }
        }
        to_verify
    }

    /// `hsdir` was read: what it holds, if it holds a descriptor. Says what is wrong with that, if it had confirmed another.
    pub(super) fn read(
        &mut self,
        now: Mono,
        hsdir: RelayFingerprint,
        stored: Option<Stored>,
        clock: &CounterClock,
        rng: &mut Rng,
    ) -> Option<Lapse> {
        let target = self.targets.get_mut(&hsdir)?;
        let is_honest = |n: u32| n <= clock.n(self.origin).saturating_add(AHEAD_MAX_SECS);
        match stored {
            Some(Stored { revision, n, .. }) if target.probe => {
                if is_honest(n) {
                    self.counters.raise(n);
                    target.rival_read(now, revision);
                } else {
                    target.poison_read(revision);
                }
            }
            None if target.probe => target.probe = false,
            _ => {
                let lapse = target.read(now, stored.map(|stored| (stored.revision, stored.digest)), rng);
                if let (Some(Lapse::Foreign), Some(Stored { n, .. })) = (lapse, stored.filter(|it| is_honest(it.n))) {
                    self.counters.raise(n);
                }
                return lapse;
            }
        }
        None
    }

    /// `hsdir` has lost what it held of the other slot.
    pub(super) fn lost_all(&mut self, now: Mono, hsdir: RelayFingerprint, rng: &mut Rng) {
        if let Some(target) = self.targets.get_mut(&hsdir) {
            target.lost_all(now, rng);
        }
    }

    /// Every HSDir has given back what it confirmed.
    pub(super) fn is_verified(&self) -> bool {
        self.targets.values().all(|target| target.verified_at().is_some())
    }

    /// Whether this is what `hsdir` confirmed to us.
    pub(super) fn is_ours(&self, hsdir: RelayFingerprint, stored: &Stored) -> bool {
        let confirmed = self.targets.get(&hsdir).and_then(|target| target.confirmed);
        confirmed.is_some_and(|confirmed| (confirmed.revision, confirmed.digest) == (stored.revision, stored.digest))
    }

    /// Whether `hsdir` has confirmed an upload after `since`: what it was asked for before may be older.
    pub(super) fn confirmed_after(&self, hsdir: RelayFingerprint, since: Mono) -> bool {
        let confirmed = self.targets.get(&hsdir).and_then(|target| target.confirmed);
        confirmed.is_some_and(|confirmed| confirmed.at > since)
    }

    /// The descriptor that `hsdir` should get now: under the last counter used if that will do, else under a new one.
    pub(super) fn descriptor(
        &mut self,
        hsdir: RelayFingerprint,
        context: &Context<'_>,
        builder: &mut Builder,
        rng: &mut Rng,
    ) -> Descriptor {
        let now = context.now;
        let (need, content) = self
            .targets
            .get(&hsdir)
            .map_or((Need::Clock { above: None }, 0), |target| (target.need(now.mono, self.current), target.content));
        let known = self.built.as_ref().filter(|built| fits(built, need, context));
        if let Some(Built { revision, n, texts, .. }) = known
            && let Some(encoded) = texts.get(&content).cloned()
        {
            return Descriptor::Ready { encoded, content, revision: *revision, n: *n, ahead: false };
        }
        let known = known.map(|built| Stamp { revision: built.revision, n: built.n, ahead: false });
        let spacing = context.spacing.filter(|_| !is_broken(Rule::RivalsFarApart));
        if let (None, Some((spacing, since)), Some((last, round))) = (known, spacing, self.built_at)
            && round >= since
            && now.mono < last.plus(spacing)
        {
            return Descriptor::NotBefore(last.plus(spacing));
        }
        if let Some((error, until)) = self.failed.filter(|(_, until)| now.mono < *until) {
            return Descriptor::Impossible(error, until);
        }
        let stamp = match known.map_or_else(|| self.stamp(need, &context.clock, builder), Ok) {
            Ok(stamp) => stamp,
            Err(why_not) => return why_not,
        };
        let Stamp { revision, n, ahead } = stamp;
        match builder.build(self.period, revision, (context.plan, content), now.wall, rng) {
            Ok(encoded) => {
                self.keep(stamp, known.is_none(), content, &encoded, context);
                Descriptor::Ready { encoded, content, revision, n, ahead }
            }
            Err(error) => {
                let until = now.mono.plus(BUILD_AGAIN);
                self.failed = Some((error, until));
                Descriptor::Impossible(error, until)
            }
        }
    }

    /// The counter of a new build; or why there is none now.
    fn stamp(&self, need: Need, clock: &CounterClock, builder: &mut Builder) -> Result<Stamp, Descriptor> {
        let n = match self.counters.next(clock, self.origin) {
            Next::Use(n) => n,
            Next::Wait(at) => return Err(Descriptor::NotBefore(at)),
            Next::OutOfRange => return Err(Descriptor::ClockOutOfRange),
        };
        match choose(need, n, |n| builder.counter(self.period, n)) {
            None => Err(Descriptor::ClockOutOfRange),
            Some(Choice::Clock(revision)) => Ok(Stamp { revision, n, ahead: false }),
            Some(Choice::Ahead(revision)) => {
                Ok(Stamp { revision, n: builder.n_at_most(self.period, revision), ahead: true })
            }
        }
    }

    /// Remembers under which counter it was built, for the next HSDir. Its text is encrypted anew, as tor's is: two HSDirs
    /// that compare see no more than that both are new. Only where nodes share what they work out (the simulator, whose
    /// HSDirs open whatever they get) is it the same.
    fn keep(&mut self, stamp: Stamp, is_new: bool, content: usize, encoded: &Encoded, context: &Context<'_>) {
        let Context { now, era, round, .. } = *context;
        let Stamp { revision, n, ahead } = stamp;
        if is_new {
            self.built_at = Some((now.mono, round));
        }
        if is_new && !ahead {
            self.counters.used(n, now.mono);
            self.built = Some(Built { texts: BTreeMap::new(), revision, n, at: now.mono, era, round });
        }
        if let Some(built) = self.built.as_mut().filter(|_| !ahead && shared::is_on()) {
            built.texts.insert(content, encoded.clone());
        }
    }
}

/// A counter, the seconds behind it, and whether it is ahead of the clock, for one HSDir alone.
#[derive(Clone, Copy)]
struct Stamp {
    revision: RevisionCounter,
    n: u32,
    ahead: bool,
}

/// Whether an HSDir that needs this counter can be served under the one of `built`.
fn fits(built: &Built, need: Need, context: &Context<'_>) -> bool {
    let is_current = (built.era, built.round) == (context.era, context.round);
    let is_above = match need {
        Need::Clock { above } => Some(built.revision) > above,
        Need::Above(stored) => built.revision > stored,
        Need::Ahead { .. } => false,
    };
    is_current && is_above && context.now.mono.since(built.at) < REUSE
}

/// The counter of one build.
enum Choice {
    /// The clock's: will do for every HSDir.
    Clock(RevisionCounter),
    /// Ahead of the clock: for the one HSDir that needs it.
    Ahead(RevisionCounter),
}

fn choose(need: Need, n: u32, mut counter: impl FnMut(u32) -> Option<RevisionCounter>) -> Option<Choice> {
    let above = match need {
        Need::Clock { above } => above,
        Need::Above(stored) => Some(stored),
        Need::Ahead { secs } => return counter(n.saturating_add(secs)).map(Choice::Ahead),
    };
    let by_clock = counter(n)?;
    match above {
        Some(above) if above >= by_clock => {
            let next = above.0.checked_add(1).map(RevisionCounter);
            // Nothing comes after the highest there is: the HSDir takes the clock's again once it has forgotten that.
            Some(next.map_or(Choice::Clock(by_clock), Choice::Ahead))
        }
        Some(_) | None => Some(Choice::Clock(by_clock)),
    }
}
