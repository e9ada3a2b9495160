//! The network between machines: addresses, what is lost, late or cut, and the tunnels at its ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustbalance_core::cluster::{unknown_item, unknown_kind};
use rustbalance_core::output::DATAGRAM_MAX;
use rustbalance_core::{Input, NodeId, Peer};

use super::queue::Happening;
use super::tunnel::{Body, Tunnel};
use super::witness::Sight;
use super::world::World;

/// A daemon of a newer version says something that others do not know with every so many datagrams.
const NEWS_EVERY: u64 = 8;
/// Life of a tunnel for a key that the daemon does not know, and how many there are at once, as in the shell.
const PROVISIONAL_MS: u64 = 10_000;
const PROVISIONAL_MAX: usize = 16;
/// Handshake messages a second before cookies are asked for, as in the shell.
const HANDSHAKES_PER_SECOND: u64 = 100;
/// The version byte of what comes after this protocol.
const NEXT_VERSION: u8 = 2;
/// The kind of a datagram that asks for a newer beacon.
const QUESTION: u8 = 2;

/// What travels from one address to another.
pub(super) struct Packet {
    /// Whose keys it is proven by: a number as in [`World::nodes`].
    pub who: u32,
    /// What it is.
    pub body: Body,
}

/// One machine's end of the mesh.
#[derive(Default)]
pub(super) struct Mesh {
    /// Its address.
    pub place: u32,
    /// One for each peer its daemon wishes to have, by the number of that machine.
    tunnels: Vec<Option<Box<Tunnel>>>,
    /// Those of them that are for no peer, and until when they are kept.
    provisional: BTreeMap<u32, u64>,
    /// Where those knocked from that are not peers yet.
    knocked: BTreeMap<u32, u32>,
    /// A second, and how many handshake messages came in it.
    handshakes: (u64, u64),
    /// Everything from and to it is lost until then.
    pub burst_until: u64,
}

/// Links that do not work, by sender and receiver.
#[derive(Default)]
pub struct Cut {
    size: usize,
    bits: Vec<u64>,
    count: usize,
}

impl Cut {
    /// All links between `size` machines work.
    pub(super) fn new(size: usize) -> Self {
        Self { size, bits: vec![0; (size * size).div_ceil(64)], count: 0 }
    }

    /// Whether all links work.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether what `from` sends does not reach `to`.
    pub fn contains(&self, from: usize, to: usize) -> bool {
        let link = from * self.size + to;
        self.count > 0 && self.bits[link / 64] & (1 << (link % 64)) != 0
    }

    /// Cuts or mends one direction of a link.
    pub(super) fn set(&mut self, from: usize, to: usize, cut: bool) {
        if from == to || self.contains(from, to) == cut {
            return;
        }
        let link = from * self.size + to;
        self.bits[link / 64] ^= 1 << (link % 64);
        self.count = if cut { self.count + 1 } else { self.count - 1 };
    }
}

impl Mesh {
    /// A machine at an address, without tunnels.
    pub(super) fn at(place: u32) -> Self {
        Self { place, ..Self::default() }
    }

    /// The daemon has died: no session outlives it.
    pub(super) fn forget(&mut self) {
        self.tunnels.clear();
        self.provisional.clear();
        self.knocked.clear();
    }

    /// Somebody who is not a peer (yet) is at `place`.
    pub(super) fn knock(&mut self, who: usize, place: u32) {
        self.knocked.insert(number(who), place);
    }

    /// Tunnels for those who are no peers end after a while.
    fn expire(&mut self, now: u64) {
        let Self { tunnels, provisional, .. } = self;
        provisional.retain(|who, until| {
            let stays = now < *until;
            if !stays {
                tunnels[*who as usize] = None;
            }
            stays
        });
    }

    /// Whoever knocks and is no peer gets a tunnel, if there is room.
    fn let_in(&mut self, now: u64, who: u32) {
        let room = (who as usize + 1).max(self.tunnels.len());
        self.tunnels.resize_with(room, || None);
        let slot = &mut self.tunnels[who as usize];
        if slot.is_none() && self.provisional.len() < PROVISIONAL_MAX {
            *slot = Some(Box::new(Tunnel::answering(now)));
            self.provisional.insert(who, now + PROVISIONAL_MS);
        }
    }

    /// Whether a packet is heeded: of many handshakes a second only those of who has been asked for a cookie.
    fn heeds(&mut self, now: u64, body: &Body) -> bool {
        let (Body::Init { cookie, .. } | Body::Response { cookie, .. }) = *body else { return true };
        let (second, count) = self.handshakes;
        let count = if second == now / 1000 { count + 1 } else { 1 };
        self.handshakes = (now / 1000, count);
        cookie || count <= HANDSHAKES_PER_SECOND
    }

