//! Two switches and a wire in between that the tests cut, repeat and bend. Time is ours, save boringtun's own.

use super::super::tunnel::{KEEPALIVE_AFTER, PAST_FOR};
use super::*;
use rustbalance_core::output::DATAGRAM_MAX;

const A: NodeId = NodeId([1; 32]);
const B: NodeId = NodeId([2; 32]);

struct Side {
    switch: Switch,
    counters: Arc<Counters>,
    address: SocketAddr,
    now: Mono,
    events: Vec<MeshEvent>,
}

fn side(seed: u8, address: &str) -> Side {
    let counters = Arc::new(Counters::default());
    let switch = Switch::new(StaticSecret::from([seed; 32]), u32::from(seed), Arc::clone(&counters));
    Side { switch, counters, address: address.parse().unwrap(), now: Mono::from_ms(1_000_000), events: Vec::new() }
}

impl Side {
    fn key(&self) -> WgPublicKey {
        WgPublicKey(self.switch.public.to_bytes())
    }

    fn step(&mut self, step: impl FnOnce(&mut Switch, Mono, &mut Outcome)) -> Vec<Transmit> {
        let mut out = Outcome::default();
        step(&mut self.switch, self.now, &mut out);
        self.events.append(&mut out.events);
        out.net
    }

    fn knows(&mut self, node: NodeId, other: &Side) {
        let (wg, address) = (other.key(), other.address);
        let peer = Peer { node, wg, contact: None };
        let sent = self.step(|switch, now, out| switch.set_peers(now, vec![peer], out));
        assert!(sent.is_empty());
        let knock = self.step(|switch, now, out| switch.resolved(now, wg, &[address], out));
        assert_eq!(knock.len(), 1, "a peer with a known address is knocked at");
    }

    fn send(&mut self, to: NodeId, bytes: &[u8]) -> Vec<Transmit> {
        self.step(|switch, now, out| switch.send(now, to, bytes, out))
    }

    fn receive(&mut self, from: SocketAddr, datagram: &[u8]) -> Vec<Transmit> {
        self.step(|switch, now, out| switch.receive(now, from, datagram, out))
    }

    fn tick_after(&mut self, ms: u64) -> Vec<Transmit> {
        self.now = self.now.plus(Duration::from_millis(ms));
        self.step(Switch::tick)
    }
}

/// Carries `packets` (from `from`) and everything that follows from them.
fn carry(from: &mut Side, to: &mut Side, mut packets: Vec<Transmit>) {
    let (mut from, mut to) = (from, to);
    while !packets.is_empty() {
        packets = packets.into_iter().flat_map(|(_, datagram)| to.receive(from.address, &datagram)).collect();
        (from, to) = (to, from);
    }
}

/// Two members with a session, made by a datagram from A to B.
fn pair() -> (Side, Side) {
    let (mut a, mut b) = (side(1, "192.0.2.1:1"), side(2, "192.0.2.2:2"));
    let (peer_a, peer_b) = (a.key(), b.key());
    a.step(|switch, now, out| switch.set_peers(now, vec![Peer { node: B, wg: peer_b, contact: None }], out));
    b.step(|switch, now, out| switch.set_peers(now, vec![Peer { node: A, wg: peer_a, contact: None }], out));
    let address = b.address;
    assert!(a.send(B, b"first").is_empty(), "no address yet");
    let knock = a.step(|switch, now, out| switch.resolved(now, peer_b, &[address], out));
    carry(&mut a, &mut b, knock);
    assert_eq!(b.events, [MeshEvent::Datagram { from: A, bytes: b"first".to_vec() }], "what waited was sent");
    b.events.clear();
    (a, b)
}

#[test]
fn datagrams_go_both_ways_up_to_the_limit() {
    let (mut a, mut b) = pair();
    let largest = vec![7; DATAGRAM_MAX];
    let packets = b.send(A, &largest);
    assert!(packets.iter().all(|(to, datagram)| *to == a.address && datagram.len() <= WIRE_MAX));
    carry(&mut b, &mut a, packets);
    assert_eq!(a.events, [MeshEvent::Datagram { from: B, bytes: largest }]);
    assert!(b.send(A, &[7; DATAGRAM_MAX + 1]).is_empty());
    assert_eq!(b.counters.get(Count::Oversized), 1);
}

