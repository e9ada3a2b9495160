//! For fuzzing and for ordinary tests: a node of a cluster of two, and any bytes as what the other says or as what stands
//! in its own files, past the signatures that would keep them out.

mod door;

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use rand_core::SeedableRng as _;

use super::item::Key;
use super::roster::{self, RosterFile};
use super::sign::{self, Purpose};
use super::wire::Message;
use super::{
    Access, AccessChange, Cluster, ClusterConfig, ClusterToken, Local, NewInvite, NodeKeypair, Order, PlanNode,
    ProvenPlan, Publication, entry,
};
use crate::hsdesc::{Harvest, InnerHeader, IntroPoint, PowOffer, PowParams};
use crate::id::{ClusterId, NodeId, WgPublicKey};
use crate::invite::InviteId;
use crate::join::found;
use crate::onion::client::HsClientDescEncKeypair;
use crate::onion::key::HsId;
use crate::output::{DurableKind, Outbox, Output, RequestId};
use crate::rng::Rng;
use crate::time::{Mono, Now, Wall};

pub(crate) use self::door::Door;

const START: Now = Now { mono: Mono::from_ms(10_000), wall: Wall::from_secs(1_700_000_000) };
/// More than a datagram, however it is answered, makes a node say to its only peer at once.
const OUTPUTS_MAX: usize = 500;

/// Two nodes whose keys never change, so that what was once said can be said again.
pub struct Pair {
    keypairs: [NodeKeypair; 2],
}

impl Default for Pair {
    fn default() -> Self {
        Self { keypairs: [1, 2].map(|seed| NodeKeypair::from_seed(&[seed; 32])) }
    }
}

impl Pair {
    /// The node that has founded the cluster.
    pub fn first(&self) -> &NodeKeypair {
        let [first, _] = &self.keypairs;
        first
    }

    /// The node that is spoken to listens to this one.
    pub fn second(&self) -> NodeId {
        let [_, second] = &self.keypairs;
        second.id()
    }

    fn cluster(&self) -> ClusterId {
        found(self.first(), wg(1), HsId([5; 32]), &Access::Open).cluster
    }

    /// The roster of the two, and of one more.
    pub(crate) fn roster_with(&self, node: NodeId, wg_key: WgPublicKey) -> RosterFile {
        let (first, cluster) = (self.first(), self.cluster());
        let members = [(first.id(), wg(1)), (self.second(), wg(2)), (node, wg_key)];
        let entries = members.map(|(node, wg)| roster::admit(first, cluster, 0, node, wg)).to_vec();
        RosterFile { entries, ..RosterFile::default() }
    }

    /// The first node's files; the roster among them makes the second a member.
    pub fn saved(&self) -> BTreeMap<DurableKind, Vec<u8>> {
        let roster = self.roster_with(self.second(), wg(2));
        BTreeMap::from([(DurableKind::Roster, sign::encode(&roster))])
    }

    /// What node 1 or 2 is told at its start.
    pub fn config(&self, node: u8) -> ClusterConfig {
        ClusterConfig {
            keypair: NodeKeypair::from_seed(&[node; 32]),
            wg: wg(node),
            cluster: self.cluster(),
            genesis: self.first().id(),
            token: ClusterToken::new([9; 32]),
            // The second is the one that publishes.
            priority: 100 - node,
            weight: 100,
            name: String::new(),
            contact: None,
            token_age_max: None,
        }
    }

    /// `datagram` as the second node says it: signed by it wherever neither of the two has signed it.
    pub fn said_by_second(&self, datagram: &[u8]) -> Vec<u8> {
        let mut keypairs = Self::default().keypairs;
        keypairs.reverse();
        let (cluster, again) = (self.cluster(), sign::seal_again);
        let message = match Message::decode(datagram) {
            Ok(Message::Beacon(blob)) => Message::Beacon(again(&keypairs, Purpose::Beacon, cluster, &blob)),
            Ok(Message::Answer { age_ms, beacon }) => {
                Message::Answer { age_ms, beacon: again(&keypairs, Purpose::Beacon, cluster, &beacon) }
            }
            Ok(Message::Item { key, blob }) => {
                let blob = match key {
                    Key::Entry(_) => entry::seal_again(&keypairs, cluster, &blob),
                    Key::Record(_) => again(&keypairs, Purpose::Record, cluster, &blob),
                    Key::Plan => again(&keypairs, Purpose::Plan, cluster, &blob),
                    Key::Rotation => again(&keypairs, Purpose::Rotation, cluster, &blob),
                    Key::Access => again(&keypairs, Purpose::Access, cluster, &blob),
                    Key::Invites => again(&keypairs, Purpose::Invites, cluster, &blob),
                    Key::Pause => again(&keypairs, Purpose::Pause, cluster, &blob),
                };
                Message::Item { key, blob }
            }
            Ok(Message::Order(blob)) => Message::Order(again(&keypairs, Purpose::Order, cluster, &blob)),
            _ => return datagram.to_vec(),
        };
        message.encode()
    }

