//! One tor, seen through its control connection: a sans-IO state machine that turns control bytes into [`TorFacts`]
//! and wishes into commands (DESIGN section 2).
//!
//! The parts stand in `tor/`: `session` matches replies to commands, `directory` reads the network, `service` the own
//! descriptor and its circuits, `publishing` switches tor's own uploads, `upload` and `fetch` follow ours.

mod authorized_clients;
mod directory;
mod facts;
mod fetch;
mod linger;
mod news;
mod poll;
mod publishing;
mod renewal;
mod service;
mod session;
#[cfg(test)]
mod tests;
mod upload;

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::control::command;
use crate::control::event::{self, HsDesc, HsDescAction};
use crate::control::reply::{Reply, ReplyError};
use crate::id::{RelayFingerprint, TorId};
use crate::input::ControlInput;
use crate::onion::address::OnionAddress;
use crate::onion::client::HsClientDescEncKeypair;
use crate::onion::key::HsId;
use crate::output::{Event, Outbox, Output, TimerName};
use crate::time::{Mono, Now};
pub use authorized_clients::{AuthorizedClients, Files, FilesSerial};
use directory::Directory;
pub use facts::{Native, TorFacts, TorState};
use fetch::Fetches;
use linger::Linger;
pub use news::{TorEvent, UploadFailure};
use publishing::Publishing;
pub use renewal::{Renewal, turn};
use service::Service;
use session::{Asked, Session};
use upload::Uploads;

/// The peer broke the control protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TorError {
    /// See [`ReplyError`].
    Protocol(ReplyError),
    /// A reply nobody asked for.
    UnexpectedReply,
}

impl fmt::Display for TorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => error.fmt(f),
            Self::UnexpectedReply => {
                f.write_str("tor answered a question nobody asked: another controller on this connection?")
            }
        }
    }
}

impl std::error::Error for TorError {}

impl From<ReplyError> for TorError {
    fn from(error: ReplyError) -> Self {
        Self::Protocol(error)
    }
}

/// A call so much later than asked for means that we were not running: what timed out meanwhile may have been answered.
const STALL: Duration = Duration::from_millis(500);
/// So long after a stall, while waiting bytes are read, nothing times out.
const STALL_GRACE: Duration = Duration::from_millis(500);
/// Stalls closer together get no grace of their own: on a machine that is always late things must time out all the same.
const STALLS_APART: Duration = Duration::from_secs(10);
/// `GETINFO` key of [`Asked::Circuits`].
const CIRCUITS_KEY: &str = "circuit-status";
/// What we subscribe to.
const EVENTS: [&str; 5] = ["CIRC", "CIRC_MINOR", "HS_DESC", "HS_DESC_CONTENT", "STATUS_CLIENT"];

/// One tor.
pub struct Tor {
    id: TorId,
    service_id: HsId,
    /// Reads the descriptor of a service that is restricted.
    own_client: Arc<HsClientDescEncKeypair>,
    address: OnionAddress,
    /// Its 56 characters.
    host: String,
    /// The time of the last call.
    clock: Mono,
    /// Until then nothing times out.
    lenient_until: Mono,
    session: Option<Session>,
    directory: Directory,
    service: Service,
    linger: Linger,
    publishing: Publishing,
    uploads: Uploads,
    fetches: Fetches,
    facts: TorFacts,
    /// Tor processes seen.
    processes: u64,
    state: TorState,
    /// Bounded by uploads and fetches in flight and, for native uploads, by the bytes of one input.
    events: VecDeque<TorEvent>,
}

impl Tor {
    /// Not yet connected.
    pub fn new(id: TorId, service: HsId, own_client: Arc<HsClientDescEncKeypair>) -> Self {
        let address = OnionAddress::new(service);
        Self {
            id,
            service_id: service,
            own_client,
            address,
            host: address.host(),
            clock: Mono::default(),
            lenient_until: Mono::default(),
            session: None,
            directory: Directory::new(),
            service: Service::new(Mono::default()),
            linger: Linger::default(),
            publishing: Publishing::new(),
            uploads: Uploads::default(),
            fetches: Fetches::default(),
            facts: TorFacts::default(),
            processes: 0,
            state: TorState::Disconnected,
            events: VecDeque::new(),
        }
    }

