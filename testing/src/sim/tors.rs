//! The tors of the machines in their world: control connections, introduction points, fetches.

use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rustbalance_core::hsdesc::IntroPoint;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::tor::Attachment;
use rustbalance_core::{ControlInput, Input, TorId};

use super::queue::{Happening, Told, TorHappening};
use super::tor::{Effect, TorModel};
use super::witness::Sight;
use super::world::{POINTS, Posted, World};

/// What tor says is heard so much later, milliseconds. Always the same: on one connection answers and events keep their order.
const HEARD_AFTER_MS: u64 = 2;
/// A descriptor follows its circuits so much later, milliseconds.
const LISTED_AFTER_MS: u64 = 1_000;
/// The next circuit is established up to so much later, milliseconds.
const POINT_AFTER_MS: u64 = 600;

impl World {
    /// The node's tor starts anew: control connection soon, points some seconds later.
    pub(super) fn start_tor(&mut self, index: usize, tor: usize, dead_ms: u64) {
        self.lose_points(index, tor);
        let rng = ChaCha20Rng::seed_from_u64(self.rng.next_u64());
        let TorModel { process, lag_secs, control, .. } = self.nodes[index].tors[tor];
        let mut next = TorModel::new(&self.master_file, process + 1, rng);
        next.publishes = self.nodes[index].is_attached;
        self.changed.native |= next.publishes;
        (next.lag_secs, next.control) = (lag_secs, control);
        next.read_files(self.nodes[index].files());
        self.nodes[index].tors[tor] = next;
        let connect = dead_ms + 100 + self.draw(400);
        let bootstrap = 1000 + self.draw(self.options.bootstrap_ms_max - 1000);
        self.reconnect(index, tor, connect);
        self.tor_after(index, tor, connect + bootstrap, TorHappening::Bootstrapped);
    }

    /// A new control connection comes up; nothing more is heard of the one before.
    pub(super) fn reconnect(&mut self, index: usize, tor: usize, delay: u64) {
        self.nodes[index].tors[tor].control.connection += 1;
        self.nodes[index].tors[tor].control.is_up = false;
        let connection = self.nodes[index].tors[tor].control.connection;
        self.push(index, delay, Happening::ControlUp { tor, connection });
    }

    /// The control connection ends, seen by both sides.
    pub(super) fn disconnect(&mut self, index: usize, tor: usize) {
        self.nodes[index].tors[tor].control.connection += 1;
        self.nodes[index].tors[tor].control.is_up = false;
        self.tell(index, Told::Closed { tor });
    }

    pub(super) fn control_up(&mut self, index: usize, tor: usize, connection: u64) {
        let still_until = self.nodes[index].tor_still_until;
        if connection != self.nodes[index].tors[tor].control.connection {
            return;
        }
        if still_until > self.now {
            self.push(index, still_until - self.now, Happening::ControlUp { tor, connection });
        } else {
            let (model, now) = (&mut self.nodes[index].tors[tor], self.now);
            (model.control.is_up, model.control.up_at) = (true, now);
            model.connected();
            let found = Attachment { others: Vec::new(), published: true };
            let connected = match self.nodes[index].is_attached {
                true => ControlInput::Attached(&found),
                false => ControlInput::Connected,
            };
            self.step_input(index, Input::Control(id(tor), connected));
        }
    }

    /// What tor says, unless the connection is another one by now.
    pub(super) fn control_said(&mut self, index: usize, tor: usize, connection: u64, bytes: &[u8]) {
        if connection == self.nodes[index].tors[tor].control.connection {
            self.note(|| format!("{index} < {}", first_line(bytes)));
            self.step_input(index, Input::Control(id(tor), ControlInput::Bytes(bytes)));
        }
    }

