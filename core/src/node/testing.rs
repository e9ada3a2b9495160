//! Nodes with a tor each that answers from recorded files, a mesh that loses nothing, and HSDirs that keep the last upload.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use super::{Config, Node, Saved};
use crate::cluster::exercise::Pair;
use crate::hsdesc::PowParams;
use crate::id::{EffectId, NodeId, RelayFingerprint, TorId};
use crate::input::{Command, ControlInput, EffectError, Input, TargetHealth};
use crate::onion::period::{Slot, TimePeriod};
use crate::output::{DurableKind, Event, Output};
use crate::rng::Seed;
use crate::time::{Mono, Now, Wall};
use crate::tor::tests::fake::{self, ADDRESS, World};

/// One node.
pub(super) struct Site {
    pub(super) node: Node,
    pub(super) world: World,
    /// What tor was told to publish, `'1'` or `'0'`, and when.
    pub(super) set: Vec<(Mono, char)>,
    pub(super) warnings: Vec<String>,
    /// Files of authorised clients that were to be written.
    pub(super) files: usize,
    /// What becomes of them; `None`: they are being written.
    pub(super) disk: Option<Result<(), EffectError>>,
    writing: Vec<EffectId>,
    /// The first of its relays, if it [hides](World::hiding) three of them; and its seed.
    hides: Option<(u8, u8)>,
    /// HSDirs give what tor has published by itself.
    pub(super) is_found: bool,
}

/// What has yet to reach a node.
enum Due {
    Said(NodeId, Vec<u8>),
    Tor(Vec<u8>),
    Done(EffectId, Result<(), EffectError>),
}

/// All of them.
pub(super) struct Sites {
    pub(super) sites: Vec<Site>,
    pub(super) now: Now,
    due: VecDeque<(usize, Due)>,
    hsdirs: BTreeMap<RelayFingerprint, String>,
}

impl Site {
    fn new(number: u8, saved: &Saved, world: World, now: Now) -> Self {
        let (cluster, seed) = (Pair::default().config(number), Seed::new([number; 32]));
        let config = Config { master: fake::master(), cluster, tors: 1, is_attached: false, points: 20 };
        Self {
            node: Node::new(config, saved, &seed, now).unwrap(),
            world,
            set: Vec::new(),
            warnings: Vec::new(),
            files: 0,
            disk: Some(Ok(())),
            writing: Vec::new(),
            hides: None,
            is_found: true,
        }
    }

    /// What tor was told to publish, in order.
    pub(super) fn settings(&self) -> String {
        self.set.iter().map(|(_, value)| value).collect()
    }

    fn ring_period(&self, slot: Slot) -> Option<(TimePeriod, Vec<RelayFingerprint>)> {
        let ring = self.node.tors[0].facts().ring.clone()?;
        let period = ring.slot_period(slot);
        let blind = self.node.address.id().blind(period)?;
        Some((period, ring.responsible(slot, blind).store))
    }

    /// What tor shows, of the period before, and what it publishes for the current one.
    fn descriptors(&self) -> Option<(String, String)> {
        let ((first, seed), (period, _)) = (self.hides?, self.ring_period(Slot::Second)?);
        let pow = PowParams { seed: [seed; 32], effort: 0, expires: fake::HIDING_SECS + 7200 };
        let relays: Vec<_> = (first..first + 6).collect();
        let shown = TimePeriod { number: period.number - 1, ..period };
        let text = |period, relays| fake::descriptor(period, seed.into(), Some(pow), relays, &[]);
        Some((text(shown, &relays[..3]), text(period, &relays[3..])))
    }
}

impl Sites {
    /// A node alone, of this roster, whose tor is serving.
    pub(super) fn alone(roster: Vec<u8>) -> Self {
        let now = Now { mono: Mono::from_ms(10_000), wall: Wall::from_secs(fake::CAPTURED_AT) };
        let saved = BTreeMap::from([(DurableKind::Roster, roster)]);
        let mut sites = Self::of(vec![Site::new(1, &saved, World::serving(), now)], now);
        sites.take(0, Input::Target(TargetHealth::Up));
        sites
    }

    /// Two that serve clients, whose tors hide points.
    pub(super) fn hiding() -> Self {
        let now = Now { mono: Mono::from_ms(10_000), wall: Wall::from_secs(fake::HIDING_SECS + 5) };
        let saved = Pair::default().saved();
        let site = |number: u8| {
            let first = 10 * number;
            Site { hides: Some((first, first)), ..Site::new(number, &saved, World::hiding(first), now) }
        };
        let mut sites = Self::of(vec![site(1), site(2)], now);
        for site in 0..2 {
            sites.connect(site);
            sites.take(site, Input::Target(TargetHealth::Up));
        }
        sites
    }

    fn of(sites: Vec<Site>, now: Now) -> Self {
        let mut sites = Self { sites, now, due: VecDeque::new(), hsdirs: BTreeMap::new() };
        sites.drain();
        sites
    }

    pub(super) fn connect(&mut self, site: usize) {
        self.take(site, Input::Control(TorId(0), ControlInput::Connected));
    }

    /// Its control connection is lost, and there is another one.
    pub(super) fn reconnect(&mut self, site: usize) {
        self.take(site, Input::Control(TorId(0), ControlInput::Closed));
        self.connect(site);
    }

    pub(super) fn command(&mut self, site: usize, command: Command) {
        self.take(site, Input::Command(command));
    }

