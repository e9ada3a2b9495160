//! From a datagram to the part it concerns.

use core::fmt;

use super::chunk::{self, Chunk};
use super::gossip;
use super::item::Key;
use super::lease::Heard;
use super::roster::Accepted;
use super::sign::hash16;
use super::timing::{FORWARD_PEERS, ITEM_MAX, PUSH_ALL};
use super::wire::{Heartbeat, Message, Sync};
use super::{Cluster, Context, Liveness, Ranks, Role, context, pick, ranks};
use crate::id::NodeId;
use crate::output::{DurableKind, Event, Outbox, Peer};
use crate::sabotage::{Rule, is_broken};
use crate::time::{Mono, Now};

/// Why a peer's datagram was refused; state unchanged. Variants name the rule; counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerError {
    /// The sender, or whom it speaks of, is not in the roster.
    NotAMember,
    /// Shorter or longer than a message can be.
    Length,
    /// Another version of the wire protocol.
    Version,
    /// A kind of message this version does not know; ignored.
    UnknownKind,
    /// Does not decode, or a field is out of bounds.
    Malformed,
    /// A signature does not verify.
    BadSignature,
    /// Older than what we hold, or not asked for.
    Stale,
    /// A beacon that reached us before by another path. Expected: floods overlap.
    Duplicate,
    /// An epoch further ahead than is believed now, a token generation more than 2^16, or a ledger or pause more than 2^20
    /// versions ahead.
    EpochJump,
    /// The roster has no room for another node, or an entry for another tombstone.
    Full,
    /// A beacon of a token generation that has not reached us yet; it was asked for.
    NewGeneration,
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAMember => "not from or about a member of the roster",
            Self::Length => "datagram too short or too long",
            Self::Version => "other protocol version; run the same release on all nodes",
            Self::UnknownKind => "unknown kind of message",
            Self::Malformed => "malformed message",
            Self::BadSignature => "signature does not verify",
            Self::Stale => "older than what is known, or not asked for",
            Self::Duplicate => "beacon seen before",
            Self::EpochJump => "epoch, generation or version too far ahead",
            Self::Full => "roster full",
            Self::NewGeneration => "of a token generation not yet known here",
        })
    }
}

impl core::error::Error for PeerError {}

impl Cluster {
    /// A datagram from a proven sender.
    ///
    /// # Errors
    /// Refused; state unchanged. Something may have been sent: a newer item to who showed us an older one.
    pub fn handle_peer(&mut self, now: Now, from: NodeId, bytes: &[u8], out: &mut Outbox) -> Result<(), PeerError> {
        self.notice_stall(now.mono);
        let is_heard = self.roster.contains(from) || is_broken(Rule::MembersOnly);
        if !is_heard || from == self.me.id {
            return Err(PeerError::NotAMember);
        }
        match Message::decode(bytes)? {
            Message::Heartbeat(beat) => self.on_heartbeat(now, from, beat, out),
            Message::Beacon(blob) => self.on_beacon(now, from, &blob, 0, out),
            Message::Answer { age_ms, beacon } => self.on_beacon(now, from, &beacon, age_ms, out),
            Message::Question { epoch, seq } => {
                self.lease.answer(now.mono, from, (epoch, seq), out);
                Ok(())
            }
            Message::Offer { epoch, digest } => {
                if !self.lease.offered(now.mono, context!(self), from, epoch, digest)? {
                    gossip::compare(&self.items, from, out);
                }
                Ok(())
            }
            Message::Ping { nonce, origin } => {
                Message::Pong { nonce, origin, target: self.me.id }.send(from, out);
                Ok(())
            }
            Message::PingFor { nonce, target } => {
                Message::Ping { nonce, origin: from }.send(self.member_or_err(target)?, out);
                Ok(())
            }
            Message::Pong { nonce, origin, target } if origin == self.me.id => {
                self.members.pong(now.mono, target, nonce, out)
            }
            Message::Pong { nonce, origin, .. } => {
                // We probed for another; only the target itself may say that it is there.
                Message::Pong { nonce, origin, target: from }.send(self.member_or_err(origin)?, out);
                Ok(())
            }
            Message::Item { key, blob } => self.on_item(now, from, key, &blob, out),
            Message::Chunk { key, stamp, index, count, bytes } => {
                let chunk = Chunk { key, stamp, index, count, bytes };
                let complete = self.gossip.chunk(now.mono, &self.items, from, chunk);
                if self.items.stamp(key) == Some(stamp) {
                    Message::Ack { key, stamp }.send(from, out);
                }
                complete?.map_or(Ok(()), |blob| self.on_item(now, from, key, &blob, out))
            }
            Message::ChunkWant { key, stamp, missing } => {
                chunk::send_again(&self.items, from, key, stamp, missing, out);
                Ok(())
            }
            Message::Ack { key, stamp } => self.gossip.acked(from, key, stamp),
            Message::Sync(sync) => {
                if let Sync::Digest(theirs) = &sync {
                    self.gossip.compared(&self.items, from, *theirs);
                }
                gossip::reconcile(&self.items, &self.roster, from, sync, &mut self.rng, out);
                Ok(())
            }
            Message::TokenWant { check } => self.on_token_want(from, check, out),
            Message::Token(sealed) => self.on_token(now.mono, &sealed, out),
            Message::Order(blob) => self.on_order(now, from, &blob, out),
            Message::Obeyed { hash, refused } => self.on_obeyed(from, hash, refused),
        }
    }