#[test]
fn a_lost_handshake_is_repeated_after_half_a_second_one_two_and_then_every_second() {
    let (mut a, b) = (side(1, "192.0.2.1:1"), side(2, "192.0.2.2:2"));
    a.knows(B, &b);
    let start = a.now;
    let mut at = Vec::new();
    while a.now.since(start) < Duration::from_secs(5) {
        a.send(B, b"waits");
        if !a.tick_after(250).is_empty() {
            at.push(a.now.since(start).as_millis());
        }
    }
    assert_eq!(at, [500, 1000, 2000, 3000, 4000, 5000]);
}

#[test]
fn a_peer_nobody_sends_to_is_left_alone_after_a_while() {
    let (mut a, b) = (side(1, "192.0.2.1:1"), side(2, "192.0.2.2:2"));
    a.knows(B, &b);
    for _ in 0..64 {
        a.tick_after(250);
    }
    assert!((0..40).all(|_| a.tick_after(250).is_empty()));
}

#[test]
fn only_the_newest_packets_wait_for_a_session() {
    let (mut a, mut b) = (side(1, "192.0.2.1:1"), side(2, "192.0.2.2:2"));
    a.knows(B, &b);
    b.knows(A, &a);
    for number in 0..20 {
        a.send(B, &[number]);
    }
    let knock = a.tick_after(500);
    carry(&mut a, &mut b, knock);
    let expected: Vec<_> = (12..20).map(|number| MeshEvent::Datagram { from: A, bytes: vec![number] }).collect();
    assert_eq!(b.events, expected);
}

#[test]
fn replayed_datagrams_are_counted_and_harmless() {
    let (mut a, mut b) = pair();
    let packets = a.send(B, b"once");
    for _ in 0..3 {
        for (_, datagram) in &packets {
            b.receive(a.address, datagram);
        }
    }
    assert_eq!(b.events, [MeshEvent::Datagram { from: A, bytes: b"once".to_vec() }]);
    assert_eq!(b.counters.get(Count::Replayed), 2);
}

#[test]
fn replayed_handshakes_are_counted_and_the_session_lives_on() {
    let (mut a, mut b) = (side(1, "192.0.2.1:1"), side(2, "192.0.2.2:2"));
    a.knows(B, &b);
    b.knows(A, &a);
    let knock = a.tick_after(500);
    carry(&mut a, &mut b, knock.clone());
    for (_, datagram) in &knock {
        assert!(b.receive("203.0.113.9:9".parse().unwrap(), datagram).is_empty());
    }
    assert_eq!(b.counters.get(Count::Replayed), 1);
    let packets = b.send(A, b"still there");
    assert!(packets.iter().all(|(to, _)| *to == a.address), "a replay does not move the peer");
    carry(&mut b, &mut a, packets);
    assert_eq!(a.events.len(), 1);
}

#[test]
fn a_silent_peer_whose_handshakes_stay_in_the_past_is_let_in_again() {
    let (mut a, mut b) = (side(1, "192.0.2.1:1"), side(2, "192.0.2.2:2"));
    a.knows(B, &b);
    b.knows(A, &a);
    let past = a.tick_after(500);
    let knock = a.tick_after(500);
    carry(&mut a, &mut b, knock);
    let is_answer = |packets: &[Transmit]| packets.iter().any(|(_, datagram)| datagram.first() == Some(&2));
    let mut waited = 0;
    while !past.iter().any(|(_, datagram)| is_answer(&b.receive(a.address, datagram))) {
        waited += 250;
        b.tick_after(250);
    }
    let (silent, past) = (KEEPALIVE_AFTER.as_millis(), PAST_FOR.as_millis());
    assert_eq!(waited, silent + past + 250, "not while it was heard lately, nor at the first, but the next one");
}