    /// Control input. After an error it wishes `Reconnect`.
    ///
    /// # Errors
    /// Tor broke the protocol. The connection counts as lost; what is still read from it is ignored.
    pub fn handle(&mut self, now: Now, input: ControlInput<'_>, out: &mut Outbox) -> Result<(), TorError> {
        self.observe(now);
        let result = match input {
            ControlInput::Connected => {
                self.disconnect();
                self.connect(out);
                Ok(())
            }
            ControlInput::Bytes(bytes) => self.read(now, bytes, out),
            ControlInput::Closed => {
                self.linger.begin(now.mono, self.service.points());
                self.disconnect();
                Ok(())
            }
        };
        if result.is_err() {
            self.reconnect(out);
        }
        self.ask_what_is_due(out);
        self.refresh(now, out);
        result
    }

    /// What native publishing should be; asserted again after every reconnect.
    pub fn want_native(&mut self, on: bool, out: &mut Outbox) {
        self.publishing.want(on);
        self.ask_what_is_due(out);
    }

    /// Whether native publishing should be on.
    pub fn wants_native(&self) -> bool {
        self.publishing.wants_native()
    }

    /// The files of authorised clients have this content now; tor is told to read them again.
    pub fn files_written(&mut self, files: FilesSerial, out: &mut Outbox) {
        self.publishing.want_read(files);
        self.ask_what_is_due(out);
    }

    /// Native publishing as tor last acknowledged.
    pub fn native(&self) -> Native {
        self.publishing.native()
    }

    /// Whether clients can be sent here: ready, or was a moment ago and only the control connection is lost.
    pub fn is_serving(&self) -> bool {
        !self.facts.points.is_empty() && (self.state == TorState::Ready || self.linger.deadline().is_some())
    }

    /// Readiness.
    pub fn state(&self) -> TorState {
        self.state
    }

    /// How many tor processes have been seen so far.
    pub fn processes(&self) -> u64 {
        self.processes
    }

    /// Facts.
    pub fn facts(&self) -> &TorFacts {
        &self.facts
    }

    /// Whether an upload to `hsdir` may start now: connected, none in flight to it, fewer than 16 in flight, and no
    /// earlier one (timed out, or tor's own) whose answer may still come.
    pub fn can_upload(&self, hsdir: RelayFingerprint) -> bool {
        self.session.as_ref().is_some_and(Session::has_room) && self.uploads.can_start(hsdir)
    }

    /// Starts an upload; ends with exactly one `Uploaded` or `UploadFailed`. Ask [`can_upload`](Self::can_upload)
    /// first: if it may not start it fails at once.
    pub fn upload(&mut self, now: Now, hsdir: RelayFingerprint, descriptor: &str, out: &mut Outbox) {
        self.observe(now);
        if self.can_upload(hsdir) {
            self.uploads.start(now.mono, hsdir);
            self.send(Asked::Upload(hsdir), command::hs_post(hsdir, &self.address, descriptor), out);
        } else {
            let connected = self.session.is_some();
            let busy = UploadFailure::Failed("another upload is under way".to_owned());
            let failure = if connected { busy } else { UploadFailure::Disconnected };
            self.events.push_back(TorEvent::UploadFailed(hsdir, failure));
        }
    }

