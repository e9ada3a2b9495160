//! Direct join: the admission request a joiner sends through a provisional tunnel, and its answer
//! (`docs/PROTOCOL.md`, Admission).
//!
//! The tunnel is WireGuard between the joiner's and the member's static keys, so whatever arrives in it comes from the
//! holder of the joiner's key and from nobody else. The request therefore needs no more binding to the handshake than
//! to name both static keys, under the cluster token's MAC (may ask) and the node key's signature (is that node): in
//! another tunnel, between other keys, it is worth nothing.

#[doc(hidden)]
pub mod exercise;
mod refusal;

use std::collections::BTreeMap;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use sha3::{Digest as _, Sha3_256};

use crate::cluster::roster::{self, RosterFile};
use crate::cluster::sign::{self, Purpose, Signature};
use crate::cluster::{Access, ClusterToken, NodeKeypair, access};
use crate::id::{ClusterId, NodeId, WgPublicKey};
use crate::onion::key::HsId;

pub use self::refusal::{AdmitError, JoinError, NotAMember};

/// Version of request and answer, their first byte.
const VERSION: u8 = 1;
/// Bytes of the answer per datagram; the rest of [`DATAGRAM_MAX`](crate::output::DATAGRAM_MAX) is for its numbers.
const FRAGMENT_SIZE: usize = 1150;
/// Datagrams of the largest answer: a full roster with contacts.
pub const REPLY_DATAGRAMS_MAX: u16 = 512;
/// Signed before the joiner knows the cluster.
pub(crate) const NO_CLUSTER: ClusterId = ClusterId([0; 32]);

/// What is signed and MACed: who asks whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ask {
    node: NodeId,
    wg: WgPublicKey,
    member_wg: WgPublicKey,
    nonce: [u8; 32],
}

/// The request datagram after its version byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Request {
    ask: Ask,
    proof: Signature,
    mac: [u8; 32],
}

/// What an admitted node is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub cluster: ClusterId,
    pub genesis: NodeId,
    pub by: NodeId,
    pub file: RosterFile,
}

/// One datagram of an answer after its version byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fragment {
    /// Of the whole answer: fragments of a repeated, different answer do not mix.
    hash: [u8; 16],
    index: u16,
    count: u16,
    bytes: Vec<u8>,
}

/// The joiner's side.
pub struct Joiner {
    node: NodeId,
    wg: WgPublicKey,
    master: HsId,
    request: Vec<u8>,
    hash: [u8; 16],
    fragments: BTreeMap<u16, Vec<u8>>,
}

/// What a joiner learns: everything its state directory needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The cluster.
    pub cluster: ClusterId,
    /// Root of the admission chain.
    pub genesis: NodeId,
    /// Initial [`DurableKind::Roster`](crate::DurableKind) file.
    pub roster: Vec<u8>,
    /// Who admitted us.
    pub by: NodeId,
}

impl Joiner {
    /// Prepares; `master` is the address the operator gave, checked against the answer.
    pub fn new(
        keypair: &NodeKeypair,
        wg: WgPublicKey,
        peer_wg: WgPublicKey,
        token: &ClusterToken,
        master: HsId,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let ask = Ask { node: keypair.id(), wg, member_wg: peer_wg, nonce };
        let request = request(keypair, token, ask);
        Self { node: keypair.id(), wg, master, request, hash: [0; 16], fragments: BTreeMap::new() }
    }

    /// The request datagram; send again until answered.
    pub fn request(&self) -> Vec<u8> {
        self.request.clone()
    }

    /// One datagram of the answer; `None` until all are there.
    ///
    /// # Errors
    /// Final when `Refused` or `OtherAddress`; a datagram that is `BadReply` changed nothing.
    pub fn handle(&mut self, bytes: &[u8]) -> Result<Option<Admitted>, JoinError> {
        let Fragment { hash, index, count, bytes } = unversioned(bytes).ok_or(JoinError::BadReply)?;
        if index >= count || count > REPLY_DATAGRAMS_MAX || bytes.len() > FRAGMENT_SIZE {
            return Err(JoinError::BadReply);
        }
        if hash != self.hash {
            self.hash = hash;
            self.fragments.clear();
        }
        self.fragments.insert(index, bytes);
        if self.fragments.len() < usize::from(count) {
            return Ok(None);
        }
        let reply: Vec<u8> = core::mem::take(&mut self.fragments).into_values().flatten().collect();
        if sign::hash16(&reply) != hash {
            return Err(JoinError::BadReply);
        }
        let reply: Result<Grant, AdmitError> = sign::decode(&reply).ok_or(JoinError::BadReply)?;
        check_grant(reply.map_err(JoinError::Refused)?, self.master, self.node, self.wg).map(Some)
    }
}

