//! One task owns the [`Node`]: facts come in through channels, wishes go out through channels, nothing waits.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use rustbalance_core::cluster::CommandError;
use rustbalance_core::join::AdmitError;
use rustbalance_core::output::RequestId;
use rustbalance_core::status::Status;
use rustbalance_core::time::Mono;
use rustbalance_core::{
    Command, ControlInput, Event, HostFacts, Input, Node, NodeId, Output, Rejected, Stop, TargetHealth, TorId,
};
use smol::channel::{Receiver, Sender};
use smol::future::FutureExt as _;

use crate::clients::directory::Problems;
use crate::clock;
use crate::mesh::counters::Count;
use crate::mesh::{Mesh, MeshCommand, MeshEvent};
use crate::proxy;
use crate::proxy::door::{Door, Knock};
use crate::run::Shares;
use crate::seldom::Seldom;
use crate::status::{Answer, Question, Request};
use crate::store::{JoinedThrough, Store};
use crate::systemd::Systemd;
use crate::tor::{ConnectionId, TorCommand, TorInput};

mod disk;
mod drain;

use disk::{Disk, Done};
pub(crate) use drain::Ending;
use drain::{COUNT_EVERY, Drain};

/// Time tor has to close its last introduction circuits, and the relays to hear of it.
const WITHDRAWN_AFTER: Duration = Duration::from_secs(1);
/// Longest wait without looking at the clock: a timer sleeps while the machine is suspended, boot time does not.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The driver's ends of all channels.
pub(crate) struct Channels {
    /// The mesh.
    pub mesh: Mesh,
    /// From all tors.
    pub tors: Receiver<(TorId, TorInput)>,
    /// To each tor.
    pub tor_commands: BTreeMap<TorId, Sender<TorCommand>>,
    /// What the proxy has done.
    pub proxy: Arc<proxy::Counters>,
    /// Invited nodes.
    pub door: Arc<Door>,
    /// The target's health.
    pub target: Receiver<TargetHealth>,
    /// The machine.
    pub host: Receiver<HostFacts>,
    /// What is wrong in the directory of clients.
    pub client_files: Problems,
    /// Operators.
    pub questions: Receiver<Question>,
    /// What the configuration says now, if it has changed.
    pub reloaded: Receiver<Shares>,
    /// Signals.
    pub stop: Receiver<Ending>,
}

/// Runs a node.
pub(crate) struct Driver {
    node: Node,
    channels: Channels,
    joined_through: Option<JoinedThrough>,
    connections: BTreeMap<TorId, ConnectionId>,
    disk: Disk,
    /// Outcomes known at once.
    failed: VecDeque<Done>,
    bad_token_said: Seldom,
    systemd: Systemd,
    /// Requests of invited nodes, numbered, that wait for the core. As many as the door lets wait, and the gone.
    guests: BTreeMap<RequestId, Sender<Option<Vec<u8>>>>,
    next_guest: u64,
    /// When the tunnel to each member last had a handshake.
    handshakes: BTreeMap<NodeId, Mono>,
    drain: Drain,
    stopped: Option<Stop>,
    /// Since when the last introduction circuits are being closed.
    withdrawing: Option<Mono>,
}

/// One thing that happened.
enum Woke {
    Tick,
    Done(Done),
    Mesh(MeshEvent),
    Tor(TorId, TorInput),
    Target(TargetHealth),
    Host(HostFacts),
    Question(Question),
    Reloaded(Shares),
    Knock(Knock),
    Stop(Ending),
}

impl Driver {
    /// Ready to run; starts writing records at once.
    pub fn new(
        node: Node,
        store: Arc<Store>,
        joined_through: Option<JoinedThrough>,
        drain_limit: Duration,
        channels: Channels,
    ) -> Self {
        Self {
            node,
            channels,
            joined_through,
            connections: BTreeMap::new(),
            disk: Disk::start(store),
            failed: VecDeque::new(),
            bad_token_said: Seldom::default(),
            systemd: Systemd::from_env(),
            guests: BTreeMap::new(),
            next_guest: 0,
            handshakes: BTreeMap::new(),
            drain: Drain::new(drain_limit),
            stopped: None,
            withdrawing: None,
        }
    }