    /// What the second node really says in the first `seconds` seconds, while it publishes and its operator is busy, in the
    /// form that [`exercise_datagrams`] takes.
    pub fn conversation(&self, seconds: u64) -> Vec<u8> {
        let mut hosts = [1, 2].map(|node| Host::start(self.config(node), &self.saved()));
        let mut said = Vec::new();
        for step in 0..seconds * 10 {
            let [first, second] = &mut hosts;
            second.lead(step);
            for host in [&mut *first, &mut *second] {
                host.tick(Duration::from_millis(if step == 0 { 0 } else { 100 }));
            }
            for datagram in second.take_sent() {
                said.extend(spoken(if step == 0 { 0 } else { 3 }, &datagram));
                let _refused = first.hear(self.second(), &datagram);
            }
            for datagram in first.take_sent() {
                let _refused = second.hear(self.first().id(), &datagram);
            }
        }
        said
    }
}

fn wg(node: u8) -> WgPublicKey {
    WgPublicKey([node; 32])
}

/// One datagram after `pause` squared, times ten, milliseconds.
pub fn spoken(pause: u8, datagram: &[u8]) -> Vec<u8> {
    let length = u16::try_from(datagram.len()).unwrap_or(u16::MAX);
    [&[pause], &length.to_be_bytes()[..], datagram].concat()
}

