//! One end of a WireGuard tunnel, by the rules of the shell's `mesh/tunnel.rs`: who knocks when, what waits, and when a
//! session is no good any more.

use std::collections::VecDeque;
use std::sync::Arc;

/// Packets kept while there is no session; the oldest goes first.
const WAITING_MAX: usize = 8;
/// Knocks for this long after the last packet that wanted to go out, and at the start, milliseconds.
const WANTED_MS: u64 = 5_000;
const WANTED_AT_START_MS: u64 = 15_000;
/// Pauses after the first, second and every later knock, milliseconds.
const RETRY_MS: [u64; 3] = [500, 500, 1_000];
/// Data is answered within this time, if only by a keepalive, milliseconds...
const KEEPALIVE_MS: u64 = 2_000;
/// ... so a session that gives no answer for this long is suspect, milliseconds.
const SUSPECT_MS: u64 = 4_000;
/// A silent peer whose handshakes are all in the past for this long is believed, milliseconds.
const PAST_MS: u64 = 5_000;
/// A contact is named anew this often while nobody answers there, milliseconds.
const RESOLVE_MS: u64 = 5_000;
/// WireGuard's `REKEY_AFTER_TIME`, `REJECT_AFTER_TIME` and `REKEY_TIMEOUT`, milliseconds.
const REKEY_AFTER_MS: u64 = 120_000;
pub(super) const REJECT_AFTER_MS: u64 = 180_000;
const REKEY_TIMEOUT_MS: u64 = 5_000;
/// WireGuard's `COOKIE_REFRESH_TIME`, milliseconds.
const COOKIE_MS: u64 = 120_000;
/// Sessions that data is still taken from, as in boringtun.
const SESSIONS_MAX: usize = 8;

/// What travels.
#[derive(Clone)]
pub(super) enum Body {
    /// A handshake begins; the sender's wall clock is in it, and must grow.
    Init { handshake: u64, wall_ms: u64, cookie: bool },
    /// Its answer.
    Response { handshake: u64, cookie: bool },
    /// What the receiver of too many of both asks to see in the next ones.
    Cookie,
    /// Under the keys of a handshake; nothing inside is a keepalive.
    Data { handshake: u64, bytes: Option<Arc<[u8]>> },
}

impl Body {
    /// Bytes of what is inside, or of what there would be inside of data of the same length.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Data { bytes: Some(bytes), .. } => bytes.len(),
            Self::Data { bytes: None, .. } => 0,
            Self::Init { .. } => 148 - 32,
            Self::Response { .. } => 92 - 32,
            Self::Cookie => 64 - 32,
        }
    }
}

/// Keys, named by the handshake they come from.
#[derive(Clone, Copy)]
struct Session {
    handshake: u64,
    since: u64,
    initiator: bool,
}

/// What every handshake of the world takes: a number of its own, and the machine's wall clock.
#[derive(Default)]
pub(super) struct Handshakes {
    count: u64,
    /// Of the machine whose turn it is.
    pub wall_ms: u64,
}

/// One end.
pub(super) struct Tunnel {
    /// Where the peer was last heard, or is said to be.
    pub place: Option<u32>,
    /// When it is to be looked at next.
    pub alarm: Option<u64>,
    contact: Option<usize>,
    sessions: Vec<Session>,
    /// The one to send with, in `sessions`.
    current: Option<Session>,
    /// Our handshake under way.
    offered: Option<u64>,
    /// The newest wall clock in a handshake of theirs.
    newest_ms: u64,
    waiting: VecDeque<Arc<[u8]>>,
    wanted_until: u64,
    knocks: usize,
    knock_at: u64,
    rekey_at: u64,
    resolve_at: u64,
    heard_at: u64,
    unanswered_since: Option<u64>,
    owing_since: Option<u64>,
    past_since: Option<u64>,
    /// The peer's cookie is good until then.
    cookie_until: u64,
}

impl Tunnel {
    /// Without a session.
    pub(super) fn new(now: u64, place: Option<u32>) -> Self {
        Self {
            place,
            alarm: None,
            contact: None,
            sessions: Vec::new(),
            current: None,
            offered: None,
            newest_ms: 0,
            waiting: VecDeque::new(),
            wanted_until: now + WANTED_AT_START_MS,
            knocks: 0,
            knock_at: now,
            rekey_at: 0,
            resolve_at: now,
            heard_at: 0,
            unanswered_since: None,
            owing_since: None,
            past_since: None,
            cookie_until: 0,
        }
    }

