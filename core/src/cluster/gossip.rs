//! How items spread: changes are pushed and acknowledged, the rest is found by comparing digests, and what does not
//! fit a datagram travels in chunks.

use std::collections::{BTreeMap, BTreeSet};

use rand_core::Rng as _;

use super::PeerError;
use super::chunk::{self, Assemblies, Chunk};
use super::item::{BUCKETS, Items, Key, Stamp};
use super::roster::Roster;
use super::timing::{CHUNK_SIZE, DIGEST, PUSH_RETRY, PUSH_TRIES, PUSHES_MAX, SUMMARIES_MAX};
use super::wire::{Message, Sync};
use crate::id::NodeId;
use crate::output::Outbox;
use crate::rng::Rng;
use crate::time::Mono;

/// Keys and stamps per summary datagram.
const SUMMARY_ITEMS: usize = 14;
/// Keys per request for items.
const WANT_MAX: usize = SUMMARY_ITEMS;

#[derive(Debug)]
struct Push {
    stamp: Stamp,
    tries: u32,
    at: Mono,
}

/// Pushes and assemblies under way. Of pushes there are [`PUSHES_MAX`]: one more is dropped, and who compares digests with
/// us finds what it should have brought.
#[derive(Debug, Default)]
pub(super) struct Gossip {
    pushes: BTreeMap<(NodeId, Key), Push>,
    assemblies: Assemblies,
    digest_at: Mono,
    /// Our digest when a member last said that it has the same, and all who have said so of that one.
    in_step: ([u64; BUCKETS], BTreeSet<NodeId>),
}

impl Gossip {
    /// Sends the item to each of `targets` until it is acknowledged or has been sent often enough.
    pub(super) fn push(&mut self, now: Mono, items: &Items, key: Key, targets: impl IntoIterator<Item = NodeId>) {
        let Some(stamp) = items.stamp(key) else { return };
        for to in targets {
            if self.pushes.len() < PUSHES_MAX || self.pushes.contains_key(&(to, key)) {
                self.pushes.insert((to, key), Push { stamp, tries: 0, at: now });
            }
        }
    }

    /// An item arrived there.
    ///
    /// # Errors
    /// `Stale` if we were not waiting for that.
    pub(super) fn acked(&mut self, from: NodeId, key: Key, stamp: Stamp) -> Result<(), PeerError> {
        match self.pushes.get(&(from, key)) {
            Some(push) if push.stamp <= stamp => {
                self.pushes.remove(&(from, key));
                Ok(())
            }
            _ => Err(PeerError::Stale),
        }
    }

    /// A chunk; the whole blob once it is complete. See [`Assemblies::add`] for errors.
    pub(super) fn chunk(
        &mut self,
        now: Mono,
        items: &Items,
        from: NodeId,
        chunk: Chunk,
    ) -> Result<Option<Vec<u8>>, PeerError> {
        self.assemblies.add(now, items, from, chunk)
    }

    /// Sends, repeats, asks.
    pub(super) fn tick(&mut self, now: Mono, items: &Items, roster: &Roster, out: &mut Outbox) {
        self.pushes.retain(|(to, key), push| {
            let is_current = items.stamp(*key) == Some(push.stamp);
            is_current && roster.contains(*to) && (push.tries < PUSH_TRIES || now < push.at)
        });
        self.in_step.1.retain(|node| roster.contains(*node));
        for ((to, key), push) in self.pushes.iter_mut().filter(|(_, push)| now >= push.at) {
            send(items, *to, *key, out);
            push.at = now.plus(PUSH_RETRY * (1 << push.tries));
            push.tries += 1;
        }
        self.assemblies.tick(now, items, roster, out);
    }

    /// Whether it is time to compare digests with somebody; from now on it is not, for [`DIGEST`].
    pub(super) fn is_digest_due(&mut self, now: Mono) -> bool {
        let due = now >= self.digest_at;
        if due {
            self.digest_at = now.plus(DIGEST);
        }
        due
    }

    /// A member compares digests with us. One that differs says nothing: it may be late, and who knows more pushes it.
    pub(super) fn compared(&mut self, items: &Items, from: NodeId, theirs: [u64; BUCKETS]) {
        if theirs != items.digest() {
            return;
        }
        let (ours, nodes) = &mut self.in_step;
        if *ours != theirs {
            (*ours, *nodes) = (theirs, BTreeSet::new());
        }
        nodes.insert(from);
    }

