//! Keeps one tor running and connected.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use async_io::{Async, Timer};
use rustbalance_core::TorId;
use rustbalance_core::time::Mono;
use smol::channel::{Receiver, Sender};
use smol::future::FutureExt as _;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tracing::{debug, warn};

use super::connection::{self, CHUNK, ConnectError};
use super::process::{self, Process};
use super::{
    ConnectionId, TorCommand, TorError, TorInput, TorPaths, check_binary, check_options, hidden_service, torrc,
};
use crate::settings::Settings;
use crate::store::{StoreError, atomic};
use crate::{clock, entropy};

/// How long a living tor may leave us without a control connection before it is replaced.
const CONTROL_LIMIT: Duration = Duration::from_secs(30);

/// How often we try to get one.
const CONTROL_RETRY: Duration = Duration::from_millis(50);

/// How long tor may take to accept one command. One that takes longer is frozen: the core's wish for a new connection
/// waits behind that command, so nobody else can end it.
const WRITE_LIMIT: Duration = Duration::from_secs(20);

/// Runs tor for ever: restarts it when it exits, reconnects when the control connection closes. Returns `Ok` when
/// `from_core` closes, after stopping tor. Dropping the future kills tor.
///
/// # Errors
/// What cannot be repaired by trying again: tor missing or too old, a bad option or key, files that cannot be written.
pub async fn supervise(
    settings: Arc<Settings>,
    id: TorId,
    to_core: Sender<(TorId, TorInput)>,
    from_core: Receiver<TorCommand>,
) -> Result<(), TorError> {
    let paths = TorPaths::new(&settings.dir)?;
    prepare(&settings, &paths).await?;
    let mut supervisor = Supervisor { settings, paths, id, to_core, from_core, connection: ConnectionId(0) };
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30), Duration::from_secs(60));
    loop {
        backoff.started();
        let Some(reason) = supervisor.run_tor().await else { return Ok(()) };
        let delay = backoff.next();
        warn!(?delay, "tor is down: {reason}; starting it again");
        if supervisor.unless_stopped(Timer::after(delay)).await.is_none() {
            return Ok(());
        }
    }
}

/// Checks everything and writes what tor reads.
async fn prepare(settings: &Settings, paths: &TorPaths) -> Result<(), TorError> {
    check_binary(&settings.tor)?;
    check_options(&settings.tor.options)?;
    paths.create_directories()?;
    hidden_service::prepare(paths)?;
    let text = torrc::torrc(settings, paths, std::process::id());
    atomic::replace(&paths.torrc, text.as_bytes()).map_err(StoreError::io("write", &paths.torrc))?;
    process::verify_config(&settings.tor.binary, paths).await
}

/// How a session ended, in words.
enum Parting {
    /// Another connection will do.
    Connection(String),
    /// Another tor is wanted.
    Tor(String),
}

struct Supervisor {
    settings: Arc<Settings>,
    paths: TorPaths,
    id: TorId,
    to_core: Sender<(TorId, TorInput)>,
    from_core: Receiver<TorCommand>,
    /// The newest one.
    connection: ConnectionId,
}

/// Each step ends with `None` when the core wants no tor any more, else with the reason in words.
impl Supervisor {
    /// One life of tor, which is over and cleaned up afterwards.
    async fn run_tor(&mut self) -> Option<String> {
        let mut process = match self.unless_stopped(self.start()).await? {
            Ok(process) => process,
            Err(error) => return Some(error.to_string()),
        };
        let mut connected = false;
        let ended = async { Some(format!("it ended ({})", process.exited().await)) }
            .or(self.stay_connected(&mut connected))
            .await;
        // The core is told also when tor went before its connection did.
        let told = if connected && ended.is_some() { self.tell(TorInput::Closed).await } else { Some(()) };
        let last_words = process.stop().await;
        told?;
        let reason = ended?;
        Some(last_words.map_or(reason.clone(), |words| format!("{reason}; its last warning: {words}")))
    }

    async fn start(&self) -> Result<Process, TorError> {
        process::wait_for_data_directory(&self.paths).await?;
        self.paths.remove_stale_sockets()?;
        hidden_service::prepare(&self.paths)?;
        Process::start(&self.settings.tor.binary, &self.paths)
    }

