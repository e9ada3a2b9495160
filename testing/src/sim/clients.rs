//! Clients of the service, as C tor's behave: what people see of a fault.
//!
//! A visit looks at the world at a few instants only: when it asks an HSDir, when its introduction arrives, and while
//! it waits in vain. Clients change nothing in the world and draw from a generator of their own, so a run with clients
//! is, node for node, the run without them.

mod introduction;
mod newcomers;
mod statistics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rustbalance_core::cluster::Role;
use rustbalance_core::hsdesc;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::key::HsBlindId;
use rustbalance_core::onion::period::TimePeriod;
use rustbalance_core::time::Wall;

use self::introduction::{Answer, Listed, answer};
pub use self::statistics::{Failure, Statistics};
use super::check;
use super::network::TorNetwork;
use super::world::World;

/// Clients that come back and have a descriptor cached; every other visit is by one that is new.
const REGULARS: u64 = 32;
/// A visitor waits no longer for an answer: C tor's `SocksTimeout`, milliseconds.
const GIVE_UP_MS: u64 = 120_000;
/// After an introduction that nobody answers another point is tried: three circuit build timeouts of 10 s and a
/// second more.
const SILENCE_MS: u64 = 31_000;
/// The same with the 60 s that a client starts from. It gives up before.
const SILENCE_AT_FIRST_MS: u64 = 181_000;
/// One new client in so many has not learnt its circuit build timeout yet.
const INEXPERIENCED: u64 = 8;
/// While waiting, the world is looked at so often, milliseconds: a node that thaws answers what has waited there.
const LOOK_MS: u64 = 1_000;
/// An introduction point that failed is not tried again for this long: `HS_CACHE_CLIENT_INTRO_STATE_MAX_AGE`.
const FAILED_MS: u64 = 120_000;
/// An HSDir is not asked again for this long, but after a success: `hs_hsdir_requery_period`.
const ASKED_MS: u64 = 900_000;
/// A client's consensus is so much older than the newest at most, seconds.
const LAG_SECS_MAX: u64 = 3_600;
/// So long after the last fault the HSDirs hold what stays, milliseconds.
const PUBLISHED_MS: u64 = 60_000;
/// Descriptors kept decoded.
const DECODED_MAX: usize = 64;

/// All clients there are, and what they met.
pub struct Clients {
    /// What came of their visits.
    pub statistics: Statistics,
    /// A visit that should have succeeded, until the checker has looked at it.
    pub surprised: Option<String>,
    rng: ChaCha20Rng,
    clients: BTreeMap<u64, Client>,
    due: BTreeSet<(u64, u64)>,
    next_visit: u64,
    /// Names the next new client; regulars have the numbers below [`REGULARS`].
    next_name: u64,
    blinded: BTreeMap<TimePeriod, HsBlindId>,
    /// By text: all clients that fetch one descriptor decode it once.
    decoded: BTreeMap<Arc<str>, Option<Arc<[Listed]>>>,
}

/// One tor client.
#[derive(Debug, Default)]
struct Client {
    /// Its consensus is older than the newest by so much, seconds.
    lag_secs: u64,
    /// How long it waits for a rendezvous, milliseconds.
    patience_ms: u64,
    /// Kept until the next period starts.
    descriptor: Option<(TimePeriod, Arc<[Listed]>)>,
    /// When points failed, by key.
    failed: BTreeMap<[u8; 32], u64>,
    /// When HSDirs were asked.
    asked: BTreeMap<RelayFingerprint, u64>,
    visit: Option<Visit>,
}

/// One attempt of a person to reach the service.
#[derive(Clone, Copy, Debug)]
struct Visit {
    since: u64,
    /// The client had no descriptor before, so that nothing old can mislead it, and may ask every HSDir.
    is_new: bool,
    step: Step,
}

/// What happens when the visit is due.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Looks for a point to try, or an HSDir to ask.
    Choose,
    /// The HSDir answers.
    Ask(RelayFingerprint),
    /// The introduction with this key arrives.
    Introduce([u8; 32]),
    /// Nobody has answered the introduction; until then it waits.
    Wait([u8; 32], u64),
}

/// What a step leads to.
enum Next {
    After(u64, Step),
    Done(Result<(), Failure>),
}

impl Clients {
    /// No clients yet. They are others than `seed` makes of the world.
    pub fn new(seed: u64) -> Self {
        Self {
            statistics: Statistics::default(),
            surprised: None,
            rng: ChaCha20Rng::seed_from_u64(seed ^ 0xc11e47),
            clients: BTreeMap::new(),
            due: BTreeSet::new(),
            next_visit: 0,
            next_name: REGULARS,
            blinded: BTreeMap::new(),
            decoded: BTreeMap::new(),
        }
    }

    /// Lets the clients do all that is due before `at`: until then the world is as it is now.
    pub fn catch_up(world: &mut World, at: u64) {
        if world.options.client_every_ms == 0 || at <= world.clients.next_at() {
            return;
        }
        let mut clients = core::mem::replace(&mut world.clients, Self::new(0));
        while clients.next_at() < at {
            clients.step(world);
        }
        world.clients = clients;
    }

