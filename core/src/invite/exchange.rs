//! The exchange between an invited node and a member: one request, one answer, through tor.
//!
//! The request names the node's keys and is signed twice, with the invite's key (was invited) and the node's own (is that
//! node), so in another's hands it is worth nothing. The answer is sealed ([`seal`](super::seal)). Tor already encrypts
//! both from end to end; nothing here relies on that.

pub(super) mod exercise;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use sha3::{Digest as _, Sha3_256};
use zeroize::Zeroizing;

use super::seal::{OVERHEAD, Recipient};
use super::{Invite, InviteId, front};
use crate::cluster::sign::{self, Purpose, Signature};
use crate::cluster::{CONTACT_MAX, ClusterToken, NodeKeypair};
use crate::id::{NodeId, WgPublicKey};
use crate::join::{self, AdmitError, Admitted, Grant, JoinError, NO_CLUSTER};
use crate::onion::key::HsIdKeypair;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub node: NodeId,
    pub wg: WgPublicKey,
    /// Where it can be reached: no member may be reachable itself.
    pub contact: Option<String>,
    nonce: [u8; 32],
}

/// The request's body, after a version byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Request {
    ask: Ask,
    /// By the invite's key.
    pass: Signature,
    /// By the node's key.
    proof: Signature,
}

/// The invited node's side.
pub struct Guest {
    keypair: NodeKeypair,
    invite: NodeKeypair,
    master: crate::onion::key::HsId,
    wg: WgPublicKey,
    request: Vec<u8>,
    recipient: Recipient,
}

/// What an invited node is given: everything that its state directory needs.
pub struct Welcome {
    /// Its admission.
    pub admitted: Admitted,
    /// The cluster token.
    pub token: ClusterToken,
    /// The address' key, as tor's `hs_ed25519_secret_key`.
    pub master: Zeroizing<Vec<u8>>,
}

impl Guest {
    /// Prepares the request; `contact`, at most [`CONTACT_MAX`] bytes, is where the node can be reached, if anywhere.
    pub fn new(
        invite: &Invite,
        keypair: NodeKeypair,
        wg: WgPublicKey,
        contact: Option<String>,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let ask = Ask { node: keypair.id(), wg, contact, nonce };
        Self::asking(invite, keypair, ask)
    }

    /// The same with whatever is asked, signed.
    fn asking(invite: &Invite, keypair: NodeKeypair, ask: Ask) -> Self {
        let (wg, body, passing) = (ask.wg, sign::encode(&ask), invite.keypair());
        let sign = |by: &NodeKeypair| by.sign(Purpose::Invite, NO_CLUSTER, &body);
        let recipient = Recipient { node: keypair.id(), invite: invite.id(), request: hash(&body) };
        let body = join::versioned(&Request { pass: sign(&passing), proof: sign(&keypair), ask });
        let request = front::request(&invite.address().to_string(), &invite.id().path(), &body);
        Self { keypair, invite: passing, master: invite.address().id(), wg, request, recipient }
    }

    /// The whole request, to be sent as it is, again if need be.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// All that came back until the connection was closed. `None`: not the cluster's answer but the service's; who is there
    /// does not know the invite, not yet or not any more.
    ///
    /// # Errors
    /// What the cluster says, for certain.
    pub fn handle(&self, bytes: &[u8]) -> Result<Option<Welcome>, JoinError> {
        let sealed = front::answered(bytes);
        let answer = sealed.and_then(|sealed| self.recipient.open(sealed, &self.keypair, &self.invite));
        answer.map(|answer| self.read(&answer)).transpose()
    }

    fn read(&self, answer: &[u8]) -> Result<Welcome, JoinError> {
        let (kind, rest) = answer.split_first().ok_or(JoinError::BadReply)?;
        if *kind != WELCOME {
            return Err(sign::decode(rest).map_or(JoinError::BadReply, JoinError::Refused));
        }
        let (token, rest) = rest.split_first_chunk().ok_or(JoinError::BadReply)?;
        let (master, grant) = rest.split_at_checked(MASTER_LENGTH).ok_or(JoinError::BadReply)?;
        let given = HsIdKeypair::from_tor_file(master).map_err(|_| JoinError::BadReply)?;
        if given.public() != self.master {
            return Err(JoinError::OtherAddress);
        }
        let grant: Grant = sign::decode(grant).ok_or(JoinError::BadReply)?;
        let admitted = join::check_grant(grant, self.master, self.keypair.id(), self.wg)?;
        let mut file = Zeroizing::new(Vec::with_capacity(MASTER_LENGTH));
        file.extend_from_slice(master);
        Ok(Welcome { admitted, token: ClusterToken::new(*token), master: file })
    }
}

