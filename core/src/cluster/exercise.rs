//! What the fuzzer calls, and ordinary tests too.

use std::collections::BTreeMap;

use rand_core::SeedableRng as _;

use super::{Cluster, ClusterConfig, ClusterToken, NodeKeypair, roster};
use crate::id::{NodeId, WgPublicKey};
use crate::join::{Joiner, found};
use crate::onion::key::HsId;
use crate::output::{Outbox, RequestId};
use crate::rng::Rng;
use crate::time::{Mono, Now, Wall};

/// Hands `bytes` to a node of a cluster of two: as datagrams of the other member, each after its length in two bytes
/// (big endian), and the rest as one more, as an admission request and as an answer to one.
///
/// # Panics
/// If a refused datagram changed anything: that would be a bug of ours.
pub fn exercise_datagrams(bytes: &[u8]) {
    let now = Now { mono: Mono::from_ms(0), wall: Wall::from_secs(1_700_000_000) };
    let mut out = Outbox::default();
    let (mut cluster, member) = cluster_of_two(now, &mut out);
    let mut rest = bytes;
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let Some((datagram, tail)) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { break };
        offer(&mut cluster, now, member, datagram, &mut out);
        rest = tail;
    }
    offer(&mut cluster, now, member, rest, &mut out);
    let _refused = cluster.handle_admit(now, RequestId(0), WgPublicKey([3; 32]), rest, &mut out);
    let _refused = joiner().handle(rest);
    cluster.tick(now, &mut out);
}

fn offer(cluster: &mut Cluster, now: Now, from: NodeId, datagram: &[u8], out: &mut Outbox) {
    cluster.tick(now, out);
    let before = format!("{cluster:?}");
    if let Err(refused) = cluster.handle_peer(now, from, datagram, out) {
        assert_eq!(before, format!("{cluster:?}"), "{refused}");
    }
}

fn cluster_of_two(now: Now, out: &mut Outbox) -> (Cluster, NodeId) {
    let (keypair, member) = (NodeKeypair::from_seed(&[1; 32]), NodeKeypair::from_seed(&[2; 32]).id());
    let wg = WgPublicKey([1; 32]);
    let founded = found(&keypair, wg, HsId([5; 32]));
    let admission = roster::admit(&keypair, founded.cluster, 0, member, WgPublicKey([2; 32]));
    let config = ClusterConfig {
        keypair,
        wg,
        cluster: founded.cluster,
        genesis: founded.genesis,
        token: ClusterToken::new([9; 32]),
        priority: 100,
        weight: 100,
        name: String::new(),
        contact: None,
    };
    let mut cluster = Cluster::new(config, &BTreeMap::new(), Rng::seed_from_u64(0), now, out);
    let _member = cluster.roster.accept(&admission, now.wall, &mut cluster.items);
    (cluster, member)
}

fn joiner() -> Joiner {
    let (keypair, token) = (NodeKeypair::from_seed(&[3; 32]), ClusterToken::new([9; 32]));
    let rng = &mut Rng::seed_from_u64(0);
    Joiner::new(&keypair, WgPublicKey([3; 32]), WgPublicKey([1; 32]), &token, HsId([5; 32]), rng)
}

#[cfg(test)]
mod tests {
    use rand_core::Rng as _;

    use super::*;

    #[test]
    fn random_bytes_change_nothing() {
        let mut rng = Rng::seed_from_u64(7);
        for _ in 0..200 {
            let mut bytes = vec![0; 400];
            rng.fill_bytes(&mut bytes);
            for (at, length) in [(0, 60), (62, 120)] {
                let kind = bytes[at] % 16;
                bytes[at..at + 4].copy_from_slice(&[0, length, super::super::PROTOCOL_VERSION, kind]);
            }
            exercise_datagrams(&bytes);
        }
        exercise_datagrams(&[]);
    }
}
