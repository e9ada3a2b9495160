//! Invites that members have made, and who has joined with each.
//!
//! All members hold one [`ledger`](super::ledger) of them, so whichever node an invited one reaches knows its invite, and
//! a use that one member has recorded counts at all that have heard of it. The ledger knows public keys alone: nobody can
//! join with it. A use is on disk before the node is admitted, and the admission before it is answered.
//!
//! Nothing in a ledger depends on clocks: what has expired stays until it is pushed out by what expires later.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::entry::ShortId;
use super::item::Key;
use super::ledger::{Content, Kept};
use super::roster::Roster;
use super::sign::Purpose;
use super::timing::{INVITES_KEPT, ITEM_MAX};
use super::{Cluster, CommandError, PeerError};
use crate::id::{NodeId, hex};
use crate::invite::pace::Bucket;
use crate::invite::{InviteId, InviteName, LIFETIME_MAX_SECS};
use crate::join::AdmitError;
use crate::onion::client::CLIENT_NAME_MAX;
use crate::output::{DurableKind, Event, Outbox, Output};
use crate::time::{Mono, Now, Wall};

mod guests;

/// Nodes that may join with one invite.
pub const INVITE_USES_MAX: u8 = 8;
/// Nodes remembered of one invite: some more, as both sides of a partition may have admitted some.
const USED_KEPT: usize = 16;
/// Who comes too late is told so for this long, seconds; then nobody answers.
const LATE_SECS: u64 = 3600;

const _: () = assert!(
    INVITES_KEPT * (32 + 1 + CLIENT_NAME_MAX + 10 + 1 + 32 + 1 + 1 + USED_KEPT * 12) + 256 <= ITEM_MAX,
    "the largest ledger is an item"
);

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewInvite {
    /// The invite's public key; its secret is the operator's affair.
    pub id: InviteId,
    /// For people; that of no other invite that has not expired.
    pub name: InviteName,
    /// Nodes that may join with it, 1 to [`INVITE_USES_MAX`].
    pub uses: u8,
    /// Until when it is good, Unix seconds; at most [`LIFETIME_MAX_SECS`] from now.
    pub expires: u64,
}

/// An invite as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteStatus {
    /// Its name.
    pub name: String,
    /// `open`, `used`, `expired`, `revoked`, or `void`: the node that made it is no member any more.
    pub state: String,
    /// Nodes that have joined with it.
    pub used: usize,
    /// Nodes that may.
    pub uses: u8,
    /// Until when it is good, Unix seconds.
    pub expires: u64,
    /// Who made it, 64 hex digits.
    pub by: String,
}

/// What was said when an invite was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Terms {
    expires: u64,
    name: InviteName,
    uses: u8,
    by: NodeId,
}

/// One invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    terms: Terms,
    revoked: bool,
    used: BTreeSet<ShortId>,
}

/// What an invite is good for, see [`InviteStatus::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Used,
    Expired,
    Revoked,
    Void,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Void => "void",
        })
    }
}

impl Entry {
    fn is_used_up(&self) -> bool {
        self.used.len() >= usize::from(self.terms.uses)
    }

    fn is_overused(&self) -> bool {
        self.used.len() > usize::from(self.terms.uses)
    }

    /// Whether `node` may join with it now.
    fn admits(&self, node: NodeId, wall: Wall, roster: &Roster) -> Result<(), AdmitError> {
        if self.revoked || !roster.contains(self.terms.by) {
            return Err(AdmitError::InviteRevoked);
        }
        if wall.as_secs() >= self.terms.expires {
            return Err(AdmitError::InviteExpired);
        }
        let is_again = self.used.contains(&node.into());
        if is_again || !self.is_used_up() { Ok(()) } else { Err(AdmitError::InviteUsed) }
    }

    fn state(&self, wall: Wall, roster: &Roster) -> State {
        if self.revoked {
            State::Revoked
        } else if !roster.contains(self.terms.by) {
            State::Void
        } else if self.is_used_up() {
            State::Used
        } else if wall.as_secs() >= self.terms.expires {
            State::Expired
        } else {
            State::Open
        }
    }

    fn unite(&mut self, other: &Self) {
        // They differ only if a member lies.
        self.terms = self.terms.clone().min(other.terms.clone());
        self.revoked |= other.revoked;
        self.used.extend(&other.used);
        while self.used.len() > USED_KEPT {
            self.used.pop_last();
        }
    }
}

/// All invites that are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ledger {
    /// A change has the next.
    version: u64,
    invites: BTreeMap<InviteId, Entry>,
}

impl Ledger {
    /// Those that expire last stay.
    fn shorten(&mut self) {
        let mut by_end: BTreeSet<(u64, InviteId)> =
            self.invites.iter().map(|(id, entry)| (entry.terms.expires, *id)).collect();
        while self.invites.len() > INVITES_KEPT
            && let Some((_, first)) = by_end.pop_first()
        {
            self.invites.remove(&first);
        }
    }