    /// Whether `node` has said, since anything changed here, that it knows exactly what we know.
    pub(super) fn is_in_step(&self, items: &Items, node: NodeId) -> bool {
        let (ours, nodes) = &self.in_step;
        nodes.contains(&node) && *ours == items.digest()
    }

    /// When there is something to send.
    pub(super) fn next_timeout(&self) -> Option<Mono> {
        let pushes = self.pushes.values().map(|push| push.at);
        pushes.chain(self.assemblies.next_timeout()).chain([self.digest_at]).min()
    }
}

/// Answers one step of reconciliation; changes nothing here.
pub(super) fn reconcile(items: &Items, roster: &Roster, from: NodeId, sync: Sync, rng: &mut Rng, out: &mut Outbox) {
    match sync {
        Sync::Digest(theirs) => {
            let ours = items.digest();
            let start = usize::try_from(rng.next_u32()).unwrap_or_default() % BUCKETS;
            let differing = (start..start + BUCKETS).map(|bucket| bucket % BUCKETS);
            let differing = differing.filter(|bucket| ours.get(*bucket) != theirs.get(*bucket));
            let summaries = differing.filter_map(|bucket| u8::try_from(bucket).ok());
            let summaries = summaries.flat_map(|bucket| summaries_of(items, bucket, true, rng));
            summaries.take(SUMMARIES_MAX).for_each(|summary| Message::Sync(summary).send(from, out));
        }
        Sync::Summary { bucket, answer, items: theirs } => {
            let is_news = |(key, stamp): &&(Key, Stamp)| items.stamp(*key).is_none_or(|held| held < *stamp);
            let can_accept = |key: &Key| match key {
                Key::Record(node) => roster.contains(*node),
                Key::Entry(_) | Key::Plan | Key::Rotation | Key::Access | Key::Pause | Key::Invites => true,
            };
            let wanted = theirs.iter().filter(is_news).map(|(key, _)| *key).filter(can_accept);
            let wanted: Vec<Key> = wanted.take(WANT_MAX).collect();
            if !wanted.is_empty() {
                Message::Sync(Sync::Want(wanted)).send(from, out);
            }
            if answer {
                let summaries = summaries_of(items, bucket, false, rng).into_iter().take(SUMMARIES_MAX);
                summaries.for_each(|summary| Message::Sync(summary).send(from, out));
            }
        }
        Sync::Want(keys) => keys.into_iter().take(WANT_MAX).for_each(|key| send(items, from, key, out)),
    }
}

/// Starts a reconciliation with `to`.
pub(super) fn compare(items: &Items, to: NodeId, out: &mut Outbox) {
    Message::Sync(Sync::Digest(items.digest())).send(to, out);
}

/// What a bucket holds, in datagrams, from a random one on: a large bucket's last ones must be heard of, too. Only the
/// first asks for an answer. An empty bucket is said, too.
fn summaries_of(items: &Items, bucket: u8, answer: bool, rng: &mut Rng) -> Vec<Sync> {
    let held = items.bucket(bucket);
    if held.is_empty() {
        return vec![Sync::Summary { bucket, answer, items: held }];
    }
    let mut parts: Vec<&[(Key, Stamp)]> = held.chunks(SUMMARY_ITEMS).collect();
    let start = usize::try_from(rng.next_u32()).unwrap_or_default() % parts.len();
    parts.rotate_left(start);
    let parts = parts.into_iter().enumerate();
    parts.map(|(n, part)| Sync::Summary { bucket, answer: answer && n == 0, items: part.to_vec() }).collect()
}

