//! One tor, seen through its control connection: a sans-IO state machine that turns control bytes into [`TorFacts`]
//! and wishes into commands.
//!
//! The parts stand in `tor/`: `connection` asks, `session` matches replies to commands, `replies` takes them in,
//! `directory` reads the network, `service` the own descriptor and its circuits, `withdrawal` closes those that clients
//! know, `publishing` switches tor's own uploads, `harvest` turns them on for a moment, `upload` and `fetch` follow ours.
//! `renewal` and `watchdog` say when a tor is to start anew.
//! `attachment` judges a tor that somebody else runs, `circuit_line` reads what tor says of a connection that it hands over.

mod attachment;
mod authorized_clients;
mod circuit_line;
mod connection;
mod directory;
mod error;
mod facts;
mod fetch;
mod harvest;
mod linger;
mod news;
mod poll;
mod publishing;
mod renewal;
mod replies;
mod service;
mod session;
#[cfg(test)]
pub(crate) mod tests;
mod upload;
mod version;
mod watchdog;
mod withdrawal;

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::control::command;
use crate::hsdesc::IntroPoint;
use crate::id::{RelayFingerprint, TorId};
use crate::input::ControlInput;
use crate::onion::address::OnionAddress;
use crate::onion::client::HsClientDescEncKeypair;
use crate::onion::key::HsId;
use crate::output::{Event, Outbox, Output, TimerName};
use crate::time::{Mono, Now};
pub use attachment::{Attachment, Found, Wanted};
pub use authorized_clients::{AuthorizedClients, Files, FilesSerial};
pub use circuit_line::{CircuitId, CircuitLine};
use directory::Directory;
pub use error::TorError;
pub use facts::{Native, TorFacts, TorState, Validity};
use fetch::Fetches;
use harvest::Harvesting;
use linger::Linger;
pub use news::{TorEvent, UploadFailure};
use publishing::Publishing;
pub use renewal::{Renewal, turn};
use service::Service;
use session::{Asked, Session};
use upload::Uploads;
pub use version::TorVersion;
pub use watchdog::{Look, Watchdog};
pub use withdrawal::Presence;
use withdrawal::Withdrawal;