    fn is_open(&self, id: &InviteId, wall: Wall, roster: &Roster) -> bool {
        self.invites.get(id).is_some_and(|entry| entry.state(wall, roster) == State::Open)
    }

    /// This, with one more.
    fn with(&self, by: NodeId, new: &NewInvite, wall: Wall, roster: &Roster) -> Result<Self, CommandError> {
        let NewInvite { id, name, uses, expires } = new.clone();
        let lasts = expires.checked_sub(wall.as_secs()).filter(|secs| (1..=LIFETIME_MAX_SECS).contains(secs));
        if lasts.is_none() || !(1..=INVITE_USES_MAX).contains(&uses) {
            return Err(CommandError::InviteBounds);
        }
        let terms = Terms { expires, name, uses, by };
        let mut others = self.invites.iter().filter(|(_, entry)| wall.as_secs() < entry.terms.expires);
        if others.any(|(other, entry)| entry.terms.name == terms.name && *other != id) {
            return Err(CommandError::InviteExists);
        }
        let mut next = self.next();
        next.invites.entry(id).or_insert(Entry { terms, revoked: false, used: BTreeSet::new() });
        next.shorten();
        let is_pushed_out = |id: &InviteId| self.is_open(id, wall, roster) && !next.invites.contains_key(id);
        if !next.invites.contains_key(&id) || self.invites.keys().any(is_pushed_out) {
            return Err(CommandError::TooManyInvites);
        }
        Ok(next)
    }

    /// This, without all of that name that can still be used: two sides of a partition may each have made one.
    fn revoked(&self, name: &InviteName, wall: Wall) -> Result<Self, CommandError> {
        let mut next = self.next();
        let is_meant = |entry: &&mut Entry| entry.terms.name == *name && wall.as_secs() < entry.terms.expires;
        let mut meant = next.invites.values_mut().filter(is_meant).peekable();
        meant.peek().ok_or(CommandError::NoSuchInvite)?;
        meant.for_each(|entry| entry.revoked = true);
        Ok(next)
    }

    fn has_used(&self, id: InviteId, node: NodeId) -> bool {
        self.invites.get(&id).is_some_and(|entry| entry.used.contains(&node.into()))
    }

    fn admits(&self, id: InviteId, node: NodeId, wall: Wall, roster: &Roster) -> Result<(), AdmitError> {
        let entry = self.invites.get(&id);
        entry.map_or(Err(AdmitError::InviteRevoked), |entry| entry.admits(node, wall, roster))
    }
}

impl Content for Ledger {
    const KEY: Key = Key::Invites;
    const PURPOSE: Purpose = Purpose::Invites;

    fn version(&self) -> u64 {
        self.version
    }

    fn at_version(self, version: u64) -> Self {
        Self { version, ..self }
    }

    /// All invites of both, and of each all that used it; revoked is whatever one says is.
    fn united(&self, other: &Self) -> Self {
        let mut united = Self { version: self.version.max(other.version), invites: self.invites.clone() };
        for (id, theirs) in &other.invites {
            united.invites.entry(*id).or_insert_with(|| theirs.clone()).unite(theirs);
        }
        united.shorten();
        united
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.invites == other.invites
    }

    fn is_within_bounds(&self) -> bool {
        let is_bounded =
            |entry: &Entry| (1..=INVITE_USES_MAX).contains(&entry.terms.uses) && entry.used.len() <= USED_KEPT;
        self.invites.len() <= INVITES_KEPT && self.invites.values().all(is_bounded)
    }
}

/// The ledger as this node knows it, and what else it needs to answer.
#[derive(Debug, Default)]
pub(super) struct Invites {
    kept: Kept<Ledger>,
    /// Those that the shell was last told the paths of.
    answered: Vec<InviteId>,
    /// What limits the requests that are looked at.
    bucket: Bucket,
}

impl Invites {
    /// What the disk says. False if it does not verify: then no invite is known until another member says so.
    pub(super) fn load(&mut self, me: &super::Identity, items: &mut super::Items, blob: &[u8]) -> bool {
        self.kept.load(me, items, blob)
    }

    /// What waits for the disk.
    pub(super) fn staged(&self) -> Option<&Vec<u8>> {
        self.kept.staged()
    }

    /// Whether it stands in the ledger, for good, that `node` has used the invite.
    pub(super) fn has_used(&self, id: InviteId, node: NodeId) -> bool {
        self.kept.ledger().has_used(id, node)
    }