/// Sends an item, in chunks if need be.
pub(super) fn send(items: &Items, to: NodeId, key: Key, out: &mut Outbox) {
    match items.blob(key) {
        Some((_, blob)) if blob.len() <= CHUNK_SIZE => Message::Item { key, blob: blob.to_vec() }.send(to, out),
        Some((stamp, blob)) => chunk::send(to, key, stamp, blob, u64::MAX, out),
        None => {}
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::cluster::tests::{CLUSTER, identity, sent};
    use crate::output::Output;

    const KEY: Key = Key::Plan;

    fn at(ms: u64) -> Mono {
        Mono::from_ms(ms)
    }

    pub(in crate::cluster) fn roster_of_two() -> (Roster, NodeId) {
        let (one, two) = (identity(1), identity(2));
        let mut roster = Roster::new(CLUSTER, one.id);
        let entry = |id| crate::cluster::roster::admit(&one.keypair, CLUSTER, 0, id, crate::id::WgPublicKey([1; 32]));
        roster.load(&[entry(one.id), entry(two.id)], &mut Items::default());
        (roster, two.id)
    }

    #[test]
    fn a_push_is_repeated_until_acknowledged_or_often_enough() {
        let (roster, to) = roster_of_two();
        let (mut items, mut out) = (Items::default(), Outbox::default());
        let stamp = Stamp::new(1, 1, b"blob");
        items.put(KEY, stamp, b"blob".to_vec());
        let mut count = |ack_at: Option<u64>| {
            let mut gossip = Gossip::default();
            gossip.push(at(0), &items, KEY, [to]);
            let mut sends = 0;
            for ms in 0..30_000 {
                gossip.tick(at(ms), &items, &roster, &mut out);
                sends += u32::try_from(sent(&mut out).len()).unwrap();
                if ack_at == Some(ms) {
                    gossip.acked(to, KEY, stamp).unwrap();
                    assert_eq!(gossip.acked(to, KEY, stamp), Err(PeerError::Stale));
                }
            }
            assert!(gossip.pushes.is_empty());
            sends
        };
        assert_eq!((count(None), count(Some(0)), count(Some(400))), (PUSH_TRIES, 1, 2));
    }

    #[test]
    fn a_push_beyond_the_bound_is_left_to_the_digest() {
        let (roster, to) = roster_of_two();
        let (mut one, mut two) = (Items::default(), Items::default());
        one.put(KEY, Stamp::new(1, 1, b"blob"), b"blob".to_vec());
        let nodes = (0..u64::try_from(PUSHES_MAX).unwrap()).map(|n| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_le_bytes());
            NodeId(id)
        });
        let mut gossip = Gossip::default();
        gossip.push(at(0), &one, KEY, nodes.clone().chain([to]));
        assert_eq!(gossip.pushes.len(), PUSHES_MAX);
        assert!(!gossip.pushes.contains_key(&(to, KEY)), "there was no room");
        gossip.push(at(7), &one, KEY, nodes.take(1));
        assert!(gossip.pushes.values().any(|push| push.at == at(7)), "one under way begins anew all the same");

        let (mut rng, mut out) = (Rng::seed_from_u64(1), Outbox::default());
        compare(&two, NodeId([1; 32]), &mut out);
        talk(&roster, (&mut one, NodeId([1; 32])), (&mut two, to), &mut rng, &mut out);
        assert_eq!(two.stamp(KEY), one.stamp(KEY));
    }

    #[test]
    fn no_more_is_wanted_or_sent_at_once_than_a_datagram_names() {
        let (roster, from) = roster_of_two();
        let keys = (0..u8::try_from(WANT_MAX).unwrap() + 1).map(|n| Key::Entry(NodeId([n; 32])));
        let (mut items, mut rng, mut out) = (Items::default(), Rng::seed_from_u64(1), Outbox::default());
        let theirs = keys.clone().map(|key| (key, Stamp::new(1, 1, b"blob"))).collect();
        let summary = Sync::Summary { bucket: 0, answer: false, items: theirs };
        reconcile(&items, &roster, from, summary, &mut rng, &mut out);
        let said: Vec<_> = sent(&mut out).into_iter().map(|(_, message)| message).collect();
        let wanted: Vec<_> = keys.clone().take(WANT_MAX).collect();
        assert_eq!(said, [Message::Sync(Sync::Want(wanted))]);
        keys.clone().for_each(|key| items.put(key, Stamp::new(1, 1, b"blob"), b"blob".to_vec()));
        reconcile(&items, &roster, from, Sync::Want(keys.collect()), &mut rng, &mut out);
        assert_eq!(sent(&mut out).len(), WANT_MAX);
    }

    /// Two nodes go on from what is in `out` until they have no more to say.
    fn talk(
        roster: &Roster,
        (one, a): (&mut Items, NodeId),
        (two, b): (&mut Items, NodeId),
        rng: &mut Rng,
        out: &mut Outbox,
    ) {
        while let Some(Output::SendPeer { to, bytes }) = out.pop() {
            let (items, from) = if to == a { (&mut *one, b) } else { (&mut *two, a) };
            let message = Message::decode(&bytes).unwrap();
            if let Message::Sync(sync) = message {
                reconcile(items, roster, from, sync, rng, out);
            } else if let Message::Item { key, blob } = message {
                let stamp = if key == KEY { Stamp::new(1, 1, &blob) } else { Stamp::new(0, 0, &blob) };
                items.put(key, stamp, blob);
            }
        }
    }

    #[test]
    fn a_member_is_in_step_from_its_word_until_anything_changes_here() {
        let (node, key, mut items, mut gossip) = (NodeId([1; 32]), Key::Pause, Items::default(), Gossip::default());
        assert!(!gossip.is_in_step(&items, node));
        let before = items.digest();
        gossip.compared(&items, node, before);
        assert!(gossip.is_in_step(&items, node));
        items.put(key, Stamp::new(1, 0, b"pause"), b"pause".to_vec());
        assert!(!gossip.is_in_step(&items, node));
        gossip.compared(&items, node, items.digest());
        assert!(gossip.is_in_step(&items, node));
        gossip.compared(&items, node, before);
        assert!(gossip.is_in_step(&items, node), "what comes late changes nothing");
    }

    #[test]
    fn digests_find_what_either_side_lacks() {
        let (roster, _) = roster_of_two();
        let (a, b) = (NodeId([1; 32]), NodeId([2; 32]));
        let (mut one, mut two) = (Items::default(), Items::default());
        for n in 0..40u8 {
            let (key, blob) = (Key::Entry(NodeId([n; 32])), vec![n; 10]);
            let stamp = Stamp::new(0, 0, &blob);
            if n % 3 != 0 {
                one.put(key, stamp, blob.clone());
            }
            if n % 3 != 1 {
                two.put(key, stamp, blob);
            }
        }
        let (mut rng, mut out) = (Rng::seed_from_u64(1), Outbox::default());
        for _ in 0..8 {
            compare(&one, b, &mut out);
            talk(&roster, (&mut one, a), (&mut two, b), &mut rng, &mut out);
        }
        assert_eq!(one.digest(), two.digest());
        assert_eq!(one.entries().count(), 40);
        compare(&one, b, &mut out);
        let Some(Output::SendPeer { bytes, .. }) = out.pop() else { panic!("a digest") };
        let Ok(Message::Sync(sync)) = Message::decode(&bytes) else { panic!("a digest") };
        reconcile(&two, &roster, a, sync, &mut rng, &mut out);
        assert!(out.pop().is_none(), "equal digests say no more");
    }

    #[test]
    fn the_tail_of_a_full_bucket_is_found() {
        let (roster, me) = roster_of_two();
        let (mut one, mut two) = (Items::default(), Items::default());
        let last = Key::Entry(NodeId([0x0F; 32]));
        for n in 0..u8::MAX {
            let mut id = [n; 32];
            id[0] = 0;
            let (key, blob) = (Key::Entry(NodeId(id)), vec![n; 10]);
            one.put(key, Stamp::new(0, 0, &blob), blob.clone());
            two.put(key, Stamp::new(0, 0, &blob), blob);
        }
        two.put(last, Stamp::new(0, 0, b"last"), b"last".to_vec());
        let (mut rng, mut out) = (Rng::seed_from_u64(1), Outbox::default());
        let mut listed = |one: &Items| {
            reconcile(&two, &roster, me, Sync::Digest(one.digest()), &mut rng, &mut out);
            let summaries = sent(&mut out).into_iter().filter_map(|(_, message)| {
                let Message::Sync(Sync::Summary { answer, items, .. }) = message else { return None };
                Some((answer, items))
            });
            let summaries: Vec<_> = summaries.collect();
            assert!(summaries.len() <= SUMMARIES_MAX && summaries.iter().filter(|(answer, _)| *answer).count() == 1);
            summaries.iter().flat_map(|(_, items)| items).any(|(key, _)| *key == last)
        };
        assert!((0..20).any(|_| listed(&one)), "an entry beyond the first {SUMMARIES_MAX} summaries");
    }

    #[test]
    fn the_largest_summary_fits_a_datagram() {
        let stamp = Stamp { major: u64::MAX, minor: u64::MAX, hash: [255; 16] };
        let items = vec![(Key::Record(NodeId([255; 32])), stamp); SUMMARY_ITEMS];
        let summary = Message::Sync(Sync::Summary { bucket: 15, answer: true, items });
        assert!(summary.encode().len() <= crate::output::DATAGRAM_MAX);
    }
}
