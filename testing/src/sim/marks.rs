//! Which situations a world has reached. They are told from outside, by what nodes send, say, refuse and upload; the core
//! does not know of them.

use std::collections::{BTreeMap, BTreeSet};

use rustbalance_core::Event;
use rustbalance_core::cluster::{Liveness, Order, Role};
use rustbalance_core::id::NodeId;
use rustbalance_core::output::Stop;
use rustbalance_core::publish::PublicationEvent;

use super::check::is_minority;
use super::fault::Fault;
use super::mark::Mark;
use super::witness::{Sight, Upload};
use super::world::World;

/// A hand-over takes two seconds at most (PROTOCOL.md, Preemption).
const HANDOVER_MS: u64 = 2_000;
/// By then a question was answered or the claim is there: 300 ms, a slow disk and the way.
const CLAIM_MS: u64 = 1_500;
/// A minority that is going to upload has done so by then.
const QUIET_MS: u64 = 5_000;
/// What was said or struck this recently is still under way.
const RECENT_MS: u64 = 1_500;
/// Before and after a rotation.
const ROTATION_SECS: u64 = 60;
/// Records remembered.
const RECORDS_MAX: usize = 4_096;
/// Of a revision counter per second, on average: a u16 and one.
const COUNTER_PER_SEC: u64 = 32_768;

/// The first byte after the version (PROTOCOL.md, Mesh).
mod kind {
    pub const HEARTBEAT: u8 = 0;
    pub const QUESTION: u8 = 2;
    pub const ANSWER: u8 = 3;
    pub const OFFER: u8 = 4;
    pub const ACK: u8 = 10;
    pub const CHUNK_WANT: u8 = 12;
}

/// Marks reached so far, and what it takes to tell the next ones.
#[derive(Debug, Default)]
pub struct Marks {
    reached: BTreeSet<Mark>,
    nodes: BTreeMap<usize, Seen>,
    /// Who holds whom for down; those who did so mutually.
    down: BTreeSet<(NodeId, NodeId)>,
    mutual: BTreeSet<(NodeId, NodeId)>,
    /// Of records acknowledged: key and order as bytes, and hash.
    acknowledged: BTreeMap<Vec<u8>, Vec<u8>>,
    struck_at: Option<u64>,
    /// Of the cluster token, by machine.
    generations: BTreeMap<usize, u32>,
}

/// What was seen of one machine, each with its time, milliseconds.
#[derive(Debug, Default)]
struct Seen {
    /// The lease was offered to it, by that machine.
    offered: Option<(usize, u64)>,
    asked: Option<u64>,
    answered: bool,
    left_out: Option<u64>,
    /// As a publisher in a minority.
    fetched: Option<u64>,
    joining: Option<u64>,
    /// As a publisher.
    stopped: Option<u64>,
    lost_tor: Option<u64>,
    drained: Option<u64>,
    /// A plan is made and not confirmed; descriptors posted for it.
    planned: bool,
    /// It is several different descriptors.
    distinct: bool,
    posted: BTreeSet<String>,
    stalled: bool,
    /// Native publishing, and whether others had been members when it began.
    native: bool,
    again: bool,
}

impl Marks {
    /// Those reached.
    pub fn reached(&self) -> &BTreeSet<Mark> {
        &self.reached
    }

    /// A hand-over under way: who offered, and to whom.
    pub fn handover(&self, now: u64) -> Option<(usize, usize)> {
        let offer = |(target, seen): (&usize, &Seen)| {
            let (by, at) = seen.offered?;
            (now < at + HANDOVER_MS).then_some((by, *target))
        };
        self.nodes.iter().find_map(offer)
    }

