//! A small world for tests: members, a consensus that moves on, HSDirs that keep tor's revision rule.

mod hsdirs;
mod views;

use super::{Publisher, Wish};
use crate::cluster::{Member, Record, View};
use crate::hsdesc::{self, Descriptor, NUM_INTRO_POINT_MAX};
use crate::hsdir::consensus::Consensus;
use crate::hsdir::ring::Ring;
use crate::id::{RelayEd25519Id, RelayFingerprint};
use crate::merge::testing::node;
use crate::onion::client::HsClientDescEncKeypair;
use crate::onion::key::{HsId, HsIdKeypair};
use crate::onion::period::{Slot, TimePeriod};
use crate::onion::revision::RevisionCounter;
use crate::output::{Event, Outbox, Output};
use crate::publish::PublicationEvent;
use crate::rng::Seed;
use crate::time::{Mono, Now, ValidAfter, Wall};
use crate::tor::TorEvent;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) use hsdirs::{ANSWER, Behaviour, HsDirs};
pub(super) use views::{keys, keys_of, members, view};
pub(crate) use views::{member, record_of};

/// Voting interval of the test network, seconds; a shared random run and a period are 24 of them.
pub(super) const VOTING_INTERVAL: u64 = 20;
/// One shared random run, seconds.
pub(super) const RUN: u64 = 24 * VOTING_INTERVAL;
/// A run begins here: SRV..TP for half of it.
pub(super) const RUN_START: u64 = RUN * 3_740_514;
/// Relays of the network.
pub(super) const RELAYS: u8 = 30;

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The ring at `valid_after`; shared random values change with every run.
pub(super) fn ring_at(valid_after: u64, relays: u8) -> Arc<Ring> {
    let digest = |n: u8| [n; 32];
    let run = valid_after / RUN;
    let srv = |run: u64| Some([run.to_le_bytes()[0]; 32]);
    let consensus = Consensus {
        valid_after: ValidAfter::from_secs(valid_after),
        fresh_until: valid_after + VOTING_INTERVAL,
        valid_until: valid_after + 3 * VOTING_INTERVAL,
        params: BTreeMap::new(),
        srv_current: srv(run),
        srv_previous: srv(run - 1),
        hsdirs: (1..=relays).map(|n| (RelayFingerprint([n; 20]), digest(n))).collect(),
    };
    let identities = (1..=relays).map(|n| (digest(n), RelayEd25519Id([n; 32]))).collect();
    Arc::new(Ring::new(&consensus, &identities, true))
}

/// One node's publisher with its tor's answers under way.
pub(super) struct Site {
    pub(super) n: u8,
    pub(super) publisher: Publisher,
    pub(super) view: View,
    /// Its clock against true time, milliseconds.
    pub(super) clock_ms: i64,
    /// Tor is connected.
    pub(super) connected: bool,
    /// Tor takes no upload to these.
    pub(super) blocked: BTreeSet<RelayFingerprint>,
    answers: Vec<(Mono, TorEvent)>,
    busy: BTreeSet<RelayFingerprint>,
    pub(super) events: Vec<PublicationEvent>,
    pub(super) warnings: Vec<String>,
    pub(super) fetches: usize,
}

impl Site {
    fn now(&self, now: Now) -> Now {
        Now { wall: Wall::from_ms(now.wall.as_ms().saturating_add_signed(self.clock_ms)), ..now }
    }

    fn next(&self) -> Option<Mono> {
        let answer = self.answers.iter().map(|(at, _)| *at).min();
        answer.into_iter().chain(self.publisher.next_timeout().map(|(at, _)| at)).min()
    }
}

/// Publishers, HSDirs, and a consensus every voting interval.
pub(super) struct World {
    pub(super) now: Now,
    pub(super) id: HsId,
    /// Reads what is closed to others.
    pub(super) own: HsClientDescEncKeypair,
    pub(super) relays: u8,
    pub(super) ring: Option<Arc<Ring>>,
    /// A new consensus comes every voting interval.
    pub(super) consensus_moves: bool,
    pub(super) hsdirs: HsDirs,
    pub(super) sites: Vec<Site>,
    /// The most points in one descriptor.
    pub(super) places: usize,
    /// How many tors each publisher has.
    pub(super) tors: u8,
}

/// The service's key; the same at every node.
fn master() -> HsIdKeypair {
    HsIdKeypair::generate(&mut Seed::new([1; 32]).fork("master"))
}

impl World {
    /// One publisher, node 1, `after` seconds into a run.
    pub(super) fn new(after: u64) -> Self {
        let now = Now { mono: Mono::from_ms(1_000_000), wall: Wall::from_secs(RUN_START + after) };
        let mut world = Self {
            now,
            id: master().public(),
            own: master().own_client(),
            relays: RELAYS,
            ring: None,
            consensus_moves: true,
            hsdirs: HsDirs::default(),
            sites: Vec::new(),
            places: NUM_INTRO_POINT_MAX,
            tors: 1,
        };
        world.new_consensus();
        world.add_site(1, view());
        world
    }