    /// For one who knocks and is no peer: it is not knocked at.
    pub(super) fn answering(now: u64) -> Self {
        Self { wanted_until: now, ..Self::new(now, None) }
    }

    /// Where the peer says it can be reached: the name that [`super::machine`] gives a machine.
    pub(super) fn set_contact(&mut self, contact: Option<&str>) {
        self.contact = contact.and_then(|name| name.strip_prefix("node")?.parse().ok());
    }

    /// The machine of that name.
    pub(super) fn contact(&self) -> Option<usize> {
        self.contact
    }

    /// Whether it had a session once, and has none any more.
    pub(super) fn has_outlived(&self, now: u64) -> bool {
        self.heard_at > 0 && self.sessions.iter().all(|session| now >= session.since + REJECT_AFTER_MS)
    }

    /// Whether the contact should be looked up.
    pub(super) fn wants_address(&self, now: u64) -> bool {
        let lost = self.place.is_none() || self.knocks >= RETRY_MS.len();
        lost && now >= self.resolve_at && self.contact.is_some() && !self.is_reachable(now)
    }

    /// The address found, if any.
    pub(super) fn resolved(&mut self, now: u64, place: Option<u32>) {
        self.resolve_at = now + RESOLVE_MS;
        self.place = place.or(self.place);
    }

    /// Sends `bytes`, now or once there is a session.
    pub(super) fn send(&mut self, now: u64, bytes: Arc<[u8]>, handshakes: &mut Handshakes, out: &mut Vec<Body>) {
        self.forget_what_is_old(now);
        self.wanted_until = now + WANTED_MS;
        match self.current {
            Some(session) => {
                self.unanswered_since.get_or_insert(now);
                self.seal(session, Some(bytes), out);
                self.rekey_if_due(now, handshakes, out);
            }
            None => {
                if self.waiting.len() >= WAITING_MAX {
                    self.waiting.pop_front();
                }
                self.waiting.push_back(bytes);
            }
        }
        self.knock_if_due(now, handshakes, out);
    }

    /// Handles what came from `place`; returns what was inside.
    pub(super) fn receive(
        &mut self,
        now: u64,
        place: u32,
        body: Body,
        handshakes: &mut Handshakes,
        out: &mut Vec<Body>,
    ) -> Option<Arc<[u8]>> {
        self.forget_what_is_old(now);
        match body {
            Body::Init { wall_ms, .. } if wall_ms <= self.newest_ms => {
                // A peer whose clock was set back cannot knock here any more, so we knock there, and at last forget.
                if now >= self.heard_at + KEEPALIVE_MS {
                    if now >= *self.past_since.get_or_insert(now) + PAST_MS {
                        (self.past_since, self.newest_ms, self.offered) = (None, 0, None);
                        (self.current, self.rekey_at) = (None, 0);
                        self.sessions.clear();
                    }
                    self.wanted_until = now + WANTED_MS;
                    self.unanswered_since = Some(0);
                    self.knock_if_due(now, handshakes, out);
                }
                None
            }
            Body::Init { handshake, wall_ms, .. } => {
                self.newest_ms = wall_ms;
                self.keep(Session { handshake, since: now, initiator: false });
                out.push(Body::Response { handshake, cookie: now < self.cookie_until });
                self.heard(now, place, out);
                None
            }
            Body::Response { handshake, .. } if self.offered == Some(handshake) => {
                let session = Session { handshake, since: now, initiator: true };
                self.offered = None;
                self.keep(session);
                self.current = Some(session);
                out.push(Body::Data { handshake, bytes: None });
                self.heard(now, place, out);
                None
            }
            Body::Response { .. } => None,
            Body::Cookie => {
                self.cookie_until = now + COOKIE_MS;
                None
            }
            Body::Data { handshake, bytes } => {
                let session = *self.sessions.iter().find(|session| session.handshake == handshake)?;
                if self.current.is_none_or(|current| session.since >= current.since) {
                    self.current = Some(session);
                }
                self.heard(now, place, out);
                if bytes.is_some() {
                    self.owing_since.get_or_insert(now);
                    self.rekey_if_due(now, handshakes, out);
                }
                bytes
            }
        }
    }

