//! The way out: the lease first, then the introduction circuits by which clients come, then, for who leaves for good, the
//! tombstone. And farewells to those who are removed.

use std::collections::BTreeMap;

use super::item::Items;
use super::timing::{CLOSED_FOR, FAREWELLS, GOODBYE_WITHIN, PUSH_ALL, RELEASE_GAP, RELEASE_SENDS, TOMBSTONE_SENDS};
use super::{Cluster, Key, NodeState, gossip, pick};
use crate::id::NodeId;
use crate::output::{Event, Outbox, Peer};
use crate::time::{Mono, Now};

/// The way out, once begun.
#[derive(Debug)]
pub(super) struct Goodbye {
    leave: bool,
    left: u8,
    next_at: Mono,
    since: Mono,
    /// When nobody could come by our introduction points any more.
    withdrawn: Option<Mono>,
}

impl Goodbye {
    /// When there is more to say.
    pub(super) fn next_timeout(&self) -> Option<Mono> {
        (self.left > 0).then_some(self.next_at)
    }

    /// Whether clients have had their time to be told.
    fn is_withdrawn(&self, now: Mono) -> bool {
        self.withdrawn.is_some_and(|at| now >= at.plus(CLOSED_FOR)) || now >= self.since.plus(GOODBYE_WITHIN)
    }
}

/// Nodes that have just been removed. Each is told a few times, that it may stop publishing; nobody else will tell it,
/// for all have closed their tunnels. At most one for each entry of the roster, for a node is a member once; each is
/// forgotten after [`FAREWELLS`] datagrams.
#[derive(Debug, Default)]
pub(super) struct Farewells(BTreeMap<NodeId, Farewell>);

#[derive(Debug)]
struct Farewell {
    peer: Peer,
    /// Whose entry says it: its own, or that of the node by whose word it was a member.
    entry: NodeId,
    left: u8,
    next_at: Mono,
}

impl Farewells {
    /// `peer` is a member no more, by the entry of `entry`.
    pub(super) fn add(&mut self, now: Mono, peer: Peer, entry: NodeId) {
        self.0.insert(peer.node, Farewell { peer, entry, left: FAREWELLS, next_at: now });
    }

    /// Tells them, and forgets those who have been told often enough.
    pub(super) fn tick(&mut self, now: Mono, items: &Items, out: &mut Outbox) {
        self.0.retain(|_, farewell| farewell.left > 0 || now < farewell.next_at);
        for farewell in self.0.values_mut().filter(|farewell| now >= farewell.next_at) {
            gossip::send(items, farewell.peer.node, Key::Entry(farewell.entry), out);
            farewell.left -= 1;
            farewell.next_at = now.plus(RELEASE_GAP);
        }
    }

    /// Those whose tunnels are still needed.
    pub(super) fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.0.values().map(|farewell| &farewell.peer)
    }

    /// When there is more to say, or to forget.
    pub(super) fn next_timeout(&self) -> Option<Mono> {
        self.0.values().map(|farewell| farewell.next_at).min()
    }
}

impl Cluster {
    /// Stop serving: state `Leaving`, lease released; `leave` also writes the tombstone. Idempotent.
    pub fn shut_down(&mut self, now: Now, leave: bool, out: &mut Outbox) {
        if self.goodbye.as_ref().is_some_and(|goodbye| goodbye.leave || !leave) {
            return;
        }
        let (since, withdrawn) =
            self.goodbye.take().map_or((now.mono, None), |goodbye| (goodbye.since, goodbye.withdrawn));
        self.goodbye = Some(Goodbye { leave, left: RELEASE_SENDS, next_at: now.mono, since, withdrawn });
        self.records.amend(&self.me, &mut self.items, |record| {
            record.state = NodeState::Leaving;
            record.eligible = false;
        });
        self.lease.stop(now.mono);
        self.push_own(now.mono);
        self.save(out, now.mono);
    }

    /// Another process runs with our keys: the node is to stop, and has begun to.
    pub fn is_duplicate(&self) -> bool {
        self.records.is_duplicate()
    }

    /// Stops as [`Self::shut_down`] does, but says nothing that would be in the other's name as well, save that we no
    /// longer publish.
    fn stop_as_duplicate(&mut self, now: Mono) {
        self.goodbye = Some(Goodbye { leave: false, left: 0, next_at: now, since: now, withdrawn: None });
        self.lease.stop(now);
    }

    /// No client can come by the points of our tors (any more). Who stops waits for that, if clients have somebody to go on
    /// to: a tor that ends does not always have its relays tell them.
    pub fn set_withdrawn(&mut self, now: Mono, is_withdrawn: bool) {
        let is_withdrawn = self.goodbye.is_some() && (is_withdrawn || !self.does_another_serve());
        if let Some(goodbye) = self.goodbye.as_mut().filter(|_| is_withdrawn) {
            goodbye.withdrawn.get_or_insert(now);
        }
    }

    /// Goodbyes have been sent (and a tombstone is on disk); the node may stop.
    pub fn is_stopped(&self) -> bool {
        let said = self.goodbye.as_ref().is_some_and(|goodbye| goodbye.left == 0);
        said && self.lease.is_released() && self.is_roster_durable()
    }

