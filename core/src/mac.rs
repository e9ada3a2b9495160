//! HMAC-SHA256 under a key of 32 bytes.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Over `message`, to be finished or verified, which is in constant time.
pub(crate) fn keyed(key: &[u8; 32], message: &[u8]) -> Hmac<Sha256> {
    // A 64-byte block key: shorter keys are zero-padded by HMAC's definition (RFC 2104).
    let mut block = Zeroizing::new([0; 64]);
    block.iter_mut().zip(key).for_each(|(byte, key)| *byte = *key);
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    mac.update(message);
    mac
}
