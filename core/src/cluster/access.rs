//! Who may connect to the address: everybody, or the clients that the operator authorised.
//!
//! That is the address' own, not a node's: all members hold one [`ledger`](super::ledger) of it, in the file that makes a
//! node a member. Every change is an entry with a version of its own, and ledgers that meet are united entry by entry. So
//! what was done on two sides of a partition is all kept, and where both touched the same client, the stricter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::item::{Items, Key};
use super::ledger::{self, Content, Kept};
use super::roster::{Roster, RosterFile};
use super::sign::{self, NodeKeypair, Purpose};
use super::timing::ITEM_MAX;
use super::{Cluster, CommandError, Identity, PeerError};
use crate::id::{ClusterId, NodeId};
use crate::onion::client::{CLIENT_NAME_MAX, ClientName, HsClientDescEncKey};
use crate::output::{Event, Outbox};
use crate::time::{Mono, Now};

/// Authorised clients. With the service's own they are 112 lines of a descriptor, a multiple of 16, and fit beside 20
/// introduction points of the longest that tor writes, whatever points the nodes happen to have.
pub const CLIENTS_MAX: usize = 111;
/// Removed clients that are remembered, the newest, so that no older ledger brings them back.
const REMOVED_MAX: usize = 128;

const _: () = assert!(
    CLIENTS_MAX * (1 + CLIENT_NAME_MAX + 10 + 33) + REMOVED_MAX * (1 + CLIENT_NAME_MAX + 10 + 1) + 256 <= ITEM_MAX,
    "the largest ledger is an item"
);

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Access {
    /// Everybody who knows the address.
    #[default]
    Open,
    /// Clients with one of these keys; nobody, if there are none.
    Restricted(BTreeMap<ClientName, HsClientDescEncKey>),
}

impl Access {
    /// Whether not everybody may.
    pub fn is_restricted(&self) -> bool {
        matches!(self, Self::Restricted(_))
    }

    /// The authorised clients.
    pub fn clients(&self) -> impl Iterator<Item = (&ClientName, HsClientDescEncKey)> {
        let clients = match self {
            Self::Open => None,
            Self::Restricted(clients) => Some(clients),
        };
        clients.into_iter().flatten().map(|(name, key)| (name, *key))
    }

    /// Who may connect by a node's own roster file ([`DurableKind::Roster`](crate::DurableKind)); `None` if it does not
    /// verify.
    pub fn on_disk(cluster: ClusterId, roster: &[u8]) -> Option<Self> {
        let file: RosterFile = sign::decode(roster)?;
        let Some(blob) = file.access else { return Some(Self::Open) };
        ledger::read_back::<Ledger>(cluster, &blob).map(|(_, ledger)| ledger.access())
    }
}

/// The ledger that a first node begins with, in force from its first start; none while everybody may connect.
pub(crate) fn founding(keypair: &NodeKeypair, cluster: ClusterId, access: &Access) -> Option<Vec<u8>> {
    let authorised =
        |(name, key): (&ClientName, _)| (name.clone(), Entry { version: 1, state: State::Authorised(key) });
    let clients = access.clients().map(authorised).collect();
    let ledger = Ledger { version: 1, restricted: (1, true), removed: 1, clients };
    access.is_restricted().then(|| ledger::write_down_as(keypair, cluster, ledger).1)
}

/// What an operator may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessChange {
    /// Authorise a client. From the first one on the address is restricted.
    Add(ClientName, HsClientDescEncKey),
    /// Authorise it no more. The address stays restricted, also without any client left.
    Remove(ClientName),
    /// Let everybody in, and forget all clients.
    Open,
}

/// What was last decided of a client. Of two decisions of one version the later in this order holds: the stricter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum State {
    Authorised(HsClientDescEncKey),
    Removed,
}

/// The last change of one client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Entry {
    version: u64,
    state: State,
}

impl Entry {
    fn is_removed(&self) -> bool {
        self.state == State::Removed
    }
}

/// Everything that was decided about access.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Ledger {
    /// At least that of every entry; a change has the next.
    version: u64,
    /// The last change that restricted the address, or opened it (false); of one version the restriction is later.
    restricted: (u64, bool),
    /// The version of the last change since which somebody may no more: it removed a client, or restricted an open address.
    removed: u64,
    clients: BTreeMap<ClientName, Entry>,
}

