//! Client authorisation: who can decrypt the inner layer (rend-spec `[CLIENT-AUTH]`).

use rand_core::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::crypt::{ClientKeys, Cookie};
use super::middle::{AuthClient, Middle};
use crate::onion::client::{HsClientDescEncKey, HsClientDescEncKeypair};
use crate::onion::key::Subcredential;

/// Tor writes a multiple of this many `auth-client` lines, so that their number tells little.
const AUTH_CLIENT_MULTIPLE: usize = 16;

/// The part of the middle layer that says who may read the inner one.
pub(super) struct Authorisation {
    pub ephemeral_key: [u8; 32],
    pub lines: Vec<AuthClient>,
    /// `None`: everybody may.
    pub cookie: Option<Cookie>,
}

impl Authorisation {
    /// A new cookie for `clients`, shuffled among random lines; without clients random lines alone.
    pub fn new(clients: &[HsClientDescEncKey], subcredential: Subcredential, rng: &mut impl CryptoRng) -> Self {
        let secret = StaticSecret::from(*Zeroizing::new(random(rng)));
        let cookie = (!clients.is_empty()).then(|| Cookie::new(random(rng)));
        let mut lines = Vec::new();
        if let Some(cookie) = &cookie {
            lines.extend(clients.iter().map(|client| {
                let shared = secret.diffie_hellman(&PublicKey::from(*client.as_bytes()));
                let keys = ClientKeys::derive(subcredential, shared.as_bytes());
                let mut line = AuthClient { id: keys.id, iv: random(rng), cookie: **cookie };
                keys.apply(&line.iv, &mut line.cookie);
                line
            }));
        }
        let count = lines.len().max(1).next_multiple_of(AUTH_CLIENT_MULTIPLE);
        lines.resize_with(count, || AuthClient { id: random(rng), iv: random(rng), cookie: random(rng) });
        shuffle(&mut lines, rng);
        Self { ephemeral_key: PublicKey::from(&secret).to_bytes(), lines, cookie }
    }
}

/// The cookie for `client`; `None` if the descriptor does not list it.
pub(super) fn cookie_for(
    middle: &Middle,
    client: &HsClientDescEncKeypair,
    subcredential: Subcredential,
) -> Option<Cookie> {
    let shared = client.exchange(middle.ephemeral_key);
    let keys = ClientKeys::derive(subcredential, shared.as_bytes());
    let line = middle.clients.iter().find(|line| line.id == keys.id)?;
    let mut cookie = Cookie::new(line.cookie);
    keys.apply(&line.iv, &mut cookie);
    Some(cookie)
}

pub(super) fn random<const N: usize>(rng: &mut impl CryptoRng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Fisher and Yates; the bias of the multiplication is below 2^-20 for any list that fits a descriptor.
fn shuffle<T>(list: &mut [T], rng: &mut impl CryptoRng) {
    for last in (1..list.len()).rev() {
        let other = (u64::from(rng.next_u32()) * (last as u64 + 1)) >> 32;
        list.swap(last, other as usize);
    }
}
