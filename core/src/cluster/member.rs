//! Liveness: who is heard, who is silent, who is down. Only our own probes make a member down; followers, who hear
//! few heartbeats, show what the holder's beacons say until they are hearers themselves.

mod clock;
mod judging;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rand_core::Rng as _;

use self::clock::Clocks;
use self::judging::Circumstances;
pub(super) use self::judging::Judgement;
use super::Liveness;
use super::PeerError;
use super::timing::{HEALTH_FORGIVE, HEALTH_WORST, HEARTBEAT_OVER, PROBE_RETRY, PROBE_VERDICT, TTL};
use super::walk::Walk;
use super::wire::{Heartbeat, Message};
use crate::id::NodeId;
use crate::output::{Event, Outbox};
use crate::rng::Rng;
use crate::time::{Mono, Now};

/// Two direct tries and three indirect ones, under one nonce.
#[derive(Debug)]
struct Probe {
    nonce: u64,
    started: Mono,
    retried: bool,
}

#[derive(Debug)]
struct Peer {
    liveness: Liveness,
    since: Mono,
    heard_at: Option<Mono>,
    /// Silence counts from here at the earliest: when we met, or began to judge.
    silent_from: Mono,
    heartbeat: Option<Heartbeat>,
    heartbeat_at: Mono,
    /// Of who gave its lease away, until a heartbeat from after that comes: epoch and sequence number of its last beacon,
    /// and the record order that this named.
    last_word: Option<((u64, u64), (u64, u64))>,
    probe: Option<Probe>,
}

impl Peer {
    fn new(now: Mono) -> Self {
        Self {
            liveness: Liveness::Unknown,
            since: now,
            heard_at: None,
            silent_from: now,
            heartbeat: None,
            heartbeat_at: now,
            last_word: None,
            probe: None,
        }
    }

    fn suspect_at(&self) -> Mono {
        self.heard_at.unwrap_or_default().max(self.silent_from).plus(TTL)
    }

    /// Whether it proved to be alive within the TTL, or could not within a stall of ours.
    fn is_heard(&self, now: Mono, grace_until: Mono) -> bool {
        let in_grace = now < grace_until && self.liveness == Liveness::Live;
        self.heard_at.is_some_and(|at| now.since(at) < TTL || in_grace)
    }

    /// When that ends if nothing more is heard.
    fn deaf_at(&self, grace_until: Mono) -> Option<Mono> {
        Some(self.heard_at?.plus(TTL).max(grace_until))
    }

    /// What to believe of whom we do not judge: our own ears first, then what we are `told`.
    fn believed(&self, now: Mono, grace_until: Mono, told: Option<bool>) -> Liveness {
        match told {
            _ if self.is_heard(now, grace_until) => Liveness::Live,
            Some(true) => Liveness::Live,
            Some(false) => Liveness::Down,
            None => self.liveness,
        }
    }

    /// When whoever judges it has to do something; nothing is to be judged about who is down.
    fn judgement_at(&self, patience: u32, grace_until: Mono) -> Option<Mono> {
        let at = match &self.probe {
            None => self.suspect_at().max(grace_until),
            Some(probe) if probe.retried => probe.started.plus(PROBE_VERDICT * patience),
            Some(probe) => probe.started.plus(PROBE_RETRY * patience),
        };
        (self.liveness != Liveness::Down).then_some(at)
    }
}

/// All members but ourselves.
#[derive(Debug, Default)]
pub(super) struct Members {
    peers: BTreeMap<NodeId, Peer>,
    /// Of the roster that `peers` follows.
    roster_hash: [u8; 16],
    /// Grows with whatever [`Liveness`] or record order is known of anyone.
    changes: u64,
    /// Grows whenever anyone becomes down, or is so no more.
    downs: u64,
    /// Grows with every heartbeat.
    beats: u64,
    clocks: Clocks,
    hearer: bool,
    holder: Option<NodeId>,
    /// Lifeguard's local health: 0 is well; probes wait `health + 1` times as long.
    health: u8,
    forgive_at: Mono,
    grace_until: Mono,
    /// When the last look found nobody due: under which circumstances, and until when that holds if they stay.
    idle: Option<(Circumstances, Mono)>,
}

impl Members {
    pub(super) fn liveness(&self, node: NodeId) -> Liveness {
        self.peers.get(&node).map_or(Liveness::Unknown, |peer| peer.liveness)
    }

    pub(super) fn since(&self, node: NodeId) -> Mono {
        self.peers.get(&node).map_or(Mono::default(), |peer| peer.since)
    }

    pub(super) fn heard_at(&self, node: NodeId) -> Option<Mono> {
        self.peers.get(&node)?.heard_at
    }

    /// Grows with every change of a verdict, of when it was made, and of a record order named.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Grows whenever anyone becomes down, or is so no more.
    pub(super) fn downs(&self) -> u64 {
        self.downs
    }

    /// Who is down and who is not.
    pub(super) fn walk_down(&self) -> impl FnMut(NodeId) -> bool {
        let mut walk = Walk::new(&self.peers);
        move |node| walk.get(node).is_some_and(|peer| peer.liveness == Liveness::Down)
    }

