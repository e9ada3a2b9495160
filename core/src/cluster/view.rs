//! What publication, status and the mesh see.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Access, Cluster, ProvenPlan, Record};
use crate::id::NodeId;
use crate::onion::period::Slot;
use crate::output::{DurableKind, Peer};
use crate::time::{Mono, Now};

/// What we believe of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Liveness {
    /// Heard within the TTL.
    Live,
    /// Silent, being probed, or never heard since we started.
    Unknown,
    /// Probes failed.
    Down,
}

/// This node's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Roster of one: tor publishes natively.
    Alone,
    /// Not publishing.
    Follower,
    /// Publishing under this epoch; the claim is durable.
    Holder {
        /// The lease's epoch.
        epoch: u64,
    },
}

/// One member as publication and status see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Who.
    pub node: NodeId,
    /// Liveness; ourselves are always `Live`.
    pub liveness: Liveness,
    /// Since when.
    pub since: Mono,
    /// Newest record, if any.
    pub record: Option<Arc<Record>>,
    /// A heartbeat named a newer record than we hold.
    pub record_behind: bool,
    /// Its last heartbeat named the record we hold: it has no newer one.
    pub record_current: bool,
}

/// The members' clocks against ours, milliseconds: positive if they are ahead. Ours, which is 0, is among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockOffset {
    /// The median; of an even number the lower one in the middle.
    pub lower_ms: i64,
    /// The median; of an even number the upper one in the middle.
    pub upper_ms: i64,
    /// How many others' clocks are known.
    pub others: usize,
}

impl ClockOffset {
    /// The middle that is nearer to ours.
    pub fn nearest_ms(self) -> i64 {
        if self.lower_ms.unsigned_abs() < self.upper_ms.unsigned_abs() { self.lower_ms } else { self.upper_ms }
    }

    /// The middle that is further from ours.
    pub fn widest_ms(self) -> i64 {
        if self.lower_ms.unsigned_abs() < self.upper_ms.unsigned_abs() { self.upper_ms } else { self.lower_ms }
    }
}

/// What publication needs to know, recomputed after every input.
#[derive(Clone, Debug)]
pub struct View {
    /// Ourselves.
    pub me: NodeId,
    /// Our role.
    pub role: Role,
    /// When the current role began.
    pub role_since: Mono,
    /// Current lease as we know it.
    pub holder: Option<(NodeId, u64)>,
    /// All members of the roster, ourselves included, in order of `NodeId`; none while we follow, as only who publishes
    /// looks at them, and in a large cluster they are many ([`Cluster::members`] has them all the same).
    pub members: Arc<Vec<Member>>,
    /// When the roster last became one; `None` while larger or always one.
    pub alone_since: Option<Mono>,
    /// The newest proven plan known (ours, gossiped or from disk).
    pub proven: Option<Arc<ProvenPlan>>,
    /// Counter floors as the newest beacon names them; publication knows which can be true, and remembers those.
    pub floors: BTreeMap<Slot, (u64, u32)>,
    /// After a stall: publish nothing now.
    pub hold_uploads: bool,
    /// Increments when descriptors built before must be discarded (stall, epoch change).
    pub build_era: u64,
    /// We hear at least half of the roster ourselves, ourselves included: what a holder said of others before we lost it
    /// is no evidence. False while we follow.
    pub sees_majority: bool,
    /// Since we started we have heard more than half of the roster, ourselves included: so we know whatever was ordered
    /// while we were away. False while we follow.
    pub has_met_most: bool,
    /// A rival claim or beacon was seen in the last 30 s: at most one upload per slot per 30 s, winner again after 30 s.
    pub rival_until: Option<Mono>,
    /// The members' clocks, from heartbeats.
    pub clock_offset: ClockOffset,
    /// Who may connect to the address.
    pub access: Arc<Access>,
    /// Grows whenever somebody may no more.
    pub removals: u64,
    /// Nobody is to be taken out for being down, silent or unwell.
    pub paused: bool,
}

