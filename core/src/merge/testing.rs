//! Nodes and points made from small numbers, for tests.

use crate::hsdesc::IntroPoint;
use crate::id::NodeId;
use curve25519_dalek::{EdwardsPoint, Scalar};

/// Node `n`.
pub(crate) fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

/// A usable point of node `owner` on relay `relay` (not 0); another `serial` is another point there.
pub(crate) fn point(owner: u8, relay: u8, serial: u8) -> IntroPoint {
    let secret = u64::from_be_bytes([0, 0, 0, 0, owner, relay, serial, 1]);
    let public = EdwardsPoint::mul_base(&Scalar::from(secret));
    let link_specifiers = [&[1, 2, 20][..], &[relay; 20]].concat();
    let x25519 = public.to_montgomery().0;
    IntroPoint { link_specifiers, onion_key: x25519, auth_key: public.compress().0, enc_key: x25519 }
}
