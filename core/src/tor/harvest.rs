//! The introduction points that tor does not show. From the start of a time period to the next shared random value tor's
//! first descriptor, which `GETINFO` shows, is of the period before, and what clients of the current one solve (proof of
//! work) is verified by the points of the second one alone. Nothing makes tor write that but publishing it:
//! for a moment tor publishes by itself, and HSDirs that have taken the current period's descriptor are asked for it. What
//! they give may be another publisher's, or another node's. It is tor's if it has the seed that tor's first descriptor has
//! meanwhile: both share it, and it is a new one each time.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::service::Listed;
use super::session::Asked;
use super::{Native, Presence, Tor, TorEvent, TorState};
use crate::control::command;
use crate::control::event::HsDescAction;
use crate::hsdesc::{self, Descriptor, Harvest, IntroPoint, NUM_INTRO_POINT_MAX, PowParams};
use crate::id::RelayFingerprint;
use crate::onion::period::{Slot, TimePeriod};
use crate::output::Outbox;
use crate::time::{Mono, Now};

/// How long tor may publish by itself, if nothing is found. On loopback the descriptor is here after 0.9 s; over the network
/// the upload needs a circuit, and the fetch another.
const OPEN: Duration = Duration::from_secs(30);
/// After tor's last upload, and after its publishing is off: uploads of ours have a higher counter than its, which counts
/// seconds.
const SETTLE: Duration = Duration::from_secs(1);
/// Between two: each resets tor's effort, and for some seconds HSDirs hold one node's points alone.
const AGAIN: Duration = Duration::from_secs(600);
/// Points are gone once they had no circuit for so long: tor tries three times to open it again.
const LACKING: Duration = Duration::from_secs(60);
/// Points that are enough to do without another one, if it brought so many: tor gives one up after the other, each within a
/// day.
const ENOUGH: usize = 2;
/// As many while tor demands an effort, which another one would reset.
const ENOUGH_UNDER_ATTACK: usize = 1;

/// How far it is, and what the last one brought.
#[derive(Debug, Default)]
pub(super) struct Harvesting {
    state: State,
    /// Of this tor process; `None` if it brought none.
    last: Option<Brought>,
    /// How many there were, of all processes.
    number: u32,
    /// Not again for this period before then.
    not_before: Option<(u64, Mono)>,
    /// Since then points that it brought have had no circuit.
    lacking_since: Option<Mono>,
}

/// Points, and the period that they are bound to.
#[derive(Debug)]
struct Brought {
    period: u64,
    points: Vec<IntroPoint>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    /// Tor publishes by itself until then.
    Open {
        period: TimePeriod,
        /// Not asked yet.
        hsdirs: BTreeSet<RelayFingerprint>,
        /// By seed the points in what others gave; no more than there are HSDirs.
        given: BTreeMap<[u8; 32], Vec<IntroPoint>>,
        /// The seed that tor had before: what has it is of an earlier time.
        before: [u8; 32],
        until: Mono,
    },
    /// It does no more, or soon will not. `last`: the last sign of an upload of its own; `told`: the last one that others
    /// have heard of. Once they have, it ends with the last upload that is not answered: one that arrives late takes the
    /// place of ours once more.
    Closing { last: Mono, told: Option<Mono> },
}

impl Harvesting {
    /// Whether the points for `period` are to be had, or to be had again.
    pub(super) fn is_wanted(&self, now: Mono, period: u64) -> bool {
        let is_known = self.last.as_ref().is_some_and(|last| last.period == period);
        let is_lacking = self.lacking_since.is_some_and(|since| now >= since.plus(LACKING));
        let is_soon = self.not_before.is_some_and(|(of, at)| of == period && now < at);
        !self.is_busy() && !is_soon && (!is_known || is_lacking)
    }

    /// Tor is told to publish by itself now. `hsdirs`: those of `period`, which is the one that clients use; `before`: the
    /// seed that tor has.
    pub(super) fn open(&mut self, now: Mono, period: TimePeriod, hsdirs: BTreeSet<RelayFingerprint>, before: [u8; 32]) {
        self.not_before = Some((period.number, now.plus(AGAIN)));
        self.state = State::Open { period, hsdirs, given: BTreeMap::new(), before, until: now.plus(OPEN) };
    }

    /// Whether tor's own publishing is to be on.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Whether tor may begin uploads of its own, whose answers are told like those to ours.
    pub(super) fn may_upload(&self) -> bool {
        matches!(self.state, State::Open { .. } | State::Closing { told: None, .. })
    }

    /// Whether some may be under way.
    pub(super) fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// Tor has begun an upload of its own, or an HSDir answered one; whether that is to be asked for what it took.
    pub(super) fn noticed(&mut self, now: Mono, hsdir: RelayFingerprint, taken: bool) -> bool {
        match &mut self.state {
            // Each once.
            State::Open { hsdirs, .. } => taken && hsdirs.remove(&hsdir),
            State::Closing { last, told } => {
                if taken || told.is_none() {
                    *last = now;
                }
                false
            }
            State::Idle => false,
        }
    }

