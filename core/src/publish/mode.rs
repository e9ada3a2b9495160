//! Who publishes: tor itself, or we (`docs/PROTOCOL.md`, Modes).

use super::wake::Wake;
use crate::cluster::{Role, View};
use crate::id::RelayFingerprint;
use crate::time::Mono;
use core::time::Duration;
use std::collections::BTreeSet;

/// A roster that became one stays merged this long.
const NATIVE_AFTER: Duration = Duration::from_secs(600);
/// Between two looks at whether tor's counters are above ours.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// HSDirs remembered; both slots of any network have fewer.
const SEEN_MAX: usize = 256;

/// What this node does about publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Uploads under this epoch.
    Publish(u64),
    /// Leaves it to the one tor: roster of one.
    Native,
    /// Leaves it to the holder.
    Follow,
}

/// Whether tor publishes by itself, which only a single tor can: of several each would list its own points alone, over the
/// others'. And the way back from merged to native publishing, which tor begins up to 2 h after it is told.
#[derive(Debug)]
pub(super) struct Mode {
    /// This node has one tor.
    may_be_native: bool,
    native: Fallback,
    /// When what tor publishes, or would, was last found to be of no use, while this node was alone.
    instead_since: Option<Mono>,
    /// HSDirs that tor has uploaded to since native publishing went on.
    seen: BTreeSet<RelayFingerprint>,
    /// There is no way back: tor's own publishing stays off.
    keeps_merged: bool,
    /// Tor's own publishing cannot be turned off.
    keeps_native: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fallback {
    /// Ours alone.
    Merged,
    /// Tor may publish, we still do.
    Both,
    /// Tor has uploaded everywhere.
    Done,
}

impl Mode {
    /// On a node with so many tors.
    pub(super) fn new(tors: u8) -> Self {
        Self {
            may_be_native: tors == 1,
            native: Fallback::Merged,
            instead_since: None,
            seen: BTreeSet::new(),
            keeps_merged: false,
            keeps_native: false,
        }
    }

    /// Whether tor's own publishing may ever be on.
    pub(super) fn may_be_native(&self) -> bool {
        self.may_be_native
    }

    /// Whether a node alone, too, publishes itself. A tor that has run for hours without publishing believes that it has, and
    /// would upload nothing for up to two hours more.
    pub(super) fn keep_merged(&mut self, keep: bool) {
        self.keeps_merged = keep;
    }

    /// Whether tor's own publishing is left alone whatever comes of it.
    pub(super) fn keep_native(&mut self, keep: bool) {
        self.keeps_native = keep;
    }

    /// Whether a node alone leaves publishing to its tor.
    fn leaves_it_to_tor(&self) -> bool {
        self.may_be_native && !self.keeps_merged
    }

    /// Since when a node that is alone has had a reason to publish itself, if ever: it was left alone then, or tor's
    /// publishing was of no use.
    fn merged_since(&self, view: &View) -> Option<Mono> {
        view.alone_since.max(self.instead_since)
    }

    /// Takes the next step of the way back. `overtaken`: tor's own counters are above everything we stored.
    /// `hsdirs`: those of both slots.
    pub(super) fn tick(
        &mut self,
        now: Mono,
        view: &View,
        overtaken: impl FnOnce() -> bool,
        hsdirs: impl FnOnce() -> BTreeSet<RelayFingerprint>,
        wake: &mut Wake,
    ) {
        if view.role != Role::Alone || !self.leaves_it_to_tor() {
            self.instead_since = None;
        }
        let (Role::Alone, Some(since), true) = (view.role, self.merged_since(view), self.leaves_it_to_tor()) else {
            (self.native, self.seen) = (Fallback::Merged, BTreeSet::new());
            return;
        };
        let at = since.plus(NATIVE_AFTER);
        match self.native {
            Fallback::Merged if now < at => wake.at(at),
            Fallback::Merged if overtaken() => self.native = Fallback::Both,
            Fallback::Merged => wake.at(now.plus(ASK_AGAIN)),
            Fallback::Both => {
                let hsdirs = hsdirs();
                if !hsdirs.is_empty() && hsdirs.is_subset(&self.seen) {
                    self.native = Fallback::Done;
                }
            }
            Fallback::Done => {}
        }
    }

    /// Tor has uploaded there by itself.
    pub(super) fn native_uploaded(&mut self, hsdir: RelayFingerprint) {
        if self.native == Fallback::Both && self.seen.len() < SEEN_MAX {
            self.seen.insert(hsdir);
        }
    }

    /// What tor publishes by itself is of no use, and it would not do better before one to two hours are over
    /// (`HS_SERVICE_NEXT_UPLOAD_TIME_MIN`, `_MAX`): a node alone, too, publishes itself, and goes the way back later, as if
    /// the others had just left. Whether that is new.
    pub(super) fn publish_instead(&mut self, now: Mono) -> bool {
        if self.keeps_native {
            return false;
        }
        let was_done = core::mem::replace(&mut self.native, Fallback::Merged) == Fallback::Done;
        self.seen.clear();
        self.instead_since.replace(now).is_none() || was_done
    }

    /// Whether tor's own publishing should be on.
    pub(super) fn wants_native(&self, view: &View) -> bool {
        self.leaves_it_to_tor()
            && match (view.role, self.merged_since(view)) {
                (Role::Alone, None) => true,
                (Role::Alone, Some(_)) => self.native != Fallback::Merged,
                (Role::Follower | Role::Holder { .. }, _) => false,
            }
    }

    /// Tor publishes too, so that what an HSDir holds need not be ours.
    pub(super) fn tor_publishes_too(&self) -> bool {
        self.native != Fallback::Merged
    }

    /// What to do now.
    pub(super) fn duty(&self, view: &View) -> Duty {
        match (view.role, self.merged_since(view)) {
            (Role::Holder { epoch }, _) => Duty::Publish(epoch),
            (Role::Alone, None) if self.leaves_it_to_tor() => Duty::Native,
            (Role::Alone, Some(_)) if self.native == Fallback::Done => Duty::Native,
            (Role::Alone, _) => Duty::Publish(view.holder.map_or(0, |(_, epoch)| epoch)),
            (Role::Follower, _) => Duty::Follow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_hsdirs_of_tors_own_uploads_are_remembered() {
        let mut mode = Mode { native: Fallback::Both, ..Mode::new(1) };
        for n in 0..=SEEN_MAX {
            let mut id = [0; 20];
            id[..8].copy_from_slice(&n.to_le_bytes());
            mode.native_uploaded(RelayFingerprint(id));
        }
        assert_eq!(mode.seen.len(), SEEN_MAX);
    }
}
