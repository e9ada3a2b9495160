//! A few `Cluster`s in virtual time: a seeded network that loses, delays and cuts, and disks that survive crashes.
//! No I/O; one run is decided by its seed, which every test prints.
#![allow(dead_code, reason = "every test file uses its own part of this")]
#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test support: hosts are named by index, seeds printed"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand_core::Rng as _;
use rustbalance_core::cluster::{
    Cluster, ClusterConfig, ClusterToken, Liveness, Local, NodeKeypair, Publication, Role, View,
};
use rustbalance_core::join::{Admitted, JoinError, Joiner, found};
use rustbalance_core::onion::key::HsId;
use rustbalance_core::output::RequestId;
use rustbalance_core::rng::{Rng, Seed};
use rustbalance_core::time::{Mono, Now, Wall};
use rustbalance_core::{DurableKind, EffectId, Event, NodeId, Outbox, Output, WgPublicKey};

/// The master address of every test cluster.
pub const MASTER: HsId = HsId([0x55; 32]);
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

/// What a node is made of; survives restarts.
pub struct Host {
    pub id: NodeId,
    pub wg: WgPublicKey,
    pub priority: u8,
    pub cluster: Option<Cluster>,
    pub disk: BTreeMap<DurableKind, Vec<u8>>,
    pub local: Local,
    pub events: Vec<(u64, Event)>,
    pub admitted: Admitted,
    /// What the shell keeps of the cluster token.
    pub token: [u8; 32],
    /// Native publishing is off, or goes off as soon as it is asked to.
    pub native_off: bool,
    key: [u8; 32],
    lives: u64,
    clock_ms: i64,
    effects: Outbox,
}

enum Happening {
    Datagram { from: usize, to: usize, bytes: Vec<u8> },
    Done { node: usize, life: u64, id: EffectId },
}

/// A stopped process and the datagrams that wait for it: from, bytes.
type Frozen = (usize, Vec<(usize, Vec<u8>)>);

/// The network and everyone in it.
pub struct World {
    pub hosts: Vec<Host>,
    pub now_ms: u64,
    pub loss_percent: u64,
    pub delay_ms: (u64, u64),
    /// A write takes this long.
    pub disk_ms: u64,
    pub cut: BTreeSet<(usize, usize)>,
    pub refused: u64,
    pub sent: u64,
    /// Answers to admission requests.
    pub replies: Vec<(RequestId, Vec<Vec<u8>>)>,
    /// The last datagrams delivered from members: from, to, bytes.
    pub delivered: VecDeque<(usize, usize, Vec<u8>)>,
    queue: BTreeMap<(u64, u64), Happening>,
    frozen: Option<Frozen>,
    spins: u32,
    count: u64,
    rng: Rng,
    seed: u64,
}

pub fn keypair(n: u8) -> NodeKeypair {
    NodeKeypair::from_seed(&[n; 32])
}

fn seed(run: u64, node: u8, life: u64) -> Seed {
    let mut bytes = [node; 32];
    bytes[..8].copy_from_slice(&run.to_le_bytes());
    bytes[8..16].copy_from_slice(&life.to_le_bytes());
    Seed::new(bytes)
}

impl Host {
    pub fn shut_down(&mut self, now: Now, leave: bool) {
        self.cluster.as_mut().expect("running").shut_down(now, leave, &mut self.effects);
    }

    pub fn is_stopped(&self, now: Now) -> bool {
        self.cluster.as_ref().expect("running").is_stopped(now)
    }

    pub fn set_publication(&mut self, now: Now, publication: Publication) {
        self.cluster.as_mut().expect("running").set_publication(now, publication, &mut self.effects);
    }