    fn take(&mut self, site: usize, input: Input<'_>) {
        self.sites[site].node.handle(self.now, input).unwrap();
        self.drain();
    }

    /// What becomes of the files of authorised clients from now on, and of those that wait.
    pub(super) fn set_disk(&mut self, site: usize, disk: Option<Result<(), EffectError>>) {
        self.sites[site].disk.clone_from(&disk);
        if let Some(result) = disk {
            let done = core::mem::take(&mut self.sites[site].writing).into_iter();
            self.due.extend(done.map(|id| (site, Due::Done(id, result.clone()))));
        }
        self.drain();
    }

    /// HSDirs hold what a node has uploaded itself.
    pub(super) fn is_uploaded(&self) -> bool {
        !self.hsdirs.is_empty()
    }

    /// Time passes.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now.mono.plus(time);
        while self.now.mono < end {
            let next = self.sites.iter().filter_map(|site| site.node.next_timeout()).map(|(at, _)| at).min();
            let next = next.unwrap_or(end).max(self.now.mono.plus(Duration::from_millis(1))).min(end);
            let passed = u64::try_from(next.since(self.now.mono).as_millis()).unwrap();
            self.now = Now { mono: next, wall: Wall::from_ms(self.now.wall.as_ms() + passed) };
            (0..self.sites.len()).for_each(|site| self.take(site, Input::Tick));
        }
    }

    /// Every wish is done, and what follows from it.
    fn drain(&mut self) {
        loop {
            for site in 0..self.sites.len() {
                while let Some(output) = self.sites[site].node.poll_output() {
                    self.perform(site, output);
                }
            }
            let Some((site, due)) = self.due.pop_front() else { return };
            let input = match &due {
                Due::Said(from, bytes) => Input::Peer { from: *from, bytes },
                Due::Tor(bytes) => Input::Control(TorId(0), ControlInput::Bytes(bytes)),
                Due::Done(id, result) => Input::Done { id: *id, result: result.clone() },
            };
            let result = self.sites[site].node.handle(self.now, input);
            assert!(result.is_ok() || matches!(due, Due::Said(..)), "{result:?}");
        }
    }

    fn perform(&mut self, site: usize, output: Output) {
        let from = self.sites[site].node.id;
        if let Output::SendPeer { to, bytes } = output {
            let to = self.sites.iter().position(|site| site.node.id == to);
            self.due.extend(to.map(|to| (to, Due::Said(from, bytes))));
        } else if let Output::Persist { id, record } = output {
            let is_files = record.kind == DurableKind::AuthorizedClients;
            let Site { files, disk, writing, .. } = &mut self.sites[site];
            *files += usize::from(is_files);
            match disk.clone().filter(|_| is_files) {
                Some(result) => self.due.push_back((site, Due::Done(id, result))),
                None if is_files => writing.push(id),
                None => self.due.push_back((site, Due::Done(id, Ok(())))),
            }
        } else if let Output::Control(_, bytes) = output {
            let answer = self.tor(site, core::str::from_utf8(&bytes).unwrap());
            self.due.push_back((site, Due::Tor(answer)));
        } else if let Output::Event(Event::Warning(words)) = output {
            self.sites[site].warnings.push(words);
        }
    }

    /// What that node's tor answers.
    fn tor(&mut self, site: usize, command: &str) -> Vec<u8> {
        let (line, body) = command.split_once("\r\n").unwrap();
        let hsdir = line.split(' ').find_map(|word| word.strip_prefix("SERVER=")).and_then(RelayFingerprint::from_hex);
        let said = |action: &str, hsdir| format!("650 HS_DESC {action} {ADDRESS} UNKNOWN ${hsdir}~x id\r\n");
        let of = &mut self.sites[site];
        if line.starts_with("GETINFO hs/")
            && let Some((shown, _)) = of.descriptors()
        {
            of.world.descriptor = Some(shown.into_bytes());
        }
        let mut answer = of.world.answer(line);
        let value = line.strip_prefix("SETCONF PublishHidServDescriptors=\"").and_then(|value| value.chars().next());
        of.set.extend(value.map(|value| (self.now.mono, value)));
        match (hsdir, value) {
            (Some(hsdir), _) if line.starts_with("+HSPOST") => {
                self.hsdirs.insert(hsdir, body.strip_suffix(".\r\n").unwrap().to_owned());
                answer.extend(said("UPLOADED", hsdir).into_bytes());
            }
            (Some(hsdir), _) => {
                let text = self.hsdirs.get(&hsdir).map_or("\r\n", String::as_str);
                answer.extend(said("RECEIVED", hsdir).into_bytes());
                answer.extend(
                    format!("650+HS_DESC_CONTENT {ADDRESS} id ${hsdir}~x\r\n{text}.\r\n650 OK\r\n").into_bytes(),
                );
            }
            (None, Some('1')) if of.hides.is_some() => {
                of.hides.as_mut().unwrap().1 += 1;
                let ((_, hidden), (_, hsdirs)) = (of.descriptors().unwrap(), of.ring_period(Slot::Second).unwrap());
                let hidden = if of.is_found { hidden.replace('\n', "\r\n") } else { "\r\n".to_owned() };
                for hsdir in hsdirs {
                    self.hsdirs.insert(hsdir, hidden.clone());
                    answer.extend((said("UPLOAD", hsdir) + &said("UPLOADED", hsdir)).into_bytes());
                }
            }
            (None, _) => {}
        }
        answer
    }
}
