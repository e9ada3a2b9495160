//! Bad datagrams change nothing and are counted.

mod mesh;

use mesh::{World, seeds};
use rand_core::{Rng as _, SeedableRng as _};
use rustbalance_core::cluster::{PROTOCOL_VERSION, PeerError};
use rustbalance_core::output::DATAGRAM_MAX;
use rustbalance_core::rng::Rng;
use rustbalance_core::{NodeId, Outbox, Output};
use sha3::{Digest as _, Sha3_256};

/// A hash of the whole state of a node, secrets aside, at this time.
fn state(world: &mut World, node: usize) -> [u8; 32] {
    world.settle(node);
    Sha3_256::digest(format!("{:?}", world.cluster(node))).into()
}

/// Hands `bytes` to the node; what is refused changes nothing, and sends no more than an answer to the sender.
fn offer(world: &mut World, node: usize, from: NodeId, bytes: &[u8]) -> Result<(), PeerError> {
    let (now, before) = (world.now(node), state(world, node));
    let mut out = Outbox::default();
    let result = world.cluster(node).handle_peer(now, from, bytes, &mut out);
    if result.is_err() {
        assert_eq!(state(world, node), before, "{result:?} {bytes:02x?}");
        while let Some(output) = out.pop() {
            assert!(matches!(output, Output::SendPeer { .. }), "{output:?}");
        }
    }
    result
}

#[test]
fn garbage_changes_nothing() {
    for seed in seeds(4) {
        let mut world = World::of(seed, 3);
        let from = world.hosts[1].id;
        let mut rng = Rng::seed_from_u64(seed);
        for _ in 0..500 {
            let mut bytes = vec![0; usize::try_from(rng.next_u64() % 1400).unwrap()];
            rng.fill_bytes(&mut bytes);
            if let Some(version) = bytes.first_mut().filter(|_| seed % 2 == 0) {
                *version = PROTOCOL_VERSION;
            }
            // What decodes by chance asks, or answers what nobody asked; it changes nothing either.
            let before = state(&mut world, 0);
            let _ = offer(&mut world, 0, from, &bytes);
            assert_eq!(state(&mut world, 0), before);
        }
        for (len, error) in [(0, PeerError::Length), (2, PeerError::Length), (DATAGRAM_MAX + 1, PeerError::Length)] {
            assert_eq!(offer(&mut world, 0, from, &vec![PROTOCOL_VERSION; len]), Err(error));
        }
        assert_eq!(offer(&mut world, 0, from, &[PROTOCOL_VERSION, 200, 0]), Err(PeerError::UnknownKind));
        assert_eq!(offer(&mut world, 0, from, &[PROTOCOL_VERSION + 1, 0, 0]), Err(PeerError::Version));
    }
}

#[test]
fn replays_change_nothing() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 3);
        world.set_eligible(2, false);
        world.kill(2);
        world.run(4_000);
        world.start(2);
        world.run(10_000);
        let replayed = std::mem::take(&mut world.delivered);
        let mut refused = 0;
        for (from, to, bytes) in replayed {
            let from = world.hosts[from].id;
            let before = state(&mut world, to);
            refused += usize::from(offer(&mut world, to, from, &bytes).is_err());
            assert_eq!(state(&mut world, to), before, "{bytes:02x?}");
        }
        assert!(refused > 250, "only questions, pings and digests are answered again: {refused}");
    }
}

#[test]
fn flipped_bits_change_nothing_or_are_no_lies_about_others() {
    for seed in seeds(3) {
        let mut world = World::of(seed, 3);
        world.run(3_000);
        let mut rng = Rng::seed_from_u64(seed);
        let recorded = world.delivered.clone();
        for (from, to, bytes) in recorded {
            let mut bad = bytes.clone();
            let bit = usize::try_from(rng.next_u64()).unwrap() % (bad.len() * 8);
            bad[bit / 8] ^= 1 << (bit % 8);
            let from = world.hosts[from].id;
            let _ = offer(&mut world, to, from, &bad);
        }
        world.run(5_000);
        world.until(10_000, "settled", World::is_settled);
    }
}

#[test]
fn strangers_are_not_heard() {
    let mut world = World::of(1, 3);
    let (_, to, bytes) = world.delivered.back().cloned().unwrap();
    for stranger in [NodeId([9; 32]), world.hosts[to].id] {
        assert_eq!(offer(&mut world, to, stranger, &bytes), Err(PeerError::NotAMember));
    }
}