    pub fn warnings(&self) -> Vec<&str> {
        let warnings = self
            .events
            .iter()
            .filter_map(|(_, event)| if let Event::Warning(text) = event { Some(text.as_str()) } else { None });
        warnings.collect()
    }
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
            cut: BTreeSet::new(),
            refused: 0,
            sent: 0,
            replies: Vec::new(),
            delivered: VecDeque::new(),
            queue: BTreeMap::new(),
            frozen: None,
            spins: 0,
            count: 0,
            rng: seed(run, 255, 0).fork("network"),
            seed: run,
        };
        let admitted = found(&keypair(1), WgPublicKey([1; 32]), MASTER);
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

    fn add(&mut self, n: u8, priority: u8, token: [u8; 32], admitted: Admitted) -> usize {
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
            token,
            native_off: true,
            key: [n; 32],
            lives: 0,
            clock_ms: 0,
            effects: Outbox::default(),
        });
        let node = self.hosts.len() - 1;
        self.start(node);
        node
    }

    /// Joins through the founder, as the shell would do it.
    pub fn join(&mut self, n: u8, priority: u8) -> usize {
        let admitted = self.ask(0, n, TOKEN).expect("admitted");
        self.add(n, priority, TOKEN, admitted)
    }

    /// Joins through `via` with that token.
    pub fn join_with(&mut self, via: usize, n: u8, token: [u8; 32]) -> usize {
        let admitted = self.ask(via, n, token).expect("admitted");
        self.add(n, 100, token, admitted)
    }

    /// Asks `via` for admission and waits for the answer.
    pub fn ask(&mut self, via: usize, n: u8, token: [u8; 32]) -> Result<Admitted, JoinError> {
        self.request(via, n, token);
        self.until(1000, "an answer", |world| world.replies.iter().any(|(id, _)| *id == RequestId(u64::from(n))));
        self.reply(via, n, token).expect("just seen")
    }

    /// Hands the request of `n` to `via`.
    pub fn request(&mut self, via: usize, n: u8, token: [u8; 32]) {
        let request = self.joiner(via, n, token).request();
        let _ = self.command(via, |cluster, now, out| {
            cluster.handle_admit(now, RequestId(u64::from(n)), WgPublicKey([n; 32]), &request, out)
        });
    }

    /// The answer to `n`, if there is one.
    pub fn reply(&mut self, via: usize, n: u8, token: [u8; 32]) -> Option<Result<Admitted, JoinError>> {
        let at = self.replies.iter().position(|(id, _)| *id == RequestId(u64::from(n)))?;
        let (_, datagrams) = self.replies.remove(at);
        let mut joiner = self.joiner(via, n, token);
        datagrams.iter().find_map(|bytes| joiner.handle(bytes).transpose())
    }

    /// A second process with the keys and disk of `node`, on another machine.
    pub fn twin(&mut self, node: usize) -> usize {
        let (key, priority, admitted) =
            (self.hosts[node].key[0], self.hosts[node].priority, self.hosts[node].admitted.clone());
        self.add(key, priority, TOKEN, admitted)
    }

    pub fn joiner(&self, via: usize, n: u8, token: [u8; 32]) -> Joiner {
        let mut rng = seed(self.seed, n, 1000).fork("joiner");
        let token = ClusterToken::new(token);
        Joiner::new(&keypair(n), WgPublicKey([n; 32]), self.hosts[via].wg, &token, MASTER, &mut rng)
    }

    /// Starts a stopped node from its disk.
    pub fn start(&mut self, node: usize) {
        let now = self.now(node);
        let host = &mut self.hosts[node];
        assert!(host.cluster.is_none());
        host.lives += 1;
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
        };
        let rng = seed(self.seed, host.key[0], host.lives).fork("cluster");
        host.cluster = Some(Cluster::new(config, &host.disk, rng, now, &mut host.effects));
        self.settle(node);
    }

    /// Dies without a word; its disk stays.
    pub fn kill(&mut self, node: usize) {
        self.hosts[node].cluster = None;
    }

    /// Stops a node's process for `ms`; its datagrams wait, and it wakes up late.
    pub fn freeze(&mut self, node: usize, ms: u64) {
        let cluster = self.hosts[node].cluster.take();
        self.frozen = Some((node, Vec::new()));
        self.run(ms);
        self.hosts[node].cluster = cluster;
        let (_, waiting) = self.frozen.take().unwrap_or_default();
        self.settle(node);
        for (from, bytes) in waiting {
            self.schedule(0, Happening::Datagram { from, to: node, bytes });
        }
    }

    pub fn set_eligible(&mut self, node: usize, eligible: bool) {
        self.hosts[node].local.eligible = eligible;
        self.settle(node);
    }

    /// Lets a node's wall clock differ.
    pub fn set_clock(&mut self, node: usize, ahead_ms: i64) {
        self.hosts[node].clock_ms = ahead_ms;
    }

    /// Cuts every path between the two sides, both ways.
    pub fn partition(&mut self, one: &[usize], other: &[usize]) {
        for a in one {
            for b in other {
                self.cut.extend([(*a, *b), (*b, *a)]);
            }
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    pub fn now(&self, node: usize) -> Now {
        let ahead = self.hosts.get(node).map_or(0, |host| host.clock_ms);
        let wall = (WALL_START_MS + self.now_ms).saturating_add_signed(ahead);
        Now { mono: Mono::from_ms(self.now_ms), wall: Wall::from_ms(wall) }
    }

    pub fn cluster(&mut self, node: usize) -> &mut Cluster {
        self.hosts[node].cluster.as_mut().expect("running")
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

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Datagram { from, to, bytes } if self.frozen.as_ref().is_some_and(|(node, _)| *node == to) => {
                if let Some((_, waiting)) = &mut self.frozen {
                    waiting.push((from, bytes));
                }
            }
            Happening::Datagram { from, to, bytes } => {
                let _ = self.deliver(from, to, &bytes);
            }
            Happening::Done { node, life, id } => {
                let now = self.now(node);
                let host = &mut self.hosts[node];
                if host.lives == life
                    && let Some(cluster) = &mut host.cluster
                {
                    assert!(cluster.handle_done(now, id, &Ok(()), &mut host.effects));
                    self.settle(node);
                }
            }
        }
    }

    /// Hands a datagram over as the mesh would: from a member, or, if its key is not known there, from a stranger.
    pub fn deliver(
        &mut self,
        from: usize,
        to: usize,
        bytes: &[u8],
    ) -> Option<Result<(), rustbalance_core::cluster::PeerError>> {
        let (now, sender) = (self.now(to), self.hosts[from].id);
        let host = &mut self.hosts[to];
        let cluster = host.cluster.as_mut()?;
        let is_known = cluster.peers().iter().any(|peer| peer.node == sender);
        let result = if is_known {
            self.delivered.push_back((from, to, bytes.to_vec()));
            cluster.handle_peer(now, sender, bytes, &mut host.effects)
        } else {
            cluster.handle_stranger(now, bytes, &mut host.effects)
        };
        if self.delivered.len() > DELIVERED_MAX {
            self.delivered.pop_front();
        }
        self.refused += u64::from(result.is_err());
        self.settle(to);
        Some(result)
    }

    /// What `Node` does after every input: facts in, tick, wishes out.
    pub fn settle(&mut self, node: usize) {
        let now = self.now(node);
        let host = &mut self.hosts[node];
        let Some(cluster) = &mut host.cluster else { return };
        cluster.set_local(now, host.local.clone(), &mut host.effects);
        cluster.tick(now, &mut host.effects);
        if cluster.admission_waiting() && host.native_off {
            cluster.native_is_off(now, &mut host.effects);
        }
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

    fn send(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        let lost = self.rng.next_u64() % 100 < self.loss_percent;
        if lost || self.cut.contains(&(from, to)) {
            return;
        }
        let (least, most) = self.delay_ms;
        let delay = least + self.rng.next_u64() % (most - least + 1);
        self.schedule(delay, Happening::Datagram { from, to, bytes });
    }

    fn schedule(&mut self, delay_ms: u64, happening: Happening) {
        self.count += 1;
        self.queue.insert((self.now_ms + delay_ms, self.count), happening);
    }
}
