//! A few `Cluster`s in virtual time: a seeded network that loses, delays and cuts, and disks that survive crashes.
//! No I/O; one run is decided by its seed, which every test prints.
#![allow(dead_code, reason = "every test file uses its own part of this")]
#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test support: hosts are named by index, seeds printed"
)]

mod host;
mod joining;
mod network;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rustbalance_core::cluster::{
    Access, Cluster, ClusterConfig, ClusterToken, CommandError, Liveness, Local, NodeKeypair, Order, Role, View,
};
use rustbalance_core::join::{Admitted, found};
use rustbalance_core::onion::key::HsIdKeypair;
use rustbalance_core::output::RequestId;
use rustbalance_core::rng::Rng;
use rustbalance_core::time::{Mono, Now, Wall};
use rustbalance_core::{DurableKind, Outbox, Output, WgPublicKey};

use self::host::seed;
use self::network::{Frozen, Happening};

pub use self::host::{Host, keypair};

/// The cluster token of every test cluster.
pub const TOKEN: [u8; 32] = [0x66; 32];
/// Unix time at the start of a run.
const WALL_START_MS: u64 = 1_700_000_000_000;
/// Ticks in a row after which a node wants to be woken at once again: more mean that it spins.
const SPINS_MAX: u32 = 20;
/// How many delivered datagrams are remembered.
const DELIVERED_MAX: usize = 400;

/// Seeds to run: `RUSTBALANCE_SEED` alone if set, else `count` of them. Printed, so that a failure can be repeated.
pub fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let one = std::env::var("RUSTBALANCE_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let all = one.map_or(0..count, |seed| seed..seed + 1);
    all.inspect(|seed| println!("RUSTBALANCE_SEED={seed}"))
}

/// The network and everyone in it.
pub struct World {
    pub hosts: Vec<Host>,
    pub now_ms: u64,
    pub loss_percent: u64,
    pub delay_ms: (u64, u64),
    /// A write takes this long.
    pub disk_ms: u64,
    /// [`ClusterConfig::token_age_max`] of nodes that start.
    pub token_age_max: Option<Duration>,
    pub cut: BTreeSet<(usize, usize)>,
    pub refused: u64,
    pub sent: u64,
    /// Answers to admission requests.
    pub replies: Vec<(RequestId, Vec<Vec<u8>>)>,
    /// Answers to invited nodes.
    pub answers: Vec<(RequestId, Option<Vec<u8>>)>,
    /// What invited nodes are given.
    pub master: HsIdKeypair,
    /// The last datagrams delivered from members: from, to, bytes.
    pub delivered: VecDeque<(usize, usize, Vec<u8>)>,
    queue: BTreeMap<(u64, u64), Happening>,
    frozen: Option<Frozen>,
    spins: u32,
    count: u64,
    rng: Rng,
    seed: u64,
}

impl World {
    /// One founder, running.
    pub fn found(run: u64) -> Self {
        let mut world = Self {
            hosts: Vec::new(),
            now_ms: 1_000_000,
            loss_percent: 0,
            delay_ms: (1, 40),
            disk_ms: 5,
            token_age_max: None,
            cut: BTreeSet::new(),
            refused: 0,
            sent: 0,
            replies: Vec::new(),
            answers: Vec::new(),
            master: HsIdKeypair::generate(&mut seed(run, 255, 0).fork("master")),
            delivered: VecDeque::new(),
            queue: BTreeMap::new(),
            frozen: None,
            spins: 0,
            count: 0,
            rng: seed(run, 255, 0).fork("network"),
            seed: run,
        };
        let admitted = found(&keypair(1), WgPublicKey([1; 32]), world.master.public(), &Access::Open);
        world.add(1, 100, TOKEN, admitted);
        world
    }

    /// A founder and `count - 1` joiners, everyone eligible, settled on one holder, nobody fresh from a start.
    pub fn of(run: u64, count: u8) -> Self {
        let mut world = Self::found(run);
        world.set_eligible(0, true);
        for n in 2..=count {
            let node = world.join(n, 100);
            world.set_eligible(node, true);
        }
        world.until(20_000, "one holder known to all", World::is_settled);
        world.run(5_000);
        world
    }