    fn next_at(&self) -> u64 {
        self.due.first().map_or(self.next_visit, |(at, _)| self.next_visit.min(*at))
    }

    fn step(&mut self, world: &mut World) {
        match self.due.first().copied() {
            Some((at, name)) if at <= self.next_visit => {
                self.due.pop_first();
                self.go_on(world, at, name);
            }
            _ => {
                let at = self.next_visit;
                self.next_visit += 1 + self.draw(2 * world.options.client_every_ms);
                if is_published(world) {
                    self.begin(at);
                }
            }
        }
    }

    /// A regular who is not on a visit, or somebody new.
    fn begin(&mut self, at: u64) {
        let regular = self.draw(2 * REGULARS);
        let is_idle = self.clients.get(&regular).is_none_or(|client| client.visit.is_none());
        let name = if regular < REGULARS && is_idle { regular } else { self.next_name };
        self.next_name = self.next_name.max(name + 1);
        let mut client = match self.clients.remove(&name) {
            Some(client) => client,
            None => self.newcomer(),
        };
        // Who came in vain before asks nobody twice so soon.
        let may_ask_all = client.asked.values().all(|asked_at| at >= *asked_at + ASKED_MS);
        let is_new = client.descriptor.is_none() && may_ask_all;
        client.visit = Some(Visit { since: at, is_new, step: Step::Choose });
        self.clients.insert(name, client);
        self.due.insert((at, name));
    }

    fn newcomer(&mut self) -> Client {
        let experienced = self.draw(INEXPERIENCED) > 0;
        let patience_ms = if experienced { SILENCE_MS } else { SILENCE_AT_FIRST_MS };
        Client { lag_secs: self.draw(LAG_SECS_MAX + 1), patience_ms, ..Client::default() }
    }

    fn go_on(&mut self, world: &mut World, at: u64, name: u64) {
        let Some(mut client) = self.clients.remove(&name) else { return };
        let Some(visit) = client.visit.take() else { return };
        let next = match visit.step {
            _ if at >= visit.since + GIVE_UP_MS => Next::Done(Err(Failure::GaveUp)),
            Step::Choose => self.choose(world, at, &mut client),
            Step::Ask(relay) => self.ask(world, at, &mut client, relay),
            Step::Introduce(key) => self.introduce(world, at, &mut client, key),
            Step::Wait(key, until) => wait(world, at, &mut client, key, until),
        };
        match next {
            Next::After(delay, step) => {
                // Whatever it does then, it gives up in time.
                self.due.insert(((at + delay).min(visit.since + GIVE_UP_MS), name));
                client.visit = Some(Visit { step, ..visit });
            }
            Next::Done(result) => {
                let is_judged = Self::is_judged(world, at, &client);
                self.end(world, at, visit, result, is_judged);
                if result.is_ok() {
                    client.asked.clear();
                }
            }
        }
        if name < REGULARS || client.visit.is_some() {
            self.clients.insert(name, client);
        }
    }

    /// Whoever has an older consensus asks the HSDirs of then. They list what they listed then: perhaps no point that lives,
    /// if all tors were struck since, or so shortly before that their new points were told to others only.
    fn is_judged(world: &World, at: u64, client: &Client) -> bool {
        let turn = TorNetwork::valid_after(wall(world, at).as_secs());
        let turned_at = turn.saturating_sub(world.options.start_secs) * 1_000;
        turned_at == 0
            || turn == TorNetwork::valid_after(secs(world, at, client))
            || world.calm_since + PUBLISHED_MS <= turned_at
    }

    fn end(&mut self, world: &mut World, at: u64, visit: Visit, result: Result<(), Failure>, is_judged: bool) {
        let failure = result.err().map(|failure| if can_serve(world) { failure } else { Failure::NobodyThere });
        self.statistics.count(failure);
        let Some(failure) = failure else { return };
        world.note(|| format!("a client fails after {} ms: {failure:?}", at - visit.since));
        let is_hopeless = failure == Failure::NobodyThere;
        if visit.is_new && is_judged && !is_hopeless && check::is_calm_since(world, visit.since) {
            self.surprised.get_or_insert_with(|| format!("a new client fails in calm: {failure:?}"));
        }
    }