impl Cluster {
    /// The current view.
    pub fn view(&self, now: Now) -> View {
        let role = self.role();
        let follows = role == Role::Follower;
        View {
            me: self.me.id,
            role,
            role_since: self.role_since,
            holder: self.lease.holder(now.mono),
            sees_majority: !follows && (1 + self.members.heard_count(now.mono)) * 2 >= self.roster.len(),
            has_met_most: !follows && (1 + self.members.met_count()) * 2 > self.roster.len(),
            members: if follows { Arc::default() } else { self.members() },
            alone_since: self.alone_since,
            proven: self.plans.proven().cloned(),
            floors: self.lease.floors(),
            hold_uploads: self.stall.holds_uploads(now.mono),
            build_era: self.build_era,
            rival_until: self.lease.rival_until(now.mono),
            clock_offset: self.clock_offset(now),
            access: Arc::clone(self.admittance.access()),
            removals: self.admittance.removals(),
            paused: self.paused(now.mono).is_some(),
        }
    }

    /// All members of the roster, ourselves included, in order of `NodeId`.
    pub fn members(&self) -> Arc<Vec<Member>> {
        let state = (self.roster.hash(), self.records.changes(), self.members.changes());
        self.seen.get(state, || Arc::new(self.roster.members().keys().map(|node| self.member(*node)).collect()))
    }

    /// The live members that have not said, since anything changed here, that they know all that we know.
    pub fn unheard(&self) -> impl Iterator<Item = NodeId> {
        let others = self.roster.members().keys().copied().filter(|node| *node != self.me.id);
        let live = others.filter(|node| self.members.liveness(*node) == Liveness::Live);
        live.filter(|node| !self.gossip.is_in_step(&self.items, *node))
    }

    /// The state files whose newest content is not on the disk yet: a restart would undo it.
    pub fn unsaved(&self) -> impl Iterator<Item = DurableKind> {
        self.disk.unsettled()
    }

    /// What we say of ourselves.
    pub fn record(&self) -> &Record {
        self.records.own()
    }

    /// The members' clocks against ours.
    pub fn clock_offset(&self, now: Now) -> ClockOffset {
        self.members.clock_offset(now)
    }

    /// When a member was last heard, and how many milliseconds its clock is ahead of ours, if that is known.
    pub fn heard(&self, now: Now, node: NodeId) -> (Option<Mono>, Option<i64>) {
        (self.members.heard_at(node), self.members.clock_ahead_ms(now, node))
    }

    /// Our role: `Alone` exactly while the roster is ourselves, `Holder` only with the claim on disk.
    pub(super) fn role(&self) -> Role {
        match self.lease.holding() {
            _ if self.roster.len() == 1 && self.roster.contains(self.me.id) => Role::Alone,
            Some(epoch) => Role::Holder { epoch },
            None => Role::Follower,
        }
    }

    fn member(&self, node: NodeId) -> Member {
        let record = self.records.get(node).cloned();
        if node == self.me.id {
            return Member {
                node,
                liveness: Liveness::Live,
                since: Mono::default(),
                record,
                record_behind: false,
                record_current: true,
            };
        }
        let held = record.as_ref().map_or((0, 0), |record| (record.incarnation, record.version));
        let named = self.members.named_order(node);
        Member {
            node,
            liveness: self.members.liveness(node),
            since: self.members.since(node),
            record_behind: self.members.names_newer(node, held),
            record_current: named == Some(held),
            record,
        }
    }

    /// The mesh peers there should be: all other members, with the newest contact known, and for a moment those who are
    /// none any more, to be told so.
    pub fn peers(&self) -> Arc<Vec<Peer>> {
        let mates = self.mates.get((self.roster.hash(), self.contacts.changes()), || Arc::new(self.mates()));
        let gone = self.farewells.peers().filter(|peer| !self.roster.contains(peer.node));
        let gone: Vec<Peer> = gone.cloned().collect();
        if gone.is_empty() { mates } else { Arc::new(mates.iter().cloned().chain(gone).collect()) }
    }

    fn mates(&self) -> Vec<Peer> {
        let mut contacts = self.contacts.walk();
        let others = self.roster.members().iter().filter(|(node, _)| **node != self.me.id);
        others.map(|(node, wg)| Peer { node: *node, wg: *wg, contact: contacts.get(*node).cloned() }).collect()
    }
}