/// The pauses and datagrams in `bytes`, see [`spoken`]; the rest is one more.
pub fn heard(bytes: &[u8]) -> impl Iterator<Item = (Duration, &[u8])> {
    let mut rest = Some(bytes);
    core::iter::from_fn(move || {
        let bytes = rest?;
        let parts = bytes.split_first_chunk().and_then(|(&[pause, high, low], tail)| {
            let (datagram, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
            Some((pause, datagram, tail))
        });
        rest = parts.map(|(_, _, tail)| tail);
        let (pause, datagram, _) = parts.unwrap_or((0, bytes, &[]));
        Some((Duration::from_millis(u64::from(pause).pow(2) * 10), datagram))
    })
}

/// A node whose disk works.
struct Host {
    cluster: Cluster,
    now: Now,
    out: Outbox,
    sent: Vec<Vec<u8>>,
    /// To the invited.
    answers: Vec<Option<Vec<u8>>>,
    files: BTreeMap<DurableKind, Vec<u8>>,
}

impl Host {
    fn start(config: ClusterConfig, saved: &BTreeMap<DurableKind, Vec<u8>>) -> Self {
        let (mut out, WgPublicKey([seed, ..])) = (Outbox::default(), config.wg);
        let cluster = Cluster::new(config, saved, Rng::seed_from_u64(seed.into()), START, &mut out);
        Self { cluster, now: START, out, sent: Vec::new(), answers: Vec::new(), files: saved.clone() }
    }

    fn tick(&mut self, pause: Duration) {
        let wall = Wall::from_secs(START.wall.as_secs() + self.now.mono.since(START.mono).as_secs());
        self.now = Now { mono: self.now.mono.plus(pause), wall };
        self.cluster.tick(self.now, &mut self.out);
        self.drain();
    }

    /// What a publisher's life is made of.
    fn lead(&mut self, step: u64) {
        let Self { cluster, now, out, .. } = self;
        let point = IntroPoint { link_specifiers: vec![0], onion_key: [1; 32], auth_key: [2; 32], enc_key: [3; 32] };
        let (tor_ready, target_up, eligible) = (true, true, true);
        match step {
            0 => {
                let header = InnerHeader(vec!["create2-formats 2".to_owned()]);
                let points = vec![point];
                let params = PowParams { seed: [6; 32], effort: 7, expires: START.wall.as_secs() + 7200 };
                cluster.set_local(
                    *now,
                    Local {
                        pow: Some(PowOffer { period: 19_675, params }),
                        harvest: Some(Harvest { period: 19_676, number: 1, points: points.clone() }),
                        points: points.into(),
                        header: header.into(),
                        tor_ready,
                        target_up,
                        eligible,
                    },
                    out,
                );
            }
            80 => {
                let node = PlanNode { incarnation: 1, version: 1, points: vec![point] };
                let nodes = BTreeMap::from([(cluster.me.id, node)]);
                let proven = Some(Arc::new(ProvenPlan { epoch: 1, serial: 1, nodes }));
                cluster.set_publication(*now, Publication { proven, ..Publication::default() }, out);
            }
            90 => _ = cluster.rotate_token(*now, out),
            100 => {
                let key = HsClientDescEncKeypair::from_bytes(&[4; 32]).public();
                let alice = "alice".parse().map(|name| AccessChange::Add(name, key));
                _ = cluster.change_access(*now, &Vec::from_iter(alice), out);
            }
            110 => _ = cluster.pause(*now, 600, out),
            120 => {
                let first = cluster.others().next();
                _ = first.map(|first| cluster.order(*now, first, Order::Weight(Some(50)), out));
            }
            130 => {
                let (id, expires) = (InviteId([6; 32]), START.wall.as_secs() + 3_600);
                let new = "bob".parse().map(|name| NewInvite { id, name, uses: 2, expires });
                _ = new.map(|new| cluster.invite(*now, &new, out));
            }
            _ => {}
        }
    }

    fn hear(&mut self, from: NodeId, datagram: &[u8]) -> Result<(), super::PeerError> {
        let heard = self.cluster.handle_peer(self.now, from, datagram, &mut self.out);
        self.drain();
        heard
    }

    fn drain(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.out.pop() {
            outputs += 1;
            assert!(outputs < OUTPUTS_MAX, "no end of outputs");
            if let Output::SendPeer { bytes, .. } = output {
                self.sent.push(bytes);
            } else if let Output::InviteReply { answer, .. } = output {
                self.answers.push(answer);
            } else if let Output::Persist { id, record } = output {
                self.files.insert(record.kind, record.bytes);
                self.cluster.handle_done(self.now, id, &Ok(()), &mut self.out);
            }
        }
    }

    fn take_sent(&mut self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.sent)
    }
}

/// Hands `bytes` to the first node as what the second says, signed where it has to be, and the rest of it also as a
/// stranger's word and as an admission request.
///
/// # Panics
/// If a refused datagram changed anything, or one is answered without end: that would be a bug of ours.
pub fn exercise_datagrams(bytes: &[u8]) {
    let pair = Pair::default();
    let mut host = Host::start(pair.config(1), &pair.saved());
    for (pause, datagram) in heard(bytes) {
        host.tick(pause);
        let before = format!("{:?}", host.cluster);
        for datagram in [datagram, &pair.said_by_second(datagram)] {
            match host.hear(pair.second(), datagram) {
                Err(refused) => assert_eq!(before, format!("{:?}", host.cluster), "{refused}"),
                Ok(()) => break,
            }
        }
        host.take_sent();
    }
    let rest = heard(bytes).last().map_or(&[][..], |(_, rest)| rest);
    let _refused = host.cluster.handle_stranger(host.now, rest, &mut host.out);
    let _refused = host.cluster.handle_admit(host.now, RequestId(0), wg(3), rest, &mut host.out);
    host.tick(Duration::from_secs(1));
}

