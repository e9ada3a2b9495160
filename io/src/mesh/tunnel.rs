//! One WireGuard tunnel: boringtun's `Tunn`, what waits for it, and when to knock again.
//!
//! Boringtun alone waits 5 s before it repeats a lost handshake, 15 s before it doubts a session, and gives up after
//! 90 s. Failover here is a matter of seconds, so [`Tunnel`] has its own, faster rules: see the constants.

use core::time::Duration;
use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use rustbalance_core::WgPublicKey;
use rustbalance_core::time::Mono;

use super::address::tunnel_address;
use super::counters::Count;
use super::packet::{self, PACKET_MAX, Port};

/// Largest datagram on the socket: a tunnel packet in a WireGuard data message.
pub(crate) const WIRE_MAX: usize = PACKET_MAX + 32;
/// Packets kept while there is no session; the oldest goes first, for news is better than history.
const WAITING_MAX: usize = 8;
/// Knock for this long after the last packet that wanted to go out...
const WANTED_FOR: Duration = Duration::from_secs(5);
/// ... and for this long at the start, traffic or not.
const WANTED_AT_START: Duration = Duration::from_secs(15);
/// Pauses after the first, second and every later handshake message: at 0, 0.5, 1, 2, 3 s and so on.
const RETRY_AFTER: [Duration; 3] = [Duration::from_millis(500), Duration::from_millis(500), Duration::from_secs(1)];
/// An answer to received data follows within this time, if only as a keepalive...
pub(super) const KEEPALIVE_AFTER: Duration = Duration::from_secs(2);
/// ... so a session that gives none for this long is suspect: the peer may have restarted and forgotten it.
const SUSPECT_AFTER: Duration = Duration::from_secs(4);
/// A silent peer whose handshakes are all older than its last one for this long is believed: its clock was set back, and
/// perhaps ours with it, so that neither takes the other's.
pub(super) const PAST_FOR: Duration = Duration::from_secs(5);
/// Name a contact again this often while nobody answers there.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);
/// Keeps mappings in home routers alive, seconds.
const PERSISTENT_KEEPALIVE: u16 = 25;

const _: () = assert!(SUSPECT_AFTER.as_millis() > KEEPALIVE_AFTER.as_millis());

/// A datagram for the socket.
pub(crate) type Transmit = (SocketAddr, Vec<u8>);

/// One tunnel. Feed it datagrams, packets to send and ticks; it appends what goes to the socket to `net`.
pub(crate) struct Tunnel {
    keys: TunnelKeys,
    tunn: Tunn,
    ours: Ipv6Addr,
    theirs: Ipv6Addr,
    endpoint: Option<SocketAddr>,
    contact: Option<String>,
    waiting: VecDeque<Vec<u8>>,
    wanted_until: Mono,
    knocks: usize,
    knock_at: Mono,
    resolve_at: Mono,
    heard_at: Mono,
    /// First data sent that no authentic message has followed.
    unanswered_since: Option<Mono>,
    /// First data received that we have sent nothing after.
    owing_since: Option<Mono>,
    /// First handshake that was older than the last one, if no authentic message has followed.
    past_since: Option<Mono>,
    /// The last handshake that was told of.
    told: Option<Mono>,
}

/// How a tunnel is made.
pub(crate) struct TunnelKeys {
    /// Our WireGuard key.
    pub secret: StaticSecret,
    /// The peer's.
    pub peer: WgPublicKey,
    /// What the tunnel's session indices start with (24 bits).
    pub index: u32,
    /// Checks MACs; the switch limits rates before.
    pub limiter: Arc<RateLimiter>,
}

impl TunnelKeys {
    fn tunn(&self) -> Tunn {
        let (secret, peer, limiter) = (self.secret.clone(), PublicKey::from(self.peer.0), Arc::clone(&self.limiter));
        Tunn::new(secret, peer, None, Some(PERSISTENT_KEEPALIVE), self.index, Some(limiter))
    }
}

impl Tunnel {
    /// A tunnel without a session. It knocks for a while as soon as an endpoint is known, traffic or not.
    pub fn new(keys: TunnelKeys, now: Mono) -> Self {
        let our_key = WgPublicKey(PublicKey::from(&keys.secret).to_bytes());
        Self {
            tunn: keys.tunn(),
            ours: tunnel_address(our_key),
            theirs: tunnel_address(keys.peer),
            keys,
            endpoint: None,
            contact: None,
            waiting: VecDeque::new(),
            wanted_until: now.plus(WANTED_AT_START),
            knocks: 0,
            knock_at: now,
            resolve_at: now,
            heard_at: Mono::default(),
            unanswered_since: None,
            owing_since: None,
            past_since: None,
            told: None,
        }
    }

