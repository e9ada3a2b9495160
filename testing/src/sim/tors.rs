//! The tors of the machines in their world: control connections, introduction points, uploads and fetches.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::{ControlInput, Input, TorId};

use super::fault::UploadFault;
use super::hsdirs::{Refused, Uploader};
use super::queue::{Happening, Told, TorHappening};
use super::tor::{Effect, TorModel};
use super::witness::{Sight, Upload};
use super::world::{POINTS, Taken, World};

/// A descriptor follows its circuits so much later, milliseconds.
const LISTED_AFTER_MS: u64 = 1_000;
/// The next circuit is established up to so much later, milliseconds.
const POINT_AFTER_MS: u64 = 600;
/// A late answer to an upload takes up to so long, milliseconds.
const LATE_MS: u64 = 20_000;

impl World {
    /// The node's tor starts anew: control connection soon, points some seconds later.
    pub(super) fn start_tor(&mut self, index: usize, dead_ms: u64) {
        self.lose_points(index);
        let rng = ChaCha20Rng::seed_from_u64(self.rng.next_u64());
        let lag_secs = self.nodes[index].tor.lag_secs;
        self.nodes[index].tor = TorModel::new(&self.master_file, self.nodes[index].tor.process + 1, rng);
        self.nodes[index].tor.lag_secs = lag_secs;
        let connect = dead_ms + 100 + self.draw(400);
        let bootstrap = 1000 + self.draw(self.options.bootstrap_ms_max - 1000);
        self.reconnect(index, connect);
        self.tor_after(index, connect + bootstrap, TorHappening::Bootstrapped);
    }

    /// A new control connection comes up; nothing more is heard of the one before.
    pub(super) fn reconnect(&mut self, index: usize, delay: u64) {
        self.nodes[index].connection += 1;
        self.nodes[index].is_connected = false;
        let connection = self.nodes[index].connection;
        self.push(index, delay, Happening::ControlUp { connection });
    }

    /// The control connection ends, seen by both sides.
    pub(super) fn disconnect(&mut self, index: usize) {
        self.nodes[index].connection += 1;
        self.nodes[index].is_connected = false;
        self.tell(index, Told::Closed);
    }

    pub(super) fn control_up(&mut self, index: usize, connection: u64) {
        let still_until = self.nodes[index].tor_still_until;
        if connection != self.nodes[index].connection {
            return;
        }
        if still_until > self.now {
            self.push(index, still_until - self.now, Happening::ControlUp { connection });
        } else {
            self.nodes[index].is_connected = true;
            self.nodes[index].tor.connected();
            self.step_input(index, Input::Control(TorId(0), ControlInput::Connected));
        }
    }

    /// What tor says, unless the connection is another one by now.
    pub(super) fn control_said(&mut self, index: usize, connection: u64, bytes: &[u8]) {
        if connection == self.nodes[index].connection {
            self.note(|| format!("{index} < {}", first_line(bytes)));
            self.step_input(index, Input::Control(TorId(0), ControlInput::Bytes(bytes)));
        }
    }

    /// Commands of the daemon. A tor that stands still reads them later.
    pub(super) fn control(&mut self, index: usize, bytes: Vec<u8>) {
        self.note(|| format!("{index} > {}", first_line(&bytes)));
        let connection = self.nodes[index].connection;
        let node = &mut self.nodes[index];
        if node.tor_still_until > self.now || node.unread > 0 {
            node.unread += 1;
            let delay = node.tor_still_until.saturating_sub(self.now);
            self.push(index, delay, Happening::Commands { connection, bytes });
        } else {
            self.commands(index, connection, &bytes);
        }
    }

    pub(super) fn unread_commands(&mut self, index: usize, connection: u64, bytes: &[u8]) {
        self.nodes[index].unread -= 1;
        self.commands(index, connection, bytes);
    }

    fn commands(&mut self, index: usize, connection: u64, bytes: &[u8]) {
        if connection != self.nodes[index].connection {
            return;
        }
        let wall = self.wall();
        let published = self.nodes[index].tor.publishes;
        let effects = self.nodes[index].tor.handle(bytes, &mut self.network, wall);
        self.changed.native |= self.nodes[index].tor.publishes != published;
        for effect in effects {
            // Replies keep their order: the delay is the same for all of them.
            match effect {
                Effect::Reply(bytes) => self.say(index, 2, bytes),
                Effect::Upload(relay, text) => {
                    let mut hasher = DefaultHasher::new();
                    hasher.write(text.as_bytes());
                    self.posted = Some((index, hasher.finish()));
                    self.see(index, &Sight::Posts { text: &text });
                    let delay = 100 + self.draw(200);
                    self.tor_after(index, delay, TorHappening::Upload { relay, text });
                }
                Effect::Fetch(relay) => self.tor_after(index, 80, TorHappening::Fetch { relay }),
            }
        }
    }

    /// Something will happen within the tor process that runs now.
    pub(super) fn tor_after(&mut self, index: usize, delay: u64, what: TorHappening) {
        let process = self.nodes[index].tor.process;
        self.push(index, delay, Happening::Tor { process, what });
    }