    pub(super) fn see(&mut self, world: &World, index: usize, sight: &Sight<'_>) {
        match sight {
            Sight::Strikes(fault) => self.strike(world, fault),
            Sight::Says(event) => self.hear(world, index, event),
            Sight::Sends { to, bytes } => self.send(world, index, *to, bytes),
            Sight::Stops(Stop::DuplicateIdentity) => self.reach(Mark::DuplicateIdentity),
            Sight::Stops(Stop::Commanded) => {}
            Sight::Rejects(rejected) => self.reject(rejected.name()),
            Sight::Posts { text } => self.post(index, text),
            Sight::Uploads(upload) => self.upload(world, index, upload),
            Sight::Fetches if is_minority(world, index) && is_holder(world, index) => {
                self.node(index).fetched.get_or_insert(world.now);
            }
            Sight::Fetches => {}
            Sight::IsTooLong => self.reach(Mark::PathTooNarrow),
            Sight::BreaksOff => self.reach(Mark::UploadBrokenOff),
            Sight::HsDirLeaves => self.reach(Mark::HsDirLeft),
            Sight::Befell(_) => (0..world.nodes.len()).for_each(|node| self.look_at_native(world, node)),
        }
    }

    fn reach(&mut self, mark: Mark) {
        self.reached.insert(mark);
    }

    fn node(&mut self, index: usize) -> &mut Seen {
        self.nodes.entry(index).or_default()
    }

    fn strike(&mut self, world: &World, fault: &Fault) {
        let now = world.now;
        if *fault == Fault::Heal && world.has_link_without_session() {
            self.reach(Mark::SessionsOutlived);
        }
        if let Fault::Join { node, .. } = *fault {
            self.node(node).joining = Some(now);
            return;
        }
        self.struck_at = Some(now);
        if let Some((by, to)) = self.handover(now)
            && comes_between(fault, by, to)
            && is_holder(world, by)
        {
            self.reach(Mark::HandoverCut);
        }
        if let Fault::Drain { node } | Fault::Order { whom: node, order: Order::Drain, .. } = *fault
            && is_holder(world, node)
        {
            self.node(node).drained = Some(now);
        }
        let Some(node) = stopped_by(fault).filter(|node| is_holder(world, *node)) else { return };
        let since_rotation = world.wall().as_secs() % 43_200;
        if !(ROTATION_SECS..43_200 - ROTATION_SECS).contains(&since_rotation) {
            self.reach(Mark::RotationWithoutPublisher);
        }
        let seen = self.node(node);
        seen.stalled = seen.planned;
        if matches!(fault, Fault::Stop { .. } | Fault::Leave { .. }) {
            seen.stopped = Some(now);
        }
        if matches!(fault, Fault::Tor { .. } | Fault::TorDead { .. }) {
            seen.lost_tor = Some(now);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "few events tell anything")]
    fn hear(&mut self, world: &World, index: usize, event: &Event) {
        let joined_at = self.node(index).joining.take();
        if joined_at.is_some() && (world.turmoil || self.struck_at >= joined_at) {
            self.reach(Mark::AdmissionUnderFire);
        }
        match event {
            Event::Role(Role::Holder { epoch }) => self.hold(world, index, *epoch),
            Event::Role(Role::Alone | Role::Follower) => {
                if world.nodes[index].is_removed {
                    self.reach(Mark::RemovedHolderQuiet);
                }
                let seen = self.node(index);
                (seen.planned, seen.stalled) = (false, false);
            }
            Event::Publication(PublicationEvent::Planned { descriptors, .. }) => {
                let seen = self.node(index);
                (seen.planned, seen.stalled, seen.distinct) = (true, false, *descriptors > 1);
                seen.posted.clear();
            }
            Event::Publication(PublicationEvent::Confirmed { .. }) => {
                let seen = self.node(index);
                seen.planned = false;
                if seen.distinct {
                    self.reach(Mark::DistinctContents);
                }
            }
            Event::Member(node, liveness) => self.judge(world.nodes[index].id, *node, *liveness),
            Event::TokenRotated(generation) => self.rotate(index, *generation),
            Event::Warning(text) if text.contains("cannot write state/") => self.reach(Mark::DiskRefused),
            _ => {}
        }
    }