    /// The period whose descriptor is asked for.
    pub(super) fn period(&self) -> Option<TimePeriod> {
        match self.state {
            State::Open { period, .. } => Some(period),
            State::Idle | State::Closing { .. } => None,
        }
    }

    /// An HSDir gave a descriptor with this seed and these points.
    pub(super) fn gave(&mut self, seed: [u8; 32], points: Vec<IntroPoint>) {
        if let State::Open { given, before, .. } = &mut self.state
            && seed != *before
            && !points.is_empty()
        {
            given.insert(seed, points);
        }
    }

    /// The seed that tor has. Whether the points are found with it.
    pub(super) fn find(&mut self, now: Mono, seed: [u8; 32]) -> bool {
        let State::Open { period, given, .. } = &mut self.state else { return false };
        let Some(points) = given.remove(&seed) else { return false };
        self.last = Some(Brought { period: period.number, points });
        self.close(now)
    }

    /// Tor's own publishing is to be off from now on; whether it was not before. What the last one brought stays.
    pub(super) fn close(&mut self, now: Mono) -> bool {
        let is_open = self.is_open();
        if is_open {
            self.state = State::Closing { last: now, told: None };
        }
        is_open
    }

    /// Ends what took too long, and what is over. `is_off`: tor has acknowledged that it does not publish; `are_over`: all
    /// its uploads are answered, or will not be any more. Whether points were looked for in vain.
    pub(super) fn tick(&mut self, now: Mono, is_off: bool, are_over: bool) -> bool {
        match self.state {
            State::Open { until, .. } if now >= until => self.close(now),
            State::Closing { last, told } if is_off && now >= last.plus(SETTLE) => {
                if told != Some(last) {
                    self.number = self.number.saturating_add(1);
                    self.lacking_since = None;
                }
                self.state = if are_over { State::Idle } else { State::Closing { last, told: Some(last) } };
                false
            }
            State::Idle | State::Open { .. } | State::Closing { .. } => false,
        }
    }

    /// Another tor process answers now, with other points.
    pub(super) fn new_process(&mut self) {
        (self.last, self.lacking_since, self.not_before) = (None, None, None);
    }