    /// Runs until the node has stopped, or has had its time to, and its sessions have.
    pub async fn run(mut self) -> Stop {
        self.systemd.ready(&self.status().role);
        loop {
            self.systemd.alive(clock::mono());
            while let Some(output) = self.node.poll_output() {
                self.perform(output);
            }
            if let Some(why) = self.ended() {
                return why;
            }
            let deadline = self.node.next_timeout().map(|(at, _why)| at);
            let woke = match self.failed.pop_front() {
                Some(done) => Woke::Done(done),
                None => self.wait(deadline).await,
            };
            if let Err(rejected) = self.handle(woke) {
                self.log_rejected(&rejected);
            }
        }
    }

    fn ended(&mut self) -> Option<Stop> {
        let now = clock::mono();
        let why = self.stopped.or(self.drain.is_late(now).then_some(Stop::Commanded))?;
        let is_over = match (why, self.withdrawing) {
            // A double must not go on under our name, not even for its sessions.
            (Stop::DuplicateIdentity, _) => true,
            (Stop::Commanded, Some(since)) => now >= since.plus(WITHDRAWN_AFTER),
            (Stop::Commanded, None) => self.drain.is_over(now, self.sessions()) && !self.must_withdraw(now),
        };
        is_over.then_some(why)
    }

    /// Whether there still are introduction circuits, and if so, has them closed: relays of a tor that just ends may take
    /// minutes to notice that nobody is behind them any more, and have clients wait.
    fn must_withdraw(&mut self, now: Mono) -> bool {
        let must = !self.node.is_withdrawn();
        if must {
            self.withdrawing = Some(now);
            if let Err(rejected) = self.node.handle(clock::now(), Input::Command(Command::Withdraw)) {
                self.log_rejected(&rejected);
            }
            while let Some(output) = self.node.poll_output() {
                self.perform(output);
            }
        }
        must
    }

    fn sessions(&self) -> usize {
        self.channels.proxy.active.load(Relaxed)
    }

    /// Exactly one event. The clock comes last: every input lets the core do what is due, so a busy node needs no
    /// ticks, while an overdue deadline must not keep inputs out. Of the inputs the rare and urgent come first.
    async fn wait(&self, deadline: Option<Mono>) -> Woke {
        let channels = &self.channels;
        let stop = next(&channels.stop, Woke::Stop);
        let question = next(&channels.questions, Woke::Question);
        let reloaded = next(&channels.reloaded, Woke::Reloaded);
        let done = next(&self.disk.done, Woke::Done);
        let target = next(&channels.target, Woke::Target);
        let host = next(&channels.host, Woke::Host);
        let knock = next(channels.door.knocks(), Woke::Knock);
        let mesh = next(&channels.mesh.events, Woke::Mesh);
        let tor = next(&channels.tors, |(id, input)| Woke::Tor(id, input));
        let tick = async {
            let is_ending = self.drain.is_waiting() || self.withdrawing.is_some();
            let look_at = clock::mono().plus(if is_ending { COUNT_EVERY } else { LOOK_EVERY });
            clock::sleep_until(Some(deadline.map_or(look_at, |deadline| deadline.min(look_at)))).await;
            Woke::Tick
        };
        stop.or(question).or(reloaded).or(done).or(target).or(host).or(knock).or(mesh).or(tor).or(tick).await
    }