    /// The same with at most so many points in one descriptor.
    pub(super) fn with_places(after: u64, places: usize) -> Self {
        Self { places, ..Self::new(after) }.anew()
    }

    /// The same whose publishers have so many tors.
    pub(super) fn with_tors(after: u64, tors: u8) -> Self {
        Self { tors, ..Self::new(after) }.anew()
    }

    fn anew(mut self) -> Self {
        self.sites.clear();
        self.add_site(1, view());
        self
    }

    pub(super) fn add_site(&mut self, n: u8, mut view: View) {
        view.me = node(n);
        view.role_since = self.now.mono;
        for member in members(&mut view) {
            member.since = self.now.mono;
        }
        self.sites.push(Site {
            n,
            publisher: Publisher::new(master(), self.places, self.tors, Seed::new([n; 32]).fork("publish")),
            view,
            clock_ms: 0,
            connected: true,
            blocked: BTreeSet::new(),
            answers: Vec::new(),
            busy: BTreeSet::new(),
            events: Vec::new(),
            warnings: Vec::new(),
            fetches: 0,
        });
    }

    pub(super) fn valid_after(&self) -> u64 {
        let now = self.now.wall.as_secs();
        now - now % VOTING_INTERVAL
    }

    pub(super) fn new_consensus(&mut self) {
        self.ring = Some(ring_at(self.valid_after(), self.relays));
    }

    /// The first publisher's view, to change.
    pub(super) fn view(&mut self) -> &mut View {
        &mut self.sites[0].view
    }

    pub(crate) fn member(&mut self, n: u8) -> &mut Member {
        members(self.view()).iter_mut().find(|member| member.node == node(n)).unwrap()
    }

    pub(super) fn record(&mut self, n: u8) -> &mut Record {
        record_of(self.member(n))
    }

    pub(super) fn publisher(&self) -> &Publisher {
        &self.sites[0].publisher
    }