    /// A machine begins to hold.
    fn hold(&mut self, world: &World, index: usize, epoch: u64) {
        let now = world.now;
        let recent = |at: Option<u64>| at.is_some_and(|at| now < at + RECENT_MS);
        for other in (0..world.nodes.len()).filter(|other| *other != index) {
            if world.nodes[other].is_live() && world.nodes[other].role == (Role::Holder { epoch }) {
                self.reach(Mark::DuelingClaim);
            }
            let seen = self.node(other);
            let (stopped, lost_tor, drained) = (seen.stopped.take(), seen.lost_tor.take(), seen.drained.take());
            if recent(drained) {
                self.reach(Mark::HolderDrained);
            }
            if recent(stopped) {
                self.reach(Mark::Released);
            }
            if lost_tor.is_some_and(|at| now < at + 3 * RECENT_MS) && world.nodes[other].is_live() {
                self.reach(Mark::HolderWithoutTor);
            }
            let is_deaf = is_holder(world, other) && world.nodes[other].role != (Role::Holder { epoch });
            if is_deaf && recent(self.node(index).left_out) {
                self.reach(Mark::DeafHolderReplaced);
            }
        }
        let seen = self.node(index);
        seen.asked = None;
        if seen.offered.take().is_some_and(|(_, at)| now < at + HANDOVER_MS) {
            self.reach(Mark::Preempted);
        }
    }

    /// A rotation is in force at a machine. One of a generation that it had already comes from a rival.
    fn rotate(&mut self, index: usize, generation: u32) {
        if self.generations.values().any(|other| *other == generation) {
            self.reach(Mark::TokenRotated);
        }
        if self.generations.insert(index, generation) == Some(generation) {
            self.reach(Mark::RivalTokens);
        }
    }

    fn judge(&mut self, by: NodeId, of: NodeId, liveness: Liveness) {
        match liveness {
            Liveness::Down => {
                self.down.insert((by, of));
                if self.down.contains(&(of, by)) {
                    self.mutual.insert((by.min(of), by.max(of)));
                }
            }
            Liveness::Live => {
                self.down.remove(&(by, of));
                if !self.down.contains(&(of, by)) && self.mutual.remove(&(by.min(of), by.max(of))) {
                    self.reach(Mark::MutualDown);
                }
            }
            Liveness::Unknown => {}
        }
    }

    fn send(&mut self, world: &World, index: usize, to: usize, bytes: &[u8]) {
        let now = world.now;
        match bytes.get(1).copied() {
            // It ends with two flags: left out of the holder's beacons, and wanting the lease.
            Some(kind::HEARTBEAT) if bytes.len() > 2 && bytes[bytes.len() - 2] == 1 => {
                self.node(index).left_out = Some(now);
            }
            Some(kind::QUESTION) => {
                let seen = self.node(index);
                if seen.asked.is_none() {
                    (seen.asked, seen.answered) = (Some(now), false);
                }
            }
            Some(kind::ANSWER) => self.node(to).answered |= true,
            Some(kind::OFFER) => self.node(to).offered = Some((index, now)),
            Some(kind::ACK) => self.acknowledge(bytes),
            Some(kind::CHUNK_WANT) => self.reach(Mark::ChunksAskedAgain),
            _ => {}
        }
        self.conclude(world, index);
        self.look_at_native(world, index);
    }

    /// What did not happen at a machine in the time that it would have taken.
    fn conclude(&mut self, world: &World, index: usize) {
        let (now, holds) = (world.now, is_holder(world, index));
        let seen = self.node(index);
        let over = |at: &Option<u64>, ms: u64| at.is_some_and(|at| now >= at + ms);
        let cancelled = over(&seen.asked, CLAIM_MS) && seen.answered && !holds;
        let quiet = over(&seen.fetched, QUIET_MS) && holds && is_minority(world, index);
        seen.asked = seen.asked.filter(|at| now < at + CLAIM_MS);
        seen.fetched = seen.fetched.filter(|at| now < at + QUIET_MS);
        if cancelled {
            self.reach(Mark::ClaimCancelled);
        }
        if quiet {
            self.reach(Mark::MinorityQuiet);
        }
    }

    /// A record's acknowledgement is version, kind, key (1 and the node), order, hash of 16 bytes.
    fn acknowledge(&mut self, bytes: &[u8]) {
        let Some((head @ [_, _, 1, ..], hash)) = bytes.split_at_checked(bytes.len().saturating_sub(16)) else { return };
        if self.acknowledged.len() >= RECORDS_MAX {
            self.acknowledged.clear();
        }
        let before = self.acknowledged.insert(head.to_vec(), hash.to_vec());
        if before.is_some_and(|other| other != hash) {
            self.reach(Mark::RecordConflict);
        }
    }