    pub fn add(&mut self, n: u8, priority: u8, token: [u8; 32], admitted: Admitted) -> usize {
        let disk = BTreeMap::from([(DurableKind::Roster, admitted.roster.clone())]);
        self.hosts.push(Host {
            id: keypair(n).id(),
            wg: WgPublicKey([n; 32]),
            priority,
            cluster: None,
            disk,
            local: Local { tor_ready: true, target_up: true, ..Local::default() },
            events: Vec::new(),
            admitted,
            paths: Vec::new(),
            token,
            native_off: true,
            is_withdrawn: true,
            key: [n; 32],
            lives: 0,
            clock_ms: 0,
            effects: Outbox::default(),
        });
        let node = self.hosts.len() - 1;
        self.start(node);
        node
    }

    /// A second process with the keys and disk of `node`, on another machine.
    pub fn twin(&mut self, node: usize) -> usize {
        let (key, priority, admitted) =
            (self.hosts[node].key[0], self.hosts[node].priority, self.hosts[node].admitted.clone());
        self.add(key, priority, TOKEN, admitted)
    }

    /// Starts a stopped node from its disk.
    pub fn start(&mut self, node: usize) {
        let now = self.now(node);
        let host = &mut self.hosts[node];
        assert!(host.cluster.is_none());
        host.lives += 1;
        host.paths.clear();
        let config = ClusterConfig {
            keypair: NodeKeypair::from_seed(&host.key),
            wg: host.wg,
            cluster: host.admitted.cluster,
            genesis: host.admitted.genesis,
            token: ClusterToken::new(host.token),
            priority: host.priority,
            weight: 100,
            name: format!("node{node}"),
            contact: Some(format!("host{node}:7900")),
            token_age_max: self.token_age_max,
        };
        let rng = seed(self.seed, host.key[0], host.lives).fork("cluster");
        host.cluster = Some(Cluster::new(config, &host.disk, rng, now, &mut host.effects));
        self.settle(node);
    }

    /// Dies without a word; its disk stays.
    pub fn kill(&mut self, node: usize) {
        self.hosts[node].cluster = None;
    }

    pub fn set_eligible(&mut self, node: usize, eligible: bool) {
        self.hosts[node].local.eligible = eligible;
        self.settle(node);
    }

    /// Lets a node's wall clock differ.
    pub fn set_clock(&mut self, node: usize, ahead_ms: i64) {
        self.hosts[node].clock_ms = ahead_ms;
    }

    pub fn now(&self, node: usize) -> Now {
        let ahead = self.hosts.get(node).map_or(0, |host| host.clock_ms);
        let wall = (WALL_START_MS + self.now_ms).saturating_add_signed(ahead);
        Now { mono: Mono::from_ms(self.now_ms), wall: Wall::from_ms(wall) }
    }

    pub fn cluster(&mut self, node: usize) -> &mut Cluster {
        self.hosts[node].cluster.as_mut().expect("running")
    }

    /// Gives `whom` an order at `at`.
    pub fn order(&mut self, at: usize, whom: usize, order: Order) -> Result<(), CommandError> {
        let id = self.hosts[whom].id;
        self.command(at, |cluster, now, out| cluster.order(now, id, order, out))
    }

    /// What an operator asks of `node`, then what `Node` does after it.
    pub fn command<T>(&mut self, node: usize, command: impl FnOnce(&mut Cluster, Now, &mut Outbox) -> T) -> T {
        let now = self.now(node);
        let host = &mut self.hosts[node];
        let result = command(host.cluster.as_mut().expect("running"), now, &mut host.effects);
        self.settle(node);
        result
    }

    /// What `node` sees, with the members even if it does not publish.
    pub fn view(&self, node: usize) -> View {
        let cluster = self.hosts[node].cluster.as_ref().expect("running");
        View { members: cluster.members(), ..cluster.view(self.now(node)) }
    }

