//! The cluster token's generations: who makes a new one, how the others come by it, and whom it shuts out.
//!
//! A rotation is one small signed item: generation, who is shut out, and a check of the new token. The newest wins; of
//! rivals, made on two sides of a partition, the one with the lower hash. The token itself is asked for by whoever
//! has the rotation and not the token, and comes sealed to it. Membership does not depend on generations: see `roster`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use super::entry::ShortId;
use super::item::{Items, Key, Stamp};
use super::roster::{Roster, RosterFile};
use super::sign::{self, Purpose, Unverified};
use super::timing::{GENERATION_JUMP_MAX, REROTATE, ROSTER_MAX, TOKEN_ASK};
use super::token::{ClusterToken, SealedToken, TokenCheck};
use super::wire::Message;
use super::{Cluster, Identity, PeerError, Ranks, Role, pick, ranks};
use crate::id::NodeId;
use crate::output::{Event, Outbox, Output};
use crate::sabotage::{Rule, is_broken};
use crate::time::{Mono, Now};

/// "The token of this generation has this check." Signed by a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rotation {
    generation: u32,
    by: NodeId,
    check: TokenCheck,
    /// All who were removed when it was made: the token was kept from them.
    shut_out: BTreeSet<ShortId>,
}

/// Of one generation the lower hash is newer.
fn stamp(rotation: &Rotation, blob: &[u8]) -> Stamp {
    let hash = sign::hash16(blob);
    let low = hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
    Stamp::new(u64::from(rotation.generation), u64::MAX - low, blob)
}

/// Made here, and waiting for the disk.
#[derive(Debug)]
pub(super) struct Staged {
    /// The entry of the removed node, if any.
    pub entry: Option<(NodeId, Vec<u8>)>,
    pub rotation: Vec<u8>,
    pub token: SealedToken,
}

/// The newest rotation and what belongs to it.
#[derive(Debug)]
pub(super) struct Rotations {
    newest: Option<Rotation>,
    token: Option<ClusterToken>,
    /// The same for our disk, if it is not the one the node was set up with.
    sealed: Option<SealedToken>,
    staged: Option<Staged>,
    /// When to ask for the token, if it is missing.
    ask_at: Mono,
    /// Since when nobody can be admitted with the token.
    closed_since: Option<Mono>,
}

impl Rotations {
    /// Before any rotation, with the token the node was set up with.
    pub(super) fn new(token: ClusterToken, now: Mono) -> Self {
        Self { newest: None, token: Some(token), sealed: None, staged: None, ask_at: now, closed_since: None }
    }

    /// What the disk says. False if it does not verify.
    pub(super) fn load(&mut self, me: &Identity, roster: &Roster, items: &mut Items, file: &RosterFile) -> bool {
        let Some(blob) = &file.rotation else { return true };
        let accepted = self.accept(me, roster, items, blob).is_ok();
        self.sealed = file.token.clone().filter(|_| accepted);
        let token = self.sealed.as_ref().and_then(|sealed| self.open(me, sealed));
        self.token = token.or(self.token.take());
        accepted
    }

    /// The generation in force here; 0 before the first rotation.
    pub(super) fn generation(&self) -> u32 {
        self.newest.as_ref().map_or(0, |newest| newest.generation)
    }

    /// The token, if we have it.
    pub(super) fn token(&self) -> Option<&ClusterToken> {
        self.token.as_ref()
    }

    /// Of the token in force, whether we have it or not.
    pub(super) fn check(&self) -> Option<TokenCheck> {
        let newest = self.newest.as_ref().map(|newest| newest.check);
        newest.or_else(|| self.token.as_ref().map(ClusterToken::check))
    }

    /// What waits for the disk.
    pub(super) fn staged(&self) -> Option<&Staged> {
        self.staged.as_ref()
    }

    /// What the disk keeps of the token.
    pub(super) fn sealed(&self) -> Option<&SealedToken> {
        self.sealed.as_ref()
    }

    /// Verifies a rotation and puts it in force if it is newer. Our token stays if it is the new one's.
    ///
    /// # Errors
    /// State unchanged: malformed, too far ahead, not newer, by nobody we know, or badly signed.
    fn accept(&mut self, me: &Identity, roster: &Roster, items: &mut Items, blob: &[u8]) -> Result<(), PeerError> {
        let rotation = Unverified::<Rotation>::decode(blob).ok_or(PeerError::Malformed)?;
        let Rotation { generation, by, ref shut_out, .. } = *rotation.claim();
        if generation == 0 || shut_out.len() > ROSTER_MAX {
            return Err(PeerError::Malformed);
        }
        if generation > self.generation().saturating_add(GENERATION_JUMP_MAX) {
            return Err(PeerError::EpochJump);
        }
        let stamp = stamp(rotation.claim(), blob);
        if items.stamp(Key::Rotation).is_some_and(|held| held >= stamp) {
            return Err(PeerError::Stale);
        }
        // Who was removed in the meantime may have made it before. If not, it is soon made good: `is_exposed`.
        if !roster.knows(by) {
            return Err(PeerError::NotAMember);
        }
        let rotation = rotation.verify(by, Purpose::Rotation, me.cluster).ok_or(PeerError::BadSignature)?;
        items.put(Key::Rotation, stamp, blob.to_vec());
        let is_its = |token: &ClusterToken| token.check() == rotation.check || is_broken(Rule::NewTokenOnly);
        self.token = self.token.take().filter(is_its);
        self.sealed = self.sealed.take().filter(|_| self.token.is_some());
        self.newest = Some(rotation);
        Ok(())
    }

