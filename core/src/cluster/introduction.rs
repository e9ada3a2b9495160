//! Members that we do not hear may not know us: each was admitted by a member that the other knew, and if that one told
//! nobody else before it died, nobody is left to tell. So whoever calls a member that is down shows it the admissions
//! that make it a member itself. They prove what they say, whoever sends them.

use super::item::Key;
use super::timing::{INTRODUCE_BEATS, INTRODUCTION_ENTRIES};
use super::wire::Message;
use super::{Cluster, Liveness, PeerError};
use crate::id::NodeId;
use crate::output::Outbox;
use crate::sabotage::{Rule, is_broken};
use crate::time::{Mono, Now};

impl Cluster {
    /// Shows those of `nodes` that we do not hear why we are a member; not with every beat.
    pub(super) fn introduce_to<'a>(&mut self, now: Mono, nodes: impl Iterator<Item = &'a NodeId>) {
        if !self.beat.is_multiple_of(INTRODUCE_BEATS) {
            return;
        }
        let silent: Vec<NodeId> =
            nodes.copied().filter(|node| self.members.liveness(*node) != Liveness::Live).collect();
        if !silent.is_empty() {
            for entry in self.roster.chain(self.me.id).take(INTRODUCTION_ENTRIES) {
                self.gossip.push(now, &self.items, Key::Entry(entry), silent.iter().copied());
            }
        }
    }

    /// A datagram from a WireGuard key of nobody we know. It is heeded if it shows the entry of a node that a member
    /// admitted.
    ///
    /// # Errors
    /// Refused; state unchanged. `NotAMember` for whatever else a stranger says, and for a tombstone that is news and signed
    /// by a node that is gone: while it was a member it could tell any other.
    pub fn handle_stranger(&mut self, now: Now, bytes: &[u8], out: &mut Outbox) -> Result<(), PeerError> {
        self.notice_stall(now.mono);
        let Message::Item { key: Key::Entry(_), blob } = Message::decode(bytes)? else {
            return Err(PeerError::NotAMember);
        };
        // That is how whoever is gone can reach us: it knows members and has its key.
        if self.roster.is_news_of_the_gone(&blob, &self.items)? && !is_broken(Rule::GoneRemoveNobody) {
            return Err(PeerError::NotAMember);
        }
        self.accept_entry(now, None, &blob, out)
    }
}