    fn handle(&mut self, woke: Woke) -> Result<(), Rejected> {
        let now = clock::now();
        let input = match &woke {
            Woke::Tick => Input::Tick,
            Woke::Done((id, result)) => Input::Done { id: *id, result: result.clone() },
            Woke::Mesh(MeshEvent::Datagram { from, bytes }) => Input::Peer { from: *from, bytes },
            Woke::Mesh(MeshEvent::Stranger { bytes }) => Input::Stranger { bytes },
            Woke::Mesh(MeshEvent::Admit { request, wg, bytes }) => Input::Admit { request: *request, wg: *wg, bytes },
            Woke::Tor(id, input) => Input::Control(
                *id,
                match input {
                    TorInput::Connected(connection) => {
                        self.connections.insert(*id, *connection);
                        ControlInput::Connected
                    }
                    TorInput::Attached(connection, attachment) => {
                        self.connections.insert(*id, *connection);
                        ControlInput::Attached(attachment)
                    }
                    TorInput::Unfit(reasons) => ControlInput::Unfit(reasons),
                    TorInput::Bytes(bytes) => ControlInput::Bytes(bytes),
                    TorInput::Closed => ControlInput::Closed,
                    TorInput::Ended { again_in } => ControlInput::Ended { again_in: *again_in },
                },
            ),
            Woke::Mesh(MeshEvent::Met { node, at }) => {
                self.handshakes.insert(*node, *at);
                Input::Tick
            }
            Woke::Target(health) => Input::Target(*health),
            Woke::Host(facts) => Input::Host(*facts),
            Woke::Knock(Knock { path, body, answer }) => {
                let request = RequestId(self.next_guest);
                self.next_guest += 1;
                // Who waited too long has hung up.
                self.guests.retain(|_, answer| !answer.is_closed());
                self.guests.insert(request, answer.clone());
                Input::Invited { request, path: *path, bytes: body }
            }
            Woke::Question(question) => return self.answer(question),
            Woke::Reloaded(Shares { weight, priority }) => {
                return self.order(Command::Reconfigure { weight: *weight, priority: *priority });
            }
            Woke::Stop(ending) => return self.stop(Command::Shutdown, *ending),
        };
        self.node.handle(now, input)
    }

    /// Has the core stop, which gets its time for that unless it refuses. One that has stopped, while sessions go on, and is
    /// then told to leave its cluster comes to another end than before.
    fn stop(&mut self, command: Command, ending: Ending) -> Result<(), Rejected> {
        let now = clock::now();
        self.node.handle(now, Input::Command(command))?;
        (self.stopped, self.withdrawing) = (None, None);
        self.drain.stop(now.mono, ending);
        self.systemd.stopping();
        Ok(())
    }

    fn order(&mut self, command: Command) -> Result<(), Rejected> {
        self.node.handle(clock::now(), Input::Command(command))
    }

    /// Does what an operator asks for, and answers.
    fn answer(&mut self, question: &Question) -> Result<(), Rejected> {
        let outcome = match &question.request {
            Request::Status | Request::Access | Request::ClientFiles | Request::Invites => Ok(()),
            Request::ChangeAccess { changes } => self.order(Command::ChangeAccess(changes.clone())),
            Request::Leave => self.stop(Command::Leave, Ending::Prompt),
            Request::Shutdown => self.stop(Command::Shutdown, Ending::Prompt),
            Request::Order { node, order } => self.order(Command::Order(*node, *order)),
            Request::Pause { secs } => self.order(Command::Pause(*secs)),
            Request::Rotate => self.order(Command::RotateToken),
            Request::Remove { node } => self.order(Command::Remove(*node)),
            Request::Invite { new } => self.order(Command::Invite(new.clone())),
            Request::RevokeInvite { name } => self.order(Command::RevokeInvite(name.clone())),
        };
        let answer = match (&outcome, &question.request) {
            (Ok(()), Request::Status) => Answer::Status(Box::new(self.status())),
            (Ok(()), Request::Invites) => Answer::Invites(self.node.invites(clock::now())),
            (Ok(()), Request::Access) => Answer::Access(self.node.access().clone()),
            (Ok(()), Request::ClientFiles) => Answer::ClientFiles(self.channels.client_files.now()),
            (Ok(()), request) => Answer::Accepted(request.clone()),
            (
                Err(Rejected::Command(CommandError::Busy)),
                Request::ChangeAccess { .. } | Request::Invite { .. } | Request::RevokeInvite { .. },
            ) => Answer::Busy,
            (Err(Rejected::Command(CommandError::OnlyMember)), _) => Answer::OnlyMember,
            (Err(Rejected::Command(why)), _) => Answer::Refused(why.to_string()),
            (Err(rejected), _) => Answer::Error(rejected.name().to_owned()),
        };
        // A client that went away needs no answer.
        _ = question.answer.try_send(answer);
        outcome
    }

