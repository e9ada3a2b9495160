//! Encryption under keys that are used once: AES-256-CTR, and HMAC-SHA256 over what must not change.

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use hmac::Mac as _;
use zeroize::Zeroizing;

use crate::mac;

/// Bytes of a MAC.
pub(crate) const MAC_LENGTH: usize = 32;

/// The keys of one message. Whoever derives them sees to it that no other message has the same.
#[derive(Default)]
pub(crate) struct OneTimeKeys {
    pub cipher: Zeroizing<[u8; 32]>,
    pub mac: Zeroizing<[u8; 32]>,
}

impl OneTimeKeys {
    /// Encrypts or decrypts. The key is used once, so the first counter may be zero.
    pub fn apply(&self, bytes: &mut [u8]) {
        Ctr128BE::<Aes256>::new((&*self.cipher).into(), &[0; 16].into()).apply_keystream(bytes);
    }

    /// The MAC of what was encrypted.
    pub fn mac(&self, message: &[u8]) -> [u8; MAC_LENGTH] {
        mac::keyed(&self.mac, message).finalize().into_bytes().into()
    }

    /// Whether `mac` is that of `message`, in constant time.
    pub fn verifies(&self, message: &[u8], mac: &[u8; MAC_LENGTH]) -> bool {
        mac::keyed(&self.mac, message).verify_slice(mac).is_ok()
    }
}
