//! Where members can be reached: by their records, and until those are here by the roster file.

use std::collections::BTreeMap;

use super::roster::Roster;
use super::walk::Walk;
use crate::id::NodeId;

/// The newest contact known of each node. At most one per member.
#[derive(Debug)]
pub(super) struct Contacts {
    known: BTreeMap<NodeId, String>,
    changes: u64,
    /// Of the members that [`Self::retain_members`] last retained.
    roster_hash: [u8; 16],
}

impl Contacts {
    /// Those of the roster file.
    pub(super) fn new(known: BTreeMap<NodeId, String>) -> Self {
        Self { known, changes: 0, roster_hash: [0; 16] }
    }

    /// What a record of `node` says; one that says nothing leaves the last one known.
    pub(super) fn learn(&mut self, node: NodeId, contact: Option<&String>) {
        let Some(contact) = contact.filter(|contact| self.known.get(&node) != Some(contact)) else { return };
        self.known.insert(node, contact.clone());
        self.changes += 1;
    }

    /// Forgets nodes that are no members any more.
    pub(super) fn retain_members(&mut self, roster: &Roster) {
        if self.roster_hash != roster.hash() {
            self.roster_hash = roster.hash();
            self.known.retain(|node, _| roster.contains(*node));
            self.changes += 1;
        }
    }

    /// Grows with every change.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// All that are known, in order of `NodeId`, perhaps of some who have just ceased to be members.
    pub(super) fn walk(&self) -> Walk<'_, String> {
        Walk::new(&self.known)
    }

    /// Those of members.
    pub(super) fn of_members(&self, roster: &Roster) -> BTreeMap<NodeId, String> {
        let of_members = self.known.iter().filter(|(node, _)| roster.contains(**node));
        of_members.map(|(node, contact)| (*node, contact.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::gossip::tests::roster_of_two;

    #[test]
    fn the_newest_word_counts_and_silence_takes_nothing_back() {
        let (roster, member) = roster_of_two();
        let stranger = NodeId([9; 32]);
        let mut contacts = Contacts::new([(member, "file".to_owned()), (stranger, "file".to_owned())].into());
        contacts.learn(member, Some(&"record".to_owned()));
        let changes = contacts.changes();
        contacts.learn(member, Some(&"record".to_owned()));
        contacts.learn(member, None);
        assert_eq!(contacts.changes(), changes, "nothing new");
        assert_eq!(contacts.of_members(&roster), [(member, "record".to_owned())].into());
        contacts.retain_members(&roster);
        assert!(contacts.changes() > changes);
        assert_eq!((contacts.walk().get(member), contacts.walk().get(stranger)), (Some(&"record".to_owned()), None));
    }
}