    fn reject(&mut self, rule: &str) {
        match rule {
            "peer_epoch_jump" => self.reach(Mark::AbsurdEpochRefused),
            "peer_not_a_member" => self.reach(Mark::StrangerRefused),
            "peer_bad_signature" => self.reach(Mark::ForgeryRefused),
            "peer_version" => self.reach(Mark::OtherVersionRefused),
            "peer_unknown_kind" => self.reach(Mark::UnknownKindRefused),
            "admit_bad_token" => self.reach(Mark::OldTokenRefused),
            _ => {}
        }
    }

    fn post(&mut self, index: usize, text: &str) {
        let seen = self.node(index);
        // The signature at the end tells descriptors apart.
        let is_new = seen.posted.insert(text.chars().rev().take(40).collect());
        if core::mem::take(&mut seen.stalled) && is_new {
            self.reach(Mark::StallDiscarded);
        }
    }

    fn upload(&mut self, world: &World, index: usize, upload: &Upload<'_>) {
        self.node(index).fetched = None;
        match upload.stored.filter(|_| upload.points.is_none()) {
            Some(stored) if stored == upload.revision => self.reach(Mark::EqualCounter),
            Some(stored) if stored > upload.revision + 60 * COUNTER_PER_SEC => self.reach(Mark::CounterFarBehind),
            _ => {}
        }
        if let Some(points) = upload.points
            && is_holder(world, index)
            && is_minority(world, index)
        {
            let unseen = world.nodes.iter().enumerate().filter(|(other, _)| world.cut.contains(index, *other));
            let mut unseen = unseen.flat_map(|(_, node)| node.points());
            if unseen.any(|point| points.contains(&point.auth_key)) {
                self.reach(Mark::MinorityUnion);
            }
        }
    }

    fn look_at_native(&mut self, world: &World, index: usize) {
        let native = world.nodes[index].is_native();
        if self.nodes.get(&index).map_or(native, |seen| seen.native != native) {
            let mut others = world.nodes.iter().enumerate().filter(|(other, _)| *other != index);
            let is_again = native && others.any(|(_, node)| node.founded.is_some());
            let seen = self.node(index);
            seen.native = native;
            if core::mem::replace(&mut seen.again, is_again) && world.nodes[index].is_live() {
                self.reach(Mark::NativeAndBack);
            }
        }
    }
}

fn is_holder(world: &World, index: usize) -> bool {
    world.nodes[index].is_live() && matches!(world.nodes[index].role, Role::Holder { .. })
}

/// Whom a fault keeps from publishing.
#[expect(clippy::wildcard_enum_match_arm, reason = "most faults stop nobody")]
fn stopped_by(fault: &Fault) -> Option<usize> {
    match *fault {
        Fault::Kill { node }
        | Fault::LoseDisk { node }
        | Fault::Rollback { node }
        | Fault::Stop { node }
        | Fault::Leave { node }
        | Fault::Freeze { node, .. }
        | Fault::FreezeDaemon { node, .. }
        | Fault::FreezeTor { node, .. }
        | Fault::Suspend { node, .. }
        | Fault::Tor { node }
        | Fault::TorDead { node, .. } => Some(node),
        _ => None,
    }
}

/// Whether a fault keeps the two from ending a hand-over as if nothing were.
#[expect(clippy::wildcard_enum_match_arm, reason = "few faults cut links")]
fn comes_between(fault: &Fault, by: usize, to: usize) -> bool {
    match fault {
        Fault::Burst { .. } => true,
        Fault::BurstAt { node, .. } | Fault::Deaf { node } | Fault::Dumb { node } => *node == by || *node == to,
        Fault::Mute { from, to: at } => (*from, *at) == (by, to) || (*from, *at) == (to, by),
        Fault::Partition { left, right } => {
            let apart = |a: &Vec<usize>, b: &Vec<usize>| a.contains(&by) && b.contains(&to);
            apart(left, right) || apart(right, left)
        }
        _ => stopped_by(fault).is_some_and(|node| node == by || node == to),
    }
}
