//! Records: what each node says of itself, signed and versioned, and our own among them.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::item::{Items, Key, Stamp};
use super::roster::Roster;
use super::sign::{self, Purpose, Unverified};
use super::timing::{DUPLICATE_CONFLICTS, DUPLICATE_WINDOW, ITEM_MAX};
use super::walk::Walk;
use super::{Identity, PeerError, wire};
use crate::hsdesc::{Harvest, InnerHeader, IntroPoint, NUM_INTRO_POINT_MAX, PowOffer};
use crate::id::NodeId;
use crate::sabotage::{Rule, is_broken};
use crate::time::Mono;

/// What this node can say about itself; recomputed by `Node` after every input, pushed when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Local {
    /// Points of all our tors that have a circuit behind them.
    pub points: Arc<[IntroPoint]>,
    /// Inner lines of our tor's descriptor.
    pub header: Arc<InnerHeader>,
    /// Proof of work, if our tor, the only one that has points, offers it.
    pub pow: Option<PowOffer>,
    /// What that tor was made to show besides.
    pub harvest: Option<Harvest>,
    /// Tor bootstrapped and its service has points.
    pub tor_ready: bool,
    /// The target answers.
    pub target_up: bool,
    /// May publish: tor ready, live consensus, ring known, clock sane, not draining.
    pub eligible: bool,
}

/// `Active`, or on the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// Serves.
    Active,
    /// Serves open sessions only.
    Draining,
    /// Shutting down or leaving.
    Leaving,
}

/// A node's own record, verified. Order is (incarnation, version).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Owner.
    pub node: NodeId,
    /// max(persisted + 1, unix seconds at start).
    pub incarnation: u64,
    /// Bumped at every change.
    pub version: u64,
    /// The token generation in force there.
    pub generation: u32,
    /// See [`ClusterConfig`](super::ClusterConfig).
    pub priority: u8,
    /// See [`ClusterConfig`](super::ClusterConfig).
    pub weight: u16,
    /// See [`NodeState`].
    pub state: NodeState,
    /// See [`Local`].
    pub tor_ready: bool,
    /// See [`Local`].
    pub target_up: bool,
    /// See [`Local`].
    pub eligible: bool,
    /// For people.
    pub name: String,
    /// Mesh contact.
    pub contact: Option<String>,
    /// `rustbalance/0.1.0`.
    pub software: String,
    /// Wire protocol version.
    pub protocol: u8,
    /// Inner lines.
    pub header: InnerHeader,
    /// At most 20.
    pub points: Vec<IntroPoint>,
    /// Proof of work with these points. A record without it is what it was before there was proof of work, byte for byte,
    /// and read by nodes that know nothing of it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "at_the_end")]
    pub pow: Option<PowOffer>,
    /// Points for a time period whose points that tor does not show; only with proof of work. Missing at the end, too, if
    /// there is nothing to say.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "at_the_end")]
    pub harvest: Option<Harvest>,
}

/// A field that may be missing at the end. What is there and malformed counts as missing, and is not what we would have
/// written: see [`Unverified::is_canonical`].
fn at_the_end<'de, D: Deserializer<'de>, T: Deserialize<'de>>(end: D) -> Result<Option<T>, D::Error> {
    Ok(Option::deserialize(end).unwrap_or_default())
}

impl Record {
    /// Whether clients may be sent to this node, by its own word.
    pub(crate) fn serves(&self) -> bool {
        self.state == NodeState::Active && self.tor_ready && self.target_up
    }

    /// All points of the node that clients may know, for whichever time period.
    pub(crate) fn all_points(&self) -> impl Iterator<Item = &IntroPoint> {
        self.points.iter().chain(self.harvest.iter().flat_map(|harvest| &harvest.points))
    }

    /// Where it stands among its node's records.
    pub(crate) fn order(&self) -> (u64, u64) {
        (self.incarnation, self.version)
    }

    /// Whether its node may publish, by its own word.
    pub(super) fn is_eligible(&self) -> bool {
        self.eligible && self.state == NodeState::Active
    }
}

/// Longest node name, bytes.
pub const NAME_MAX: usize = 32;
/// Longest contact, bytes.
pub const CONTACT_MAX: usize = 64;
/// Header lines of a record together, bytes. C tor's are below 300.
pub const HEADER_MAX: usize = 4096;
/// Longest software name, bytes.
const SOFTWARE_MAX: usize = 64;
/// Link specifiers of one point, bytes.
pub(super) const LINK_SPECIFIERS_MAX: usize = 255;

const _: () = assert!(
    2 * NUM_INTRO_POINT_MAX * (LINK_SPECIFIERS_MAX + 2 + 96) + HEADER_MAX + 1024 <= ITEM_MAX,
    "the largest record is an item"
);

