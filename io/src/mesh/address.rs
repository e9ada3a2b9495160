//! Addresses inside the mesh.

use std::net::Ipv6Addr;

use rustbalance_core::WgPublicKey;
use sha3::{Digest, Sha3_256};

/// The tunnel address that belongs to a WireGuard key: in `fd00::/8`, derived by hash, so that nothing is allocated,
/// nothing collides and nobody can take another's:
/// `0xfd || first 15 bytes of SHA3-256("rustbalance tunnel address" || key)`.
pub fn tunnel_address(key: WgPublicKey) -> Ipv6Addr {
    let mut hash = Sha3_256::new();
    hash.update(b"rustbalance tunnel address");
    hash.update(key.0);
    let digest: [u8; 32] = hash.finalize().into();
    let mut octets = [0xfd; 16];
    for (octet, byte) in octets.iter_mut().skip(1).zip(digest) {
        *octet = byte;
    }
    Ipv6Addr::from(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_pinned_and_private() {
        // Made with Python: hashlib.sha3_256(b"rustbalance tunnel address" + bytes([7] * 32)).
        let expected: Ipv6Addr = "fda1:832a:8881:5008:ac3a:b09b:7cf9:6c70".parse().unwrap();
        assert_eq!(tunnel_address(WgPublicKey([7; 32])), expected);
        assert!(expected.is_unique_local());
    }

    #[test]
    fn other_key_other_address() {
        assert_ne!(tunnel_address(WgPublicKey([7; 32])), tunnel_address(WgPublicKey([8; 32])));
    }
}
