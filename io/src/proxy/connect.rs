//! Connecting to the operator's application, for the proxy and for the health probe.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_io::{Async, Timer};
use socket2::{SockAddr, Socket, Type};

use super::socks;
pub use super::socks::Isolation;
use crate::clock;
use crate::settings::Target;

/// A unix listener whose backlog is full refuses at once instead of letting us wait: ask again after this.
const BACKLOG_RETRY: Duration = Duration::from_millis(10);

/// Knows how to reach the target.
#[derive(Clone, Debug)]
pub struct Connector {
    target: Target,
    through: Arc<Through>,
    timeout: Duration,
}

/// The SOCKS ports of our tors, of which one serves and the others stand by.
#[derive(Debug)]
struct Through {
    sockets: Vec<PathBuf>,
    /// The one that last did its work.
    first: AtomicUsize,
}

impl Connector {
    /// For `target`; `.onion` targets go through one of the SOCKS ports at the unix sockets `socks`: that which last did, or,
    /// if it fails itself, the next one. Each attempt (a name may have several addresses) may take `timeout`.
    pub fn new(target: Target, socks: Vec<PathBuf>, timeout: Duration) -> Self {
        let through = Through { sockets: socks, first: AtomicUsize::new(0) };
        Self { target, through: Arc::new(through), timeout }
    }

    /// A new connection. Through tor, connections of different `isolation` share no circuit.
    ///
    /// # Errors
    /// The last attempt's; `TimedOut` if it took too long.
    pub async fn connect(&self, isolation: Isolation) -> io::Result<Async<Socket>> {
        match &self.target {
            Target::Tcp(host_port) => self.tcp(host_port).await,
            Target::Unix(path) => self.limit(unix(path)).await,
            Target::Onion { host, port } => self.onion(isolation, host, *port).await,
        }
    }

    /// As this one, but for attempts within `limit`, unless they go through tor, which may first build a circuit.
    pub(crate) fn hastened(&self, limit: Duration) -> Self {
        let timeout = if matches!(self.target, Target::Onion { .. }) { self.timeout } else { self.timeout.min(limit) };
        Self { timeout, ..self.clone() }
    }

    async fn tcp(&self, host_port: &str) -> io::Result<Async<Socket>> {
        let mut outcome = Err(io::Error::new(io::ErrorKind::NotFound, "the target's name has no address"));
        for address in self.limit(smol::net::resolve(host_port)).await? {
            outcome = self.limit(open(&address.into())).await;
            if let Ok(stream) = &outcome {
                stream.get_ref().set_tcp_nodelay(true)?;
                break;
            }
        }
        outcome
    }

    async fn onion(&self, isolation: Isolation, host: &str, port: u16) -> io::Result<Async<Socket>> {
        let Through { sockets, first } = &*self.through;
        let mut outcome = Err(io::Error::new(io::ErrorKind::NotFound, "no tor has a SOCKS port"));
        let begin = first.load(Relaxed);
        for (number, socket) in sockets.iter().enumerate().cycle().skip(begin).take(sockets.len()) {
            let through_tor = async {
                let stream = unix(socket).await?;
                socks::connect(&stream, isolation, host, port).await?;
                Ok(stream)
            };
            outcome = self.limit(through_tor).await;
            if outcome.as_ref().err().is_none_or(socks::is_of_the_target) {
                first.store(number, Relaxed);
                return outcome;
            }
        }
        outcome
    }

    /// `attempt`, or `TimedOut` if it takes longer than an attempt may.
    pub(crate) async fn limit<T>(&self, attempt: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        clock::within(self.timeout, attempt).await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }
}

async fn unix(path: &Path) -> io::Result<Async<Socket>> {
    open(&SockAddr::unix(path)?).await
}

async fn open(address: &SockAddr) -> io::Result<Async<Socket>> {
    let stream = Async::new(Socket::new(address.domain(), Type::STREAM, None)?)?;
    loop {
        match stream.get_ref().connect(address) {
            Ok(()) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Timer::after(BACKLOG_RETRY).await,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => break,
            Err(error) => return Err(error),
        };
    }
    stream.writable().await?;
    stream.get_ref().take_error()?.map_or(Ok(stream), Err)
}