#[test]
fn garbage_and_oversized_datagrams_are_counted_and_harmless() {
    let (mut a, mut b) = pair();
    let mut state = 0x2545_f491_4f6c_dd1d_u64; // any fixed bytes will do
    for length in 0..2048 {
        let mut bytes: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state.to_be_bytes()[0]
            })
            .collect();
        for kind in [None, Some(1), Some(2), Some(3), Some(4)] {
            if let (Some(kind), Some(head)) = (kind, bytes.first_chunk_mut::<4>()) {
                *head = [kind, 0, 0, 0];
            }
            assert!(b.receive(a.address, &bytes).is_empty());
        }
    }
    assert!(b.events.is_empty());
    assert!(b.counters.get(Count::Garbage) > 0 && b.counters.get(Count::Oversized) > 0);
    let packets = a.send(B, b"fine");
    carry(&mut a, &mut b, packets);
    assert_eq!(b.events.len(), 1);
}

#[test]
fn a_bent_datagram_is_forged_and_does_not_move_the_peer() {
    let (mut a, mut b) = pair();
    let (_, mut datagram) = a.send(B, b"bent").remove(0);
    *datagram.last_mut().unwrap() ^= 1;
    assert!(b.receive("203.0.113.9:9".parse().unwrap(), &datagram).is_empty());
    assert_eq!(b.counters.get(Count::Forged), 1);
    assert!(b.send(A, b"answer").iter().all(|(to, _)| *to == a.address));
}

#[test]
fn a_peer_that_moves_is_answered_where_it_is() {
    let (mut a, mut b) = pair();
    a.address = "198.51.100.7:7".parse().unwrap();
    let packets = a.send(B, b"moved");
    carry(&mut a, &mut b, packets);
    assert!(b.send(A, b"answer").iter().all(|(to, _)| *to == a.address));
}

#[test]
fn a_peer_that_restarted_is_found_again_within_seconds() {
    let (mut a, b) = pair();
    let mut reborn = side(2, "192.0.2.2:2");
    let peer_a = a.key();
    reborn.step(|switch, now, out| switch.set_peers(now, vec![Peer { node: A, wg: peer_a, contact: None }], out));
    drop(b);
    let mut waited = 0;
    while reborn.events.is_empty() {
        waited += 250;
        assert!(waited <= 5000, "the session that the peer has forgotten was doubted too late");
        let mut packets = a.send(B, b"anyone?");
        packets.extend(a.tick_after(250));
        carry(&mut a, &mut reborn, packets);
    }
    assert!(reborn.counters.get(Count::UnknownIndex) > 0);
}

#[test]
fn a_silent_receiver_still_answers_with_keepalives() {
    let (mut a, mut b) = pair();
    for _ in 0..60 {
        let packets = a.send(B, b"one way");
        carry(&mut a, &mut b, packets);
        assert!(a.tick_after(250).is_empty(), "no handshake is needed");
        let keepalive = b.tick_after(250);
        carry(&mut b, &mut a, keepalive);
    }
    assert_eq!(b.events.len(), 60);
}

#[test]
fn a_stranger_gets_a_provisional_tunnel_for_one_exchange() {
    let (mut stranger, mut b) = (side(3, "192.0.2.3:3"), side(2, "192.0.2.2:2"));
    stranger.knows(B, &b);
    let key = b.key();
    let knock = stranger.tick_after(500);
    carry(&mut stranger, &mut b, knock);
    let ask = |switch: &mut Switch, now, out: &mut Outcome| {
        assert!(switch.tunnels.get_mut(&key).unwrap().tunnel.send(now, Port::Admission, b"please", &mut out.net));
    };
    let packets = stranger.step(ask);
    carry(&mut stranger, &mut b, packets);
    let [MeshEvent::Admit { request, wg, bytes }] = &b.events[..] else { panic!("{:?}", b.events) };
    assert_eq!((*wg, &bytes[..]), (stranger.key(), &b"please"[..]));

    let request = *request;
    let answer = b.step(|switch, now, out| switch.answer(now, request, &[b"welcome".to_vec()], out));
    carry(&mut b, &mut stranger, answer);
    assert!(matches!(&stranger.events[..], [MeshEvent::Admit { bytes, .. }] if bytes == b"welcome"));

    b.events.clear();
    let packets = stranger.send(B, b"not a member here");
    carry(&mut stranger, &mut b, packets);
    assert_eq!(b.events, [MeshEvent::Stranger { bytes: b"not a member here".to_vec() }]);

    b.tick_after(u64::try_from(PROVISIONAL_LIFE.as_millis()).unwrap());
    let late = b.step(|switch, now, out| switch.answer(now, request, &[b"late".to_vec()], out));
    assert!(late.is_empty() && b.switch.tunnels.is_empty());
}