    /// Counts the repetitions of what was pushed. The tombstone comes last: from a node that left, a release is
    /// nobody's word.
    pub(super) fn say_goodbye(&mut self, now: Now, out: &mut Outbox) {
        if self.is_duplicate() && self.goodbye.is_none() {
            return self.stop_as_duplicate(now.mono);
        }
        let Some(goodbye) = self.goodbye.as_mut().filter(|goodbye| goodbye.left > 0 && now.mono >= goodbye.next_at)
        else {
            return;
        };
        goodbye.next_at = now.mono.plus(RELEASE_GAP);
        if goodbye.left == 1 && !goodbye.is_withdrawn(now.mono) {
            return;
        }
        goodbye.left -= 1;
        if !goodbye.leave {
            return;
        }
        if !self.roster.contains(self.me.id) {
            self.push_tombstone(now);
        } else if goodbye.left == 0 {
            goodbye.left = TOMBSTONE_SENDS;
            self.bury_ourselves(now, out);
        }
    }

    pub(super) fn bury_ourselves(&mut self, now: Now, out: &mut Outbox) {
        let entry = self.roster.bury(&self.items, &self.me.keypair, self.me.id, now.wall);
        if entry.is_some_and(|entry| self.roster.accept(&entry, &mut self.items).is_ok()) {
            self.push_tombstone(now);
            out.event(Event::Left(self.me.id));
        }
    }

    fn push_tombstone(&mut self, now: Now) {
        let others: Vec<NodeId> = self.others().collect();
        let targets = pick(others, PUSH_ALL, &mut self.rng);
        self.gossip.push(now.mono, &self.items, Key::Entry(self.me.id), targets);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{FAREWELLS, Farewells};
    use crate::cluster::item::{Items, Stamp};
    use crate::cluster::record::Records;
    use crate::cluster::roster::{RosterFile, admit};
    use crate::cluster::tests::{CLUSTER, identity, sent};
    use crate::cluster::wire::Message;
    use crate::cluster::{ClusterConfig, ClusterToken, Key, NodeKeypair, sign, sign::Purpose};
    use crate::id::WgPublicKey;
    use crate::input::Input;
    use crate::node::{Config, Node};
    use crate::onion::key::HsIdKeypair;
    use crate::output::{DurableKind, Outbox, Output, Peer, Stop};
    use crate::rng::Seed;
    use crate::time::{Mono, Now, Wall};

    #[test]
    fn a_node_is_told_farewell_so_often_however_often_it_is_removed() {
        let (node, at) = (identity(2), Mono::from_ms);
        let blob = admit(&node.keypair, CLUSTER, 0, node.id, node.wg);
        let mut items = Items::default();
        items.put(Key::Entry(node.id), Stamp::new(1, 0, &blob), blob);
        let (mut farewells, mut out, mut told) = (Farewells::default(), Outbox::default(), 0);
        for ms in 0..2_000 {
            if ms < 2 {
                farewells.add(at(ms), Peer { node: node.id, wg: node.wg, contact: None }, node.id);
                assert_eq!(farewells.peers().count(), 1);
            }
            farewells.tick(at(ms), &items, &mut out);
            told += sent(&mut out).len();
        }
        assert_eq!(told, usize::from(FAREWELLS) + 1, "one of the first time");
        assert_eq!((farewells.peers().count(), farewells.next_timeout()), (0, None));
    }

    #[test]
    fn a_node_that_finds_its_double_stops_and_says_why() {
        let (me, other) = (identity(1), identity(2));
        let wg = WgPublicKey([1; 32]);
        let entries =
            vec![admit(&me.keypair, CLUSTER, 0, me.id, wg), admit(&me.keypair, CLUSTER, 0, other.id, other.wg)];
        let file = sign::encode(&RosterFile { entries, ..RosterFile::default() });
        let cluster = ClusterConfig {
            keypair: NodeKeypair::from_seed(&[1; 32]),
            wg,
            cluster: CLUSTER,
            genesis: me.id,
            token: ClusterToken::new([7; 32]),
            priority: 100,
            weight: 100,
            name: String::new(),
            contact: None,
            token_age_max: None,
        };
        let master = HsIdKeypair::generate(&mut Seed::new([1; 32]).fork("master"));
        let now = Now { mono: Mono::from_ms(1_000), wall: Wall::from_secs(1_700_000_000) };
        let saved = BTreeMap::from([(DurableKind::Roster, file)]);
        let mut node = Node::new(
            Config { master, cluster, tors: 1, is_attached: false, points: 20 },
            &saved,
            &Seed::new([1; 32]),
            now,
        )
        .unwrap();
        let mut stopped = Vec::new();
        for conflict in 1..=3 {
            assert_eq!(stopped, [], "conflict {conflict}");
            let record = Records::new(&me, 1_800_000_000 + 10 * conflict).own().clone();
            let blob = sign::seal(&me.keypair, Purpose::Record, CLUSTER, &record);
            let bytes = Message::Item { key: Key::Record(me.id), blob }.encode();
            node.handle(now, Input::Peer { from: other.id, bytes: &bytes }).unwrap();
            while let Some(output) = node.poll_output() {
                if let Output::Persist { id, .. } = output {
                    node.handle(now, Input::Done { id, result: Ok(()) }).unwrap();
                } else if let Output::Stopped(why) = output {
                    stopped.push(why);
                }
            }
        }
        assert_eq!(stopped, [Stop::DuplicateIdentity]);
    }
}
