//! For fuzzing and for ordinary tests: any bytes on the socket and inside a tunnel.

use core::time::Duration;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use boringtun::x25519::{PublicKey, StaticSecret};
use rustbalance_core::output::DATAGRAM_MAX;
use rustbalance_core::time::Mono;
use rustbalance_core::{NodeId, Peer, WgPublicKey};

use super::counters::Counters;
use super::packet::{Port, decode, encode, with_checksum};
use super::switch::{Outcome, Switch};

const OURS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const THEIRS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
/// More than a datagram is ever answered with.
const ANSWERS_MAX: usize = 64;

/// What came out of a tunnel, as it is and with its checksum mended.
///
/// # Panics
/// If what is read is not what would be written: that would be a bug of ours.
pub fn packet(bytes: &[u8]) {
    for packet in [bytes, &with_checksum(bytes.to_vec(), THEIRS, OURS)] {
        if let Ok((port, payload)) = decode(packet, THEIRS, OURS) {
            let again = encode(THEIRS, OURS, port, payload);
            assert_eq!(again.as_deref().map(|again| decode(again, THEIRS, OURS)), Some(Ok((port, payload))));
        }
    }
    let written = encode(THEIRS, OURS, Port::Cluster, bytes);
    assert_eq!(written.is_some(), bytes.len() <= DATAGRAM_MAX);
    assert!(written.is_none_or(|written| decode(&written, THEIRS, OURS) == Ok((Port::Cluster, bytes))));
}

/// A good packet, to begin from.
pub fn packet_sample() -> Vec<u8> {
    encode(THEIRS, OURS, Port::Admission, b"hello").unwrap_or_default()
}

/// One end of the wire.
struct Side {
    switch: Switch,
    key: WgPublicKey,
    address: SocketAddr,
}

impl Side {
    fn new(seed: u8) -> Self {
        let secret = StaticSecret::from([seed; 32]);
        let key = WgPublicKey(PublicKey::from(&secret).to_bytes());
        let switch = Switch::new(secret, u32::from(seed), Arc::new(Counters::default()));
        Self { switch, key, address: SocketAddr::from(([192, 0, 2, seed], u16::from(seed))) }
    }

    fn node(&self) -> NodeId {
        NodeId(self.key.0)
    }

    fn knows(&mut self, other: &Self, now: Mono, out: &mut Outcome) {
        let peer = Peer { node: other.node(), wg: other.key, contact: None };
        self.switch.set_peers(now, vec![peer], out);
        self.switch.resolved(now, other.key, &[other.address], out);
    }
}

/// The switch of a node with one member, which has a session with it. `bytes` are steps as
/// [`heard`](rustbalance_core::cluster::exercise::heard) reads them, whose first byte modulo three says what happens: the
/// text comes from a stranger's address, the member sends it, or it spoils what the member sends.
///
/// # Panics
/// If a datagram is answered without end: that would be a bug of ours.
pub fn datagrams(bytes: &[u8]) {
    let (mut ours, mut theirs, mut now) = (Side::new(1), Side::new(2), Mono::from_ms(1_000_000));
    let (mut out, mut spoil) = (Outcome::default(), [].as_slice());
    ours.knows(&theirs, now, &mut out);
    out.net.clear();
    theirs.knows(&ours, now, &mut out);
    carry(&mut ours, &mut theirs, now, core::mem::take(&mut out), spoil);
    for (pause, step) in rustbalance_core::cluster::exercise::heard(bytes) {
        let (code, text) = step.split_first().unwrap_or((&0, &[]));
        now = now.plus(pause.max(Duration::from_millis(1)));
        let mut out = Outcome::default();
        match code % 3 {
            0 => {
                ours.switch.receive(now, SocketAddr::from(([192, 0, 2, 3], 3)), text, &mut out);
                assert!(out.net.len() < ANSWERS_MAX && out.events.len() <= 1);
            }
            1 => theirs.switch.send(now, ours.node(), text, &mut out),
            _ => spoil = text,
        }
        ours.switch.tick(now, &mut out);
        theirs.switch.tick(now, &mut out);
        carry(&mut ours, &mut theirs, now, out, spoil);
    }
}

/// Carries what is sent, spoilt, and its answers, for a while.
fn carry(ours: &mut Side, theirs: &mut Side, now: Mono, mut out: Outcome, spoil: &[u8]) {
    for _ in 0..8 {
        let mut answers = Outcome::default();
        for (to, mut datagram) in out.net {
            let (from, side) =
                if to == ours.address { (theirs.address, &mut *ours) } else { (ours.address, &mut *theirs) };
            datagram.iter_mut().zip(spoil).for_each(|(byte, spoil)| *byte ^= spoil);
            side.switch.receive(now, from, &datagram, &mut answers);
        }
        assert!(answers.net.len() < ANSWERS_MAX);
        out = answers;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_good_packet_and_mending_changes_nothing_about_it() {
        let sample = packet_sample();
        assert_eq!(decode(&sample, THEIRS, OURS), Ok((Port::Admission, &b"hello"[..])));
        assert_eq!(with_checksum(sample.clone(), THEIRS, OURS), sample);
        packet(&sample);
    }

    #[test]
    fn a_spoilt_wire_does_no_harm() {
        datagrams(&[0, 0, 3, 2, 0x55, 0xAA, 0, 0, 3, 1, b'h', b'i', 50, 0, 3, 0, 1, 0]);
    }
}