    fn open(&self, me: &Identity, sealed: &SealedToken) -> Option<ClusterToken> {
        sealed.open(&me.keypair, self.newest.as_ref()?.check)
    }

    /// Whether somebody who was removed may know the token in force, or made it.
    fn is_exposed(&self, roster: &Roster) -> bool {
        if is_broken(Rule::UniteRemovals) {
            return false;
        }
        if self.newest.as_ref().is_some_and(|newest| !roster.knows(newest.by)) {
            return true;
        }
        let is_shut_out = |node| {
            let newest = self.newest.as_ref().filter(|newest| newest.by != node);
            newest.is_some_and(|newest| newest.shut_out.contains(&ShortId::from(node)))
        };
        roster.removed().any(|node| !is_shut_out(node))
    }

    /// The token with which one may ask to be admitted now; `None` while there is none to be trusted.
    pub(super) fn door(&self, roster: &Roster) -> Option<&ClusterToken> {
        self.token.as_ref().filter(|_| !self.is_exposed(roster))
    }

    fn ask_at(&self) -> Option<Mono> {
        self.token.is_none().then_some(self.ask_at)
    }
}

impl Cluster {
    /// The generation of the cluster token in force here; 0 until the first rotation.
    pub fn generation(&self) -> u32 {
        self.rotations.generation()
    }

    /// The cluster token, if this node has the one in force.
    pub fn token(&self) -> Option<&ClusterToken> {
        self.rotations.token()
    }

    /// Makes a new token, and removes a node with it. Nothing of it is seen before it is on disk.
    pub(super) fn stage_rotation(&mut self, now: Now, entry: Option<(NodeId, Vec<u8>)>, out: &mut Outbox) {
        let token = ClusterToken::random(&mut self.rng);
        let shut_out = self.roster.removed().chain(entry.as_ref().map(|(node, _)| *node));
        let rotation = Rotation {
            generation: self.generation().saturating_add(1),
            by: self.me.id,
            check: token.check(),
            shut_out: shut_out.map(ShortId::from).collect(),
        };
        let Some(token) = token.seal(self.me.id, &mut self.rng) else { return };
        let rotation = sign::seal(&self.me.keypair, Purpose::Rotation, self.me.cluster, &rotation);
        self.rotations.staged = Some(Staged { entry, rotation, token });
        self.saved_changes = None;
        self.save(out, now.mono);
    }

    /// Keeps the token what it should be: in force once it is on disk, known to us, and to nobody who was removed.
    pub(super) fn keep_token(&mut self, now: Now, out: &mut Outbox) {
        if self.rotations.staged.is_some() && self.is_roster_durable() {
            self.put_in_force(now, out);
        }
        let closed = self.rotations.door(&self.roster).is_none();
        self.rotations.closed_since = closed.then(|| self.rotations.closed_since.unwrap_or(now.mono));
        let is_due = |at: Option<Mono>| at.is_some_and(|at| now.mono >= at);
        if is_due(self.rotate_at()) {
            self.stage_rotation(now, None, out);
        }
        if self.roster.contains(self.me.id) && is_due(self.rotations.ask_at()) {
            let anyone = pick(self.others().collect(), 1, &mut self.rng);
            self.ask_for_token(now.mono, anyone, out);
        }
    }

    /// When we make a new token, as one is needed: the publisher first, so that mostly only one does, and then by rank.
    fn rotate_at(&self) -> Option<Mono> {
        let closed_since = self.rotations.closed_since.filter(|_| self.rotations.staged.is_none())?;
        let turn = match self.role() {
            Role::Alone | Role::Holder { .. } => 1,
            Role::Follower => 2 + ranks!(self).better_than_me(|_| true),
        };
        let may = self.goodbye.is_none() && self.roster.contains(self.me.id);
        may.then(|| closed_since.plus(REROTATE * turn))
    }

