//! The reverse proxy: connections of the onion service, handed over by tor on a unix socket, go to the operator's
//! application.
//!
//! It knows no protocol. Bytes flow both ways from the start, so a server may speak first, and each direction ends
//! on its own, so either side may half-close. [`Proxy::run`] owns every connection: dropping it closes them all. What tor
//! says of a connection never reaches the target ([`opening`]). While there are invites, what a client says first is looked
//! at ([`door`]); what the target says first still waits for nothing.

mod connect;
pub(crate) mod door;
#[cfg(test)]
mod fed;
mod opening;
mod pump;
mod socks;

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_io::{Async, Timer};
use smol::Executor;
use smol::lock::OnceCell;
use socket2::{Domain, SockAddr, Socket, Type};
use tracing::{debug, warn};

pub use connect::{Connector, Isolation};
use door::{Door, Entrant};
use opening::Opening;
use pump::Activity;
pub(crate) use pump::write_all;

use crate::clock;
use crate::fault::Fault;
use crate::seldom::Seldom;
use crate::settings::ProxySettings;

/// Connections tor may have waiting for us to accept; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How long accepting pauses when the system has no descriptor or memory left for one more.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// While there are invites: how long a client that says nothing is kept although the target cannot be reached, or has ended.
/// An invited node, which needs no target, has said who it is by then.
const GUEST_WITHIN: Duration = Duration::from_secs(5);

/// How long an invited node may take to accept its answer, all of which mostly fits what the system holds for it.
const ANSWER_TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// Descriptors the rest of the process may need besides two per proxied connection.
const OTHER_DESCRIPTORS: u64 = 256;

/// What the proxy has done so far, readable while it runs.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections open now.
    pub active: AtomicUsize,
    /// Connections closed at once because `max_connections` were open.
    pub over_limit: AtomicU64,
    /// Connections closed because the target could not be reached.
    pub target_failed: AtomicU64,
    /// Connections closed for idleness.
    pub idle_closed: AtomicU64,
    /// Requests at an invite's path that were passed to the target unseen, as too many came by their circuit.
    pub guest_over_limit: AtomicU64,
    /// Bytes from clients to the target.
    pub bytes_in: AtomicU64,
    /// Bytes from the target to clients.
    pub bytes_out: AtomicU64,
}

impl Counters {
    /// The connections that did not get what they came for, by name; those that are not zero.
    pub fn refused(&self) -> impl Iterator<Item = (String, u64)> {
        let counters = [
            ("proxy_over_limit", &self.over_limit),
            ("proxy_target_failed", &self.target_failed),
            ("proxy_idle_closed", &self.idle_closed),
            ("proxy_guest_over_limit", &self.guest_over_limit),
        ];
        counters
            .map(|(name, counter)| (name.to_owned(), counter.load(Relaxed)))
            .into_iter()
            .filter(|(_, count)| *count > 0)
    }
}

/// The proxy cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {path} for tor's connections: {source}; its directory must exist and be writable by us")]
pub struct ListenError {
    path: PathBuf,
    source: io::Error,
}

impl ListenError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        crate::store::of_the_disk(&self.source)
    }
}

/// The proxy, listening.
pub struct Proxy {
    listener: Async<Socket>,
    shared: Arc<Shared>,
}

/// What every connection needs.
struct Shared {
    connector: Connector,
    idle_timeout: Duration,
    max_connections: usize,
    counters: Arc<Counters>,
    door: Arc<Door>,
    /// That tor did not say a circuit.
    no_line_said: Mutex<Seldom>,
}

impl Proxy {
    /// Listens on the unix socket `path`, mode 0600, replacing one that a dead process left behind. Clients wait
    /// in its backlog until [`Proxy::run`].
    pub fn bind(path: PathBuf, connector: Connector, settings: &ProxySettings) -> Result<Self, ListenError> {
        let listener = listen(&path).map_err(|source| ListenError { path, source })?;
        raise_descriptor_limit(settings.max_connections);
        let counters = Arc::<Counters>::default();
        let shared = Shared {
            connector,
            idle_timeout: settings.idle_timeout,
            max_connections: settings.max_connections,
            door: Arc::new(Door::new(Arc::clone(&counters))),
            counters,
            no_line_said: Mutex::default(),
        };
        Ok(Self { listener, shared: Arc::new(shared) })
    }

    /// The counters, for status and metrics.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// The door for invited nodes.
    pub(crate) fn door(&self) -> Arc<Door> {
        Arc::clone(&self.shared.door)
    }

    /// Serves until dropped.
    pub async fn run(self) -> Infallible {
        let connections = Executor::new();
        connections.run(self.accept(&connections)).await
    }

