//! Which node gets which relay: a bipartite matching grown by augmenting paths.

use crate::id::{NodeId, RelayFingerprint};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Each relay has at most one owner; a node may own several.
pub(crate) struct Matching<'a> {
    wants: &'a BTreeMap<NodeId, Vec<RelayFingerprint>>,
    owners: BTreeMap<RelayFingerprint, NodeId>,
}

impl<'a> Matching<'a> {
    /// Empty.
    pub(crate) fn new(wants: &'a BTreeMap<NodeId, Vec<RelayFingerprint>>) -> Self {
        Self { wants, owners: BTreeMap::new() }
    }

    /// Relays owned.
    pub(crate) fn len(&self) -> usize {
        self.owners.len()
    }

    /// The outcome.
    pub(crate) fn into_owners(self) -> BTreeMap<RelayFingerprint, NodeId> {
        self.owners
    }

    /// Gives `relay` to `node` if nobody owns it.
    pub(crate) fn take_if_free(&mut self, node: NodeId, relay: RelayFingerprint) -> bool {
        let free = !self.owners.contains_key(&relay);
        if free {
            self.owners.insert(relay, node);
        }
        free
    }

    /// Gives `node` one relay more, moving as few others as possible to spare relays of theirs; nobody's count
    /// shrinks. False, and nothing changed, if that cannot be.
    pub(crate) fn augment(&mut self, node: NodeId) -> bool {
        let mut asked_by: BTreeMap<RelayFingerprint, NodeId> = BTreeMap::new();
        // The relay through which a node was reached: what it gives up if a spare one is found for it.
        let mut gives_up: BTreeMap<NodeId, RelayFingerprint> = BTreeMap::new();
        let mut reached = BTreeSet::from([node]);
        let mut queue = VecDeque::from([node]);
        while let Some(asker) = queue.pop_front() {
            for relay in self.wants.get(&asker).into_iter().flatten() {
                if asked_by.contains_key(relay) {
                    continue;
                }
                asked_by.insert(*relay, asker);
                match self.owners.get(relay) {
                    None => {
                        self.shift(*relay, &asked_by, &gives_up);
                        return true;
                    }
                    Some(owner) => {
                        if reached.insert(*owner) {
                            gives_up.insert(*owner, *relay);
                            queue.push_back(*owner);
                        }
                    }
                }
            }
        }
        false
    }

    /// Hands relays on along the path that ends at the free `relay`.
    fn shift(
        &mut self,
        mut relay: RelayFingerprint,
        asked_by: &BTreeMap<RelayFingerprint, NodeId>,
        gives_up: &BTreeMap<NodeId, RelayFingerprint>,
    ) {
        while let Some(asker) = asked_by.get(&relay) {
            self.owners.insert(relay, *asker);
            let Some(given_up) = gives_up.get(asker) else { break };
            relay = *given_up;
        }
    }
}