    /// A point of the descriptor that has not failed, at random; without one a descriptor is fetched, from a random
    /// HSDir that was not asked lately.
    fn choose(&mut self, world: &mut World, at: u64, client: &mut Client) -> Next {
        client.failed.retain(|_, failed_at| at < *failed_at + FAILED_MS);
        client.asked.retain(|_, asked_at| at < *asked_at + ASKED_MS);
        let (period, blind) = self.period(world, at, client);
        client.descriptor = client.descriptor.take().filter(|(of, _)| *of == period);
        if let Some((_, listed)) = &client.descriptor {
            let usable: Vec<&Listed> = listed.iter().filter(|point| !client.failed.contains_key(&point.key)).collect();
            if let Some(chosen) = self.pick(&usable) {
                // It is known by its relay: of two points on one, the first is meant whichever was chosen.
                let first = listed.iter().find(|point| point.relay == chosen.relay);
                let delay = 200 + self.draw(400);
                return Next::After(delay, Step::Introduce(first.unwrap_or(chosen).key));
            }
        }
        let ring = world.network.ring(secs(world, at, client));
        let slot = ring.params().current_slot(ring.valid_after());
        let hsdirs = ring.responsible(slot, blind).fetch;
        let left: Vec<RelayFingerprint> =
            hsdirs.into_iter().filter(|relay| !client.asked.contains_key(relay)).collect();
        match self.pick(&left) {
            Some(relay) => Next::After(100 + self.draw(400), Step::Ask(relay)),
            None if client.descriptor.is_some() => Next::Done(Err(Failure::AllPointsFailed)),
            None => Next::Done(Err(Failure::NoDescriptor)),
        }
    }

    fn ask(&mut self, world: &mut World, at: u64, client: &mut Client, relay: RelayFingerprint) -> Next {
        client.asked.insert(relay, at);
        let (period, blind) = self.period(world, at, client);
        let stored = world.hsdirs.get(relay, blind).filter(|_| !world.hsdirs.is_ill(relay, at));
        let text = stored.map(|stored| stored.text.clone());
        let Some(listed) = text.and_then(|text| self.decode(world, at, period, text)) else {
            return Next::After(0, Step::Choose);
        };
        let is_usable = listed.iter().any(|point| !client.failed.contains_key(&point.key));
        client.descriptor = Some((period, listed));
        // With nothing new in it tor ends the attempt.
        if is_usable { Next::After(0, Step::Choose) } else { Next::Done(Err(Failure::AllPointsFailed)) }
    }

    fn introduce(&mut self, world: &World, at: u64, client: &mut Client, key: [u8; 32]) -> Next {
        let delay = match answer(world, at, key) {
            Answer::Serves => return Next::Done(Ok(())),
            Answer::TargetDown => return Next::Done(Err(Failure::TargetDown)),
            Answer::Silent => return Next::After(LOOK_MS, Step::Wait(key, at + client.patience_ms)),
            Answer::Refused => 0,
            Answer::Gone => 200 + self.draw(2_000),
        };
        client.failed.insert(key, at);
        Next::After(delay, Step::Choose)
    }

    /// The client's period, and the service's blinded key in it.
    fn period(&mut self, world: &mut World, at: u64, client: &Client) -> (TimePeriod, HsBlindId) {
        let ring = world.network.ring(secs(world, at, client));
        let period = ring.params().client_period(ring.valid_after());
        let blind = self.blinded.entry(period).or_insert_with(|| world.master().blind(period).public());
        (period, *blind)
    }

    /// `None` if a client refuses it.
    fn decode(&mut self, world: &World, at: u64, period: TimePeriod, text: Arc<str>) -> Option<Arc<[Listed]>> {
        if let Some(known) = self.decoded.get(&text) {
            return known.clone();
        }
        let (reader, wall) = (world.hsdirs.reader.as_ref(), wall(world, at));
        let descriptor = hsdesc::open(text.as_bytes(), world.service, &[period], reader, wall).ok();
        let listed = descriptor.map(|descriptor| descriptor.points.iter().map(Listed::new).collect());
        if self.decoded.len() >= DECODED_MAX {
            self.decoded.clear();
        }
        self.decoded.insert(text, listed.clone());
        listed
    }

    fn draw(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound.max(1)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let index = self.draw(from.len() as u64) as usize;
        from.get(index).copied()
    }
}

/// Nobody has answered so far.
fn wait(world: &World, at: u64, client: &mut Client, key: [u8; 32], until: u64) -> Next {
    match answer(world, at, key) {
        Answer::Serves => Next::Done(Ok(())),
        Answer::TargetDown => Next::Done(Err(Failure::TargetDown)),
        // That a node died is not heard any more: its relay has passed the introduction on.
        Answer::Silent | Answer::Refused | Answer::Gone if at < until => {
            Next::After(LOOK_MS.min(until - at), Step::Wait(key, until))
        }
        Answer::Silent | Answer::Refused | Answer::Gone => {
            client.failed.insert(key, at);
            Next::After(0, Step::Choose)
        }
    }
}

/// The client's clock as its consensus has it, unix seconds.
fn secs(world: &World, at: u64, client: &Client) -> u64 {
    wall(world, at).as_secs() - client.lag_secs
}

fn wall(world: &World, at: u64) -> Wall {
    Wall::from_ms(world.options.start_secs * 1000 + at)
}

/// Whether the service has a descriptor of ours. A roster of one is published by its tor, which the model leaves out.
fn is_published(world: &World) -> bool {
    world.hsdirs.accepted > 0 && !world.nodes.iter().any(|node| node.is_live() && node.role == Role::Alone)
}

/// Whether any node could serve a client that found it: none of those that are all out of service.
fn can_serve(world: &World) -> bool {
    world.nodes.iter().any(|node| node.is_offered() && !node.is_pointless())
}