    /// Tor is to publish by itself for good: there is no end of that to wait for.
    pub(super) fn give_way(&mut self) {
        if let State::Closing { .. } = self.state {
            self.number = self.number.saturating_add(1);
            self.state = State::Idle;
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(super) fn deadline(&self, is_off: bool) -> Option<Mono> {
        match self.state {
            State::Open { until, .. } => Some(until),
            // Then with an answer, or when none comes any more.
            State::Closing { last, told } => (is_off && told != Some(last)).then(|| last.plus(SETTLE)),
            State::Idle => None,
        }
    }

    /// All points that the last one brought.
    pub(super) fn points(&self) -> &[IntroPoint] {
        self.last.as_ref().map_or(&[], |last| &last.points)
    }

    /// What others may know: those points for `period` that are usable. `None` before the first. `effort`: what tor suggests.
    pub(super) fn told(
        &mut self,
        now: Mono,
        period: u64,
        effort: u32,
        is_usable: impl Fn(&IntroPoint) -> bool,
    ) -> Option<Harvest> {
        let brought = self.last.as_ref().filter(|last| last.period == period).map_or(&[][..], |last| &last.points);
        let points: Vec<_> =
            brought.iter().filter(|point| is_usable(point)).take(NUM_INTRO_POINT_MAX).cloned().collect();
        let enough = if effort > 0 { ENOUGH_UNDER_ATTACK } else { ENOUGH };
        let is_lacking = points.len() < enough.min(brought.len());
        self.lacking_since = is_lacking.then(|| self.lacking_since.unwrap_or(now));
        (self.number > 0).then_some(Harvest { period, number: self.number, points })
    }
}

impl Tor {
    /// The current time period, the second slot's, where the points that `GETINFO` shows offer proof of work for the one
    /// before.
    fn period_not_shown(&self) -> Option<TimePeriod> {
        let shown = self.facts.pow?.period;
        let ring = self.facts.ring.as_ref()?;
        let (params, at) = (ring.params(), ring.valid_after());
        let current = Some(params.client_period(at)).filter(|_| params.current_slot(at) == Slot::Second);
        current.filter(|current| current.number > shown)
    }

    /// The current time period, if it should be made to show the points that verify proof of work of that.
    pub fn wants_harvest(&self, now: Mono) -> Option<u64> {
        let is_there = self.state == TorState::Ready && self.withdrawal.presence() == Presence::In;
        let period = self.period_not_shown().filter(|_| is_there && self.attachment.is_none())?.number;
        self.harvesting.is_wanted(now, period).then_some(period)
    }

    /// Whether it publishes by itself for a moment, or is about to.
    pub fn is_harvesting(&self) -> bool {
        self.harvesting.is_open()
    }

    /// Makes it do so, unless answers to uploads are still to come.
    pub fn harvest(&mut self, now: Now, out: &mut Outbox) {
        let (Some(period), Some(ring), Some(pow)) = (self.period_not_shown(), self.facts.ring.clone(), self.facts.pow)
        else {
            return;
        };
        let Some(blind) = self.service_id.blind(period).filter(|_| self.uploads.are_over()) else { return };
        let current: BTreeSet<_> = ring.responsible(Slot::Second, blind).store.into_iter().collect();
        // Of one that is an HSDir of both nobody knows which of the two it has taken.
        let other = self.service_id.blind(ring.slot_period(Slot::First));
        let other = other.map(|blind| ring.responsible(Slot::First, blind).store).unwrap_or_default();
        let alone: BTreeSet<_> = current.iter().copied().filter(|hsdir| !other.contains(hsdir)).collect();
        let hsdirs = if alone.is_empty() { current } else { alone };
        self.harvesting.open(now.mono, period, hsdirs, pow.params.seed);
        self.publishing.want(true);
        self.ask_what_is_due(out);
    }

    /// Ends it before its time: tor may publish by itself no longer.
    pub fn stop_harvest(&mut self, now: Mono, out: &mut Outbox) {
        if self.harvesting.close(now) {
            self.publishing.want(false);
            self.ask_what_is_due(out);
        }
    }

    /// `HS_DESC` of our service, while tor publishes by itself for a moment, or is followed to the end of that.
    pub(super) fn harvest_from(&mut self, hsdir: RelayFingerprint, action: HsDescAction, out: &mut Outbox) {
        let taken = action == HsDescAction::Uploaded;
        let is_answered = (taken || action == HsDescAction::Failed) && self.uploads.is_native(hsdir);
        let is_tors = is_answered || action == HsDescAction::Upload;
        let is_wanted = is_tors && self.harvesting.noticed(self.clock, hsdir, taken);
        if is_wanted && self.fetches.can_start(hsdir) && self.fetches.start(self.clock, hsdir) {
            self.send(Asked::Fetch(hsdir), command::hs_fetch(&self.address, Some(hsdir)), out);
        }
    }

    /// A fetched descriptor, tor's own or another.
    pub(super) fn harvested(&mut self, now: Now, text: Option<&[u8]>) {
        let (Some(period), Some(text)) = (self.harvesting.period(), text) else { return };
        let opened = hsdesc::open(text, self.service_id, &[period], Some(&self.own_client), now.wall);
        let Ok(Descriptor { mut points, pow: Some(PowParams { seed, .. }), .. }) = opened else { return };
        points.sort();
        self.harvesting.gave(seed, points);
    }

    /// Ends it when it has brought what it was for.
    pub(super) fn end_harvest(&mut self, now: Mono, out: &mut Outbox) {
        let Some(pow) = self.facts.pow else { return };
        if self.harvesting.find(now, pow.params.seed) {
            self.publishing.want(false);
            self.ask_what_is_due(out);
        }
    }

    /// What was uploaded for it is not what this node publishes.
    pub(super) fn disown_harvest(&mut self) {
        if self.harvesting.is_busy() {
            self.events.retain(|event| !matches!(event, TorEvent::NativeUploaded(_) | TorEvent::NativeRefused(_)));
        }
    }

    /// Follows it to its end, and says so if it was in vain.
    pub(super) fn follow_harvest(&mut self, now: Mono, out: &mut Outbox) {
        if self.harvesting.tick(now, self.native() == Native::Off, self.uploads.are_natives_over()) {
            self.warn(out, format_args!("the points that verify proof of work were not found: trying again later"));
        }
    }

    pub(super) fn told_of_harvest(&mut self, now: Mono) -> Option<Harvest> {
        let period = self.period_not_shown()?.number;
        let effort = self.facts.pow.map_or(0, |pow| pow.params.effort);
        let Self { harvesting, service, withdrawal, .. } = self;
        let has_circuit = |point: &IntroPoint| !service.are_circuits_known() || service.has_circuit(point);
        harvesting.told(now, period, effort, |point| has_circuit(point) && withdrawal.may_offer(point))
    }

    /// All points that clients may hear of: those that tor shows, and those that it was made to show.
    pub(super) fn listed(&self) -> Arc<Listed> {
        let shown = self.service.listed();
        let harvested = self.harvesting.points();
        if harvested.is_empty() {
            return shown;
        }
        let mut listed = Listed::clone(&shown);
        listed.extend(harvested.iter().filter_map(|point| Some((point.auth_key, point.relay()?))));
        Arc::new(listed)
    }
}
