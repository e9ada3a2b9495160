//! What tor keeps for as long as it keeps a descriptor: the signing key of one period, what that certified, and who is
//! authorised.

use std::collections::BTreeMap;

use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::ExpandedSecretKey;
use rand_core::{CryptoRng, SeedableRng as _};
use sha3::{Digest as _, Sha3_256};
use zeroize::Zeroizing;

use super::client::{Authorisation, random};
use super::{BuildError, IntroPoint};
use crate::onion::cert::{self, CertType, ExpirationHours};
use crate::onion::client::HsClientDescEncKey;
use crate::onion::key::{HsBlindId, HsBlindIdKeypair, Subcredential};
use crate::onion::montgomery;
use crate::onion::signature;
use crate::rng::Rng;
use crate::time::Wall;

/// How long tor certifies the signing key and the points' keys, hours.
const CERT_LIFETIME_HOURS: u32 = 54;
/// Certified points kept (several descriptors may share the key); beyond it all but those of the next descriptor are
/// forgotten.
const CERTIFIED_MAX: usize = 256;

/// `KS_hs_desc_sign` of one period with its certificate and, cached, the points' lines with their certificates and the
/// clients' lines. Zeroized on drop, no `Debug`, no `Clone`.
pub struct SigningKeys {
    secret: ExpandedSecretKey,
    public: VerifyingKey,
    blind: HsBlindId,
    cert: Vec<u8>,
    expires: ExpirationHours,
    certified: BTreeMap<IntroPoint, CertifiedPoint>,
    /// What everything here is made from.
    seed: Zeroizing<[u8; 32]>,
    authorised: Option<(Vec<HsClientDescEncKey>, Authorisation)>,
}

struct CertifiedPoint {
    expires: ExpirationHours,
    text: String,
}

impl SigningKeys {
    /// New ones, as a tor makes that starts; `KP_hs_desc_sign` is certified by `blind` for 54 h from `now`, rounded up to
    /// the hour as tor does.
    pub fn new(blind: &HsBlindIdKeypair, rng: &mut impl CryptoRng, now: Wall) -> Self {
        Self::of_seed(blind, Zeroizing::new(random(rng)), now)
    }

    /// Those of the period, the same wherever the service's key is: HSDirs and clients see no change of them when another
    /// node publishes.
    pub fn of_period(blind: &HsBlindIdKeypair, now: Wall) -> Self {
        Self::of_seed(blind, blind.descriptor_seed(), now)
    }

    fn of_seed(blind: &HsBlindIdKeypair, seed: Zeroizing<[u8; 32]>, now: Wall) -> Self {
        let secret = ExpandedSecretKey::from(&*seed);
        let public = VerifyingKey::from(&secret);
        let (expires, cert) = certificate(blind, &public, now);
        Self {
            secret,
            public,
            blind: blind.public(),
            cert,
            expires,
            certified: BTreeMap::new(),
            seed,
            authorised: None,
        }
    }

    /// Certifies the same key anew, as tor does before each upload; within one hour that gives the same bytes.
    pub(super) fn renew(&mut self, blind: &HsBlindIdKeypair, now: Wall) {
        if self.expires != ExpirationHours::rounded_up(now, CERT_LIFETIME_HOURS) {
            (self.expires, self.cert) = certificate(blind, &self.public, now);
        }
    }

    /// Who may read: as tor's, the same in all descriptors until other clients may.
    pub(super) fn authorise(&mut self, clients: &[HsClientDescEncKey], subcredential: Subcredential) -> &Authorisation {
        let known = self.authorised.take().filter(|(known, _)| known == clients);
        let (_, authorisation) = self.authorised.insert(known.unwrap_or_else(|| {
            // A client that is removed must not know what those that stay are told: so all comes from the list, too.
            let mut hash = Sha3_256::new().chain_update(b"rustbalance client authorisation").chain_update(*self.seed);
            clients.iter().for_each(|client| hash.update(client.as_bytes()));
            let mut rng = Rng::from_seed(hash.finalize().into());
            (clients.to_vec(), Authorisation::new(clients, subcredential, &mut rng))
        }));
        authorisation
    }

