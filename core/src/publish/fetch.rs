//! What HSDirs are asked for: the published descriptor before a minority overwrites it, the counter of one that
//! refused, the copy of one that confirmed. Only the current slot's can be fetched, one at a time.

use super::counter::CounterClock;
use super::majority::Published;
use super::plan::{Offers, has_left};
use super::waiting::Waiting;
use super::wake::Wake;
use super::{Publisher, TOR_BUSY, Wish};
use crate::cluster::View;
use crate::id::RelayFingerprint;
use crate::onion::period::TimePeriod;
use crate::sabotage::{Rule, is_broken};
use crate::time::{Mono, Now};
use core::time::Duration;
use std::sync::Arc;

/// A fetch that never ended is forgotten after this.
const FETCH_TIMEOUT: Duration = Duration::from_secs(120);

/// A fetch tor has not answered yet.
pub(super) struct Fetching {
    pub(super) hsdir: RelayFingerprint,
    /// What clients fetched when it started.
    pub(super) period: TimePeriod,
    pub(super) since: Mono,
}

impl Publisher {
    /// A minority asks first, keeps quiet if what is published serves it, and else adds itself to that. So does one half
    /// that was never in touch with the other, but only whether the address was restricted meanwhile.
    pub(super) fn heed_majority(
        &mut self,
        now: Now,
        view: &View,
        offers: &mut Arc<Offers>,
        tor_is_free: &dyn Fn(RelayFingerprint) -> bool,
        wishes: &mut Vec<Wish>,
    ) -> Result<(), Waiting> {
        if self.may_go_ahead(view)? {
            return Ok(());
        }
        let Some(current) = self.slots.values().find(|uploads| uploads.current) else {
            return Err(Waiting::NoConsensus);
        };
        let clock = self.clock.counter_clock(now);
        let stands = |published: &Published| stands(published, view, &clock, current.origin, offers);
        if self.majority.heard().is_some_and(|heard| stands(&heard).is_some()) {
            self.majority.conclude(now.mono, false);
        }
        let round = self.schedule.round();
        let unfinished = self.slots.values().any(|uploads| uploads.is_unfinished(round)).then_some(round);
        if let Some(hsdir) = self.majority.next_to_ask(now.mono, &current.fetch, unfinished, &mut self.wake) {
            if tor_is_free(hsdir) {
                fetch(&mut self.fetching, now.mono, current.period, hsdir, wishes, &mut self.wake);
            } else {
                self.wake.at(now.mono.plus(TOR_BUSY));
            }
        }
        let published = self.majority.published().ok_or(Waiting::AskingMajority)?.cloned();
        let why = published.as_ref().and_then(stands);
        self.majority.found_restricted = why == Some(Waiting::Restricted);
        if let Some(why) = why.filter(|why| !view.sees_majority || *why == Waiting::Restricted) {
            return Err(why);
        }
        self.majority.knows_access = true;
        if view.sees_majority {
            return Ok(());
        }
        if let Some(published) = published {
            Arc::make_mut(offers).add_published(view, &published.points);
        }
        // A network that answers nothing looks as if nothing were published: what was proven last stands in.
        if !self.majority.is_whole() {
            let proven = view.proven.iter().flat_map(|plan| plan.nodes.values());
            let points: Vec<_> = proven.flat_map(|part| part.points.iter().cloned()).collect();
            Arc::make_mut(offers).add_published(view, &points);
        }
        self.majority.justifies(now.mono, round);
        Ok(())
    }

    /// Whether nobody needs to be asked.
    fn may_go_ahead(&mut self, view: &View) -> Result<bool, Waiting> {
        if view.access.is_restricted() {
            self.majority.found_restricted = false;
            self.majority.knows_access = true;
        }
        if view.sees_majority && (view.has_met_most || self.majority.knows_access) || is_broken(Rule::MinorityAsks) {
            self.majority.in_sight();
            return Ok(true);
        }
        if self.majority.found_restricted { Err(Waiting::Restricted) } else { Ok(false) }
    }

    /// Starts the next fetch from an HSDir whose counter or copy should be looked at.
    pub(super) fn read_back(
        &mut self,
        now: Now,
        tor_is_free: &dyn Fn(RelayFingerprint) -> bool,
        wishes: &mut Vec<Wish>,
    ) {
        let verify = !self.mode.tor_publishes_too();
        let Some(current) = self.slots.values().find(|uploads| uploads.current) else { return };
        let is_free = |hsdir| !self.flights.contains_key(&hsdir) && tor_is_free(hsdir);
        if let Some(hsdir) = current.to_read(now.mono, verify, is_free, &mut self.wake) {
            fetch(&mut self.fetching, now.mono, current.period, hsdir, wishes, &mut self.wake);
        }
    }
}

/// Why what is published may stand as it is, if it may.
fn stands(published: &Published, view: &View, clock: &CounterClock, origin: u64, offers: &Offers) -> Option<Waiting> {
    let is_restricted = view.access.is_restricted();
    if published.restricted && !is_restricted {
        // Somebody restricted the address, and we have not heard of it.
        return Some(Waiting::Restricted);
    }
    // One that is open to everybody, where we know better, is not to stand.
    let is_open = published.open && is_restricted;
    // Neither is one with points of a node that stopped in order, as nobody else may be left to take them out.
    let is_outdated = is_open || published.points.iter().any(|point| has_left(view, point));
    let serves = !is_outdated && published.serves(clock, origin, offers.live_points(view));
    serves.then_some(Waiting::MajorityServes)
}

/// Fetches the current slot's descriptor from `hsdir` unless another fetch is under way, whose answer wakes us.
fn fetch(
    fetching: &mut Option<Fetching>,
    now: Mono,
    period: TimePeriod,
    hsdir: RelayFingerprint,
    wishes: &mut Vec<Wish>,
    wake: &mut Wake,
) {
    let over = fetching.as_ref().map(|fetching| fetching.since.plus(FETCH_TIMEOUT));
    match over.filter(|over| now < *over) {
        Some(over) => wake.at(over),
        None => {
            *fetching = Some(Fetching { hsdir, period, since: now });
            wishes.push(Wish::Fetch { hsdir });
        }
    }
}
