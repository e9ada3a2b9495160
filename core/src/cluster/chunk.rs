//! Items larger than a datagram travel in numbered chunks, asked for again when lost.

use std::collections::BTreeMap;

use super::item::{Items, Key, Stamp};
use super::roster::Roster;
use super::sign::hash16;
use super::timing::{ASSEMBLIES_MAX, CHUNK_ASK, CHUNK_SIZE, CHUNK_TRIES, ITEM_MAX};
use super::wire::Message;
use super::{PeerError, gossip};
use crate::id::NodeId;
use crate::output::Outbox;
use crate::time::Mono;

/// Chunks of the largest item.
const CHUNKS_MAX: usize = ITEM_MAX.div_ceil(CHUNK_SIZE);

#[derive(Debug)]
struct Assembly {
    stamp: Stamp,
    count: u8,
    parts: BTreeMap<u8, Vec<u8>>,
    tries: u32,
    ask_at: Mono,
}

/// One arrived chunk.
pub(super) struct Chunk {
    pub key: Key,
    pub stamp: Stamp,
    pub index: u8,
    pub count: u8,
    pub bytes: Vec<u8>,
}

/// Items being put together, by sender; at most [`ASSEMBLIES_MAX`].
#[derive(Debug, Default)]
pub(super) struct Assemblies(BTreeMap<(NodeId, Key), Assembly>);

impl Assemblies {
    /// A chunk; the whole blob once it is complete.
    ///
    /// # Errors
    /// State unchanged: impossible numbers, or of an item or chunk we have. A complete blob with another hash than
    /// announced is `Malformed` and dropped.
    pub(super) fn add(
        &mut self,
        now: Mono,
        items: &Items,
        from: NodeId,
        chunk: Chunk,
    ) -> Result<Option<Vec<u8>>, PeerError> {
        let Chunk { key, stamp, index, count, bytes } = chunk;
        let is_last = index.checked_add(1) == Some(count);
        let length_fits = if is_last { (1..=CHUNK_SIZE).contains(&bytes.len()) } else { bytes.len() == CHUNK_SIZE };
        if !(2..=CHUNKS_MAX).contains(&usize::from(count)) || index >= count || !length_fits {
            return Err(PeerError::Malformed);
        }
        if items.stamp(key).is_some_and(|held| held >= stamp) {
            return Err(PeerError::Stale);
        }
        match self.0.get(&(from, key)) {
            Some(known) if known.stamp > stamp => return Err(PeerError::Stale),
            Some(known) if known.stamp == stamp && known.count != count => return Err(PeerError::Malformed),
            Some(known) if known.stamp == stamp && known.parts.contains_key(&index) => return Err(PeerError::Stale),
            Some(known) if known.stamp == stamp => {}
            _ => self.begin(now, (from, key), stamp, count),
        }
        let Some(assembly) = self.0.get_mut(&(from, key)) else { return Ok(None) };
        assembly.parts.insert(index, bytes);
        assembly.ask_at = now.plus(CHUNK_ASK);
        if assembly.parts.len() < usize::from(count) {
            return Ok(None);
        }
        let blob = assembly.parts.values().flatten().copied().collect::<Vec<u8>>();
        self.0.remove(&(from, key));
        if hash16(&blob) == stamp.hash { Ok(Some(blob)) } else { Err(PeerError::Malformed) }
    }

    /// Makes room by dropping the assembly that has waited longest.
    fn begin(&mut self, now: Mono, at: (NodeId, Key), stamp: Stamp, count: u8) {
        if self.0.len() >= ASSEMBLIES_MAX
            && let Some(oldest) = self.0.iter().min_by_key(|(_, other)| other.ask_at).map(|(at, _)| *at)
        {
            self.0.remove(&oldest);
        }
        let assembly = Assembly { stamp, count, parts: BTreeMap::new(), tries: 0, ask_at: now.plus(CHUNK_ASK) };
        self.0.insert(at, assembly);
    }

    /// Drops what is of no use any more and asks for what is missing.
    pub(super) fn tick(&mut self, now: Mono, items: &Items, roster: &Roster, out: &mut Outbox) {
        self.0.retain(|(from, key), assembly| {
            let is_news = items.stamp(*key).is_none_or(|held| held < assembly.stamp);
            is_news && roster.contains(*from) && (assembly.tries < CHUNK_TRIES || now < assembly.ask_at)
        });
        for ((from, key), assembly) in self.0.iter_mut().filter(|(_, assembly)| now >= assembly.ask_at) {
            let missing = (0..assembly.count).filter(|index| !assembly.parts.contains_key(index));
            let missing = missing.fold(0, |bits, index| bits | 1 << index);
            Message::ChunkWant { key: *key, stamp: assembly.stamp, missing }.send(*from, out);
            assembly.tries += 1;
            assembly.ask_at = now.plus(CHUNK_ASK * (1 << assembly.tries));
        }
    }

    /// When to ask for something.
    pub(super) fn next_timeout(&self) -> Option<Mono> {
        self.0.values().map(|assembly| assembly.ask_at).min()
    }
}

/// Some chunks were lost: sends them again, or the newer item whole.
pub(super) fn send_again(items: &Items, from: NodeId, key: Key, stamp: Stamp, missing: u64, out: &mut Outbox) {
    match items.blob(key) {
        Some((held, blob)) if held == stamp => send(from, key, stamp, blob, missing, out),
        Some(_) => gossip::send(items, from, key, out),
        None => {}
    }
}