/// What `node` is given. Believes nothing that the chain of admissions does not prove.
pub(crate) fn check_grant(grant: Grant, master: HsId, node: NodeId, wg: WgPublicKey) -> Result<Admitted, JoinError> {
    let Grant { cluster, genesis, by, file } = grant;
    if cluster != cluster_id(master, genesis) {
        return Err(JoinError::OtherAddress);
    }
    let roster = roster::proven(cluster, genesis, &file);
    if roster.members().get(&node) != Some(&wg) || !roster.contains(by) {
        return Err(JoinError::BadReply);
    }
    Ok(Admitted { cluster, genesis, roster: sign::encode(&file), by })
}

/// Whether a node's files still make it a member of the cluster that serves `master`: to be asked before it runs, for a
/// node without its roster would believe itself alone and publish over the others. `roster` is its
/// [`DurableKind::Roster`](crate::DurableKind) file.
///
/// # Errors
/// See [`NotAMember`].
pub fn check_member(
    (node, wg): (NodeId, WgPublicKey),
    master: HsId,
    (cluster, genesis): (ClusterId, NodeId),
    roster: &[u8],
) -> Result<(), NotAMember> {
    if cluster != cluster_id(master, genesis) {
        return Err(NotAMember::OtherAddress);
    }
    let file: RosterFile = sign::decode(roster).ok_or(NotAMember::NoRoster)?;
    let roster = roster::proven(cluster, genesis, &file);
    match roster.members().get(&node) {
        Some(admitted) if *admitted == wg => Ok(()),
        None if !roster.knows(genesis) => Err(NotAMember::NoRoster),
        None if roster.removed().any(|removed| removed == node) => Err(NotAMember::Removed),
        None if roster.knows(node) => Err(NotAMember::Left),
        Some(_) | None => Err(NotAMember::OtherKeys),
    }
}

/// The member's side: who asks, if it may and is who it says.
pub(crate) fn check_request(
    bytes: &[u8],
    token: &ClusterToken,
    tunnel_wg: WgPublicKey,
    own_wg: WgPublicKey,
) -> Result<NodeId, AdmitError> {
    let Request { ask, proof, mac } = unversioned(bytes).ok_or(AdmitError::Malformed)?;
    let body = sign::encode(&ask);
    if !token.verify(&mac_message(&body), &mac) {
        return Err(AdmitError::BadToken);
    }
    let is_this_tunnel = ask.wg == tunnel_wg && ask.member_wg == own_wg;
    if !is_this_tunnel || !sign::verifies(ask.node, Purpose::Join, NO_CLUSTER, &body, &proof) {
        return Err(AdmitError::BadProof);
    }
    Ok(ask.node)
}

/// The request datagram, proven and authorised.
fn request(keypair: &NodeKeypair, token: &ClusterToken, ask: Ask) -> Vec<u8> {
    let body = sign::encode(&ask);
    let proof = keypair.sign(Purpose::Join, NO_CLUSTER, &body);
    let mac = token.mac(&mac_message(&body));
    versioned(&Request { ask, proof, mac })
}

/// The answer in datagrams.
pub(crate) fn encode_reply(reply: &Result<Grant, AdmitError>) -> Vec<Vec<u8>> {
    in_datagrams(&sign::encode(reply))
}

fn in_datagrams(bytes: &[u8]) -> Vec<Vec<u8>> {
    let hash = sign::hash16(bytes);
    let count = u16::try_from(bytes.len().div_ceil(FRAGMENT_SIZE)).unwrap_or(u16::MAX);
    let fragments = (0..count).zip(bytes.chunks(FRAGMENT_SIZE));
    fragments.map(|(index, bytes)| versioned(&Fragment { hash, index, count, bytes: bytes.to_vec() })).collect()
}

/// The cluster a first node founds: its id, and its initial roster file (itself alone, and who may connect).
pub fn found(keypair: &NodeKeypair, wg: WgPublicKey, master: HsId, access: &Access) -> Admitted {
    let genesis = keypair.id();
    let cluster = cluster_id(master, genesis);
    let entries = vec![roster::admit(keypair, cluster, 0, genesis, wg)];
    let access = access::founding(keypair, cluster, access);
    let roster = sign::encode(&RosterFile { entries, access, ..RosterFile::default() });
    Admitted { cluster, genesis, roster, by: genesis }
}

/// A hash of the master address and the first node.
fn cluster_id(master: HsId, genesis: NodeId) -> ClusterId {
    let mut hash = Sha3_256::new();
    hash.update(b"rustbalance cluster");
    hash.update(master.0);
    hash.update(genesis.0);
    ClusterId(hash.finalize().into())
}

fn mac_message(body: &[u8]) -> Vec<u8> {
    [b"rustbalance join", body].concat()
}

pub(crate) fn versioned<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(sign::encode(value));
    bytes
}