    pub(super) fn tor_happens(&mut self, index: usize, what: TorHappening) {
        match what {
            TorHappening::Bootstrapped => {
                let event = self.nodes[index].tor.bootstrap();
                self.hear_tor(index, &event);
                self.point_comes(index);
            }
            TorHappening::Point => self.point_comes(index),
            TorHappening::Listed => self.nodes[index].tor.relist(),
            TorHappening::Upload { relay, text } => self.upload(index, relay, &text),
            TorHappening::Fetch { relay } => self.fetch(index, relay),
        }
    }

    /// One introduction point more, and the next one soon, until there are enough.
    fn point_comes(&mut self, index: usize) {
        let (secs, wanted) = (self.wall().as_secs(), POINTS);
        let tor = &self.nodes[index].tor;
        if !tor.is_bootstrapped() || tor.points.len() >= wanted {
            return;
        }
        let event = self.nodes[index].tor.add_point(&self.network, secs);
        self.changed.points = true;
        let count = self.nodes[index].tor.points.len();
        self.fault(&format!("the tor of {index} has {count} points"));
        self.hear_tor(index, &event);
        self.tor_after(index, LISTED_AFTER_MS, TorHappening::Listed);
        if count < wanted {
            let delay = 1 + self.draw(POINT_AFTER_MS);
            self.tor_after(index, delay, TorHappening::Point);
        }
    }

    /// The circuit behind one of its points closes. Its descriptor follows.
    pub(super) fn close_point(&mut self, index: usize, point: usize) {
        let (key, event) = self.nodes[index].tor.close_point(point);
        let now = self.now;
        self.nodes[index].lost([key], now);
        self.changed.points = true;
        self.hear_tor(index, &event);
    }

    /// The points that its tor has are gone with it.
    pub(super) fn lose_points(&mut self, index: usize) {
        let (node, now) = (&mut self.nodes[index], self.now);
        let gone: Vec<_> = node.tor.points.drain(..).map(|point| point.auth_key).collect();
        node.lost(gone, now);
        self.changed.points = true;
    }

    /// What tor says of itself, if anyone listens.
    pub(super) fn hear_tor(&mut self, index: usize, bytes: &[u8]) {
        if self.nodes[index].is_connected {
            self.say(index, 1, bytes.into());
        }
    }

    /// Tor will say `bytes` on the connection it has now.
    pub(super) fn say(&mut self, index: usize, delay: u64, bytes: Arc<[u8]>) {
        let connection = self.nodes[index].connection;
        self.push(index, delay, Happening::Control { connection, bytes });
    }

    fn upload(&mut self, index: usize, relay: RelayFingerprint, text: &Arc<str>) {
        let (now, fault) = (self.now, self.nodes[index].tor.uploads);
        let fault = fault.filter(|(_, until)| now < *until).map(|(fault, _)| fault);
        let arrives = !matches!(fault, Some(UploadFault::Lost | UploadFault::Failed));
        let reason = if arrives { self.store(index, relay, text) } else { Some("UNEXPECTED") };
        let event = self.nodes[index].tor.upload_event(relay, reason);
        let delay = 50 + self.draw(200);
        let late = self.hsdirs.answers_late(relay, now) || fault == Some(UploadFault::Late);
        let delay = if late { delay + self.draw(LATE_MS) } else { delay };
        if !matches!(fault, Some(UploadFault::Silent | UploadFault::Lost)) {
            self.say(index, delay, event.into());
        }
    }

    /// An upload has reached its HSDir: why it is refused, if it is.
    fn store(&mut self, index: usize, relay: RelayFingerprint, text: &Arc<str>) -> Option<&'static str> {
        let (service, wall) = (self.service, self.wall());
        let layout = self.layout();
        let stored = self.hsdirs.revision(relay, text);
        let by = Uploader { who: Some(index), at: self.now };
        let result = self.hsdirs.upload(by, relay, text, service, &layout, wall);
        self.note(|| format!("{index} uploads to {relay}: {:?}", result.as_ref().map(|_| ())));
        let points = result.as_ref().ok().map(|accepted| &*accepted.stored.points);
        let revision = rustbalance_core::hsdesc::peek_revision(text.as_bytes()).map_or(0, |revision| revision.0);
        self.see(index, &Sight::Uploads(Upload { points, revision, stored }));
        match result {
            Ok(accepted) => {
                self.taken = Some(Taken::new(index, relay, &accepted));
                self.changed.stored = true;
                None
            }
            Err(Refused::Stale) => Some("UPLOAD_REJECTED"),
            Err(Refused::Ill) => Some("UNEXPECTED"),
            Err(Refused::Bad(what)) => {
                self.fail(format!("{index} uploaded a bad descriptor: {what}"));
                Some("UPLOAD_REJECTED")
            }
        }
    }

    fn fetch(&mut self, index: usize, relay: RelayFingerprint) {
        self.see(index, &Sight::Fetches);
        let layout = self.layout();
        let blind = layout.current().blind;
        let text = self.hsdirs.get(relay, blind).map(|stored| stored.text.clone());
        let text = text.filter(|_| !self.hsdirs.is_ill(relay, self.now));
        let event = self.nodes[index].tor.fetch_events(relay, text.as_deref());
        let delay = 50 + self.draw(150);
        self.say(index, delay, event.into());
    }
}

/// The first line of what goes over a control connection, for the trace.
fn first_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().chars().take(120).collect()
}