    /// Where the peer says it can be reached; named at the next opportunity.
    pub fn set_contact(&mut self, now: Mono, contact: Option<String>) {
        if self.contact != contact {
            self.contact = contact;
            self.resolve_at = now;
        }
    }

    /// Addresses of the contact. Ignored while the peer answers where it is.
    pub fn resolved(&mut self, now: Mono, addresses: &[SocketAddr], net: &mut Vec<Transmit>) {
        if self.is_reachable(now) && self.endpoint.is_some() {
            return;
        }
        // Several addresses take turns, one per round of knocks.
        let turn = self.knocks.checked_rem(addresses.len()).unwrap_or(0);
        if let Some(&address) = addresses.get(turn) {
            self.endpoint = Some(address);
            self.knock_if_due(now, net);
        }
    }

    /// The contact, if it should be named now because the peer is wanted and not reachable.
    pub fn take_resolution(&mut self, now: Mono) -> Option<String> {
        let lost = self.endpoint.is_none() || self.knocks >= RETRY_AFTER.len();
        if !lost || now < self.resolve_at || now > self.wanted_until || self.is_reachable(now) {
            return None;
        }
        self.resolve_at = now.plus(RESOLVE_EVERY);
        self.contact.clone()
    }

    /// Whether a session exists. Its absence says nothing about the peer's health.
    pub fn has_session(&self) -> bool {
        self.tunn.time_since_last_handshake().is_some()
    }

    /// When the last handshake was, if there was another one since this was last asked.
    pub fn take_handshake(&mut self, now: Mono) -> Option<Mono> {
        let ago = u64::try_from(self.tunn.time_since_last_handshake()?.as_millis()).unwrap_or(u64::MAX);
        let at = Mono::from_ms(now.as_ms().saturating_sub(ago));
        // Two looks at one handshake may differ by what lies between two readings of clocks; two handshakes do by more.
        let is_another = self.told.is_none_or(|told| at.since(told) >= RETRY_AFTER[0]);
        is_another.then(|| *self.told.insert(at))
    }

    /// Keeps knocking for a while, though nothing is to be sent yet.
    pub fn want(&mut self, now: Mono) {
        self.wanted_until = now.plus(WANTED_FOR);
    }

    fn is_reachable(&self, now: Mono) -> bool {
        self.has_session() && self.unanswered_since.is_none_or(|since| now.since(since) < SUSPECT_AFTER)
    }

    /// Sends `payload`, now or once there is a session; it may be lost. False if it is too long.
    pub fn send(&mut self, now: Mono, port: Port, payload: &[u8], net: &mut Vec<Transmit>) -> bool {
        let Some(packet) = packet::encode(self.ours, self.theirs, port, payload) else { return false };
        self.want(now);
        if self.has_session() {
            self.seal(now, &packet, net);
        } else {
            if self.waiting.len() >= WAITING_MAX {
                self.waiting.pop_front();
            }
            self.waiting.push_back(packet);
        }
        self.knock_if_due(now, net);
        true
    }

    /// Handles a datagram that is meant for this tunnel.
    ///
    /// # Errors
    /// What to count it as; nothing has changed.
    pub fn receive(
        &mut self,
        now: Mono,
        from: SocketAddr,
        datagram: &[u8],
        net: &mut Vec<Transmit>,
    ) -> Result<Option<(Port, Vec<u8>)>, Count> {
        let mut buffer = [0; WIRE_MAX];
        let cookie = datagram.first() == Some(&3);
        let inner = match self.tunn.decapsulate(Some(from.ip()), datagram, &mut buffer) {
            TunnResult::Err(error) => {
                if matches!(error, WireGuardError::WrongTai64nTimestamp) {
                    self.knocked_in_the_past(now, net);
                }
                return Err(refusal(&error));
            }
            TunnResult::WriteToNetwork(answer) => {
                net.push((from, answer.to_vec()));
                None
            }
            TunnResult::WriteToTunnelV6(packet, _) => Some(packet::decode(packet, self.theirs, self.ours)),
            TunnResult::WriteToTunnelV4(..) => Some(Err(packet::PacketError::Version)),
            TunnResult::Done => None,
        };
        if cookie {
            return Ok(None);
        }
        let inner = inner.map(|inner| inner.map(|(port, payload)| (port, payload.to_vec())));
        self.heard(now, from, net);
        if inner.is_some() {
            self.owing_since.get_or_insert(now);
        }
        inner.transpose().map_err(|_| Count::BadInner)
    }