    /// One control connection after the other. `connected` says whether the core believes that there is one.
    async fn stay_connected(&mut self, connected: &mut bool) -> Option<String> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5), Duration::from_secs(10));
        loop {
            let stream = match self.unless_stopped(self.connect()).await? {
                Ok(stream) => stream,
                Err(error) => return Some(format!("it gives no control connection: {error}")),
            };
            backoff.started();
            self.connection.0 += 1;
            *connected = true;
            match self.session(stream).await? {
                Parting::Connection(reason) => debug!("control connection closed: {reason}"),
                Parting::Tor(reason) => return Some(reason),
            }
            self.tell(TorInput::Closed).await?;
            *connected = false;
            self.unless_stopped(Timer::after(backoff.next())).await?;
        }
    }

    /// Tries until tor answers.
    async fn connect(&self) -> Result<Async<UnixStream>, ConnectError> {
        let deadline = clock::mono().plus(CONTROL_LIMIT);
        loop {
            let nonce = entropy::secret()?;
            match connection::open(&self.paths, *nonce).await {
                Err(_) if clock::mono() < deadline => Timer::after(CONTROL_RETRY).await,
                outcome => return outcome,
            };
        }
    }

    /// Bytes both ways until the connection closes.
    async fn session(&self, stream: Async<UnixStream>) -> Option<Parting> {
        self.tell(TorInput::Connected(self.connection)).await?;
        let read = async { self.read(&stream).await.map(Parting::Connection) };
        read.or(self.write(&stream)).await
    }

    async fn read(&self, mut stream: &Async<UnixStream>) -> Option<String> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let bytes = match stream.read(&mut buffer).await {
                Ok(count) => buffer.get(..count).unwrap_or_default().to_vec(),
                Err(error) => return Some(error.to_string()),
            };
            if bytes.is_empty() {
                return Some("tor closed it".to_owned());
            }
            // Waits while the core is busy: tor waits in turn.
            self.to_core.send((self.id, TorInput::Bytes(bytes))).await.ok()?;
        }
    }

    async fn write(&self, stream: &Async<UnixStream>) -> Option<Parting> {
        loop {
            match self.from_core.recv().await.ok()? {
                TorCommand::Write(connection, bytes) if connection == self.connection => {
                    if let Err(error) = write_within(stream, &bytes, WRITE_LIMIT).await {
                        return Some(Parting::Connection(error.to_string()));
                    }
                }
                TorCommand::Reconnect(connection) if connection == self.connection => {
                    return Some(Parting::Connection("as the core wished".to_owned()));
                }
                TorCommand::Restart(connection) if connection == self.connection => {
                    return Some(Parting::Tor("a removed client may know its introduction points".to_owned()));
                }
                TorCommand::Write(..) | TorCommand::Reconnect(_) | TorCommand::Restart(_) => {}
            }
        }
    }

    /// Sends news about the connection, which no command can be meant for yet or any more.
    async fn tell(&self, news: TorInput) -> Option<()> {
        self.unless_stopped(self.to_core.send((self.id, news))).await?.ok()
    }

    /// Does `work` unless `from_core` closes first. Commands that arrive meanwhile are for a connection that is gone.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let stopped = async {
            while self.from_core.recv().await.is_ok() {}
            None
        };
        async { Some(work.await) }.or(stopped).await
    }
}

/// Writes all of `bytes`, or fails after `limit`.
async fn write_within(mut stream: &Async<UnixStream>, bytes: &[u8], limit: Duration) -> io::Result<()> {
    let late = async {
        Timer::after(limit).await;
        Err(io::Error::new(io::ErrorKind::TimedOut, "tor takes no commands"))
    };
    stream.write_all(bytes).or(late).await
}

/// Delays that double while things keep failing.
struct Backoff {
    first: Duration,
    longest: Duration,
    /// What lasts this long counts as a success.
    calm: Duration,
    next: Duration,
    started: Mono,
}

impl Backoff {
    fn new(first: Duration, longest: Duration, calm: Duration) -> Self {
        Self { first, longest, calm, next: first, started: clock::mono() }
    }

    fn started(&mut self) {
        self.started = clock::mono();
    }

    /// The delay after what was started has failed.
    fn next(&mut self) -> Duration {
        self.after(clock::mono().since(self.started))
    }

    fn after(&mut self, lasted: Duration) -> Duration {
        let delay = if lasted >= self.calm { self.first } else { self.next };
        self.next = (delay * 2).min(self.longest);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tor_that_takes_no_commands_loses_its_connection() {
        let (ours, _tors) = Async::<UnixStream>::pair().unwrap();
        let more_than_the_system_holds = vec![0; 16 << 20];
        let written = smol::block_on(write_within(&ours, &more_than_the_system_holds, Duration::from_millis(10)));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        smol::block_on(write_within(&Async::<UnixStream>::pair().unwrap().0, b"little", Duration::from_secs(60)))
            .unwrap();
    }

    #[test]
    fn delays_double_up_to_the_longest_and_start_again_after_calm() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(1), seconds(5), seconds(60));
        let delays: Vec<_> = [0, 0, 0, 59, 60, 0].map(|lasted| backoff.after(seconds(lasted)).as_secs()).into();
        assert_eq!(delays, [1, 2, 4, 5, 1, 2]);
    }
}