    /// Commands of the daemon. A tor that stands still reads them later.
    pub(super) fn control(&mut self, index: usize, tor: usize, bytes: Vec<u8>) {
        self.note(|| format!("{index} > {}", first_line(&bytes)));
        let connection = self.nodes[index].tors[tor].control.connection;
        let node = &mut self.nodes[index];
        if node.tor_still_until > self.now || node.tors[tor].control.unread > 0 {
            node.tors[tor].control.unread += 1;
            let delay = node.tor_still_until.saturating_sub(self.now);
            self.push(index, delay, Happening::Commands { tor, connection, said: self.now, bytes });
        } else {
            self.commands(index, tor, connection, self.now, &bytes);
        }
    }

    /// Commands of the daemon, `said` before the tor stood still no more.
    pub(super) fn unread_commands(&mut self, index: usize, tor: usize, connection: u64, said: u64, bytes: &[u8]) {
        self.nodes[index].tors[tor].control.unread -= 1;
        self.commands(index, tor, connection, said, bytes);
    }

    fn commands(&mut self, index: usize, tor: usize, connection: u64, said: u64, bytes: &[u8]) {
        if connection != self.nodes[index].tors[tor].control.connection {
            return;
        }
        let wall = self.wall();
        if bytes.starts_with(b"SETCONF ") {
            let files = self.nodes[index].files().to_vec();
            self.nodes[index].tors[tor].read_files(&files);
        }
        let published = self.nodes[index].tors[tor].publishes;
        let effects = self.nodes[index].tors[tor].handle(bytes, &mut self.network, wall);
        self.changed.native |= self.nodes[index].tors[tor].publishes != published;
        for effect in effects {
            match effect {
                Effect::Reply(bytes) => self.say(index, tor, bytes),
                Effect::Close(key) => self.close_by_order(index, tor, key),
                Effect::Upload(relay, text) => {
                    self.posted = Some(Posted { by: index, text: text.clone(), said });
                    self.begin_upload(index, tor, relay, text);
                }
                Effect::Fetch(relay) => self.tor_after(index, tor, 80, TorHappening::Fetch { relay }),
            }
        }
    }

    /// Something will happen within the tor process that runs now.
    pub(super) fn tor_after(&mut self, index: usize, tor: usize, delay: u64, what: TorHappening) {
        let process = self.nodes[index].tors[tor].process;
        self.push(index, delay, Happening::Tor { tor, process, what });
    }

    pub(super) fn tor_happens(&mut self, index: usize, tor: usize, what: TorHappening) {
        match what {
            TorHappening::Bootstrapped => {
                let event = self.nodes[index].tors[tor].bootstrap();
                self.hear_tor(index, tor, &event);
                self.point_comes(index, tor);
            }
            TorHappening::Point => self.point_comes(index, tor),
            TorHappening::Reopen { point } => self.point_reopens(index, tor, *point),
            TorHappening::Listed => self.relist(index, tor),
            TorHappening::BreakOff => self.break_off(index, tor),
            TorHappening::Upload { stream, text } => self.upload(index, tor, stream, &text),
            TorHappening::Answered { stream, reason } => self.upload_answered(index, tor, stream, reason),
            TorHappening::Fetch { relay } => self.fetch(index, tor, relay),
            TorHappening::Fetched { events } => self.hear_tor(index, tor, &events),
        }
    }

    /// One introduction point more, and the next one soon, until there are enough.
    fn point_comes(&mut self, index: usize, tor: usize) {
        let (secs, wanted) = (self.wall().as_secs(), POINTS);
        let model = &self.nodes[index].tors[tor];
        if !model.is_bootstrapped() || model.points.len() >= wanted {
            return;
        }
        let event = self.nodes[index].tors[tor].add_point(&self.network, secs);
        self.changed.points = true;
        let count = self.nodes[index].tors[tor].points.len();
        self.fault(&format!("the {} has {count} points", self.name_of_tor(index, tor)));
        self.hear_tor(index, tor, &event);
        self.tor_after(index, tor, LISTED_AFTER_MS, TorHappening::Listed);
        if count < wanted {
            let delay = 1 + self.draw(POINT_AFTER_MS);
            self.tor_after(index, tor, delay, TorHappening::Point);
        }
    }