impl Ledger {
    fn access(&self) -> Access {
        if !self.restricted.1 {
            return Access::Open;
        }
        Access::Restricted(self.live().map(|(name, key)| (name.clone(), key)).collect())
    }

    fn live(&self) -> impl Iterator<Item = (&ClientName, HsClientDescEncKey)> {
        self.clients.iter().filter_map(|(name, entry)| match entry.state {
            State::Authorised(key) => Some((name, key)),
            State::Removed => None,
        })
    }

    fn shorten(&mut self) {
        let by_version = |is_removed| {
            let some = self.clients.iter().filter(move |(_, entry)| entry.is_removed() == is_removed);
            some.map(|(name, entry)| (entry.version, name.clone())).collect::<BTreeSet<_>>()
        };
        let (live, removed) = (by_version(false), by_version(true));
        let surplus = removed.len().saturating_sub(REMOVED_MAX);
        for (_, name) in live.into_iter().skip(CLIENTS_MAX).chain(removed.into_iter().take(surplus)) {
            self.clients.remove(&name);
        }
    }

    fn forget_clients(&mut self) {
        let removed = Entry { version: self.version, state: State::Removed };
        self.clients.values_mut().filter(|entry| !entry.is_removed()).for_each(|entry| *entry = removed.clone());
    }

    /// This, with `changes`.
    fn changed(&self, changes: &[AccessChange]) -> Result<Self, CommandError> {
        let mut ledger = self.next();
        let version = ledger.version;
        for change in changes {
            match change {
                AccessChange::Add(name, key) => {
                    if !ledger.restricted.1 {
                        // Everybody is removed who is not named from now on.
                        ledger.forget_clients();
                        ledger.removed = version;
                    }
                    if let Some(same) = ledger.live().find(|(of, its)| *of == name || its == key) {
                        if same == (name, *key) {
                            continue;
                        }
                        return Err(if same.0 == name { CommandError::ClientExists } else { CommandError::KeyInUse });
                    }
                    if ledger.live().count() >= CLIENTS_MAX {
                        return Err(CommandError::TooManyClients);
                    }
                    ledger.clients.insert(name.clone(), Entry { version, state: State::Authorised(*key) });
                    ledger.restricted = (version, true);
                }
                AccessChange::Remove(name) => {
                    let entry = ledger.clients.get_mut(name).filter(|entry| !entry.is_removed());
                    *entry.ok_or(CommandError::NoSuchClient)? = Entry { version, state: State::Removed };
                    ledger.removed = version;
                }
                AccessChange::Open => {
                    ledger.forget_clients();
                    ledger.restricted = (version, false);
                }
            }
        }
        ledger.shorten();
        Ok(ledger)
    }
}

impl Content for Ledger {
    const KEY: Key = Key::Access;
    const PURPOSE: Purpose = Purpose::Access;

    fn version(&self) -> u64 {
        self.version
    }

    fn at_version(self, version: u64) -> Self {
        Self { version, ..self }
    }

    fn is_within_bounds(&self) -> bool {
        let live = self.live().count();
        let newest = self.clients.values().map(|entry| entry.version).chain([self.restricted.0, self.removed]).max();
        live <= CLIENTS_MAX && self.clients.len() - live <= REMOVED_MAX && newest <= Some(self.version)
    }

    /// The later entry of every client. What does not fit goes by the order of versions: of clients the newest, whose
    /// operator did not know of the others; of those removed the oldest.
    fn united(&self, other: &Self) -> Self {
        let mut clients = self.clients.clone();
        for (name, theirs) in &other.clients {
            let entry = clients.entry(name.clone()).or_insert_with(|| theirs.clone());
            *entry = theirs.clone().max(entry.clone());
        }
        let mut united = Self {
            version: self.version.max(other.version),
            restricted: self.restricted.max(other.restricted),
            removed: self.removed.max(other.removed),
            clients,
        };
        united.shorten();
        united
    }

    fn says_the_same(&self, other: &Self) -> bool {
        (self.restricted, self.removed, &self.clients) == (other.restricted, other.removed, &other.clients)
    }
}

/// The ledger as this node knows it, and who may connect by it.
#[derive(Debug, Default)]
pub(super) struct Admittance {
    kept: Kept<Ledger>,
    access: Arc<Access>,
    /// What the disk has and does not verify, until there is another ledger: written and handed on as it is, so that nobody
    /// takes the lack of a ledger for an open address.
    damaged: Option<Vec<u8>>,
}