/// Sends those chunks of a blob whose bits are set in `missing`.
pub(super) fn send(to: NodeId, key: Key, stamp: Stamp, blob: &[u8], missing: u64, out: &mut Outbox) {
    let Ok(count) = u8::try_from(blob.len().div_ceil(CHUNK_SIZE)) else { return };
    for (index, bytes) in (0..count).zip(blob.chunks(CHUNK_SIZE)).filter(|(index, _)| missing & (1 << index) != 0) {
        Message::Chunk { key, stamp, index, count, bytes: bytes.to_vec() }.send(to, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::gossip::tests::roster_of_two;
    use crate::cluster::tests::sent;

    const KEY: Key = Key::Plan;

    fn at(ms: u64) -> Mono {
        Mono::from_ms(ms)
    }

    fn chunks_of(blob: &[u8]) -> Vec<Chunk> {
        let (mut items, mut out) = (Items::default(), Outbox::default());
        items.put(KEY, Stamp::new(1, 1, blob), blob.to_vec());
        gossip::send(&items, NodeId([1; 32]), KEY, &mut out);
        let chunks = sent(&mut out).into_iter().map(|(_, message)| {
            let Message::Chunk { key, stamp, index, count, bytes } = message else { panic!("{message:?}") };
            Chunk { key, stamp, index, count, bytes }
        });
        chunks.collect()
    }

    #[test]
    fn the_largest_item_travels_in_chunks_in_any_order() {
        let blob: Vec<u8> = (0..ITEM_MAX).map(|n| (n % 251) as u8).collect();
        let mut chunks = chunks_of(&blob);
        assert_eq!(chunks.len(), CHUNKS_MAX);
        chunks.reverse();
        let mut assemblies = Assemblies::default();
        let from = NodeId([1; 32]);
        let mut whole = None;
        for chunk in chunks {
            assert_eq!(whole, None);
            whole = assemblies.add(at(0), &Items::default(), from, chunk).unwrap();
        }
        assert_eq!(whole, Some(blob));
        assert!(assemblies.0.is_empty());
    }

    #[test]
    fn lost_chunks_are_asked_for_by_bit_a_few_times() {
        let (roster, from) = roster_of_two();
        let blob = vec![7; 5 * CHUNK_SIZE];
        let (mut assemblies, items, mut out) = (Assemblies::default(), Items::default(), Outbox::default());
        for chunk in chunks_of(&blob).into_iter().filter(|chunk| ![1, 4].contains(&chunk.index)) {
            assemblies.add(at(0), &items, from, chunk).unwrap();
        }
        let mut asked = 0;
        for ms in 0..20_000 {
            assemblies.tick(at(ms), &items, &roster, &mut out);
            for (_, message) in sent(&mut out) {
                assert!(matches!(message, Message::ChunkWant { missing: 0b10010, .. }), "{message:?}");
                assert!(ms >= 100);
                asked += 1;
            }
        }
        assert_eq!(asked, CHUNK_TRIES);
        assert!(assemblies.0.is_empty(), "given up");

        let mut held = Items::default();
        held.put(KEY, Stamp::new(1, 1, &blob), blob.clone());
        send_again(&held, from, KEY, Stamp::new(1, 1, &blob), 0b10010, &mut out);
        assert_eq!(sent(&mut out).len(), 2);
    }

    #[test]
    fn impossible_chunks_are_refused() {
        let chunk = |index, count, len| {
            let stamp = Stamp::new(1, 1, b"x");
            let chunk = Chunk { key: KEY, stamp, index, count, bytes: vec![0; len] };
            Assemblies::default().add(at(0), &Items::default(), NodeId([1; 32]), chunk)
        };
        let too_many = u8::try_from(CHUNKS_MAX + 1).unwrap();
        for (index, count, len) in
            [(0, 1, 5), (0, 0, 5), (2, 2, 5), (0, 2, 5), (1, 2, 0), (1, 2, CHUNK_SIZE + 1), (0, too_many, CHUNK_SIZE)]
        {
            assert_eq!(chunk(index, count, len), Err(PeerError::Malformed), "{index} {count} {len}");
        }
        assert_eq!(chunk(0, too_many - 1, CHUNK_SIZE), Ok(None));
    }

    #[test]
    fn a_blob_with_another_hash_than_announced_is_dropped() {
        let mut chunks = chunks_of(&vec![7; 2 * CHUNK_SIZE]);
        chunks[1].bytes[0] ^= 1;
        let mut assemblies = Assemblies::default();
        let results: Vec<_> =
            chunks.into_iter().map(|chunk| assemblies.add(at(0), &Items::default(), NodeId([1; 32]), chunk)).collect();
        assert_eq!(results, [Ok(None), Err(PeerError::Malformed)]);
        assert!(assemblies.0.is_empty());
    }

    #[test]
    fn assemblies_are_bounded_and_the_oldest_gives_way() {
        let mut assemblies = Assemblies::default();
        for n in 0..=ASSEMBLIES_MAX {
            let chunk = chunks_of(&vec![7; 2 * CHUNK_SIZE]).remove(0);
            let from = NodeId([u8::try_from(n).unwrap(); 32]);
            assemblies.add(at(u64::try_from(n).unwrap()), &Items::default(), from, chunk).unwrap();
        }
        assert_eq!(assemblies.0.len(), ASSEMBLIES_MAX);
        assert!(!assemblies.0.contains_key(&(NodeId([0; 32]), KEY)));
    }
}