    /// Lets `time` pass: every publisher is called when it asked to be, and with every answer.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now.mono.plus(time);
        let mut steps = 0;
        self.tick_all();
        loop {
            let voting =
                Duration::from_millis(1000 * VOTING_INTERVAL - self.now.wall.as_ms() % (1000 * VOTING_INTERVAL));
            let consensus = (self.ring.is_some() && self.consensus_moves).then(|| self.now.mono.plus(voting));
            let next = self.sites.iter().filter_map(Site::next).chain(consensus).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.advance_to(end);
                return;
            };
            self.advance_to(next.max(self.now.mono));
            if consensus == Some(next) {
                self.new_consensus();
            }
            self.tick_all();
            steps += 1;
            assert!(steps < 100_000, "a publisher spins");
        }
    }

    /// The machine is suspended for so long: nobody is called.
    pub(super) fn suspend(&mut self, time: Duration) {
        self.advance_to(self.now.mono.plus(time));
    }

    fn advance_to(&mut self, mono: Mono) {
        let passed = mono.since(self.now.mono);
        self.now =
            Now { mono, wall: Wall::from_ms(self.now.wall.as_ms() + u64::try_from(passed.as_millis()).unwrap()) };
    }

    fn tick_all(&mut self) {
        for at in 0..self.sites.len() {
            self.answer(at);
            self.tick(at);
        }
    }

    fn answer(&mut self, at: usize) {
        let (now, site) = (self.now, &mut self.sites[at]);
        let (due, later) = core::mem::take(&mut site.answers).into_iter().partition(|(due, _)| *due <= now.mono);
        let due: Vec<(Mono, TorEvent)> = due;
        site.answers = later;
        let mut out = Outbox::default();
        for (_, event) in due {
            if let TorEvent::Uploaded(hsdir) | TorEvent::UploadFailed(hsdir, _) = &event {
                site.busy.remove(hsdir);
            }
            site.publisher.handle(site.now(now), event, &mut out);
        }
        site.collect(&mut out);
    }

    fn tick(&mut self, at: usize) {
        let (now, ring, id, own) = (self.now, self.ring.clone(), self.id, &self.own);
        let site = &mut self.sites[at];
        let mut out = Outbox::default();
        let can_upload = |hsdir| site.connected && !site.busy.contains(&hsdir) && !site.blocked.contains(&hsdir);
        let own_now = site.now(now);
        let wishes = site.publisher.tick(own_now, &site.view, ring.as_ref(), &can_upload, &mut out);
        site.collect(&mut out);
        for wish in wishes {
            match wish {
                Wish::Upload { hsdir, descriptor } => {
                    assert!(site.busy.insert(hsdir), "two uploads in flight to one HSDir");
                    let opened = open(id, descriptor.as_bytes(), ring.as_deref().unwrap(), own, own_now);
                    let (takes, answer) = self.hsdirs.upload(now, hsdir, &descriptor, opened);
                    site.answers.push((now.mono.plus(takes), answer));
                }
                Wish::Fetch { hsdir } => {
                    site.fetches += 1;
                    let ring = ring.as_deref().unwrap();
                    let period = ring.params().client_period(ring.valid_after());
                    let text = self.hsdirs.stored.get(&(hsdir, period)).map(|(_, text)| text.clone());
                    site.answers.push((now.mono.plus(ANSWER), TorEvent::Fetched(hsdir, text)));
                }
            }
        }
    }

    /// The period of `slot` now.
    pub(super) fn period(&self, slot: Slot) -> TimePeriod {
        self.ring.as_ref().unwrap().slot_period(slot)
    }

    /// The HSDirs of `slot` now.
    pub(super) fn responsible(&self, slot: Slot) -> Vec<RelayFingerprint> {
        let blind = self.id.blind(self.period(slot)).unwrap();
        self.ring.as_ref().unwrap().responsible(slot, blind).store
    }

    /// What an HSDir holds for `slot`, opened.
    pub(super) fn held(&self, slot: Slot, hsdir: RelayFingerprint) -> Option<Descriptor> {
        let (_, text) = self.hsdirs.stored.get(&(hsdir, self.period(slot)))?;
        Some(open(self.id, text, self.ring.as_deref().unwrap(), &self.own, self.now))
    }

    /// What every HSDir of both slots lists, if they all list the same.
    pub(super) fn listed(&self) -> BTreeSet<[u8; 32]> {
        let mut lists: BTreeSet<Option<BTreeSet<[u8; 32]>>> = BTreeSet::new();
        for slot in [Slot::First, Slot::Second] {
            for hsdir in self.responsible(slot) {
                lists.insert(self.held(slot, hsdir).map(|descriptor| keys(&descriptor.points)));
            }
        }
        assert_eq!(lists.len(), 1, "HSDirs differ");
        lists.pop_first().flatten().unwrap_or_default()
    }

    /// Forgets the uploads seen so far.
    pub(super) fn forget(&mut self) {
        self.hsdirs.seen.clear();
        self.sites.iter_mut().for_each(|site| site.events.clear());
    }

    /// What somebody else with the key, all of whose points are strange, has put on every HSDir of `slot` in a network
    /// of its own, `after` from now.
    pub(super) fn foreign(&self, slot: Slot, after: Duration) -> (RevisionCounter, Vec<u8>) {
        let mut other = Self::new(self.now.wall.as_secs() + after.as_secs() - RUN_START);
        *members(other.view()) = vec![member(1, &[21, 22, 23])];
        other.run(secs(2));
        let hsdir = self.responsible(slot)[0];
        other.hsdirs.stored[&(hsdir, self.period(slot))].clone()
    }

    /// A descriptor that node `by` with its own `view` uploads everywhere now.
    pub(super) fn elsewhere(&mut self, by: u8, view: View) {
        self.add_site(by, view);
        let sites = core::mem::take(&mut self.sites);
        let (here, there): (Vec<_>, Vec<_>) = sites.into_iter().partition(|site| site.n != by);
        self.sites = there;
        self.run(secs(5));
        self.sites = here;
        self.forget();
    }

    /// How often each HSDir of `slot` was uploaded to since [`Self::forget`]: least and most.
    pub(super) fn uploads(&self, slot: Slot) -> (usize, usize) {
        let period = self.period(slot);
        let count = |hsdir: RelayFingerprint| {
            self.hsdirs.seen.iter().filter(|seen| seen.hsdir == hsdir && seen.descriptor.period == period).count()
        };
        let counts: Vec<_> = self.responsible(slot).into_iter().map(count).collect();
        (counts.iter().copied().min().unwrap(), counts.iter().copied().max().unwrap())
    }
}

impl Site {
    fn collect(&mut self, out: &mut Outbox) {
        while let Some(output) = out.pop() {
            if let Output::Event(Event::Publication(event)) = output {
                self.events.push(event);
            } else if let Output::Event(Event::Warning(text)) = output {
                self.warnings.push(text);
            }
        }
    }
}

/// Stores garbage with this counter at every HSDir of `slot`.
pub(super) fn poison(world: &mut World, slot: Slot, revision: RevisionCounter) {
    let text = format!("revision-counter {}\n", revision.0).into_bytes();
    for hsdir in world.responsible(slot) {
        world.hsdirs.stored.insert((hsdir, world.period(slot)), (revision, text.clone()));
    }
}

/// The seconds of `ahead` seconds from now in `slot`.
pub(super) fn n(world: &World, slot: Slot, ahead: u64) -> u32 {
    let ring = world.ring.clone().unwrap();
    let origin = ring.params().counter_origin(ring.valid_after(), slot);
    u32::try_from(world.now.wall.as_secs() - origin + 1 + ahead).unwrap()
}

/// The counter of `ahead` seconds from now in `slot`.
pub(super) fn counter(world: &mut World, slot: Slot, ahead: u64) -> RevisionCounter {
    let (period, n) = (world.period(slot), n(world, slot, ahead));
    world.sites[0].publisher.builder.counter(period, n).unwrap()
}

fn open(id: HsId, text: &[u8], ring: &Ring, own: &HsClientDescEncKeypair, now: Now) -> Descriptor {
    let periods = [Slot::First, Slot::Second].map(|slot| ring.slot_period(slot));
    hsdesc::open(text, id, &periods, Some(own), now.wall).unwrap()
}