    /// Starts a fetch of the current period's descriptor; ends with exactly one `Fetched`. A fetch from an `hsdir` that
    /// is being asked already joins the first: one `Fetched` for both. Without a connection, and with 16 under way, it
    /// ends at once, empty.
    pub fn fetch(&mut self, now: Now, hsdir: RelayFingerprint, out: &mut Outbox) {
        self.observe(now);
        if !self.session.as_ref().is_some_and(Session::has_room) || !self.fetches.can_start(hsdir) {
            self.events.push_back(TorEvent::Fetched(hsdir, None));
        } else if self.fetches.start(now.mono, hsdir) {
            self.send(Asked::Fetch(hsdir), command::hs_fetch(&self.address, Some(hsdir)), out);
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<TorEvent> {
        self.events.pop_front()
    }

    /// Does what is due (polls, timeouts).
    pub fn tick(&mut self, now: Now, out: &mut Outbox) {
        self.observe(now);
        if now.mono >= self.lenient_until {
            self.uploads.expire(now.mono, &mut self.events);
            self.fetches.expire(now.mono, &mut self.events);
            let deadline = self.session.as_ref().and_then(Session::deadline);
            if deadline.is_some_and(|deadline| deadline <= now.mono) {
                let seconds = session::REPLY_TIMEOUT.as_secs();
                self.warn(out, format_args!("tor answers nothing for {seconds} s, connecting afresh"));
                self.reconnect(out);
            }
        }
        self.ask_what_is_due(out);
        self.refresh(now, out);
    }

    /// When, and why.
    pub fn next_timeout(&self) -> Option<(Mono, TimerName)> {
        let forget = self.linger.deadline().map(|at| (at, TimerName::TorPoll));
        self.session_timeout().into_iter().chain(forget).min()
    }

    fn session_timeout(&self) -> Option<(Mono, TimerName)> {
        let session = self.session.as_ref()?;
        let timeouts = [session.deadline(), self.uploads.deadline(), self.fetches.deadline()];
        let polls = [self.publishing.deadline(), self.directory.deadline(), self.service.deadline()];
        let timeouts = timeouts.into_iter().flatten().map(|deadline| deadline.max(self.lenient_until));
        let next = timeouts.chain(polls.into_iter().flatten()).min()?;
        Some((next, TimerName::TorPoll))
    }

    /// Notes the time, and whether we slept through a deadline.
    fn observe(&mut self, now: Now) {
        let late = self.session_timeout().is_some_and(|(deadline, _)| now.mono.since(deadline) > STALL);
        if late && now.mono.since(self.lenient_until) > STALLS_APART {
            self.lenient_until = now.mono.plus(STALL_GRACE);
        }
        self.clock = now.mono;
    }

    fn connect(&mut self, out: &mut Outbox) {
        self.session = Some(Session::default());
        self.directory.connected(self.clock);
        self.send(Asked::Events, command::set_events(&EVENTS), out);
        self.send(Asked::Testing, command::get_conf(&["TestingTorNetwork"]), out);
    }

    fn disconnect(&mut self) {
        self.session = None;
        self.service = Service::new(self.clock);
        self.publishing.reset();
        self.uploads.disconnected(&mut self.events);
        self.fetches.disconnected(&mut self.events);
    }

    fn reconnect(&mut self, out: &mut Outbox) {
        self.disconnect();
        out.push(Output::Reconnect(self.id));
    }

    /// Sends every command whose time has come. Idempotent.
    fn ask_what_is_due(&mut self, out: &mut Outbox) {
        if self.session.is_none() {
            return;
        }
        if let Some(on) = self.publishing.take_step(self.clock) {
            let value = if on { "1" } else { "0" };
            self.send(Asked::Native(on), command::set_conf(&[("PublishHidServDescriptors", value)]), out);
        }
        while let Some(asked) =
            self.directory.take_question(self.clock).or_else(|| self.service.take_question(self.clock))
        {
            let command = match asked {
                Asked::Status => command::get_info(&directory::STATUS_KEYS),
                Asked::Consensus => command::get_info(&[directory::CONSENSUS_KEY]),
                Asked::Microdescs => command::get_info(&[directory::MICRODESCS_KEY]),
                Asked::Circuits => command::get_info(&[CIRCUITS_KEY]),
                Asked::Descriptor => command::get_info(&[&self.descriptor_key()]),
                Asked::Events | Asked::Testing | Asked::Native(_) | Asked::Upload(_) | Asked::Fetch(_) => continue,
            };
            self.send(asked, command, out);
        }
    }

    fn send(&mut self, asked: Asked, command: Vec<u8>, out: &mut Outbox) {
        if let Some(session) = &mut self.session {
            session.ask(self.clock, asked);
            out.push(Output::Control(self.id, command));
        }
    }

    fn descriptor_key(&self) -> String {
        format!("hs/service/desc/id/{}", self.host)
    }

    fn read(&mut self, now: Now, bytes: &[u8], out: &mut Outbox) -> Result<(), TorError> {
        if let Some(session) = &mut self.session {
            session.push(bytes);
        }
        while let Some(reply) = self.session.as_mut().map_or(Ok(None), Session::next_reply)? {
            if reply.is_event() {
                self.event(&reply);
            } else {
                let asked = self.session.as_mut().and_then(|session| session.answered(now.mono));
                self.answer(now, asked.ok_or(TorError::UnexpectedReply)?, &reply, out);
            }
        }
        Ok(())
    }

    /// A reply and the command it answers.
    fn answer(&mut self, now: Now, asked: Asked, reply: &Reply, out: &mut Outbox) {
        match asked {
            Asked::Events if !reply.is_ok() => self.warn(out, format_args!("tor refuses to report events: {reply}")),
            Asked::Events => {}
            Asked::Testing => self.directory.testing_read(reply),
            Asked::Native(on) => {
                self.publishing.replied(now.mono, on, reply.is_ok());
                if !reply.is_ok() {
                    let value = u8::from(on);
                    self.warn(
                        out,
                        format_args!("tor refuses PublishHidServDescriptors {value}, trying again: {reply}"),
                    );
                }
            }
            Asked::Status => {
                if self.directory.status_read(reply) {
                    self.processes += 1;
                    self.uploads.new_process();
                    self.linger.end();
                }
            }
            Asked::Consensus => {
                self.service.consensus_changed(now.mono);
                if let Err(error) = self.directory.consensus_read(now.mono, reply) {
                    self.warn(out, format_args!("{error}"));
                }
            }
            Asked::Microdescs => self.directory.microdescs_read(reply),
            Asked::Circuits => {
                self.service.circuits_read(now.mono, &self.host, reply.value(CIRCUITS_KEY).unwrap_or_default());
            }
            Asked::Descriptor => {
                let (text, periods) =
                    (reply.value(&self.descriptor_key()).map(<[u8]>::to_vec), self.directory.periods());
                if let Err(error) =
                    self.service.descriptor_read(now, self.service_id, &self.own_client, text.as_deref(), periods)
                {
                    self.warn(out, format_args!("tor's own descriptor cannot be read: {error}"));
                }
            }
            Asked::Upload(hsdir) => {
                let outcome = if reply.is_ok() { Ok(()) } else { Err(reply.to_string()) };
                self.uploads.replied(hsdir, outcome, &mut self.events);
            }
            Asked::Fetch(hsdir) if !reply.is_ok() => self.fetches.ended(hsdir, None, &mut self.events),
            Asked::Fetch(_) => {}
        }
    }

    /// An event. A malformed one is no reason to part.
    fn event(&mut self, reply: &Reply) {
        match event::parse(reply) {
            Some(event::Event::Circ(circuit)) => self.service.circuit_event(self.clock, &self.host, circuit),
            Some(event::Event::StatusClient { action, args }) => self.directory.news(self.clock, &action, &args),
            Some(event::Event::HsDesc(event)) if event.address == self.host => self.descriptor_event(event),
            Some(event::Event::HsDescContent { address, hsdir: Some(hsdir), content }) if address == self.host => {
                let content = Some(content).filter(|content| !content.is_empty());
                self.fetches.ended(hsdir, content, &mut self.events);
            }
            Some(event::Event::HsDesc(_) | event::Event::HsDescContent { .. } | event::Event::Other(_)) | None => {}
        }
    }

    /// `HS_DESC` of our service.
    fn descriptor_event(&mut self, event: HsDesc) {
        let Some(hsdir) = event.hsdir else { return };
        match event.action {
            HsDescAction::Upload => self.uploads.native_started(self.clock, hsdir),
            HsDescAction::Uploaded => self.uploads.answered(hsdir, Ok(()), &mut self.events),
            HsDescAction::Requested => self.fetches.requested(hsdir),
            HsDescAction::Received => {
                self.fetches.request_ended(hsdir);
            }
            HsDescAction::Failed => match event.reason.as_deref().unwrap_or_default() {
                "UPLOAD_REJECTED" => self.uploads.answered(hsdir, Err(UploadFailure::Rejected), &mut self.events),
                // The other reasons are common to uploads and fetches. A fetch's end is told by its content.
                reason if !self.fetches.request_ended(hsdir) => {
                    let failure = UploadFailure::Failed(reason.to_owned());
                    self.uploads.answered(hsdir, Err(failure), &mut self.events);
                }
                _ => {}
            },
            HsDescAction::Created | HsDescAction::Ignore | HsDescAction::Other => {}
        }
    }

    /// Brings facts and state up to date.
    fn refresh(&mut self, now: Now, out: &mut Outbox) {
        self.facts.points = self.linger.or_fresh(now.mono, self.service.points());
        if let Some(header) = self.service.header() {
            self.facts.header.clone_from(header);
        }
        self.facts.ring = self.directory.live_ring(now.wall);
        self.facts.valid_after = self.directory.valid_after();
        let state = match (&self.session, self.directory.progress()) {
            (None, _) => TorState::Disconnected,
            (Some(_), percent @ 0..100) => TorState::Bootstrapping(percent),
            (Some(_), _) if self.facts.points.is_empty() => TorState::WaitingForPoints,
            (Some(_), _) => TorState::Ready,
        };
        if core::mem::replace(&mut self.state, state) != state {
            out.event(Event::Tor(self.id, state));
        }
    }

    fn warn(&self, out: &mut Outbox, words: fmt::Arguments<'_>) {
        out.event(Event::Warning(format!("tor {}: {words}", self.id.0)));
    }
}
