//! For fuzzing and for ordinary tests: any bytes as request and answer, past the MAC, signatures and hash that would keep
//! them out.

use rand_core::SeedableRng as _;

use super::{Admitted, Grant, Joiner, check_request, found, in_datagrams, request};
use crate::cluster::exercise::{Pair, seal_file_again};
use crate::cluster::sign;
use crate::cluster::{Access, ClusterToken, NodeKeypair};
use crate::id::WgPublicKey;
use crate::join::AdmitError;
use crate::onion::key::HsId;
use crate::rng::Rng;

const MASTER: HsId = HsId([5; 32]);
const MEMBER_WG: WgPublicKey = WgPublicKey([1; 32]);
const JOINER_WG: WgPublicKey = WgPublicKey([3; 32]);

fn joiner_keypair() -> NodeKeypair {
    NodeKeypair::from_seed(&[3; 32])
}

fn token() -> ClusterToken {
    ClusterToken::new([9; 32])
}

fn joiner() -> Joiner {
    Joiner::new(&joiner_keypair(), JOINER_WG, MEMBER_WG, &token(), MASTER, &mut Rng::seed_from_u64(0))
}

/// `bytes` as a request datagram, and as what is asked in one that is proven and authorised.
///
/// # Panics
/// If somebody is admitted who did not prove to be who it is: that would be a bug of ours.
pub fn exercise_request(bytes: &[u8]) {
    let _refused = check_request(bytes, &token(), JOINER_WG, MEMBER_WG);
    if let Some(ask) = sign::decode(bytes) {
        let datagram = request(&joiner_keypair(), &token(), ask);
        if let Ok(node) = check_request(&datagram, &token(), JOINER_WG, MEMBER_WG) {
            assert_eq!(node, joiner_keypair().id());
        }
    }
}

/// `bytes` as a datagram of an answer, and as the whole answer, once as it is and once signed.
///
/// # Panics
/// If what the joiner is given does not make it a member: that would be a bug of ours.
pub fn exercise_reply(bytes: &[u8]) {
    let _refused = joiner().handle(bytes);
    hear(bytes);
    if let Some(Ok(Grant { cluster, genesis, by, file })) = sign::decode::<Result<Grant, AdmitError>>(bytes) {
        let file = seal_file_again(&file, cluster);
        hear(&sign::encode(&Ok::<_, AdmitError>(Grant { cluster, genesis, by, file })));
    }
}

fn hear(answer: &[u8]) {
    let mut joiner = joiner();
    for datagram in in_datagrams(answer) {
        if let Ok(Some(Admitted { cluster, genesis, roster, .. })) = joiner.handle(&datagram) {
            let keys = (joiner_keypair().id(), JOINER_WG);
            assert_eq!(super::check_member(keys, MASTER, (cluster, genesis), &roster), Ok(()));
        }
    }
}

/// What is asked in a good request, and a good answer and a refusal, to begin from.
pub fn samples() -> (Vec<u8>, [Vec<u8>; 2]) {
    let ask: Option<super::Request> = super::unversioned(&joiner().request());
    let pair = Pair::default();
    let founded = found(pair.first(), MEMBER_WG, MASTER, &Access::Open);
    let file = pair.roster_with(joiner_keypair().id(), JOINER_WG);
    let grant = Grant { cluster: founded.cluster, genesis: founded.genesis, by: founded.genesis, file };
    let whole = |reply: &Result<Grant, AdmitError>| sign::encode(reply);
    (
        ask.map(|request| sign::encode(&request.ask)).unwrap_or_default(),
        [whole(&Ok(grant)), whole(&Err(AdmitError::Busy))],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_are_good_and_damaged_ones_do_no_harm() {
        let (ask, replies) = samples();
        let datagram = request(&joiner_keypair(), &token(), sign::decode(&ask).unwrap());
        assert_eq!(check_request(&datagram, &token(), JOINER_WG, MEMBER_WG), Ok(joiner_keypair().id()));
        let answers = in_datagrams(&replies[0]);
        let mut joiner = joiner();
        assert!(answers.iter().any(|datagram| matches!(joiner.handle(datagram), Ok(Some(_)))));
        for bytes in [vec![ask], replies.to_vec()].concat() {
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x55;
                exercise_request(&damaged);
                exercise_reply(&damaged);
            }
        }
    }
}