    /// When [`Cluster::keep_token`] has something to do.
    pub(super) fn next_token_step(&self) -> Option<Mono> {
        let ask_at = self.rotations.ask_at().filter(|_| self.roster.contains(self.me.id));
        [ask_at, self.rotate_at()].into_iter().flatten().min()
    }

    fn put_in_force(&mut self, now: Now, out: &mut Outbox) {
        let Some(Staged { entry, rotation, token }) = self.rotations.staged.take() else { return };
        // A rival may have come first and be newer, or somebody else have removed the node: then ours is not needed.
        if let Some((_, entry)) = entry {
            _ = self.accept_entry(now, None, &entry, out);
        }
        if self.accept_rotation(now.mono, None, &rotation, out).is_ok() {
            self.take_token(&token, out);
        }
    }

    /// A rotation from a member, or our own.
    ///
    /// # Errors
    /// See [`Rotations::accept`].
    pub(super) fn accept_rotation(
        &mut self,
        now: Mono,
        from: Option<NodeId>,
        blob: &[u8],
        out: &mut Outbox,
    ) -> Result<(), PeerError> {
        self.rotations.accept(&self.me, &self.roster, &mut self.items, blob)?;
        let generation = self.generation();
        out.event(Event::TokenRotated(generation));
        self.admissions.turn_away(&self.roster, out);
        if self.records.amend(&self.me, &mut self.items, |record| record.generation = generation) {
            self.push_own(now);
        }
        self.spread(now, Key::Rotation, from);
        if self.rotations.token.is_none() {
            self.ask_for_token(now, from.into_iter().collect(), out);
        }
        Ok(())
    }

    fn ask_for_token(&mut self, now: Mono, of: Vec<NodeId>, out: &mut Outbox) {
        let Some(check) = self.rotations.newest.as_ref().map(|newest| newest.check) else { return };
        self.rotations.ask_at = now.plus(TOKEN_ASK);
        of.into_iter().for_each(|node| Message::TokenWant { check }.send(node, out));
    }

    /// A member asks for the token of that check.
    ///
    /// # Errors
    /// `Stale` if that is not in force or we do not have it; `NotAMember` if it is kept from whoever asks.
    pub(super) fn on_token_want(&mut self, from: NodeId, check: TokenCheck, out: &mut Outbox) -> Result<(), PeerError> {
        let newest = self.rotations.newest.as_ref().filter(|newest| newest.check == check).ok_or(PeerError::Stale)?;
        if newest.shut_out.contains(&ShortId::from(from)) {
            return Err(PeerError::NotAMember);
        }
        let token = self.rotations.token.as_ref().ok_or(PeerError::Stale)?;
        let token = token.seal(from, &mut self.rng).ok_or(PeerError::NotAMember)?;
        Message::Token(token).send(from, out);
        Ok(())
    }

    /// An answer to [`Message::TokenWant`].
    ///
    /// # Errors
    /// `Stale` if we miss no token; `BadSignature` if it is not the one.
    pub(super) fn on_token(&mut self, now: Mono, sealed: &SealedToken, out: &mut Outbox) -> Result<(), PeerError> {
        if self.rotations.token.is_some() {
            return Err(PeerError::Stale);
        }
        self.take_token(sealed, out).then_some(()).ok_or(PeerError::BadSignature)?;
        self.save(out, now);
        Ok(())
    }

    fn take_token(&mut self, sealed: &SealedToken, out: &mut Outbox) -> bool {
        let Some(token) = self.rotations.open(&self.me, sealed) else { return false };
        out.push(Output::Token(token.clone()));
        self.rotations.token = Some(token);
        self.rotations.sealed = Some(sealed.clone());
        self.saved_changes = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::gossip::tests::roster_of_two;
    use crate::cluster::tests::{CLUSTER, identity};

    #[test]
    fn a_generation_far_ahead_is_refused() {
        let (me, (roster, _)) = (identity(1), roster_of_two());
        let mut rotations = Rotations::new(ClusterToken::new([7; 32]), Mono::default());
        let mut items = Items::default();
        let mut accept = |generation| {
            let check = ClusterToken::new([8; 32]).check();
            let rotation = Rotation { generation, by: me.id, check, shut_out: BTreeSet::new() };
            let blob = sign::seal(&me.keypair, Purpose::Rotation, CLUSTER, &rotation);
            rotations.accept(&me, &roster, &mut items, &blob)
        };
        assert_eq!(accept(0), Err(PeerError::Malformed));
        assert_eq!(accept(GENERATION_JUMP_MAX + 1), Err(PeerError::EpochJump));
        assert_eq!(accept(GENERATION_JUMP_MAX), Ok(()));
        assert_eq!(accept(2 * GENERATION_JUMP_MAX + 1), Err(PeerError::EpochJump), "from there on");
        assert_eq!(accept(2 * GENERATION_JUMP_MAX), Ok(()));
    }
}
