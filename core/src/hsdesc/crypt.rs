//! Encryption of the two layers and of descriptor cookies (rend-spec `[HS-DESC-ENC]`, `[HS-DESC-ENCRYPTION-KEYS]`).

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use sha3::{Digest as _, Sha3_256};
use shake::{ExtendableOutput as _, Shake256, Update as _, XofReader as _};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::onion::key::{HsBlindId, Subcredential};
use crate::onion::revision::RevisionCounter;
use crate::shared;

const SALT_LENGTH: usize = 16;
const MAC_LENGTH: usize = 32;

/// The secret that authorised clients alone can decrypt.
pub(super) type Cookie = Zeroizing<[u8; 16]>;

/// All parameters of one layer's encryption.
pub(super) struct LayerCipher<'a> {
    /// `"hsdir-superencrypted-data"` or `"hsdir-encrypted-data"`.
    pub string_constant: &'static str,
    pub blind: HsBlindId,
    /// Only of the inner layer and only with client authorisation.
    pub cookie: Option<&'a Cookie>,
    pub subcredential: Subcredential,
    pub revision: RevisionCounter,
}

/// Why a layer did not decrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CryptError {
    /// Not even one byte between salt and MAC.
    TooShort,
    /// Damaged, or another key.
    Mac,
}

impl LayerCipher<'_> {
    /// `SALT | ENCRYPTED | MAC`.
    pub fn encrypt(&self, salt: [u8; SALT_LENGTH], plaintext: &[u8]) -> Vec<u8> {
        let keys = self.keys(&salt);
        let mut blob = Vec::with_capacity(SALT_LENGTH + plaintext.len() + MAC_LENGTH);
        blob.extend(salt);
        blob.extend(plaintext);
        if let Some((_, body)) = blob.split_first_chunk_mut::<SALT_LENGTH>() {
            apply_aes_ctr(&keys.secret, &keys.iv, body);
            let mac = keys.mac(&salt, body);
            blob.extend(mac);
        }
        blob
    }

    /// The plaintext with its padding.
    pub fn decrypt(&self, blob: &[u8]) -> Result<Vec<u8>, CryptError> {
        let Self { string_constant, blind, cookie, subcredential, revision } = self;
        let cookie = cookie.map_or(&[][..], |cookie| cookie.as_slice());
        let keys = [string_constant.as_bytes(), &blind.0, cookie, &subcredential.0, &revision.0.to_be_bytes()];
        let [constant, blind, cookie, subcredential, revision] = keys;
        let question = [b"decrypt", constant, blind, cookie, subcredential, revision, blob];
        shared::answer(&question, || self.decrypt_anew(blob))
    }

    fn decrypt_anew(&self, blob: &[u8]) -> Result<Vec<u8>, CryptError> {
        let (salt, rest) = blob.split_first_chunk().ok_or(CryptError::TooShort)?;
        let (body, mac) = rest.split_last_chunk::<MAC_LENGTH>().ok_or(CryptError::TooShort)?;
        if body.is_empty() {
            return Err(CryptError::TooShort);
        }
        let keys = self.keys(salt);
        if !bool::from(keys.mac(salt, body).ct_eq(mac)) {
            return Err(CryptError::Mac);
        }
        let mut plaintext = body.to_vec();
        apply_aes_ctr(&keys.secret, &keys.iv, &mut plaintext);
        Ok(plaintext)
    }

    /// `secret_input = SECRET_DATA | N_hs_subcred | INT_8(revision)`, `SECRET_DATA = KP_hs_blind_id [| cookie]`,
    /// `keys = SHAKE256(secret_input | SALT | STRING_CONSTANT)`.
    fn keys(&self, salt: &[u8; SALT_LENGTH]) -> LayerKeys {
        let mut hash = Shake256::default();
        hash.update(&self.blind.0);
        if let Some(cookie) = self.cookie {
            hash.update(cookie.as_slice());
        }
        hash.update(&self.subcredential.0);
        hash.update(&self.revision.0.to_be_bytes());
        hash.update(salt);
        hash.update(self.string_constant.as_bytes());
        let mut output = hash.finalize_xof();
        let mut keys = LayerKeys { secret: Zeroizing::default(), iv: [0; 16], mac: Zeroizing::default() };
        output.read(keys.secret.as_mut());
        output.read(&mut keys.iv);
        output.read(keys.mac.as_mut());
        keys
    }
}