    /// The blinded key that certified it.
    pub(super) fn blind(&self) -> HsBlindId {
        self.blind
    }

    pub(super) fn cert(&self) -> &[u8] {
        &self.cert
    }

    /// See [`signature::sign_committed`].
    pub(super) fn sign(&self, message: &[&[u8]], commitment: &[&[u8]]) -> [u8; 64] {
        signature::sign_committed(&self.secret, &self.public, message, commitment)
    }

    /// The lines of `points`, certified for 54 h from `now`, rounded down to the hour as tor does. Tor makes them anew
    /// for each upload; within one hour that gives the same bytes, so they are made once.
    pub(super) fn certify(&mut self, points: &[IntroPoint], now: Wall) -> Result<Vec<&str>, BuildError> {
        let expires = ExpirationHours::rounded_down(now, CERT_LIFETIME_HOURS);
        if self.certified.len() > CERTIFIED_MAX {
            self.certified.clear();
        }
        let is_certified =
            |point: &&IntroPoint| self.certified.get(*point).is_some_and(|known| known.expires == expires);
        let new: Vec<_> = points.iter().filter(|point| !is_certified(point)).collect();
        // Merging has looked at the keys more closely, once for each point; here only what was never filled in is caught.
        if new.iter().any(|point| [point.auth_key, point.onion_key, point.enc_key].contains(&[0; 32])) {
            return Err(BuildError::BadKey);
        }
        let enc_keys = montgomery::to_ed25519_all(new.iter().map(|point| &point.enc_key));
        let unsigned = |kind, key| cert::unsigned(kind, key, expires, self.public.as_bytes());
        let mut certs: Vec<_> = new
            .iter()
            .zip(&enc_keys)
            .flat_map(|(point, enc_key)| {
                [unsigned(CertType::IntroAuth, &point.auth_key), unsigned(CertType::IntroEnc, enc_key)]
            })
            .collect();
        let signatures = signature::sign_all(&self.secret, &self.public, &certs);
        certs.iter_mut().zip(signatures).for_each(|(cert, signature)| cert.extend(signature));
        for (point, [auth_cert, enc_cert]) in new.into_iter().zip(certs.as_chunks().0) {
            let text = point.encode(auth_cert, enc_cert);
            self.certified.insert(point.clone(), CertifiedPoint { expires, text });
        }
        Ok(points.iter().filter_map(|point| self.certified.get(point)).map(|known| known.text.as_str()).collect())
    }
}

/// A certificate of the signing key for 54 h from `now`, and its end.
fn certificate(blind: &HsBlindIdKeypair, public: &VerifyingKey, now: Wall) -> (ExpirationHours, Vec<u8>) {
    let expires = ExpirationHours::rounded_up(now, CERT_LIFETIME_HOURS);
    let sign = |body: &[u8]| blind.sign(body);
    (expires, cert::build(CertType::DescSigning, public.as_bytes(), expires, &blind.public().0, sign))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onion::key::HsIdKeypair;
    use crate::onion::period::TimePeriod;

    #[test]
    fn beyond_the_bound_certified_points_are_forgotten() {
        let (mut rng, now) = (Rng::seed_from_u64(1), Wall::from_secs(1_800_000_000));
        let blind = HsIdKeypair::generate(&mut rng).blind(TimePeriod { number: 20_000, length_minutes: 1440 });
        let mut keys = SigningKeys::new(&blind, &mut rng, now);
        let points: Vec<IntroPoint> = (0..CERTIFIED_MAX + 2)
            .map(|n| {
                let mut auth_key = [7; 32];
                auth_key[..8].copy_from_slice(&n.to_le_bytes());
                IntroPoint { link_specifiers: Vec::new(), onion_key: [9; 32], auth_key, enc_key: [9; 32] }
            })
            .collect();
        let (full, last) = points.split_at(CERTIFIED_MAX);
        assert_eq!(keys.certify(full, now).unwrap().len(), CERTIFIED_MAX);
        keys.certify(&last[..1], now).unwrap();
        assert_eq!(keys.certified.len(), CERTIFIED_MAX + 1);
        assert_eq!(keys.certify(&last[1..], now).unwrap().len(), 1);
        assert_eq!(keys.certified.len(), 1);
    }
}
