//! Whose silence means something to us, and what follows from it: probes, then a verdict. Of the others we believe what
//! the holder's beacons say.

use rand_core::Rng as _;

use super::{Members, Peer, Probe};
use crate::cluster::beacon::Beacon;
use crate::cluster::roster::Roster;
use crate::cluster::timing::{CALLS_MAX, HEALTH_FORGIVE, PROBE_HELPERS, PROBE_RETRY, PROBE_VERDICT};
use crate::cluster::walk::Walk;
use crate::cluster::wire::Message;
use crate::cluster::{Liveness, pick};
use crate::id::NodeId;
use crate::output::Outbox;
use crate::rng::Rng;
use crate::time::Mono;

/// Where judgement comes from in one tick.
pub(in crate::cluster) struct Judgement<'a> {
    /// Everybody sends us heartbeats, so silence means something.
    pub hearer: bool,
    /// Whose beacons reach everyone, so that his silence means something to everyone.
    pub holder: Option<NodeId>,
    /// What says whom the holder hears, if there is a live lease.
    pub told: Option<&'a Beacon>,
}

/// What decides who is due besides time; whatever is heard only puts things off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Circumstances {
    changes: u64,
    hearer: bool,
    holder: Option<NodeId>,
    health: u8,
    /// Names the beacon that we are told by.
    told: Option<(u64, u64, NodeId)>,
}

impl Members {
    /// Follows the roster, judges silence, probes.
    pub(in crate::cluster) fn tick(
        &mut self,
        now: Mono,
        me: NodeId,
        roster: &Roster,
        judgement: &Judgement<'_>,
        rng: &mut Rng,
        out: &mut Outbox,
    ) {
        self.follow(now, me, roster);
        if self.health > 0 && now >= self.forgive_at {
            self.health -= 1;
            self.forgive_at = now.plus(HEALTH_FORGIVE);
        }
        self.begin_judging(now, me, judgement, rng, out);
        let Self { changes, hearer, holder, health, .. } = *self;
        let told = judgement.told.map(|beacon| (beacon.epoch, beacon.seq, beacon.holder));
        let circumstances = Circumstances { changes, hearer, holder, health, told };
        if self.idle.is_some_and(|(known, until)| known == circumstances && now < until) {
            debug_assert!(self.due(now, roster, judgement.told).0.is_empty());
            return;
        }
        let (due, next) = self.due(now, roster, judgement.told);
        self.idle = due.is_empty().then_some((circumstances, next));
        for (node, told) in due {
            if self.is_judged(node) {
                self.judge(now, me, node, rng, out);
            } else {
                self.believe(now, node, told, out);
            }
        }
    }

    fn follow(&mut self, now: Mono, me: NodeId, roster: &Roster) {
        if self.roster_hash == roster.hash() {
            return;
        }
        self.roster_hash = roster.hash();
        self.changes += 1;
        self.downs += 1;
        self.peers.retain(|node, _| roster.contains(*node));
        for node in roster.members().keys().filter(|node| **node != me) {
            self.peers.entry(*node).or_insert_with(|| Peer::new(now));
        }
    }

    /// Whom there is anything to judge or believe about, and what the holder says of them; and until when there is
    /// nothing about anyone else, as long as nothing changes.
    fn due(&self, now: Mono, roster: &Roster, told: Option<&Beacon>) -> (Vec<(NodeId, Option<bool>)>, Mono) {
        let mut next = Mono::from_ms(u64::MAX);
        let patience = u32::from(self.health) + 1;
        let mut peers = Walk::new(&self.peers);
        let members = roster.members().keys().enumerate();
        let members = members.filter_map(|(index, node)| Some((index, *node, peers.get(*node)?)));
        let due = members.filter_map(|(index, node, peer)| {
            let told = told.map(|beacon| beacon.is_heard(index));
            let called = peer.probe.is_some() && peer.liveness != Liveness::Down;
            let at = if self.is_judged(node) {
                peer.judgement_at(patience, self.grace_until)
            } else if called || peer.believed(now, self.grace_until, told) != peer.liveness {
                Some(now)
            } else {
                // Whom the holder does not hear is down once we do not either.
                peer.deaf_at(self.grace_until).filter(|at| told == Some(false) && now < *at)
            };
            next = at.map_or(next, |at| next.min(at));
            at.is_some_and(|at| now >= at).then_some((node, told))
        });
        (due.collect(), next)
    }