/// First byte of an answer that admits: then come the token, the address' key and the grant.
const WELCOME: u8 = 0;
/// First byte of one that does not: then comes the reason.
const REFUSAL: u8 = 1;
/// Of tor's key file.
const MASTER_LENGTH: usize = 96;

/// The member's side: who asks, if it was invited and is who it says.
pub(crate) fn check_request(bytes: &[u8], invite: InviteId) -> Result<Guested, AdmitError> {
    let Request { ask, pass, proof } = join::unversioned(bytes).ok_or(AdmitError::Malformed)?;
    if ask.contact.as_ref().is_some_and(|contact| contact.len() > CONTACT_MAX) {
        return Err(AdmitError::Malformed);
    }
    let body = sign::encode(&ask);
    let signed = |by, signature| sign::verifies(by, Purpose::Invite, NO_CLUSTER, &body, signature);
    if !signed(invite.signer(), &pass) || !signed(ask.node, &proof) {
        return Err(AdmitError::BadProof);
    }
    let recipient = Recipient { node: ask.node, invite, request: hash(&body) };
    Ok(Guested { ask, reply: Reply(recipient) })
}

/// A request found good.
pub(crate) struct Guested {
    pub ask: Ask,
    pub reply: Reply,
}

/// To whom an answer goes.
#[derive(Clone, Copy)]
pub(crate) struct Reply(Recipient);

impl core::fmt::Debug for Reply {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Reply({})", self.0.node)
    }
}

impl Reply {
    /// Which invite was shown.
    pub fn invite(&self) -> InviteId {
        self.0.invite
    }

    /// The answer that says why not, whole, to be sent as it is.
    pub fn refuse(&self, why: AdmitError, rng: &mut impl CryptoRng) -> Option<Vec<u8>> {
        let mut answer = Zeroizing::new(vec![REFUSAL]);
        answer.extend(sign::encode(&why));
        self.0.seal(answer, rng).map(|sealed| front::answer(&sealed))
    }

    /// The answer with everything, whole, to be sent as it is.
    pub fn welcome(
        &self,
        grant: &Grant,
        token: &ClusterToken,
        master: &HsIdKeypair,
        rng: &mut impl CryptoRng,
    ) -> Option<Vec<u8>> {
        let (grant, master) = (sign::encode(grant), master.to_tor_file());
        // Room from the start: a buffer that grows leaves its old place as it was.
        let mut answer = Zeroizing::new(Vec::with_capacity(1 + 32 + MASTER_LENGTH + grant.len() + OVERHEAD));
        answer.push(WELCOME);
        answer.extend_from_slice(token.expose_secret());
        answer.extend_from_slice(&master);
        answer.extend_from_slice(&grant);
        self.0.seal(answer, rng).map(|sealed| front::answer(&sealed))
    }
}