    /// Whether `node` proved to be alive within the TTL, or could not within a stall of ours.
    pub(super) fn is_heard(&self, now: Mono, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.is_heard(now, self.grace_until))
    }

    /// How many members are heard.
    pub(super) fn heard_count(&self, now: Mono) -> usize {
        self.peers.values().filter(|peer| peer.is_heard(now, self.grace_until)).count()
    }

    /// How many members were ever heard since the start.
    pub(super) fn met_count(&self) -> usize {
        self.peers.values().filter(|peer| peer.heard_at.is_some()).count()
    }

    /// `node` gave its lease away with this beacon, which named this order of its record.
    pub(super) fn last_word(&mut self, node: NodeId, beacon: (u64, u64), record: (u64, u64)) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let before = peer.last_word.replace((beacon, record));
        self.changes += u64::from(before != peer.last_word);
    }

    /// Whether it has named a newer record than `held`.
    pub(super) fn names_newer(&self, node: NodeId, held: (u64, u64)) -> bool {
        let last_word = self.peers.get(&node).and_then(|peer| peer.last_word).map(|(_, record)| record);
        self.named_order(node).max(last_word).is_some_and(|named| named > held)
    }

    /// The record order its last heartbeat named.
    pub(super) fn named_order(&self, node: NodeId) -> Option<(u64, u64)> {
        let heartbeat = self.peers.get(&node)?.heartbeat.as_ref()?;
        Some((heartbeat.incarnation, heartbeat.version))
    }

    /// Members heard within the TTL, with their last heartbeat.
    pub(super) fn heartbeats(&self, now: Mono) -> impl Iterator<Item = (NodeId, &Heartbeat)> {
        let fresh = self.peers.iter().filter(move |(_, peer)| now.since(peer.heartbeat_at) < TTL);
        fresh.filter_map(|(node, peer)| Some((*node, peer.heartbeat.as_ref()?)))
    }

    /// Members that are down.
    pub(super) fn down(&self) -> impl Iterator<Item = NodeId> {
        self.peers.iter().filter(|(_, peer)| peer.liveness == Liveness::Down).map(|(node, _)| *node)
    }

    /// Something that cannot be a replay came from `node`.
    pub(super) fn heard(&mut self, now: Mono, node: NodeId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let was_down = peer.liveness == Liveness::Down;
        peer.heard_at = Some(now);
        let was_probed = peer.probe.take().is_some();
        self.turn(now, node, Liveness::Live, out);
        if was_probed && !was_down {
            self.ail(now);
        }
    }

    /// Makes it our verdict, unless it is already.
    fn turn(&mut self, now: Mono, node: NodeId, liveness: Liveness, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.liveness != liveness) else { return };
        let before = core::mem::replace(&mut peer.liveness, liveness);
        peer.since = now;
        self.changes += 1;
        self.downs += u64::from([before, liveness].contains(&Liveness::Down));
        out.event(Event::Member(node, liveness));
    }

    /// A heartbeat. The tunnel shows that it comes from that member, and no second time. So one that is older than the newest
    /// counts once that one has had no successor for a while: what it named was not true.
    ///
    /// # Errors
    /// `Stale` if a newer one came before.
    pub(super) fn heartbeat(
        &mut self,
        now: Now,
        from: NodeId,
        beat: Heartbeat,
        out: &mut Outbox,
    ) -> Result<(), PeerError> {
        let peer = self.peers.get_mut(&from).ok_or(PeerError::NotAMember)?;
        let order = |beat: &Heartbeat| (beat.incarnation, beat.beat);
        let is_over = now.mono.since(peer.heartbeat_at) >= HEARTBEAT_OVER;
        if !is_over && peer.heartbeat.as_ref().is_some_and(|held| order(held) >= order(&beat)) {
            return Err(PeerError::Stale);
        }
        let named = |beat: &Heartbeat| (beat.incarnation, beat.version);
        self.changes += u64::from(peer.heartbeat.as_ref().map(named) != Some(named(&beat)));
        self.beats += 1;
        let is_over = |((epoch, seq), _): &mut ((u64, u64), _)| (beat.epoch, beat.seq) >= (*epoch, *seq);
        self.changes += u64::from(peer.last_word.take_if(is_over).is_some());
        peer.heartbeat = Some(beat);
        peer.heartbeat_at = now.mono;
        self.heard(now.mono, from, out);
        Ok(())
    }

    /// The answer to a probe of ours.
    ///
    /// # Errors
    /// `Stale` if no such probe is under way.
    pub(super) fn pong(&mut self, now: Mono, target: NodeId, nonce: u64, out: &mut Outbox) -> Result<(), PeerError> {
        let probe = self.peers.get(&target).and_then(|peer| peer.probe.as_ref());
        if probe.is_none_or(|probe| probe.nonce != nonce) {
            return Err(PeerError::Stale);
        }
        self.heard(now, target, out);
        Ok(())
    }

    /// Asks a member that is down whether it is back. It may send its heartbeats to others only: who hears everyone is
    /// judged by ranks, and ours differ from theirs as long as we believe it down.
    pub(super) fn call(&mut self, now: Mono, me: NodeId, node: NodeId, rng: &mut Rng, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let nonce = rng.next_u64();
        peer.probe = Some(Probe { nonce, started: now, retried: true });
        Message::Ping { nonce, origin: me }.send(node, out);
    }

    /// We were stopped: everyone gets time to be heard again.
    pub(super) fn stall(&mut self, now: Mono, until: Mono) {
        self.grace_until = until;
        self.idle = None;
        self.ail(now);
        for peer in self.peers.values_mut() {
            peer.probe = None;
        }
    }

    fn ail(&mut self, now: Mono) {
        self.health = (self.health + 1).min(HEALTH_WORST);
        self.forgive_at = now.plus(HEALTH_FORGIVE);
    }
}