    /// Whoever we judge from now on gets a TTL of silence. One that the holder called down stays so, lest ranks and
    /// with them this duty go to and fro, but is asked at once whether that is true, with a few others of its kind.
    fn begin_judging(&mut self, now: Mono, me: NodeId, judgement: &Judgement<'_>, rng: &mut Rng, out: &mut Outbox) {
        if (self.hearer, self.holder) == (judgement.hearer, judgement.holder) {
            return;
        }
        let before: Vec<NodeId> = self.peers.keys().copied().filter(|node| self.is_judged(*node)).collect();
        self.hearer = judgement.hearer;
        self.holder = judgement.holder;
        let fresh: Vec<NodeId> =
            self.peers.keys().copied().filter(|node| self.is_judged(*node) && !before.contains(node)).collect();
        for node in &fresh {
            if let Some(peer) = self.peers.get_mut(node) {
                peer.silent_from = now;
                // It was asked while somebody else judged: its silence since then is no verdict of ours.
                peer.probe = None;
            }
        }
        let down = fresh.into_iter().filter(|node| self.liveness(*node) == Liveness::Down).collect();
        pick(down, CALLS_MAX, rng).into_iter().for_each(|node| self.call(now, me, node, rng, out));
    }

    fn is_judged(&self, node: NodeId) -> bool {
        self.hearer || self.holder == Some(node)
    }

    fn believe(&mut self, now: Mono, node: NodeId, told: Option<bool>, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.liveness != Liveness::Down {
            peer.probe = None;
        }
        let believed = peer.believed(now, self.grace_until, told);
        self.turn(now, node, believed, out);
    }

    fn judge(&mut self, now: Mono, me: NodeId, node: NodeId, rng: &mut Rng, out: &mut Outbox) {
        let patience = u32::from(self.health) + 1;
        let grace_until = self.grace_until;
        let helpers = self.helpers(now, node, rng);
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.liveness == Liveness::Down || now < peer.suspect_at().max(grace_until) {
            return;
        }
        match &mut peer.probe {
            None => {
                let nonce = rng.next_u64();
                peer.probe = Some(Probe { nonce, started: now, retried: false });
                self.turn(now, node, Liveness::Unknown, out);
                Message::Ping { nonce, origin: me }.send(node, out);
            }
            Some(probe) if now >= probe.started.plus(PROBE_VERDICT * patience) => {
                peer.probe = None;
                self.turn(now, node, Liveness::Down, out);
            }
            Some(probe) if !probe.retried && now >= probe.started.plus(PROBE_RETRY * patience) => {
                probe.retried = true;
                let nonce = probe.nonce;
                Message::Ping { nonce, origin: me }.send(node, out);
                for helper in helpers {
                    Message::PingFor { nonce, target: node }.send(helper, out);
                }
            }
            Some(_) => {}
        }
    }

    /// Random live members to probe `node` for us; drawn only when they are about to be needed.
    fn helpers(&self, now: Mono, node: NodeId, rng: &mut Rng) -> Vec<NodeId> {
        let patience = u32::from(self.health) + 1;
        let probe = self.peers.get(&node).and_then(|peer| peer.probe.as_ref());
        if probe.is_none_or(|probe| probe.retried || now < probe.started.plus(PROBE_RETRY * patience)) {
            return Vec::new();
        }
        let live = self.peers.iter().filter(|(other, peer)| **other != node && peer.liveness == Liveness::Live);
        pick(live.map(|(other, _)| *other).collect(), PROBE_HELPERS, rng)
    }

    /// When a judgement is due.
    pub(in crate::cluster) fn next_timeout(&self) -> Option<Mono> {
        let patience = u32::from(self.health) + 1;
        let due = |peer: &Peer| peer.judgement_at(patience, self.grace_until);
        match self.holder.filter(|_| !self.hearer) {
            Some(holder) => self.peers.get(&holder).and_then(due),
            None if self.hearer => self.peers.values().filter_map(due).min(),
            None => None,
        }
    }
}