    /// Keepalives and knocks that are due.
    pub(super) fn tick(&mut self, now: u64, handshakes: &mut Handshakes, out: &mut Vec<Body>) {
        self.forget_what_is_old(now);
        if let Some(session) = self.current
            && self.owing_since.is_some_and(|since| now >= since + KEEPALIVE_MS)
        {
            self.seal(session, None, out);
        }
        self.knock_if_due(now, handshakes, out);
    }

    /// When to [`Self::tick`] at the latest.
    pub(super) fn next_alarm(&self) -> Option<u64> {
        let keepalive = self.current.and(self.owing_since).map(|since| since + KEEPALIVE_MS);
        let suspect = self.unanswered_since.map(|since| since + SUSPECT_MS);
        let knock = match (self.place, self.current) {
            (None, _) => self.contact.map(|_| self.resolve_at),
            (Some(_), Some(_)) => suspect.map(|suspect| suspect.max(self.knock_at)),
            (Some(_), None) => Some(self.knock_at),
        };
        [keepalive, knock.filter(|at| *at <= self.wanted_until)].into_iter().flatten().min()
    }

    fn is_reachable(&self, now: u64) -> bool {
        self.current.is_some() && self.unanswered_since.is_none_or(|since| now < since + SUSPECT_MS)
    }

    fn forget_what_is_old(&mut self, now: u64) {
        if self.sessions.first().is_some_and(|session| now >= session.since + REJECT_AFTER_MS) {
            self.sessions.retain(|session| now < session.since + REJECT_AFTER_MS);
            self.current = self.current.filter(|session| now < session.since + REJECT_AFTER_MS);
        }
        if now > self.wanted_until {
            self.waiting.clear();
        }
    }

    fn keep(&mut self, session: Session) {
        if self.sessions.len() >= SESSIONS_MAX {
            let gone = self.sessions.remove(0);
            // It takes the place of the one that went, though nobody has confirmed it.
            self.current = self.current.map(|it| if it.handshake == gone.handshake { session } else { it });
        }
        self.sessions.push(session);
    }

    fn heard(&mut self, now: u64, place: u32, out: &mut Vec<Body>) {
        self.place = Some(place);
        self.heard_at = now;
        self.unanswered_since = None;
        self.past_since = None;
        self.knocks = 0;
        let Some(session) = self.current else { return };
        while let Some(bytes) = self.waiting.pop_front() {
            self.unanswered_since.get_or_insert(now);
            self.seal(session, Some(bytes), out);
        }
    }

    fn seal(&mut self, session: Session, bytes: Option<Arc<[u8]>>, out: &mut Vec<Body>) {
        self.owing_since = None;
        out.push(Body::Data { handshake: session.handshake, bytes });
    }

    fn rekey_if_due(&mut self, now: u64, handshakes: &mut Handshakes, out: &mut Vec<Body>) {
        let old = self.current.is_some_and(|session| session.initiator && now >= session.since + REKEY_AFTER_MS);
        if old && now >= self.rekey_at {
            self.rekey_at = now + REKEY_TIMEOUT_MS;
            self.knock(now, handshakes, out);
        }
    }

    fn knock_if_due(&mut self, now: u64, handshakes: &mut Handshakes, out: &mut Vec<Body>) {
        if self.place.is_none() || now < self.knock_at || now > self.wanted_until || self.is_reachable(now) {
            return;
        }
        self.knock_at = now + RETRY_MS.get(self.knocks).or(RETRY_MS.last()).copied().unwrap_or_default();
        self.knocks += 1;
        self.knock(now, handshakes, out);
    }

    fn knock(&mut self, now: u64, handshakes: &mut Handshakes, out: &mut Vec<Body>) {
        handshakes.count += 1;
        self.offered = Some(handshakes.count);
        let (handshake, wall_ms) = (handshakes.count, handshakes.wall_ms);
        out.push(Body::Init { handshake, wall_ms, cookie: now < self.cookie_until });
    }
}
