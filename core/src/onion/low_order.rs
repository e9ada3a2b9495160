//! Public keys of low order (zero among them): whatever secret they meet, everybody knows the outcome.
//!
//! Told from the few encodings there are, without arithmetic, since descriptors are full of keys.

/// `u` of the points of order 1, 2, 4 and 8 on the curve and its twist, then the two that are not reduced.
const X25519: [[u8; 32]; 7] = [
    [0; 32],
    small(1),
    *b"\xe0\xeb\x7a\x7c\x3b\x41\xb8\xae\x16\x56\xe3\xfa\xf1\x9f\xc4\x6a\xda\x09\x8d\xeb\x9c\x32\xb1\xfd\x86\x62\x05\x16\x5f\x49\xb8\x00",
    *b"\x5f\x9c\x95\xbc\xa3\x50\x8c\x24\xb1\xd0\xb1\x55\x9c\x83\xef\x5b\x04\x44\x5c\xc4\x58\x1c\x8e\x86\xd8\x22\x4e\xdd\xd0\x9f\x11\x57",
    near_p(0xEC),
    near_p(0xED),
    near_p(0xEE),
];

/// `y` of the points of order 1, 2, 4 and 8, then the two that are not reduced; the sign of `x` makes no difference.
const ED25519: [[u8; 32]; 7] = [
    [0; 32],
    small(1),
    *b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
    *b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
    near_p(0xEC),
    near_p(0xED),
    near_p(0xEE),
];

/// Whether this x25519 key is of low order.
pub(crate) fn x25519(key: &[u8; 32]) -> bool {
    X25519.contains(&without_top_bit(key))
}

/// Whether this ed25519 key is of low order.
pub(crate) fn ed25519(key: &[u8; 32]) -> bool {
    ED25519.contains(&without_top_bit(key))
}

fn without_top_bit(key: &[u8; 32]) -> [u8; 32] {
    let mut key = *key;
    key[31] &= 0x7F;
    key
}

const fn small(number: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = number;
    bytes
}

/// A number that differs from p = 2^255 - 19 in its lowest byte.
const fn near_p(lowest: u8) -> [u8; 32] {
    let mut bytes = [0xFF; 32];
    bytes[0] = lowest;
    bytes[31] = 0x7F;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION, X25519_BASEPOINT};
    use curve25519_dalek::edwards::CompressedEdwardsY;
    use curve25519_dalek::{MontgomeryPoint, Scalar};

    #[test]
    fn every_point_of_the_torsion_group_is_told() {
        for point in EIGHT_TORSION {
            assert!(ed25519(&point.compress().0) && x25519(&point.to_montgomery().0));
        }
        assert!(!ed25519(&ED25519_BASEPOINT_POINT.compress().0) && !x25519(&X25519_BASEPOINT.0));
    }

    #[test]
    fn every_listed_encoding_is_of_low_order() {
        for y in ED25519 {
            assert!(CompressedEdwardsY(y).decompress().is_some_and(|point| point.is_small_order()), "{y:?}");
        }
        for u in X25519 {
            assert_eq!((MontgomeryPoint(u) * Scalar::from(8_u8)).0, [0; 32], "{u:?}");
        }
    }
}