pub(crate) fn unversioned<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (version, body) = bytes.split_first()?;
    (*version == VERSION).then(|| sign::decode(body))?
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::output::DATAGRAM_MAX;
    use crate::rng::Rng;

    const MASTER: HsId = HsId([5; 32]);
    const MEMBER_WG: WgPublicKey = WgPublicKey([1; 32]);
    const JOINER_WG: WgPublicKey = WgPublicKey([2; 32]);

    fn keypair(n: u8) -> NodeKeypair {
        NodeKeypair::from_seed(&[n; 32])
    }

    fn token() -> ClusterToken {
        ClusterToken::new([9; 32])
    }

    fn joiner(master: HsId) -> Joiner {
        Joiner::new(&keypair(2), JOINER_WG, MEMBER_WG, &token(), master, &mut Rng::seed_from_u64(1))
    }

    fn grant(members: u8) -> Grant {
        let founder = keypair(1);
        let Admitted { cluster, genesis, .. } = found(&founder, MEMBER_WG, MASTER, &Access::Open);
        let entry = |n: u8| roster::admit(&founder, cluster, 0, keypair(n).id(), WgPublicKey([n; 32]));
        let file = RosterFile { entries: (1..=members).map(entry).collect(), ..RosterFile::default() };
        Grant { cluster, genesis, by: genesis, file }
    }

    #[test]
    fn a_request_proves_token_node_and_tunnel() {
        let bytes = joiner(MASTER).request();
        assert!(bytes.len() <= DATAGRAM_MAX);
        let check =
            |bytes: &[u8], token: [u8; 32], tunnel, own| check_request(bytes, &ClusterToken::new(token), tunnel, own);
        assert_eq!(check(&bytes, [9; 32], JOINER_WG, MEMBER_WG), Ok(keypair(2).id()));
        assert_eq!(check(&bytes, [8; 32], JOINER_WG, MEMBER_WG), Err(AdmitError::BadToken));
        assert_eq!(check(&bytes, [9; 32], WgPublicKey([3; 32]), MEMBER_WG), Err(AdmitError::BadProof));
        assert_eq!(check(&bytes, [9; 32], JOINER_WG, WgPublicKey([3; 32])), Err(AdmitError::BadProof));
        for end in 0..bytes.len() {
            assert_eq!(check(&bytes[..end], [9; 32], JOINER_WG, MEMBER_WG), Err(AdmitError::Malformed));
        }
    }

    #[test]
    fn only_the_files_of_a_member_make_a_member() {
        let founder = keypair(1);
        let Admitted { cluster, genesis, roster, .. } = found(&founder, MEMBER_WG, MASTER, &Access::Open);
        let check = |node, wg, master, roster: &[u8]| check_member((node, wg), master, (cluster, genesis), roster);
        assert_eq!(check(genesis, MEMBER_WG, MASTER, &roster), Ok(()));
        assert_eq!(check(genesis, MEMBER_WG, HsId([6; 32]), &roster), Err(NotAMember::OtherAddress));
        assert_eq!(check(genesis, JOINER_WG, MASTER, &roster), Err(NotAMember::OtherKeys));
        assert_eq!(check(keypair(2).id(), JOINER_WG, MASTER, &roster), Err(NotAMember::OtherKeys));
        for end in 0..roster.len() {
            assert_eq!(check(genesis, MEMBER_WG, MASTER, &roster[..end]), Err(NotAMember::NoRoster));
        }
        let nobody = sign::encode(&RosterFile::default());
        assert_eq!(check(genesis, MEMBER_WG, MASTER, &nobody), Err(NotAMember::NoRoster));

        let admitted = roster::admit(&founder, cluster, 0, genesis, MEMBER_WG);
        let gone = roster::leave(&founder, cluster, &admitted, crate::time::Wall::from_secs(1)).unwrap();
        let left = sign::encode(&RosterFile { entries: vec![gone], ..RosterFile::default() });
        assert_eq!(check(genesis, MEMBER_WG, MASTER, &left), Err(NotAMember::Left));
    }

    #[test]
    fn every_flipped_bit_of_a_request_is_refused() {
        let bytes = joiner(MASTER).request();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(check_request(&bad, &token(), JOINER_WG, MEMBER_WG).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn who_knows_the_token_but_not_the_node_key_is_refused() {
        let ask = Ask { node: keypair(2).id(), wg: JOINER_WG, member_wg: MEMBER_WG, nonce: [0; 32] };
        let body = sign::encode(&ask);
        let proof = keypair(3).sign(Purpose::Join, NO_CLUSTER, &body);
        let bytes = versioned(&Request { ask, proof, mac: token().mac(&mac_message(&body)) });
        assert_eq!(check_request(&bytes, &token(), JOINER_WG, MEMBER_WG), Err(AdmitError::BadProof));
    }

    #[test]
    fn an_answer_arrives_in_any_order_and_more_than_once() {
        let datagrams = encode_reply(&Ok(grant(40)));
        assert!(datagrams.len() > 3 && datagrams.iter().all(|bytes| bytes.len() <= DATAGRAM_MAX));
        let mut joiner = joiner(MASTER);
        let shuffled = datagrams.iter().rev().chain(&datagrams);
        let admitted: Vec<Admitted> = shuffled.filter_map(|bytes| joiner.handle(bytes).unwrap()).collect();
        assert_eq!(admitted.len(), 2, "complete after the first round, and after the second");
        assert_eq!(admitted[0].genesis, keypair(1).id());
        let file: RosterFile = sign::decode(&admitted[0].roster).unwrap();
        assert_eq!(roster::proven(admitted[0].cluster, admitted[0].genesis, &file).len(), 40);
    }

    #[test]
    fn a_changed_answer_does_not_mix_with_the_first() {
        let (old, new) = (encode_reply(&Ok(grant(40))), encode_reply(&Ok(grant(41))));
        let mut joiner = joiner(MASTER);
        for bytes in &old[1..] {
            assert_eq!(joiner.handle(bytes), Ok(None));
        }
        assert_eq!(joiner.handle(&new[0]), Ok(None));
        assert!(new[1..].iter().any(|bytes| matches!(joiner.handle(bytes), Ok(Some(_)))));
    }

    #[test]
    fn another_address_a_refusal_and_a_roster_without_us_are_told_apart() {
        let answer = |joiner: &mut Joiner, reply: &Result<Grant, AdmitError>| {
            encode_reply(reply).iter().map(|bytes| joiner.handle(bytes)).next_back()
        };
        let other = answer(&mut joiner(HsId([6; 32])), &Ok(grant(2)));
        assert_eq!(other, Some(Err(JoinError::OtherAddress)));
        let refused = answer(&mut joiner(MASTER), &Err(AdmitError::BadToken));
        assert_eq!(refused, Some(Err(JoinError::Refused(AdmitError::BadToken))));
        assert_eq!(answer(&mut joiner(MASTER), &Ok(grant(1))), Some(Err(JoinError::BadReply)));
    }

    #[test]
    fn garbage_is_a_bad_reply_and_the_good_one_still_counts() {
        let mut joiner = joiner(MASTER);
        let good = encode_reply(&Ok(grant(2)));
        for bytes in [vec![], vec![VERSION], vec![0xFF; 1232], good[0][..good[0].len() - 1].to_vec()] {
            assert_eq!(joiner.handle(&bytes), Err(JoinError::BadReply));
        }
        assert!(matches!(joiner.handle(&good[0]), Ok(Some(_))));
    }

    #[test]
    fn an_answer_of_too_many_datagrams_is_refused() {
        let mut joiner = joiner(MASTER);
        let mut handle = |index, count, length| {
            let fragment = Fragment { hash: [1; 16], index, count, bytes: vec![0; length] };
            joiner.handle(&versioned(&fragment))
        };
        assert_eq!(handle(0, REPLY_DATAGRAMS_MAX + 1, 1), Err(JoinError::BadReply));
        assert_eq!(handle(REPLY_DATAGRAMS_MAX, REPLY_DATAGRAMS_MAX, 1), Err(JoinError::BadReply));
        assert_eq!(handle(0, REPLY_DATAGRAMS_MAX, FRAGMENT_SIZE + 1), Err(JoinError::BadReply));
        assert_eq!(handle(REPLY_DATAGRAMS_MAX - 1, REPLY_DATAGRAMS_MAX, FRAGMENT_SIZE), Ok(None));
    }

    #[test]
    fn the_largest_roster_fits_an_answer() {
        let Grant { cluster, genesis, by, .. } = grant(1);
        let contact = "x".repeat(crate::cluster::CONTACT_MAX);
        let entry = roster::admit(&keypair(1), cluster, 0, keypair(2).id(), JOINER_WG);
        let entry = roster::leave(&keypair(2), cluster, &entry, crate::time::Wall::from_secs(u64::MAX)).unwrap();
        let count = crate::cluster::timing::ROSTER_MAX;
        let node = |n: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_le_bytes());
            NodeId(id)
        };
        let contacts = (0..count).map(|n| (node(n), contact.clone())).collect();
        let file = RosterFile { entries: vec![entry; count], contacts, ..RosterFile::default() };
        let datagrams = encode_reply(&Ok(Grant { cluster, genesis, by, file }));
        assert!(datagrams.len() <= usize::from(REPLY_DATAGRAMS_MAX), "{}", datagrams.len());
        assert!(datagrams.iter().all(|bytes| bytes.len() <= DATAGRAM_MAX));
    }
}