    fn tunnel(&mut self, who: u32) -> Option<&mut Tunnel> {
        self.tunnels.get_mut(who as usize)?.as_deref_mut()
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("machines are counted in thousands")
}

impl World {
    /// The daemon's wish for peers: tunnels to those who go end, those who come are knocked at.
    pub(super) fn set_peers(&mut self, index: usize, peers: &[Peer]) {
        let now = self.now;
        if let Some(stranger) = peers.iter().find(|peer| !self.names.contains_key(&peer.node)) {
            // A machine that has left and come back has another name: the old one may be listed until all have heard.
            if !self.old_names.contains(&stranger.node) {
                self.fail(format!("{index} has admitted a stranger, {}", stranger.node));
            }
        }
        let wanted: BTreeMap<u32, &Peer> =
            peers.iter().filter_map(|peer| Some((*self.names.get(&peer.node)?, peer))).collect();
        let mesh = &mut self.nodes[index].mesh;
        let room = wanted.keys().last().map_or(0, |last| *last as usize + 1).max(mesh.tunnels.len());
        mesh.tunnels.resize_with(room, || None);
        let mut fresh = Vec::new();
        for (who, slot) in (0..).zip(&mut mesh.tunnels) {
            match (wanted.get(&who), &mut *slot) {
                (None, _) if mesh.provisional.contains_key(&who) => {}
                (None, _) => *slot = None,
                (Some(peer), Some(tunnel)) => {
                    mesh.provisional.remove(&who);
                    tunnel.set_contact(peer.contact.as_deref());
                }
                (Some(peer), None) => {
                    let mut tunnel = Box::new(Tunnel::new(now, mesh.knocked.remove(&who)));
                    tunnel.set_contact(peer.contact.as_deref());
                    *slot = Some(tunnel);
                    fresh.push(who);
                }
            }
        }
        for who in fresh {
            self.with_tunnel(index, who, |tunnel, world, out| tunnel.tick(world.now, &mut world.handshakes, out));
        }
    }

    /// A datagram from the daemon.
    pub(super) fn send_peer(&mut self, index: usize, to: NodeId, bytes: Arc<[u8]>) {
        let second = self.now / 1000;
        let sent = &mut self.nodes[index].sent;
        *sent = if sent.0 == second { (second, sent.1 + 1) } else { (second, 1) };
        self.changed.sender = Some(index);
        self.nodes[index].traffic.datagrams += 1;
        self.nodes[index].traffic.bytes += bytes.len() as u64;
        if bytes.len() > DATAGRAM_MAX {
            self.fail(format!("{index} sent {} bytes", bytes.len()));
        }
        if bytes.get(1) == Some(&QUESTION) {
            self.nodes[index].asked_at = Some(self.now);
        }
        self.said.note(&bytes);
        if self.nodes[index].is_newer && self.nodes[index].traffic.datagrams.is_multiple_of(NEWS_EVERY) {
            self.send_through(index, to, unknown_kind(&[7; 9]).into());
            self.send_through(index, to, [&[NEXT_VERSION], &bytes[1..]].concat().into());
        }
        let with_news = if self.nodes[index].is_newer { unknown_item(&bytes).map(Into::into) } else { None };
        self.send_through(index, to, with_news.unwrap_or(bytes));
    }

    /// Whether a link is cut, both ways, that two who run had a session over, which is no good any more.
    pub(super) fn has_link_without_session(&self) -> bool {
        let outlived = |from: usize, to: usize| {
            let tunnel = self.nodes[from].mesh.tunnels.get(to).and_then(Option::as_deref);
            self.cut.contains(from, to) && tunnel.is_some_and(|tunnel| tunnel.has_outlived(self.now))
        };
        let all = 0..self.nodes.len();
        all.clone().any(|from| all.clone().any(|to| outlived(from, to) && outlived(to, from)))
    }

    /// Through the tunnel, whether the daemon said it or a liar in its name.
    pub(super) fn send_through(&mut self, index: usize, to: NodeId, bytes: Arc<[u8]>) {
        if let Some(who) = self.names.get(&to).copied() {
            self.see(index, &Sight::Sends { to: who as usize, bytes: &bytes });
            self.with_tunnel(index, who, |tunnel, world, out| {
                tunnel.send(world.now, bytes, &mut world.handshakes, out);
            });
        }
    }

    /// A packet from the network.
    pub(super) fn receive(&mut self, index: usize, place: u32, packet: Packet) {
        let Packet { who, body } = packet;
        let (now, mesh) = (self.now, &mut self.nodes[index].mesh);
        mesh.expire(now);
        if !mesh.heeds(now, &body) {
            return self.transmit(index, place, Body::Cookie);
        }
        if let Body::Init { .. } = body {
            mesh.let_in(now, who);
        }
        let mut inner = None;
        self.with_tunnel(index, who, |tunnel, world, out| {
            inner = tunnel.receive(world.now, place, body, &mut world.handshakes, out);
        });
        if let Some(bytes) = inner {
            let from = self.nodes[who as usize].id;
            let is_stranger = self.nodes[index].mesh.provisional.contains_key(&who);
            let input =
                if is_stranger { Input::Stranger { bytes: &bytes } } else { Input::Peer { from, bytes: &bytes } };
            self.step_input(index, input);
        }
    }