    /// The circuit behind one of its points closes. Its descriptor follows.
    pub(super) fn close_point(&mut self, index: usize, tor: usize, point: usize) {
        let (key, event) = self.nodes[index].tors[tor].close_point(point);
        let now = self.now;
        self.nodes[index].lost([key], now);
        self.changed.points = true;
        self.hear_tor(index, tor, &event);
    }

    /// Its controller closes a circuit. Tor opens it again, and after some times one to another relay.
    fn close_by_order(&mut self, index: usize, tor: usize, key: [u8; 32]) {
        let model = &mut self.nodes[index].tors[tor];
        let Some(at) = model.points.iter().position(|point| point.auth_key == key) else { return };
        let (point, reopens) = (model.points[at].clone(), model.reopens(key));
        let delay = model.launch(self.now) + 1 + self.draw(POINT_AFTER_MS);
        self.close_point(index, tor, at);
        self.tor_after(index, tor, LISTED_AFTER_MS, TorHappening::Listed);
        let what = if reopens { TorHappening::Reopen { point: Box::new(point) } } else { TorHappening::Point };
        self.tor_after(index, tor, delay, what);
    }

    fn point_reopens(&mut self, index: usize, tor: usize, point: IntroPoint) {
        let node = &mut self.nodes[index];
        let points = &node.tors[tor].points;
        if points.len() >= POINTS {
            return;
        }
        if points.iter().any(|other| other.relay() == point.relay()) {
            // Another point is there by now: no relay has two of them.
            return self.point_comes(index, tor);
        }
        node.past_points.retain(|(key, _)| *key != point.auth_key);
        let event = node.tors[tor].reopen_point(point);
        self.changed.points = true;
        self.fault(&format!("the {} has a circuit to a point again", self.name_of_tor(index, tor)));
        self.hear_tor(index, tor, &event);
        self.tor_after(index, tor, LISTED_AFTER_MS, TorHappening::Listed);
    }

    /// The points that its tor has are gone with it.
    pub(super) fn lose_points(&mut self, index: usize, tor: usize) {
        let (node, now) = (&mut self.nodes[index], self.now);
        let gone: Vec<_> = node.tors[tor].points.drain(..).map(|point| point.auth_key).collect();
        node.lost(gone, now);
        self.changed.points = true;
    }

    /// For the trace.
    pub(super) fn name_of_tor(&self, index: usize, tor: usize) -> String {
        match self.nodes[index].tors.len() {
            1 => format!("tor of {index}"),
            _ => format!("tor of {index} ({tor})"),
        }
    }

    /// What tor says of itself, if anyone listens.
    pub(super) fn hear_tor(&mut self, index: usize, tor: usize, bytes: &[u8]) {
        if self.nodes[index].tors[tor].control.is_up {
            self.say(index, tor, bytes.into());
        }
    }

    /// Tor says `bytes` on the connection it has now.
    pub(super) fn say(&mut self, index: usize, tor: usize, bytes: Arc<[u8]>) {
        let connection = self.nodes[index].tors[tor].control.connection;
        self.push(index, HEARD_AFTER_MS, Happening::Control { tor, connection, bytes });
    }

    fn fetch(&mut self, index: usize, tor: usize, relay: RelayFingerprint) {
        self.see(index, &Sight::Fetches);
        let layout = self.layout();
        let blind = layout.current().blind;
        let text = self.hsdirs.get(relay, blind).map(|stored| stored.text.clone());
        let text = text.filter(|_| !self.hsdirs.is_ill(relay, self.now));
        let events = self.nodes[index].tors[tor].fetch_events(relay, text.as_deref());
        let delay = 50 + self.draw(150);
        self.tor_after(index, tor, delay, TorHappening::Fetched { events });
    }
}

/// As the daemon counts them.
pub(super) fn id(tor: usize) -> TorId {
    TorId(u8::try_from(tor).expect("a machine has a few"))
}

/// The first line of what goes over a control connection, for the trace.
fn first_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().chars().take(120).collect()
}
