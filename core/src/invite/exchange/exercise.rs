//! For fuzzing and for ordinary tests: any bytes as what an invited node asks and as what it is told, past the
//! signatures and the encryption that would keep them out.

use rand_core::SeedableRng as _;
use zeroize::Zeroizing;

use super::{Ask, Grant, Guest, Guested, HsIdKeypair, JoinError, MASTER_LENGTH, NodeKeypair, Reply, check_request};
use crate::cluster::exercise::{Door, seal_file_again};
use crate::cluster::{CONTACT_MAX, sign};
use crate::id::WgPublicKey;
use crate::invite::exercise::{invite, master};
use crate::invite::front::{self, Look};
use crate::join::{self, AdmitError};
use crate::rng::Rng;

const WG: WgPublicKey = WgPublicKey([3; 32]);
/// Bytes of a welcome before the grant.
const GRANT_AT: usize = 1 + 32 + MASTER_LENGTH;

fn keypair() -> NodeKeypair {
    NodeKeypair::from_seed(&[3; 32])
}

fn guest() -> Guest {
    Guest::new(&invite(), keypair(), WG, Some("host:7900".to_owned()), &mut Rng::seed_from_u64(0))
}

/// `bytes` as a request's body, and as what is asked in one that is signed, by the node that it names and by another.
///
/// # Panics
/// If somebody is let in who did not prove to be who it is, or whoever did is not told whether it is let in: that would
/// be a bug of ours.
pub fn exercise_request(bytes: &[u8]) {
    let id = invite().id();
    _ = check_request(bytes, id);
    let Some(ask) = sign::decode::<Ask>(bytes) else { return };
    let node = keypair().id();
    for ask in [ask.clone(), Ask { node, ..ask }] {
        let guest = Guest::asking(&invite(), keypair(), ask.clone());
        let has_room = ask.contact.as_ref().is_none_or(|contact| contact.len() <= CONTACT_MAX);
        let Look::Request { path, body } = front::look(guest.request(), &[id.path()]) else {
            assert!(!has_room, "a request that is for the service");
            continue;
        };
        match check_request(body, id) {
            Ok(Guested { ask: heard, .. }) => assert!(heard == ask && ask.node == node && has_room),
            Err(AdmitError::BadProof) => assert_ne!(ask.node, node),
            Err(error) => assert!(error == AdmitError::Malformed && !has_room),
        }
        let answer = Door::new(master(), id).show(path, body).unwrap_or_default();
        match guest.handle(&answer) {
            Ok(None) => assert!(ask.node != node || !has_room),
            Ok(Some(_)) => assert!(ask.node == node && has_room),
            Err(error) => assert!(matches!(error, JoinError::Refused(_)), "{error}"),
        }
    }
}

/// `bytes` as all that comes back, as what is sealed, and as what is told in a sealed answer; there once more with what
/// the roster holds signed.
///
/// # Panics
/// If what the invited node is given does not make it a member: that would be a bug of ours.
pub fn exercise_reply(bytes: &[u8]) {
    let guest = guest();
    _ = guest.handle(bytes);
    _ = guest.handle(&front::answer(bytes));
    hear(&guest, bytes);
    let Some((start, grant)) = bytes.split_at_checked(GRANT_AT) else { return };
    if let Some(Grant { cluster, genesis, by, file }) = sign::decode(grant) {
        let file = seal_file_again(&file, cluster);
        hear(&guest, &[start, &sign::encode(&Grant { cluster, genesis, by, file })].concat());
    }
}

fn hear(guest: &Guest, answer: &[u8]) {
    let mut rng = Rng::seed_from_u64(1);
    let sealed = guest.recipient.seal(Zeroizing::new(answer.to_vec()), &mut rng);
    match guest.handle(&front::answer(&sealed.unwrap_or_default())) {
        Ok(given) => {
            let welcome = given.unwrap_or_else(|| panic!("sealed for it"));
            let (admitted, keys) = (welcome.admitted, (keypair().id(), WG));
            let master = master().public();
            let membership = join::check_member(keys, master, (admitted.cluster, admitted.genesis), &admitted.roster);
            assert_eq!(membership, Ok(()));
            assert_eq!(answer.get(1..33), Some(&welcome.token.expose_secret()[..]));
            assert!(HsIdKeypair::from_tor_file(&welcome.master).is_ok_and(|given| given.public() == master));
        }
        Err(JoinError::Refused(why)) => {
            let again = Reply(guest.recipient).refuse(why, &mut rng).unwrap_or_default();
            assert_eq!(guest.handle(&again).err(), Some(JoinError::Refused(why)));
        }
        Err(_) => {}
    }
}

/// What is asked in a good request, and what is told in a welcome and in a refusal, to begin from.
pub fn samples() -> Option<(Vec<u8>, [Vec<u8>; 2])> {
    let (guest, id) = (guest(), invite().id());
    let Look::Request { path, body } = front::look(guest.request(), &[id.path()]) else { return None };
    let Guested { ask, reply } = check_request(body, id).ok()?;
    let welcome = Door::new(master(), id).show(path, body)?;
    let refusal = reply.refuse(AdmitError::InviteUsed, &mut Rng::seed_from_u64(2))?;
    let told = |answer: &[u8]| {
        let sealed = front::answered(answer)?;
        Some(guest.recipient.open(sealed, &guest.keypair, &guest.invite)?.to_vec())
    };
    Some((sign::encode(&ask), [told(&welcome)?, told(&refusal)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_are_good_and_damaged_ones_do_no_harm() {
        let (ask, [welcome, refusal]) = samples().unwrap();
        assert_eq!(sign::decode::<Ask>(&ask).unwrap().node, keypair().id());
        let guest = guest();
        assert!(guest.read(&welcome).is_ok());
        assert_eq!(guest.read(&refusal).err(), Some(JoinError::Refused(AdmitError::InviteUsed)));
        for bytes in [ask, welcome, refusal] {
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x55;
                exercise_request(&damaged);
                exercise_reply(&damaged);
            }
        }
    }
}