    fn status(&self) -> Status {
        let now = clock::now();
        let mut status = self.node.status(now);
        for member in &mut status.members {
            let at = NodeId::from_hex(&member.node).and_then(|node| self.handshakes.get(&node));
            member.handshake_ms = at.map(|at| now.mono.as_ms().saturating_sub(at.as_ms()));
        }
        status.rejected.extend(self.channels.mesh.counters.snapshot());
        status.rejected.extend(self.channels.proxy.refused());
        status.sessions = self.sessions();
        status
    }

    /// Hands a wish over. What finds its channel full is lost, which every receiver of ours can live with, and
    /// counted; the exceptions say so.
    fn perform(&mut self, output: Output) {
        match output {
            Output::SendPeer { to, bytes } => self.to_mesh(MeshCommand::Send { to, bytes }),
            Output::AdmitReply { request, datagrams } => self.to_mesh(MeshCommand::Answer { request, datagrams }),
            Output::InviteReply { request, answer } => {
                if let Some(waits) = self.guests.remove(&request) {
                    // One that has hung up asks again.
                    _ = waits.try_send(answer);
                }
            }
            Output::InvitePaths(paths) => self.channels.door.open(paths),
            Output::Peers(mut peers) => {
                for peer in &mut peers {
                    let known = self.joined_through.as_ref().filter(|through| through.wireguard == peer.wg);
                    peer.contact = peer.contact.take().or_else(|| known.map(|through| through.endpoint.clone()));
                }
                self.handshakes.retain(|node, _| peers.iter().any(|peer| peer.node == *node));
                // The newest list replaces one that still waits.
                _ = self.channels.mesh.peers.force_send(peers);
            }
            Output::Control(id, bytes) => self.to_tor(id, |connection| TorCommand::Write(connection, bytes)),
            Output::Reconnect(id) => self.to_tor(id, TorCommand::Reconnect),
            Output::RestartTor(id) => self.to_tor(id, TorCommand::Restart),
            Output::Persist { id, record } => {
                if let Err(error) = self.disk.persist(id, record) {
                    self.failed.push_back((id, Err(error)));
                }
            }
            Output::Token(token) => self.disk.put_token(token),
            Output::Event(event) => self.tell(&event),
            Output::Stopped(why) => self.stopped = Some(why),
        }
    }

    fn tell(&self, event: &Event) {
        if let Event::Warning(_) = event {
            return tracing::warn!("{event}");
        }
        tracing::info!("{event}");
        if let Event::Role(_) = event {
            self.systemd.status(&event.to_string());
        }
    }

    fn to_mesh(&self, command: MeshCommand) {
        if self.channels.mesh.commands.try_send(command).is_err() {
            self.channels.mesh.counters.add(Count::QueueFull);
        }
    }

    /// A tor that does not take its commands is of no use: a reconnect, which takes the oldest command's place,
    /// tells both sides that some were lost.
    fn to_tor(&self, id: TorId, command: impl FnOnce(ConnectionId) -> TorCommand) {
        let connection = self.connections.get(&id);
        let (Some(&connection), Some(sender)) = (connection, self.channels.tor_commands.get(&id)) else { return };
        if sender.try_send(command(connection)).is_err() {
            tracing::warn!(tor = id.0, "tor's control connection does not keep up: opening a new one");
            _ = sender.force_send(TorCommand::Reconnect(connection));
        }
    }

    /// The core counts what it refuses; details are for debugging.
    fn log_rejected(&mut self, rejected: &Rejected) {
        let is_bad_token = *rejected == Rejected::Admit(AdmitError::BadToken);
        // Whoever knows our WireGuard key can ask as often as it likes.
        if is_bad_token && self.bad_token_said.is_due(clock::mono()) {
            tracing::warn!("a node asked to join with a wrong cluster token; further ones are counted, see `status`");
        } else {
            tracing::debug!(?rejected, "refused");
        }
    }
}

/// The next message as an event; never, once the other end is gone.
async fn next<T>(receiver: &Receiver<T>, woke: impl FnOnce(T) -> Woke) -> Woke {
    match receiver.recv().await {
        Ok(message) => woke(message),
        Err(_) => core::future::pending().await,
    }
}