/// Starts the first node with `bytes` as its files, each after a byte for its kind and its length in two bytes, once as they
/// are and once signed.
///
/// # Panics
/// Never, but for a bug of ours.
pub fn exercise_saved(bytes: &[u8]) {
    let pair = Pair::default();
    let mut saved = BTreeMap::new();
    let mut rest = bytes;
    while let Some((&[kind, high, low], tail)) = rest.split_first_chunk() {
        let Some((file, tail)) = tail.split_at_checked(usize::from(u16::from_be_bytes([high, low]))) else { break };
        let kind = DurableKind::SAVED.get(usize::from(kind) % DurableKind::SAVED.len()).copied();
        saved.extend(kind.map(|kind| (kind, file.to_vec())));
        rest = tail;
    }
    run(&pair, &saved);
    let again = |purpose, blob: &[u8]| sign::seal_again(&pair.keypairs, purpose, pair.cluster(), blob);
    for (kind, file) in &mut saved {
        match kind {
            DurableKind::Roster => {
                let roster = sign::decode(file);
                *file = roster.map_or(file.clone(), |roster| sign::encode(&seal_file_again(&roster, pair.cluster())));
            }
            DurableKind::Plan => *file = again(Purpose::Plan, file),
            DurableKind::Invites => *file = again(Purpose::Invites, file),
            DurableKind::Lease | DurableKind::Orders | DurableKind::AuthorizedClients | DurableKind::TokenAge => {}
        }
    }
    run(&pair, &saved);
}

fn run(pair: &Pair, saved: &BTreeMap<DurableKind, Vec<u8>>) {
    let mut host = Host::start(pair.config(1), saved);
    host.tick(Duration::ZERO);
    host.tick(Duration::from_secs(10));
}

/// The first node's files as it has them after `seconds` seconds, in the form that [`exercise_saved`] takes.
pub fn saved_sample(seconds: u64) -> Vec<u8> {
    let pair = Pair::default();
    let mut host = Host::start(pair.config(1), &pair.saved());
    for step in 0..seconds * 10 {
        host.lead(step);
        host.tick(Duration::from_millis(100));
        host.take_sent();
    }
    let kinds = (0..).zip(DurableKind::SAVED);
    kinds.filter_map(|(number, kind)| Some(spoken(number, host.files.get(&kind)?))).flatten().collect()
}

/// A roster file with what it holds signed by the first node, wherever neither of the two has signed it.
pub(crate) fn seal_file_again(file: &RosterFile, cluster: ClusterId) -> RosterFile {
    let keypairs = Pair::default().keypairs;
    let again = |purpose, blob: &Vec<u8>| sign::seal_again(&keypairs, purpose, cluster, blob);
    RosterFile {
        entries: file.entries.iter().map(|blob| entry::seal_again(&keypairs, cluster, blob)).collect(),
        contacts: file.contacts.clone(),
        rotation: file.rotation.as_ref().map(|blob| again(Purpose::Rotation, blob)),
        token: file.token.clone(),
        access: file.access.as_ref().map(|blob| again(Purpose::Access, blob)),
    }
}

#[cfg(test)]
mod tests {
    use rand_core::Rng as _;

    use super::*;
    use crate::cluster::wire::KINDS;

    #[test]
    fn random_bytes_change_nothing() {
        let mut rng = Rng::seed_from_u64(7);
        for _ in 0..200 {
            let mut bytes = vec![0; 400];
            rng.fill_bytes(&mut bytes);
            for (at, length) in [(0, 60), (63, 120)] {
                let kind = bytes[at] % (KINDS + 1);
                bytes[at..at + 5].copy_from_slice(&[1, 0, length, super::super::PROTOCOL_VERSION, kind]);
            }
            exercise_datagrams(&bytes);
            exercise_saved(&bytes);
        }
        exercise_datagrams(&[]);
    }

    #[test]
    fn what_the_second_node_says_is_taken_and_can_be_said_again_after_a_change() {
        let pair = Pair::default();
        let said = pair.conversation(15);
        exercise_datagrams(&said);
        let mut host = Host::start(pair.config(1), &pair.saved());
        let mut kinds = std::collections::BTreeSet::new();
        for (pause, datagram) in heard(&said) {
            host.tick(pause);
            if host.hear(pair.second(), datagram).is_ok() {
                kinds.extend(datagram.get(1..3).map(<[u8]>::to_vec));
            }
            assert_eq!(pair.said_by_second(datagram), datagram, "signed already");
        }
        assert!(kinds.len() > 8, "{kinds:?}");
    }

    #[test]
    fn the_files_of_a_running_node_start_it_again() {
        let sample = saved_sample(15);
        let kinds: Vec<_> = heard(&sample).filter(|(_, file)| !file.is_empty()).collect();
        assert_eq!(kinds.len(), 4, "all but orders: none was for it");
        exercise_saved(&sample);
    }
}