    /// Those whose holders get an answer: the open ones, and others for as long as their holders may believe in them.
    fn answered(&self, wall: Wall) -> impl Iterator<Item = InviteId> {
        let invites = self.kept.ledger().invites.iter();
        let late = wall.as_secs().saturating_sub(LATE_SECS);
        invites.filter(move |(_, entry)| late < entry.terms.expires).map(|(id, _)| *id)
    }
}

impl Cluster {
    /// Has all members let in whoever shows this invite. In force, and told to the others, once it is on disk. Idempotent.
    ///
    /// # Errors
    /// `Stopping`, `NotAMember`, `Busy`; `InviteBounds`, `InviteExists`, `TooManyInvites`.
    pub fn invite(&mut self, now: Now, new: &NewInvite, out: &mut Outbox) -> Result<(), CommandError> {
        self.may_change_invites()?;
        let ledger = self.invites.kept.ledger().with(self.me.id, new, now.wall, &self.roster)?;
        self.stage_invites(now.mono, ledger, out);
        Ok(())
    }

    /// Lets nobody in with any invite of that name any more; who has joined with it stays. Idempotent.
    ///
    /// # Errors
    /// `Stopping`, `NotAMember`, `Busy`; `NoSuchInvite` if there is none, or it has expired.
    pub fn revoke_invite(&mut self, now: Now, name: &InviteName, out: &mut Outbox) -> Result<(), CommandError> {
        self.may_change_invites()?;
        let ledger = self.invites.kept.ledger().revoked(name, now.wall)?;
        self.stage_invites(now.mono, ledger, out);
        Ok(())
    }

    /// The invites that are remembered; the one that expires last comes last.
    pub fn invites(&self, now: Now) -> Vec<InviteStatus> {
        let mut entries: Vec<&Entry> = self.invites.kept.ledger().invites.values().collect();
        entries.sort_by_key(|entry| &entry.terms);
        let status = |entry: &Entry| InviteStatus {
            name: entry.terms.name.to_string(),
            state: entry.state(now.wall, &self.roster).to_string(),
            used: entry.used.len(),
            uses: entry.terms.uses,
            expires: entry.terms.expires,
            by: hex(&entry.terms.by.0),
        };
        entries.into_iter().map(status).collect()
    }

    fn may_change_invites(&self) -> Result<(), CommandError> {
        self.may_change_the_cluster()?;
        if self.invites.staged().is_some() { Err(CommandError::Busy) } else { Ok(()) }
    }

    fn stage_invites(&mut self, now: Mono, ledger: Ledger, out: &mut Outbox) {
        self.invites.kept.stage(&self.me, ledger);
        self.saved_changes = None;
        self.save(out, now);
    }

    /// Puts in force what is on disk, records uses, and sees that a member answers for the ledger.
    pub(super) fn keep_invites(&mut self, now: Now, out: &mut Outbox) {
        if self.disk.is_settled(DurableKind::Invites)
            && let Some(staged) = self.invites.kept.take_staged()
        {
            // Ours cannot be refused, and if another came first both are united.
            _ = self.accept_invites(now.mono, None, &staged, out);
        }
        if self.invites.staged().is_none() {
            self.record_uses(now, out);
        }
        let kept = &self.invites.kept;
        if kept.is_orphan(&self.roster) && self.keeps_ledgers() && kept.staged().is_none() {
            let ledger = kept.ledger().next();
            self.stage_invites(now.mono, ledger, out);
        }
        if !self.invites.answered(now.wall).eq(self.invites.answered.iter().copied()) {
            self.invites.answered = self.invites.answered(now.wall).collect();
            out.push(Output::InvitePaths(self.invites.answered.iter().map(|id| id.path()).collect()));
        }
    }

    /// A ledger from a member, or our own.
    ///
    /// # Errors
    /// See [`Kept::accept`].
    pub(super) fn accept_invites(
        &mut self,
        now: Mono,
        from: Option<NodeId>,
        blob: &[u8],
        out: &mut Outbox,
    ) -> Result<(), PeerError> {
        let overused = |ledger: &Ledger| -> BTreeMap<InviteId, usize> {
            let entries = ledger.invites.iter().filter(|(_, entry)| entry.is_overused());
            entries.map(|(id, entry)| (*id, entry.used.len())).collect()
        };
        let before = overused(self.invites.kept.ledger());
        self.invites.kept.accept(&self.me, &self.roster, &mut self.items, blob)?;
        for (id, used) in overused(self.invites.kept.ledger()) {
            if before.get(&id) != Some(&used)
                && let Some(Entry { terms: Terms { name, uses, .. }, .. }) = self.invites.kept.ledger().invites.get(&id)
            {
                out.event(Event::Warning(format!(
                    "{used} nodes have joined with the invite {name}, which was for {uses}: members that could not hear \
                     each other let them in; look at the members, and remove whom you do not know"
                )));
            }
        }
        self.spread_ledger(now, Key::Invites, from, blob);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