    /// The tunnel asked to be looked at.
    pub(super) fn tunnel_alarm(&mut self, index: usize, peer: u32) {
        let now = self.now;
        let due = self.nodes[index].mesh.tunnel(peer).is_some_and(|tunnel| tunnel.alarm == Some(now));
        if due {
            self.with_tunnel(index, peer, |tunnel, world, out| {
                tunnel.alarm = None;
                tunnel.tick(now, &mut world.handshakes, out);
            });
        }
    }

    /// Does something with a tunnel, if there is one, and sends what it wants sent.
    fn with_tunnel(&mut self, index: usize, who: u32, act: impl FnOnce(&mut Tunnel, &mut Self, &mut Vec<Body>)) {
        let Some(slot) = self.nodes[index].mesh.tunnels.get_mut(who as usize) else { return };
        let Some(mut tunnel) = slot.take() else { return };
        if tunnel.wants_address(self.now) {
            let at = tunnel.contact().and_then(|machine| self.nodes.get(machine)).map(|node| node.mesh.place);
            tunnel.resolved(self.now, at);
        }
        let mut out = core::mem::take(&mut self.packets);
        self.handshakes.wall_ms = self.nodes[index].clock.read(self.now, self.wall()).wall.as_ms();
        act(&mut tunnel, self, &mut out);
        if let Some(place) = tunnel.place {
            out.drain(..).for_each(|body| self.transmit(index, place, body));
        }
        out.clear();
        self.packets = out;
        if let Some(at) = tunnel.next_alarm() {
            let at = at.max(self.now + 1);
            if tunnel.alarm.is_none_or(|alarm| at < alarm) {
                tunnel.alarm = Some(at);
                self.push(index, at - self.now, Happening::Tunnel { peer: who });
            }
        }
        // Nothing above ends tunnels.
        self.nodes[index].mesh.tunnels[who as usize] = Some(tunnel);
    }

    fn transmit(&mut self, index: usize, place: u32, body: Body) {
        let Some(target) = self.places[place as usize] else { return };
        if let Body::Init { .. } | Body::Response { .. } = body {
            self.nodes[index].traffic.handshakes += 1;
            if self.draw(1000) < self.trouble.handshake_loss_permille {
                return;
            }
        }
        let (from, who) = (self.nodes[index].mesh.place, self.nodes[index].who);
        if !self.trouble.carries(body.len()) {
            return self.see(index, &Sight::IsTooLong);
        }
        if self.is_lost(index, target) {
            return;
        }
        let twice = self.options.duplicate_permille.max(self.trouble.duplicate_permille);
        if twice > 0 && self.draw(1000) < twice {
            self.deliver(target, from, Packet { who, body: body.clone() });
        }
        self.deliver(target, from, Packet { who, body });
    }

    fn deliver(&mut self, target: usize, place: u32, packet: Packet) {
        let mut delay = self.delay();
        let (permille, ms) = self.trouble.reorder;
        if permille > 0 && self.draw(1000) < permille {
            delay += self.draw(ms);
        }
        self.push(target, delay, Happening::Packet { place, packet });
    }

    /// Whether a datagram between these two machines is lost now.
    pub(super) fn is_lost(&mut self, from: usize, to: usize) -> bool {
        let now = self.now;
        let in_burst = [self.trouble.burst_until, self.nodes[from].mesh.burst_until, self.nodes[to].mesh.burst_until];
        if self.cut.contains(from, to) || in_burst.iter().any(|until| now < *until) {
            return true;
        }
        // What was changed under way is no use to the receiver either: the tunnel drops it.
        let loss = self.options.loss_permille.max(self.trouble.loss_permille) + self.trouble.corrupt_permille;
        loss > 0 && self.draw(1000) < loss
    }

    /// One way, milliseconds.
    pub(super) fn delay(&mut self) -> u64 {
        let max = self.options.delay_ms_max;
        max / 10 + self.draw(max - max / 10 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::tunnel::Handshakes;

    #[test]
    fn where_too_many_knock_those_with_a_cookie_are_heeded() {
        let mut mesh = Mesh::at(0);
        let knock = |cookie| Body::Init { handshake: 1, wall_ms: 1, cookie };
        assert!((0..HANDSHAKES_PER_SECOND).all(|_| mesh.heeds(5_000, &knock(false))));
        assert!(!mesh.heeds(5_999, &knock(false)));
        assert!(mesh.heeds(5_999, &knock(true)));
        assert!(mesh.heeds(5_999, &Body::Data { handshake: 1, bytes: None }));
        assert!(mesh.heeds(6_000, &knock(false)));
    }

    #[test]
    fn who_is_asked_for_a_cookie_shows_it_until_it_is_old() {
        let (mut handshakes, mut out) = (Handshakes::default(), Vec::new());
        let mut tunnel = Tunnel::new(0, Some(1));
        tunnel.receive(0, 1, Body::Cookie, &mut handshakes, &mut out);
        for (now, shown) in [(10_000, true), (119_999, true), (121_000, false)] {
            tunnel.send(now, [0].into(), &mut handshakes, &mut out);
            let knocks: Vec<_> =
                out.drain(..).map(|body| matches!(body, Body::Init { cookie, .. } if cookie == shown)).collect();
            assert_eq!(knocks, [true], "at {now} ms");
        }
    }
}