/// Salt and MAC of an encrypted layer. No two layers have the same: the MAC is SHA3-256 of key, salt and all that is
/// encrypted.
pub(super) fn commitment(blob: &[u8]) -> [&[u8]; 2] {
    let (salt, rest) = blob.split_at(blob.len().min(SALT_LENGTH));
    let (_, mac) = rest.split_at(rest.len().saturating_sub(MAC_LENGTH));
    [salt, mac]
}

struct LayerKeys {
    secret: Zeroizing<[u8; 32]>,
    iv: [u8; 16],
    mac: Zeroizing<[u8; 32]>,
}

impl LayerKeys {
    /// `H(INT_8(len(MAC_KEY)) | MAC_KEY | INT_8(len(SALT)) | SALT | ENCRYPTED)`.
    fn mac(&self, salt: &[u8; SALT_LENGTH], body: &[u8]) -> [u8; MAC_LENGTH] {
        Sha3_256::new()
            .chain_update(32_u64.to_be_bytes())
            .chain_update(self.mac.as_slice())
            .chain_update(16_u64.to_be_bytes())
            .chain_update(salt)
            .chain_update(body)
            .finalize()
            .into()
    }
}

/// What a client and the service derive from their Diffie-Hellman secret:
/// `CLIENT-ID (8) | COOKIE-KEY (32) = SHAKE256(N_hs_subcred | SECRET_SEED)`.
pub(super) struct ClientKeys {
    pub id: [u8; 8],
    cookie_key: Zeroizing<[u8; 32]>,
}

impl ClientKeys {
    /// From `SECRET_SEED`, the x25519 of one side's secret and the other side's public key.
    pub fn derive(subcredential: Subcredential, secret_seed: &[u8; 32]) -> Self {
        let mut hash = Shake256::default();
        hash.update(&subcredential.0);
        hash.update(secret_seed);
        let mut output = hash.finalize_xof();
        let mut keys = Self { id: [0; 8], cookie_key: Zeroizing::default() };
        output.read(&mut keys.id);
        output.read(keys.cookie_key.as_mut());
        keys
    }

    /// Encrypts or decrypts a descriptor cookie in place.
    pub fn apply(&self, iv: &[u8; 16], cookie: &mut [u8; 16]) {
        apply_aes_ctr(&self.cookie_key, iv, cookie);
    }
}

fn apply_aes_ctr(key: &[u8; 32], iv: &[u8; 16], data: &mut [u8]) {
    Ctr128BE::<Aes256>::new(key.into(), iv.into()).apply_keystream(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher(cookie: Option<&Cookie>) -> LayerCipher<'_> {
        LayerCipher {
            string_constant: "hsdir-encrypted-data",
            blind: HsBlindId([1; 32]),
            cookie,
            subcredential: Subcredential([2; 32]),
            revision: RevisionCounter(3),
        }
    }

    #[test]
    fn a_layer_decrypts_with_its_own_key_alone() {
        let cookie = Cookie::new([4; 16]);
        let blob = cipher(Some(&cookie)).encrypt([5; 16], b"plaintext");
        assert_eq!(cipher(Some(&cookie)).decrypt(&blob).as_deref(), Ok(b"plaintext".as_slice()));
        assert_eq!(cipher(None).decrypt(&blob), Err(CryptError::Mac));
        for at in 0..blob.len() {
            let mut damaged = blob.clone();
            damaged[at] ^= 1;
            assert_eq!(cipher(Some(&cookie)).decrypt(&damaged), Err(CryptError::Mac), "byte {at}");
        }
    }

    #[test]
    fn salt_and_mac_alone_are_too_short() {
        for length in [0, 15, 16, 47, 48] {
            assert_eq!(cipher(None).decrypt(&vec![0; length]), Err(CryptError::TooShort), "{length}");
        }
        assert_eq!(cipher(None).decrypt(&[0; 49]), Err(CryptError::Mac));
    }
}