impl Admittance {
    pub(super) fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Grows with every removal; see [`View::removals`](super::View).
    pub(super) fn removals(&self) -> u64 {
        if self.access.is_restricted() { self.kept.ledger().removed } else { 0 }
    }

    /// What waits for the disk.
    pub(super) fn staged(&self) -> Option<&Vec<u8>> {
        self.kept.staged()
    }

    /// What is to be on disk, and what a joiner is given, where there is no ledger.
    pub(super) fn damaged(&self) -> Option<&Vec<u8>> {
        self.damaged.as_ref()
    }

    /// What the disk says. False if it does not verify: then nobody may connect until the others, or the operator, say who
    /// may. What is closed must not open because a file is damaged.
    pub(super) fn load(&mut self, me: &Identity, items: &mut Items, file: &RosterFile) -> bool {
        let Some(blob) = &file.access else { return true };
        let verifies = self.kept.load(me, items, blob);
        if verifies {
            self.take_effect();
        } else {
            self.access = Arc::new(Access::Restricted(BTreeMap::new()));
            self.damaged = Some(blob.clone());
        }
        verifies
    }

    fn take_effect(&mut self) {
        self.damaged = None;
        let access = self.kept.ledger().access();
        if *self.access != access {
            self.access = Arc::new(access);
        }
    }

    /// Unites a ledger with ours.
    ///
    /// # Errors
    /// See [`Kept::accept`].
    fn accept(&mut self, me: &Identity, roster: &Roster, items: &mut Items, blob: &[u8]) -> Result<(), PeerError> {
        self.kept.accept(me, roster, items, blob)?;
        self.take_effect();
        Ok(())
    }
}

impl Cluster {
    /// Who may connect, as far as this node knows.
    pub fn access(&self) -> &Access {
        self.admittance.access()
    }

    /// Changes who may connect, on all nodes. In force, and told to the others, once it is on disk; all of `changes` or
    /// none. What is as asked for already is no error.
    ///
    /// # Errors
    /// `Stopping`, `NotAMember`, `Busy`; `ClientExists`, `KeyInUse`, `TooManyClients`, `NoSuchClient`.
    pub fn change_access(&mut self, now: Now, changes: &[AccessChange], out: &mut Outbox) -> Result<(), CommandError> {
        self.may_change_the_cluster()?;
        if self.admittance.staged().is_some() {
            return Err(CommandError::Busy);
        }
        let held = self.admittance.kept.ledger();
        let ledger = held.changed(changes)?;
        if ledger.says_the_same(held) {
            return Ok(());
        }
        self.stage_access(now.mono, ledger, out);
        Ok(())
    }

    /// Nothing of it is seen before it is on disk.
    fn stage_access(&mut self, now: Mono, ledger: Ledger, out: &mut Outbox) {
        self.admittance.kept.stage(&self.me, ledger);
        self.saved_changes = None;
        self.save(out, now);
    }

    /// Puts in force what is on disk, and sees that a member answers for the ledger: of one that is forgotten nobody could
    /// verify it.
    pub(super) fn keep_access(&mut self, now: Mono, out: &mut Outbox) {
        if self.is_roster_durable()
            && let Some(staged) = self.admittance.kept.take_staged()
        {
            // Ours cannot be refused, and if another came first both are united.
            _ = self.accept_access(now, None, &staged, out);
        }
        let kept = &self.admittance.kept;
        if kept.is_orphan(&self.roster) && self.keeps_ledgers() && kept.staged().is_none() {
            let ledger = kept.ledger().next();
            self.stage_access(now, ledger, out);
        }
    }

    /// A ledger from a member, or our own.
    ///
    /// # Errors
    /// See [`Kept::accept`].
    pub(super) fn accept_access(
        &mut self,
        now: Mono,
        from: Option<NodeId>,
        blob: &[u8],
        out: &mut Outbox,
    ) -> Result<(), PeerError> {
        let before = Arc::clone(self.admittance.access());
        self.admittance.accept(&self.me, &self.roster, &mut self.items, blob)?;
        if before != *self.admittance.access() {
            out.event(Event::Access(Access::clone(self.access())));
        }
        self.spread_ledger(now, Key::Access, from, blob);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