    fn member_or_err(&self, node: NodeId) -> Result<NodeId, PeerError> {
        let is_other_member = self.roster.contains(node) && node != self.me.id;
        is_other_member.then_some(node).ok_or(PeerError::NotAMember)
    }

    fn on_heartbeat(&mut self, now: Now, from: NodeId, beat: Heartbeat, out: &mut Outbox) -> Result<(), PeerError> {
        let Heartbeat { incarnation, version, epoch, seq, wants, .. } = beat;
        self.members.heartbeat(now, from, beat, out)?;
        self.stall.echoed(epoch, seq);
        let key = Key::Record(from);
        if self.items.stamp(key).is_none_or(|held| held.order() < (incarnation, version)) {
            Message::Sync(Sync::Want(vec![key])).send(from, out);
        }
        if wants && self.paused(now.mono).is_none() {
            self.lease.consider(now.mono, context!(self), from, out);
        }
        Ok(())
    }

    fn on_beacon(
        &mut self,
        now: Now,
        from: NodeId,
        blob: &[u8],
        age_ms: u64,
        out: &mut Outbox,
    ) -> Result<(), PeerError> {
        let heard = self.lease.hear(now.mono, context!(self), blob, age_ms, &mut self.rng);
        if heard == Err(PeerError::NewGeneration) {
            Message::Sync(Sync::Want(vec![Key::Rotation])).send(from, out);
        }
        match heard? {
            Heard::Newest(beacon) => {
                if beacon.released {
                    self.members.last_word(beacon.holder, (beacon.epoch, beacon.seq), beacon.record);
                }
                if age_ms == 0 {
                    self.members.heard(now.mono, beacon.holder, out);
                    let mut others = self.partners(now.mono);
                    others.retain(|node| *node != from && *node != beacon.holder);
                    for to in pick(others, FORWARD_PEERS, &mut self.rng) {
                        Message::Beacon(blob.to_vec()).send(to, out);
                    }
                }
            }
            Heard::TooFarAhead => {}
            Heard::Rival(holder) => {
                if age_ms == 0 {
                    self.members.heard(now.mono, holder, out);
                }
                self.lease.tell(now.mono, from, out);
            }
        }
        Ok(())
    }

    /// An item, whole. Accepted or already held: acknowledged. Older than ours: ours goes back.
    fn on_item(&mut self, now: Now, from: NodeId, key: Key, blob: &[u8], out: &mut Outbox) -> Result<(), PeerError> {
        if blob.len() > ITEM_MAX {
            return Err(PeerError::Malformed);
        }
        let before = self.items.stamp(key);
        let outcome = self.accept_item(now, from, key, blob, out);
        match self.items.stamp(key) {
            Some(held) if held.hash == hash16(blob) => Message::Ack { key, stamp: held }.send(from, out),
            Some(held) if outcome == Err(PeerError::Stale) && before == Some(held) => {
                gossip::send(&self.items, from, key, out);
            }
            _ => {}
        }
        outcome
    }

    fn accept_item(
        &mut self,
        now: Now,
        from: NodeId,
        key: Key,
        blob: &[u8],
        out: &mut Outbox,
    ) -> Result<(), PeerError> {
        match key {
            Key::Entry(_) => self.accept_entry(now, Some(from), blob, out)?,
            Key::Record(_) => match self.records.accept(now.mono, &self.me, &self.roster, &mut self.items, blob)? {
                Some(record) => self.contacts.learn(record.node, record.contact.as_ref()),
                None => self.push_own(now.mono),
            },
            Key::Plan => {
                self.plans.accept(now.mono, &self.me, &self.roster, self.lease.reach(), &mut self.items, blob)?;
            }
            Key::Rotation => self.accept_rotation(now.mono, Some(from), blob, out)?,
            Key::Pause => self.accept_pause(now, Some(from), blob, out)?,
            Key::Access => self.accept_access(now.mono, Some(from), blob, out)?,
            Key::Invites => self.accept_invites(now.mono, Some(from), blob, out)?,
        }
        Ok(())
    }

    /// A roster entry from a member, or our own about another.
    ///
    /// # Errors
    /// See [`Roster::accept`](super::roster::Roster::accept).
    pub(super) fn accept_entry(
        &mut self,
        now: Now,
        from: Option<NodeId>,
        blob: &[u8],
        out: &mut Outbox,
    ) -> Result<(), PeerError> {
        let Accepted { node, joined, gone } = self.roster.accept(blob, &mut self.items)?;
        if joined {
            out.event(Event::Admitted(node));
        }
        for (gone, wg) in gone {
            let has_left = self.roster.knows(gone) && self.roster.removed().all(|removed| removed != gone);
            out.event(if has_left { Event::Left(gone) } else { Event::Removed(gone) });
            if self.members.liveness(gone) != Liveness::Live && self.role() != Role::Follower {
                self.lease.part_unheard(now.mono);
            }
            if gone == self.me.id {
                let text = "this node was removed from the cluster and publishes nothing any more; stop it";
                out.event(Event::Warning(text.to_owned()));
            } else if !has_left {
                self.farewells.add(now.mono, Peer { node: gone, wg, contact: None }, node);
            }
        }
        self.spread(now.mono, Key::Entry(node), from);
        Ok(())
    }

    /// Pushes an item that all must have: to many if it is ours, on to a few if it came `from` another.
    pub(super) fn spread(&mut self, now: Mono, key: Key, from: Option<NodeId>) {
        let others = self.others().filter(|other| Some(*other) != from).collect();
        let targets = pick(others, if from.is_none() { PUSH_ALL } else { FORWARD_PEERS }, &mut self.rng);
        self.gossip.push(now, &self.items, key, targets);
    }
}