    async fn accept(&self, connections: &Executor<'static>) -> Infallible {
        let mut limit_said = Seldom::default();
        loop {
            let accepted = self.listener.read_with(Socket::accept).await;
            match accepted.and_then(|(socket, _)| Async::new(socket)) {
                Ok(client) => self.admit(client, connections, &mut limit_said),
                Err(error) => {
                    warn!(%error, "cannot accept a connection from tor");
                    Timer::after(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Starts serving `client`, or drops it when there are too many.
    fn admit(&self, client: Async<Socket>, connections: &Executor<'static>, limit_said: &mut Seldom) {
        let counters = &self.shared.counters;
        if counters.active.load(Relaxed) >= self.shared.max_connections {
            counters.over_limit.fetch_add(1, Relaxed);
            let limit = self.shared.max_connections;
            if limit_said.is_due(clock::mono()) {
                warn!(
                    "{limit} connections are open: new ones are closed at once, and counted; see proxy.max_connections"
                );
            } else {
                debug!(limit, "too many connections, closing a new one");
            }
            return;
        }
        counters.accepted.fetch_add(1, Relaxed);
        let place = Place::take(Arc::clone(&self.shared));
        connections.spawn(async move { place.serve(client).await }).detach();
    }
}

/// One of the `max_connections` places, given back on drop.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: Arc<Shared>) -> Self {
        shared.counters.active.fetch_add(1, Relaxed);
        Self(shared)
    }

    async fn serve(&self, client: Async<Socket>) {
        let counters = &self.0.counters;
        match self.receive(&client).await {
            Ok(()) => {}
            Err(Parting::NoTarget(error)) => {
                counters.target_failed.fetch_add(1, Relaxed);
                debug!(%error, "cannot reach the target");
            }
            Err(Parting::Broken(error)) if error.kind() == io::ErrorKind::TimedOut => {
                counters.idle_closed.fetch_add(1, Relaxed);
                debug!("closed an idle connection");
            }
            Err(Parting::Broken(error)) => debug!(%error, "a connection broke"),
            Err(Parting::Answered(answer)) => {
                let taken = clock::within(ANSWER_TAKEN_WITHIN, write_all(&client, &answer, || ())).await;
                if let Err(error) = taken.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())) {
                    debug!(%error, "an invited node did not take its answer");
                }
            }
        }
    }

    /// Reads what tor says of the connection.
    async fn open(&self, client: &Async<Socket>) -> io::Result<Opening> {
        let opening = Opening::read(client).await?;
        let said = &self.0.no_line_said;
        if opening.lacks_its_line() && said.lock().unwrap_or_else(PoisonError::into_inner).is_due(clock::mono()) {
            warn!(
                "tor does not say by which circuit a connection came, so invited nodes' requests by all such connections \
                 share one limit: add `HiddenServiceExportCircuitID haproxy` to the torrc of the tor that this node is \
                 attached to, and reload it; `rustbalance tor lines` prints where"
            );
        }
        Ok(opening)
    }

    async fn connect(&self) -> Result<Async<Socket>, Parting> {
        self.0.connector.connect(Isolation::unique()).await.map_err(Parting::NoTarget)
    }

    /// Serves a client or an invited node, whichever it is. To the target it is a client until that is clear.
    async fn receive(&self, client: &Async<Socket>) -> Result<(), Parting> {
        let Shared { idle_timeout, counters, door, .. } = &*self.0;
        let (target, activity, is_known) = (OnceCell::new(), Activity::new(), AtomicBool::new(false));
        // While nobody is invited that is clear from the start.
        let is_client = if door.is_shut() { OnceCell::from(()) } else { OnceCell::new() };
        let inward = async {
            let opening = self.open(client).await?;
            let entrant = if is_client.is_initialized() {
                Entrant::Client(opening.held)
            } else {
                door.receive(client, opening, &is_known).await?
            };
            match entrant {
                Entrant::Guest(answer) => Err(Parting::Answered(answer)),
                Entrant::Client(held) => {
                    let _ = is_client.set(()).await;
                    let target = target.get_or_try_init(|| self.connect()).await?;
                    write_all(target, &held, || activity.touch()).await?;
                    counters.bytes_in.fetch_add(held.len() as u64, Relaxed);
                    Ok(pump::copy(client, target, &activity, &counters.bytes_in).await?)
                }
            }
        };
        let outward = async {
            let carry = async |target| Ok(pump::carry(target, client, &activity, &counters.bytes_out).await?);
            let ended = match target.get_or_try_init(|| self.connect()).await {
                Ok(target) => carry(target).await,
                Err(no_target) => Err(no_target),
            };
            // An invited node gets its answer, though the target takes no connection, or ends it at once.
            if clock::within(GUEST_WITHIN, is_client.wait()).await.is_none() && is_known.load(Relaxed) {
                is_client.wait().await;
            }
            ended.map(|()| pump::pass_on_the_end(client))
        };
        pump::or_silence(inward, outward, &activity, *idle_timeout).await
    }
}

/// Why a connection ended before both sides had said their last word.
enum Parting {
    /// The target cannot be reached.
    NoTarget(io::Error),
    /// One side is gone, or (`TimedOut`) both are silent.
    Broken(io::Error),
    /// It is an invited node's, which is still to get this.
    Answered(Vec<u8>),
}

impl From<io::Error> for Parting {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.counters.active.fetch_sub(1, Relaxed);
    }
}

fn listen(path: &PathBuf) -> io::Result<Async<Socket>> {
    crate::tor::paths::remove_stale_socket(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    rustix::fs::chmod(path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    socket.listen(BACKLOG)?;
    Async::new(socket)
}

/// Each connection takes two descriptors, and the usual soft limit of 1024 is less than the default cap needs.
fn raise_descriptor_limit(max_connections: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = u64::try_from(max_connections).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(OTHER_DESCRIPTORS);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let granted = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(granted), maximum });
    if raised.is_err() || granted < wanted {
        warn!(wanted, granted, "the open-file limit is too low for proxy.max_connections; raise LimitNOFILE");
    }
}