/// All records of members, ours included.
#[derive(Debug)]
pub(super) struct Records {
    own: Arc<Record>,
    others: BTreeMap<NodeId, Arc<Record>>,
    changes: u64,
    rank_changes: u64,
    /// Of the members that [`Self::retain_members`] last retained.
    roster_hash: [u8; 16],
    /// What [`Self::set_local`] was last told, and our state then.
    said: Option<(Local, NodeState)>,
    /// When others showed a record of ours that we did not write, within [`DUPLICATE_WINDOW`].
    conflicts: Vec<Mono>,
    /// Another process runs with our keys. It has the last word: every further one would be a conflict there.
    is_duplicate: bool,
}

impl Records {
    /// Our record as it stands before tor has said anything.
    pub(super) fn new(me: &Identity, incarnation: u64) -> Self {
        let own = Record {
            node: me.id,
            incarnation,
            version: 0,
            generation: 0,
            priority: me.priority,
            weight: me.weight,
            state: NodeState::Active,
            tor_ready: false,
            target_up: false,
            eligible: false,
            name: truncated(&me.name.replace(char::is_control, ""), NAME_MAX),
            contact: me
                .contact
                .clone()
                .filter(|contact| contact.len() <= CONTACT_MAX && !contact.contains(char::is_control)),
            software: concat!("rustbalance/", env!("CARGO_PKG_VERSION")).to_owned(),
            protocol: wire::VERSION,
            header: InnerHeader::default(),
            points: Vec::new(),
            pow: None,
            harvest: None,
        };
        let own = Arc::new(own);
        Self {
            own,
            others: BTreeMap::new(),
            changes: 0,
            rank_changes: 0,
            roster_hash: [0; 16],
            said: None,
            conflicts: Vec::new(),
            is_duplicate: false,
        }
    }

    /// Another process runs with our keys.
    pub(super) fn is_duplicate(&self) -> bool {
        self.is_duplicate
    }

    /// Our own.
    pub(super) fn own(&self) -> &Record {
        &self.own
    }

    /// Grows with every change of any record.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Grows with every change of a record that its node's rank follows from: eligibility and priority.
    pub(super) fn rank_changes(&self) -> u64 {
        self.rank_changes
    }