#[test]
fn a_stranger_is_heard_only_so_often() {
    let (mut stranger, mut b) = (side(3, "192.0.2.3:3"), side(2, "192.0.2.2:2"));
    stranger.knows(B, &b);
    let key = b.key();
    let knock = stranger.tick_after(500);
    carry(&mut stranger, &mut b, knock);
    for _ in 0..u16::from(DATAGRAMS_PER_TUNNEL) + 300 {
        let packets = stranger.step(|switch, now, out| {
            assert!(switch.tunnels.get_mut(&key).unwrap().tunnel.send(now, Port::Admission, b"please", &mut out.net));
        });
        carry(&mut stranger, &mut b, packets);
    }
    assert_eq!(b.events.len(), usize::from(DATAGRAMS_PER_TUNNEL));
    assert_eq!(b.counters.get(Count::RateLimited), 300);
}

#[test]
fn an_admitted_stranger_keeps_its_tunnel() {
    let (mut a, mut b) = (side(1, "192.0.2.1:1"), side(2, "192.0.2.2:2"));
    a.knows(B, &b);
    let knock = a.tick_after(500);
    carry(&mut a, &mut b, knock);
    let wg = a.key();
    b.step(|switch, now, out| switch.set_peers(now, vec![Peer { node: A, wg, contact: None }], out));
    b.tick_after(20_000);
    let packets = b.send(A, b"welcome");
    carry(&mut b, &mut a, packets);
    assert_eq!(a.events, [MeshEvent::Datagram { from: B, bytes: b"welcome".to_vec() }]);
}

#[test]
fn strangers_are_limited_in_number() {
    let mut b = side(2, "192.0.2.2:2");
    for seed in 10..40 {
        let mut stranger = side(seed, "192.0.2.3:3");
        stranger.knows(B, &b);
        let knock = stranger.tick_after(500);
        carry(&mut stranger, &mut b, knock);
    }
    assert_eq!(b.switch.tunnels.len(), PROVISIONAL_MAX);
    assert_eq!(b.counters.get(Count::ProvisionalFull), 30 - PROVISIONAL_MAX as u64);
}

#[test]
fn a_flood_of_handshakes_is_answered_with_cookies() {
    let (mut a, mut b) = (side(1, "192.0.2.1:1"), side(2, "192.0.2.2:2"));
    a.knows(B, &b);
    for _ in 0..2 * HANDSHAKES_PER_SECOND {
        a.send(B, b"waits");
        for (_, datagram) in a.tick_after(1000) {
            b.receive(a.address, &datagram);
        }
    }
    assert!(b.counters.get(Count::RateLimited) > 0);
}

#[test]
fn a_removed_member_is_a_stranger_again() {
    let (mut a, mut b) = pair();
    b.step(|switch, now, out| switch.set_peers(now, Vec::new(), out));
    let packets = a.send(B, b"hello?");
    carry(&mut a, &mut b, packets);
    assert!(b.events.is_empty());
    assert_eq!(b.counters.get(Count::UnknownIndex), 1);
    b.send(A, b"hello?");
    assert_eq!(b.counters.get(Count::UnknownPeer), 1);
}