/// A call so much later than asked for means that we were not running: what timed out meanwhile may have been answered.
const STALL: Duration = Duration::from_millis(500);
/// So long after a stall, while waiting bytes are read, nothing times out.
const STALL_GRACE: Duration = Duration::from_millis(500);
/// Stalls closer together get no grace of their own: on a machine that is always late things must time out all the same.
const STALLS_APART: Duration = Duration::from_secs(10);
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
    /// Of a tor that somebody else runs, as it was found when it was last connected to.
    attachment: Option<Attachment>,
    /// Why a tor that somebody else runs cannot be used.
    unfit: Vec<String>,
    /// What its owner was last asked to do, and how many processes there had been then.
    asked_owner: Option<(String, u64)>,
    directory: Directory,
    service: Service,
    linger: Linger,
    withdrawal: Withdrawal,
    publishing: Publishing,
    uploads: Uploads,
    fetches: Fetches,
    harvesting: Harvesting,
    facts: TorFacts,
    /// Tor processes seen.
    processes: u64,
    connections: u64,
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
            attachment: None,
            unfit: Vec::new(),
            asked_owner: None,
            directory: Directory::new(),
            service: Service::new(Mono::default()),
            linger: Linger::default(),
            withdrawal: Withdrawal::default(),
            publishing: Publishing::new(),
            uploads: Uploads::default(),
            fetches: Fetches::default(),
            harvesting: Harvesting::default(),
            facts: TorFacts::default(),
            processes: 0,
            connections: 0,
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
                self.attachment = None;
                self.disconnect();
                self.connect(out);
                Ok(())
            }
            ControlInput::Attached(attachment) => {
                self.attachment = Some(attachment.clone());
                self.unfit.clear();
                if self.has_company() {
                    self.publishing.leave_alone();
                }
                self.disconnect();
                self.connect(out);
                Ok(())
            }
            ControlInput::Unfit(reasons) => {
                if self.unfit != reasons {
                    reasons.iter().for_each(|reason| self.warn(out, format_args!("{reason}")));
                    self.unfit = reasons.to_vec();
                }
                Ok(())
            }
            ControlInput::Bytes(bytes) => self.read(now, bytes, out),
            ControlInput::Closed => {
                self.linger.begin(now.mono, self.service.points());
                self.disconnect();
                Ok(())
            }
            // Its connection was closed before. The watchdog counts.
            ControlInput::Ended { .. } => {
                self.linger.end();
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

    /// Of a tor that somebody else runs.
    pub fn attachment(&self) -> Option<&Attachment> {
        self.attachment.as_ref()
    }

    /// Whether it belongs to somebody else and has other services, which merged publishing would silence.
    pub fn has_company(&self) -> bool {
        self.attachment.as_ref().is_some_and(|attachment| !attachment.others.is_empty())
    }

    /// Why it cannot be used, though it may run.
    pub fn unfit(&self) -> &[String] {
        &self.unfit
    }

    /// Has it start anew, for the reason in `what`. Of one that somebody else runs its owner is told.
    pub fn renew(&mut self, what: &str, out: &mut Outbox) {
        if self.attachment.is_none() {
            out.event(Event::Warning(format!("{what}: starting it anew")));
            return out.push(Output::RestartTor(self.id));
        }
        let asked = (what.to_owned(), self.processes);
        if self.asked_owner.as_ref() != Some(&asked) {
            let way_out = "this node did not start it and cannot restart it: do that, as in `systemctl restart tor`";
            out.event(Event::Warning(format!("{what}: {way_out}")));
            self.asked_owner = Some(asked);
        }
    }

    /// Whether clients are to find this node. Once it is out, introduction circuits that they may come by are closed, and
    /// the facts name only points that no client knows.
    pub fn set_presence(&mut self, now: Now, presence: Presence, out: &mut Outbox) {
        if self.withdrawal.presence() != presence {
            self.withdrawal.set(presence);
            self.close_circuits(out);
            self.refresh(now, out);
        }
    }

    /// Bootstrapped and connected, and if it has no points, then since we closed their circuits: it can upload.
    pub fn can_publish(&self) -> bool {
        match self.state {
            TorState::Ready => true,
            TorState::WaitingForPoints => self.withdrawal.presence() == Presence::Out,
            TorState::Disconnected | TorState::Bootstrapping(_) => false,
        }
    }

    /// Whether clients can be sent here: ready, or was a moment ago and only the control connection is lost.
    pub fn is_serving(&self) -> bool {
        !self.facts.points.is_empty() && (self.state == TorState::Ready || self.linger.deadline().is_some())
    }

    /// Whether it is to have points: clients may still come by them.
    pub fn is_wanted(&self) -> bool {
        self.withdrawal.presence() != Presence::Out
    }

    /// Whether no client can come by its points now: their circuits are closed, or nobody can be told to
    /// close them.
    pub fn is_withdrawn(&self) -> bool {
        let is_done = || self.service.are_circuits_known() && self.withdrawal.is_done(self.service.circuits());
        self.session.is_none() || is_done()
    }

    /// Readiness.
    pub fn state(&self) -> TorState {
        self.state
    }

    /// How many tor processes have been seen so far.
    pub fn processes(&self) -> u64 {
        self.processes
    }

    /// How many connections there have been so far.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// Facts.
    pub fn facts(&self) -> &TorFacts {
        &self.facts
    }

    /// Whether an upload to `hsdir` may start now: connected, none in flight to it, fewer than 16 in flight, and no
    /// earlier one (timed out, or tor's own) whose answer may still come.
    pub fn can_upload(&self, hsdir: RelayFingerprint) -> bool {
        let has_room = self.session.as_ref().is_some_and(Session::has_room);
        has_room && !self.harvesting.may_upload() && self.uploads.can_start(hsdir)
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
            self.disown_harvest();
            self.fetches.expire(now.mono, &mut self.events);
            self.follow_harvest(now.mono, out);
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
        let harvest = self.harvesting.deadline(self.native() == Native::Off);
        let timeouts = [session.deadline(), self.uploads.deadline(), self.fetches.deadline(), harvest];
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

    /// Brings facts and state up to date.
    fn refresh(&mut self, now: Now, out: &mut Outbox) {
        self.withdrawal.see(self.listed());
        let points = self.linger.or_fresh(now.mono, self.service.points());
        let may_offer = |point: &IntroPoint| self.withdrawal.may_offer(point);
        self.facts.points = if points.iter().all(may_offer) {
            points
        } else {
            points.iter().filter(|point| may_offer(point)).cloned().collect()
        };
        if let Some(header) = self.service.header() {
            self.facts.header.clone_from(header);
            self.facts.pow = self.service.pow();
        }
        self.end_harvest(now.mono, out);
        self.facts.harvest = self.told_of_harvest(now.mono);
        self.facts.ring = self.directory.live_ring(now.wall);
        self.facts.early_ring = self.directory.early_ring(now.wall);
        self.facts.valid_after = self.directory.valid_after();
        self.facts.validity = self.directory.validity(now.wall);
        self.facts.miscounts = self.directory.miscounts(now.wall);
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