    /// Those of all nodes but ourselves.
    pub(super) fn walk(&self) -> Walk<'_, Arc<Record>> {
        Walk::new(&self.others)
    }

    fn count_change(&mut self, before: Option<&Record>, after: Option<&Record>) {
        let rank = |record: &Record| (record.is_eligible(), record.state == NodeState::Active, record.priority);
        self.changes += 1;
        self.rank_changes += u64::from(before.map(rank) != after.map(rank));
    }

    /// A member's newest record.
    pub(super) fn get(&self, node: NodeId) -> Option<&Arc<Record>> {
        if node == self.own.node { Some(&self.own) } else { self.others.get(&node) }
    }

    /// Changes our record; signs and stores a new version if `change` made a difference. True if so.
    pub(super) fn amend(&mut self, me: &Identity, items: &mut Items, change: impl FnOnce(&mut Record)) -> bool {
        let mut next = Record::clone(&self.own);
        change(&mut next);
        if self.is_duplicate || (next == *self.own && self.own.version > 0) {
            return false;
        }
        self.write(me, items, next);
        true
    }

    /// Makes `next` our record's next version.
    fn write(&mut self, me: &Identity, items: &mut Items, next: Record) {
        let next = Record { version: next.version + 1, ..next };
        let blob = sign::seal(&me.keypair, Purpose::Record, me.cluster, &next);
        items.put(Key::Record(me.id), Stamp::new(next.incarnation, next.version, &blob), blob);
        let before = core::mem::replace(&mut self.own, Arc::new(next));
        self.count_change(Some(&before), Some(&self.own.clone()));
    }

    /// Takes what the tors and the target say of this node.
    pub(super) fn set_local(&mut self, me: &Identity, items: &mut Items, local: Local) -> bool {
        let is_said = |(said, state): &(Local, NodeState)| *said == local && *state == self.own.state;
        if self.said.as_ref().is_some_and(is_said) {
            return false; // as nearly always, and nothing is copied
        }
        self.said = Some((local.clone(), self.own.state));
        self.amend(me, items, |record| {
            record.points = local.points.to_vec();
            record.points.retain(|point| point.link_specifiers.len() <= LINK_SPECIFIERS_MAX);
            record.points.truncate(NUM_INTRO_POINT_MAX);
            let mut room = HEADER_MAX;
            record.header = local.header.as_ref().clone();
            record.header.0.retain(|line| {
                let fits = line.len() < room;
                room = if fits { room - line.len() - 1 } else { 0 };
                fits
            });
            record.pow = local.pow;
            record.harvest = local.harvest.filter(|_| local.pow.is_some());
            record.tor_ready = local.tor_ready;
            record.target_up = local.target_up;
            record.eligible = local.eligible && record.state == NodeState::Active;
        })
    }

    /// Verifies a record from gossip and keeps it if it is newer. `Ok(None)`: it was about us, and ours is bumped.
    ///
    /// # Errors
    /// State unchanged: not a member's, malformed, out of bounds, badly signed or not newer.
    pub(super) fn accept(
        &mut self,
        now: Mono,
        me: &Identity,
        roster: &Roster,
        items: &mut Items,
        blob: &[u8],
    ) -> Result<Option<Arc<Record>>, PeerError> {
        let record = Unverified::<Record>::decode(blob).ok_or(PeerError::Malformed)?;
        let (node, order) = (record.claim().node, (record.claim().incarnation, record.claim().version));
        if !roster.contains(node) {
            return Err(PeerError::NotAMember);
        }
        if !is_within_bounds(record.claim()) || !record.is_canonical() {
            return Err(PeerError::Malformed);
        }
        let (key, stamp) = (Key::Record(node), Stamp::new(order.0, order.1, blob));
        if items
            .stamp(key)
            .is_some_and(|held| held >= stamp && (node != me.id || held.order() != order || held == stamp))
        {
            return Err(PeerError::Stale);
        }
        let record = record.verify(node, Purpose::Record, me.cluster).ok_or(PeerError::BadSignature)?;
        if node == me.id {
            self.outbid(now, me, items, &record);
            return Ok(None);
        }
        items.put(key, stamp, blob.to_vec());
        let record = Arc::new(record);
        let before = self.others.insert(node, record.clone());
        self.count_change(before.as_deref(), Some(&record));
        Ok(Some(record))
    }

    /// Somebody holds a record of ours that we did not write: from before a lost disk or a restored snapshot, or by a
    /// twin. Ours must win, and with a new incarnation so do its heartbeats.
    fn outbid(&mut self, now: Mono, me: &Identity, items: &mut Items, theirs: &Record) {
        self.conflicts.retain(|at| now.since(*at) < DUPLICATE_WINDOW);
        self.conflicts.push(now);
        let is_duplicate = self.conflicts.len() >= DUPLICATE_CONFLICTS;
        self.is_duplicate |= is_duplicate && !is_broken(Rule::DuplicateStops);
        if self.is_duplicate {
            self.conflicts.clear();
            return;
        }
        let incarnation = theirs.incarnation.max(self.own.incarnation).saturating_add(1);
        self.write(me, items, Record { incarnation, ..Record::clone(&self.own) });
    }

    /// Forgets records of nodes that are no members any more.
    pub(super) fn retain_members(&mut self, roster: &Roster, items: &mut Items) {
        if self.roster_hash == roster.hash() {
            return; // only members' records have come since
        }
        self.roster_hash = roster.hash();
        let gone: Vec<NodeId> = self.others.keys().copied().filter(|node| !roster.contains(*node)).collect();
        for node in gone {
            let before = self.others.remove(&node);
            self.count_change(before.as_deref(), None);
            items.remove(Key::Record(node));
        }
    }
}

/// Texts are shown on operators' terminals, so control characters are out of bounds, too.
fn is_within_bounds(record: &Record) -> bool {
    let fits = |text: &str, max| text.len() <= max && !text.chars().any(char::is_control);
    fits(&record.name, NAME_MAX)
        && record.contact.as_ref().is_none_or(|contact| fits(contact, CONTACT_MAX))
        && fits(&record.software, SOFTWARE_MAX)
        && record.version < u64::MAX
        && record.incarnation < u64::MAX
        && (1..=1000).contains(&record.weight)
        && record.header.0.iter().map(|line| line.len() + 1).sum::<usize>() <= HEADER_MAX
        && are_points_within_bounds(&record.points)
        && record.pow.is_none_or(|pow| pow.params.is_within_bounds())
        && record
            .harvest
            .as_ref()
            .is_none_or(|harvest| record.pow.is_some() && are_points_within_bounds(&harvest.points))
}

/// At most 20 points, each with at most 255 bytes of link specifiers.
pub(super) fn are_points_within_bounds(points: &[IntroPoint]) -> bool {
    points.len() <= NUM_INTRO_POINT_MAX && points.iter().all(|point| point.link_specifiers.len() <= LINK_SPECIFIERS_MAX)
}

/// The longest prefix of whole characters within `max` bytes.
fn truncated(text: &str, max: usize) -> String {
    text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= max).map(|(_, c)| c).collect()
}