fn hash(body: &[u8]) -> [u8; 32] {
    Sha3_256::digest(body).into()
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::cluster::Access;
    use crate::cluster::roster::{self, RosterFile};
    use crate::invite::front::Look;
    use crate::onion::address::OnionAddress;
    use crate::rng::Rng;
    use crate::time::Wall;

    const WG: WgPublicKey = WgPublicKey([2; 32]);

    struct Fixture {
        rng: Rng,
        master: HsIdKeypair,
        invite: Invite,
        guest: Guest,
    }

    fn keypair(n: u8) -> NodeKeypair {
        NodeKeypair::from_seed(&[n; 32])
    }

    impl Fixture {
        fn new() -> Self {
            let mut rng = Rng::seed_from_u64(1);
            let master = HsIdKeypair::generate(&mut rng);
            let address = OnionAddress::new(master.public());
            let invite = Invite::new(address, 80, Wall::from_secs(9), &mut rng);
            let guest = Guest::new(&invite, keypair(2), WG, Some("host:7900".to_owned()), &mut rng);
            Self { rng, master, invite, guest }
        }

        fn asked(&self) -> Guested {
            let paths = [self.invite.id().path()];
            let Look::Request { body, .. } = front::look(self.guest.request(), &paths) else { panic!("a request") };
            check_request(body, self.invite.id()).unwrap()
        }

        /// A member's answer, for a cluster of `master` that `admitted` is in.
        fn welcome(&mut self, master: &HsIdKeypair, admitted: u8) -> Vec<u8> {
            let founder = keypair(1);
            let Admitted { cluster, genesis, .. } =
                join::found(&founder, WgPublicKey([1; 32]), self.master.public(), &Access::Open);
            let entry = |n: u8| roster::admit(&founder, cluster, 0, keypair(n).id(), WgPublicKey([n; 32]));
            let file = RosterFile { entries: vec![entry(1), entry(admitted)], ..RosterFile::default() };
            let grant = Grant { cluster, genesis, by: genesis, file };
            self.asked().reply.welcome(&grant, &ClusterToken::new([9; 32]), master, &mut self.rng).unwrap()
        }
    }

    #[test]
    fn a_guest_is_given_all_that_a_node_needs() {
        let mut f = Fixture::new();
        assert!(f.guest.request().len() <= front::REQUEST_MAX);
        let asked = f.asked().ask;
        assert_eq!((asked.node, asked.wg, asked.contact.as_deref()), (keypair(2).id(), WG, Some("host:7900")));
        let master = HsIdKeypair::from_tor_file(&f.master.to_tor_file()).unwrap();
        let answer = f.welcome(&master, 2);
        let welcome = f.guest.handle(&answer).unwrap().expect("the cluster's answer");
        assert_eq!(welcome.token, ClusterToken::new([9; 32]));
        assert_eq!(*welcome.master, *f.master.to_tor_file());
        assert_eq!(welcome.admitted.by, keypair(1).id());
    }

    #[test]
    fn an_answer_with_another_key_or_without_us_is_no_welcome() {
        let mut f = Fixture::new();
        let other = HsIdKeypair::generate(&mut f.rng);
        let answer = f.welcome(&other, 2);
        assert_eq!(f.guest.handle(&answer).err(), Some(JoinError::OtherAddress));
        let master = HsIdKeypair::from_tor_file(&f.master.to_tor_file()).unwrap();
        let answer = f.welcome(&master, 3);
        assert_eq!(f.guest.handle(&answer).err(), Some(JoinError::BadReply));
    }

    #[test]
    fn a_refusal_arrives_with_its_reason_and_anything_else_is_nobodys_answer() {
        let mut f = Fixture::new();
        let refusal = f.asked().reply.refuse(AdmitError::InviteUsed, &mut f.rng).unwrap();
        assert_eq!(f.guest.handle(&refusal).err(), Some(JoinError::Refused(AdmitError::InviteUsed)));
        for end in 0..refusal.len() {
            assert!(f.guest.handle(&refusal[..end]).is_ok_and(|welcome| welcome.is_none()));
        }
        assert!(f.guest.handle(b"HTTP/1.1 404 Not Found\r\n\r\n").is_ok_and(|welcome| welcome.is_none()));
        let again = Guest::new(&f.invite, keypair(2), WG, None, &mut f.rng);
        assert!(again.handle(&refusal).is_ok_and(|welcome| welcome.is_none()), "an answer to another request");
    }

    #[test]
    fn who_was_not_invited_or_is_another_node_is_refused() {
        let mut f = Fixture::new();
        let other = Invite::new(f.invite.address(), 80, Wall::from_secs(9), &mut f.rng);
        let look = |guest: &Guest, path| match front::look(guest.request(), &[path]) {
            Look::Request { body, .. } => body.to_vec(),
            Look::Undecided | Look::Known | Look::Other => panic!("a request"),
        };
        let good = look(&f.guest, f.invite.id().path());
        assert_eq!(check_request(&good, other.id()).err(), Some(AdmitError::BadProof));
        for end in 0..good.len() {
            assert_eq!(check_request(&good[..end], f.invite.id()).err(), Some(AdmitError::Malformed), "{end} bytes");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(check_request(&bad, f.invite.id()).is_err(), "byte {at}");
        }
        let long = Guest::new(&f.invite, keypair(2), WG, Some("x".repeat(CONTACT_MAX + 1)), &mut f.rng);
        let long = look(&long, f.invite.id().path());
        assert_eq!(check_request(&long, f.invite.id()).err(), Some(AdmitError::Malformed));
    }
}
