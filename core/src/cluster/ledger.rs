//! *Ledgers*: what all members hold one copy of, and any of them may write into. A ledger is one signed item of gossip.
//! Ledgers that meet are united, so what was written on two sides of a partition is all kept.

use core::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::item::{Items, Key, Stamp};
use super::roster::Roster;
use super::sign::{self, NodeKeypair, Purpose, Unverified};
use super::timing::VERSION_JUMP_MAX;
use super::{Cluster, Identity, PeerError, Role};
use crate::id::{ClusterId, NodeId};
use crate::time::Mono;

/// The content of a ledger.
pub(super) trait Content: Clone + Debug + Default + Serialize + DeserializeOwned {
    /// Its name in gossip.
    const KEY: Key;
    /// What its signature is for.
    const PURPOSE: Purpose;

    /// Grows with every change.
    fn version(&self) -> u64;

    /// The same, of another version.
    fn at_version(self, version: u64) -> Self;

    /// The same, of the version that the next change makes.
    fn next(&self) -> Self {
        self.clone().at_version(self.version().saturating_add(1))
    }

    /// All that both say, within bounds; the same in whatever order ledgers meet.
    fn united(&self, other: &Self) -> Self;

    /// Whether the two differ in nothing but their version.
    fn says_the_same(&self, other: &Self) -> bool;

    /// Whether an honest member can have written it.
    fn is_within_bounds(&self) -> bool;
}

/// A ledger and who wrote it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Signed<L> {
    by: NodeId,
    ledger: L,
}

/// A ledger as this node knows it.
#[derive(Debug, Default)]
pub(super) struct Kept<L> {
    ledger: L,
    by: Option<NodeId>,
    /// Changed here, and waiting for the disk.
    staged: Option<Vec<u8>>,
}

impl<L: Content> Kept<L> {
    /// What is in force.
    pub(super) fn ledger(&self) -> &L {
        &self.ledger
    }

    /// What waits for the disk.
    pub(super) fn staged(&self) -> Option<&Vec<u8>> {
        self.staged.as_ref()
    }

    /// Writes down what is to be in force once it is on disk.
    pub(super) fn stage(&mut self, me: &Identity, ledger: L) {
        self.staged = Some(write_down(me, ledger).1);
    }

    /// What was staged, now that it is on disk.
    pub(super) fn take_staged(&mut self) -> Option<Vec<u8>> {
        self.staged.take()
    }

    /// Whether no member answers for it: of one that is forgotten nobody could verify it.
    pub(super) fn is_orphan(&self, roster: &Roster) -> bool {
        self.by.is_some_and(|by| !roster.contains(by))
    }

    /// What the disk says. False if it does not verify.
    pub(super) fn load(&mut self, me: &Identity, items: &mut Items, blob: &[u8]) -> bool {
        if let Some((by, ledger)) = read_back(me.cluster, blob) {
            self.hold(by, ledger, blob.to_vec(), items);
        }
        self.by.is_some()
    }

    fn hold(&mut self, by: NodeId, ledger: L, blob: Vec<u8>, items: &mut Items) {
        items.put(L::KEY, Stamp::new(ledger.version(), 0, &blob), blob);
        self.ledger = ledger;
        self.by = Some(by);
    }

    /// Verifies a ledger and unites it with ours.
    ///
    /// # Errors
    /// State unchanged: malformed, too far ahead, by nobody we know, badly signed, or nothing in it is new.
    pub(super) fn accept(
        &mut self,
        me: &Identity,
        roster: &Roster,
        items: &mut Items,
        blob: &[u8],
    ) -> Result<(), PeerError> {
        let signed = Unverified::<Signed<L>>::decode(blob).ok_or(PeerError::Malformed)?;
        let Signed { by, ledger } = signed.claim();
        let by = *by;
        if !ledger.is_within_bounds() {
            return Err(PeerError::Malformed);
        }
        if ledger.version() > self.ledger.version().saturating_add(VERSION_JUMP_MAX) {
            return Err(PeerError::EpochJump);
        }
        if !roster.knows(by) {
            return Err(PeerError::NotAMember);
        }
        let theirs = signed.verify(by, L::PURPOSE, me.cluster).ok_or(PeerError::BadSignature)?.ledger;
        let stamp = Stamp::new(theirs.version(), 0, blob);
        let is_newer = items.stamp(L::KEY).is_none_or(|held| held < stamp);
        let united = self.ledger.united(&theirs);
        if is_newer && united.says_the_same(&theirs) {
            self.hold(by, theirs, blob.to_vec(), items);
        } else if !is_newer && united.says_the_same(&self.ledger) {
            return Err(PeerError::Stale);
        } else {
            let (ledger, blob) = write_down(me, united.next());
            self.hold(me.id, ledger, blob, items);
        }
        Ok(())
    }
}

impl Cluster {
    /// Whether it is for this node to see that a member answers for every ledger: for the publisher, that is.
    pub(super) fn keeps_ledgers(&self) -> bool {
        self.roster.contains(self.me.id) && self.role() != Role::Follower
    }

    /// Tells the others of a ledger that was accepted. One that we united is our news, also to whoever sent its half.
    pub(super) fn spread_ledger(&mut self, now: Mono, key: Key, from: Option<NodeId>, blob: &[u8]) {
        let is_theirs = self.items.blob(key).is_some_and(|(_, held)| held == blob);
        self.spread(now, key, from.filter(|_| is_theirs));
    }
}

/// The ledger, and the item that it is.
pub(super) fn write_down<L: Content>(me: &Identity, ledger: L) -> (L, Vec<u8>) {
    write_down_as(&me.keypair, me.cluster, ledger)
}

/// The same for who is no node yet.
pub(super) fn write_down_as<L: Content>(keypair: &NodeKeypair, cluster: ClusterId, ledger: L) -> (L, Vec<u8>) {
    let signed = Signed { by: keypair.id(), ledger };
    let blob = sign::seal(keypair, L::PURPOSE, cluster, &signed);
    (signed.ledger, blob)
}

/// A ledger of our own disk; whoever wrote it down may have left since. `None` if it does not verify.
pub(super) fn read_back<L: Content>(cluster: ClusterId, blob: &[u8]) -> Option<(NodeId, L)> {
    let signed = Unverified::<Signed<L>>::decode(blob).filter(|signed| signed.claim().ledger.is_within_bounds())?;
    let by = signed.claim().by;
    let Signed { by, ledger } = signed.verify(by, L::PURPOSE, cluster)?;
    Some((by, ledger))
}

/// What must hold of any three ledgers: they become one in whatever order they meet.
#[cfg(test)]
pub(super) fn assert_unite<L: Content + PartialEq>(a: &L, b: &L, c: &L) {
    assert_eq!(a.united(b), b.united(a));
    assert_eq!(a.united(b).united(c), a.united(&b.united(c)));
    assert_eq!(a.united(a), *a);
    assert!(a.united(b).is_within_bounds());
}