    pub fn live(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|node| self.hosts[*node].cluster.is_some()).collect()
    }

    pub fn holders(&self) -> Vec<usize> {
        let holds = |node: &usize| matches!(self.view(*node).role, Role::Holder { .. });
        self.live().into_iter().filter(holds).collect()
    }

    /// One holder; every running node knows it, has every running node's newest record and believes it live.
    pub fn is_settled(&self) -> bool {
        let holders = self.holders();
        let [holder] = holders[..] else { return false };
        let live = self.live();
        let newest: Vec<_> = live
            .iter()
            .map(|node| self.view(*node).members.iter().find(|member| member.node == self.hosts[*node].id).cloned())
            .collect();
        live.iter().all(|node| {
            let view = self.view(*node);
            let knows = |other: usize, newest: &Option<rustbalance_core::cluster::Member>| {
                let known = view.members.iter().find(|member| member.node == self.hosts[other].id);
                known.is_some_and(|known| {
                    known.liveness == Liveness::Live && known.record == newest.as_ref().and_then(|m| m.record.clone())
                })
            };
            view.holder.is_some_and(|(node, _)| node == self.hosts[holder].id)
                && live.iter().zip(&newest).all(|(other, newest)| knows(*other, newest))
        })
    }

    /// Runs for `ms`.
    pub fn run(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while self.step(end) {}
        self.now_ms = end;
    }

    /// Runs until `done`, at most `ms`; returns how long it took.
    pub fn until(&mut self, ms: u64, what: &str, done: impl Fn(&Self) -> bool) -> u64 {
        let start = self.now_ms;
        while !done(self) {
            assert!(self.step(start + ms), "not within {ms} ms: {what}; {}", self.describe());
        }
        self.now_ms - start
    }

    pub fn describe(&self) -> String {
        let line = |node: usize| {
            let view = self.view(node);
            let members: Vec<_> = view.members.iter().map(|member| (member.node, member.liveness)).collect();
            format!("\n{node} {} {:?} holder {:?} {members:?}", self.hosts[node].id, view.role, view.holder)
        };
        self.live().into_iter().map(line).collect()
    }

    /// The next happening or tick before `end`.
    fn step(&mut self, end: u64) -> bool {
        let wake = |node: &usize| {
            let timeout = self.hosts[*node].cluster.as_ref().and_then(Cluster::next_timeout);
            (timeout.map_or(u64::MAX, |(at, _)| at.as_ms()).max(self.now_ms), *node)
        };
        let tick = self.live().iter().map(wake).min().unwrap_or((u64::MAX, 0));
        let event = self.queue.keys().next().copied();
        let at = event.map_or(u64::MAX, |(at, _)| at).min(tick.0);
        if at > end {
            return false;
        }
        self.now_ms = at;
        match event {
            Some(key) if key.0 <= tick.0 => {
                if let Some(happening) = self.queue.remove(&key) {
                    self.happen(happening);
                }
            }
            _ => {
                self.settle(tick.1);
                let woken = self.hosts[tick.1].cluster.as_ref().and_then(Cluster::next_timeout);
                self.spins = if woken.is_some_and(|(at, _)| at.as_ms() <= self.now_ms) { self.spins + 1 } else { 0 };
                assert!(self.spins < SPINS_MAX, "node {} spins: {woken:?} at {}", tick.1, self.now_ms);
            }
        }
        true
    }

    /// What `Node` does after every input: facts in, tick, wishes out.
    pub fn settle(&mut self, node: usize) {
        let now = self.now(node);
        let host = &mut self.hosts[node];
        let Some(cluster) = &mut host.cluster else { return };
        cluster.set_local(now, host.local.clone(), &mut host.effects);
        cluster.tick(now, &mut host.effects);
        cluster.set_withdrawn(now.mono, host.is_withdrawn);
        if cluster.admission_waiting() && host.native_off {
            cluster.native_is_off(now, &mut host.effects);
        }
        cluster.answer_invited(now, &self.master, &mut host.effects);
        let life = host.lives;
        while let Some(output) = self.hosts[node].effects.pop() {
            self.perform(node, life, output);
        }
    }

    fn perform(&mut self, node: usize, life: u64, output: Output) {
        match output {
            Output::SendPeer { to, bytes } => {
                assert!(bytes.len() <= rustbalance_core::output::DATAGRAM_MAX);
                self.sent += 1;
                let targets: Vec<usize> = (0..self.hosts.len()).filter(|other| self.hosts[*other].id == to).collect();
                for to in targets {
                    self.send(node, to, bytes.clone());
                }
            }
            Output::Persist { id, record } => {
                // A crash before `Done` may leave either version; here the new one.
                self.hosts[node].disk.insert(record.kind, record.bytes);
                self.schedule(self.disk_ms, Happening::Done { node, life, id });
            }
            Output::AdmitReply { request, datagrams } => self.replies.push((request, datagrams)),
            Output::InviteReply { request, answer } => self.answers.push((request, answer)),
            Output::InvitePaths(paths) => self.hosts[node].paths = paths,
            Output::Event(event) => {
                let at = self.now_ms;
                self.hosts[node].events.push((at, event));
            }
            Output::Token(token) => self.hosts[node].token = *token.expose_secret(),
            Output::Control(..)
            | Output::Reconnect(_)
            | Output::RestartTor(_)
            | Output::Peers(_)
            | Output::Stopped(_) => {
                panic!("not a wish of the cluster: {output:?}")
            }
        }
    }
}