    /// A handshake older than one we know: a replay, or a silent peer whose clock was set back and who cannot knock
    /// here any more, so that we knock there. If that does not help either, we forget what we know, as a restart would:
    /// a replay can then put us off for as long as the peer stays silent, and no longer.
    fn knocked_in_the_past(&mut self, now: Mono, net: &mut Vec<Transmit>) {
        if now.since(self.heard_at) < KEEPALIVE_AFTER {
            return;
        }
        if now.since(*self.past_since.get_or_insert(now)) >= PAST_FOR {
            self.past_since = None;
            self.tunn = self.keys.tunn();
        }
        self.want(now);
        self.unanswered_since = Some(Mono::default());
        self.knock_if_due(now, net);
    }

    /// An authentic message came from `from`: that is where the peer is, and what waits may go.
    fn heard(&mut self, now: Mono, from: SocketAddr, net: &mut Vec<Transmit>) {
        self.endpoint = Some(from);
        self.heard_at = now;
        self.unanswered_since = None;
        self.past_since = None;
        self.knocks = 0;
        let mut buffer = [0; WIRE_MAX];
        // Boringtun's rule: after an answer, ask until there is nothing more.
        while self.has_session()
            && let TunnResult::WriteToNetwork(more) = self.tunn.decapsulate(None, &[], &mut buffer)
        {
            net.push((from, more.to_vec()));
        }
        while self.has_session()
            && let Some(packet) = self.waiting.pop_front()
        {
            self.seal(now, &packet, net);
        }
    }

    /// Call about every 250 ms.
    pub fn tick(&mut self, now: Mono, net: &mut Vec<Transmit>) {
        let mut buffer = [0; WIRE_MAX];
        if let TunnResult::WriteToNetwork(bytes) = self.tunn.update_timers(&mut buffer) {
            net.extend(self.endpoint.map(|endpoint| (endpoint, bytes.to_vec())));
        }
        if self.owing_since.is_some_and(|since| now.since(since) >= KEEPALIVE_AFTER) && self.has_session() {
            self.seal(now, &[], net);
        }
        if now > self.wanted_until {
            self.waiting.clear();
        }
        self.knock_if_due(now, net);
    }

    /// Starts (another) handshake if the peer is wanted, not reachable, and the pause is over.
    fn knock_if_due(&mut self, now: Mono, net: &mut Vec<Transmit>) {
        let Some(endpoint) = self.endpoint else { return };
        if now < self.knock_at || now > self.wanted_until || self.is_reachable(now) {
            return;
        }
        let pause = RETRY_AFTER.get(self.knocks).or(RETRY_AFTER.last()).copied().unwrap_or_default();
        self.knock_at = now.plus(pause);
        self.knocks = self.knocks.saturating_add(1);
        let mut buffer = [0; WIRE_MAX];
        if let TunnResult::WriteToNetwork(bytes) = self.tunn.format_handshake_initiation(&mut buffer, true) {
            net.push((endpoint, bytes.to_vec()));
        }
    }

    /// Sends a packet (empty: a keepalive) through the session there is.
    fn seal(&mut self, now: Mono, packet: &[u8], net: &mut Vec<Transmit>) {
        let mut buffer = [0; WIRE_MAX];
        self.owing_since = None;
        if !packet.is_empty() {
            self.unanswered_since.get_or_insert(now);
        }
        if let TunnResult::WriteToNetwork(bytes) = self.tunn.encapsulate(packet, &mut buffer) {
            net.extend(self.endpoint.map(|endpoint| (endpoint, bytes.to_vec())));
        }
    }
}

/// What a datagram that WireGuard refused counts as.
pub(crate) fn refusal(error: &WireGuardError) -> Count {
    match error {
        WireGuardError::InvalidPacket | WireGuardError::IncorrectPacketLength | WireGuardError::WrongPacketType => {
            Count::Garbage
        }
        WireGuardError::WrongTai64nTimestamp
        | WireGuardError::InvalidCounter
        | WireGuardError::DuplicateCounter
        | WireGuardError::UnexpectedPacket => Count::Replayed,
        WireGuardError::NoCurrentSession | WireGuardError::WrongIndex => Count::UnknownIndex,
        WireGuardError::UnderLoad => Count::RateLimited,
        WireGuardError::DestinationBufferTooSmall
        | WireGuardError::WrongKey
        | WireGuardError::InvalidTai64nTimestamp
        | WireGuardError::InvalidMac
        | WireGuardError::InvalidAeadTag
        | WireGuardError::LockFailed
        | WireGuardError::ConnectionExpired => Count::Forged,
    }
}
