//! Keeps one tor of our own running and connected; its `id` says which.

use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use smol::future::FutureExt as _;
use tracing::{debug, warn};

use super::connection;
use super::link::{Link, Parting};
use super::process::{self, Process};
use super::restarts::{self, Backoff, Restart, Restarts};
use super::{TorError, TorInput, TorPaths, hidden_service, torrc, version::check_pow};
use crate::clock;
use crate::settings::Settings;
use crate::store::Store;

/// Runs a tor of our own for ever: restarts it when it exits, reconnects when the control connection closes. Returns `Ok`
/// when the core wants it no more, after stopping tor. Dropping the future kills tor.
///
/// # Errors
/// What cannot be repaired by trying again: tor missing or too old, a bad option or key, files that cannot be written.
pub(super) async fn run(settings: Arc<Settings>, store: Arc<Store>, link: Link) -> Result<(), TorError> {
    let id = link.id();
    let paths = TorPaths::in_store(&store, id)?;
    prepare(&settings, &store, &paths).await?;
    let mut supervisor = Supervisor { settings, store, paths, link };
    let mut restarts = Restarts::default();
    loop {
        let started = clock::mono();
        let Some(End { reason, is_wished }) = supervisor.run_tor().await else { return Ok(()) };
        let now = clock::mono();
        let Restart { delay, caps } =
            if is_wished { Restart::wished() } else { restarts.after_end(now, now.since(started)) };
        warn!(tor = id.0, ?delay, "tor is down: {reason}; starting it again");
        if caps {
            warn!(tor = id.0, "tor {}", restarts::CAPPED);
        }
        if supervisor.link.tell(TorInput::Ended { again_in: delay }).await.is_none()
            || supervisor.link.unless_stopped(Timer::after(delay)).await.is_none()
        {
            return Ok(());
        }
    }
}

/// Checks everything and writes what tor reads.
async fn prepare(settings: &Settings, store: &Store, paths: &TorPaths) -> Result<(), TorError> {
    process::check(&settings.tor, paths)?;
    if settings.service.pow.enabled {
        check_pow(&settings.tor)?;
    }
    hidden_service::prepare(store, paths)?;
    let text = torrc::torrc(settings, paths, std::process::id());
    process::configure(&settings.tor.binary, paths, &text).await
}

/// How one life of tor ended.
struct End {
    /// In words.
    reason: String,
    /// The core wanted another tor.
    is_wished: bool,
}

impl End {
    fn by_itself(reason: String) -> Self {
        Self { reason, is_wished: false }
    }
}

struct Supervisor {
    settings: Arc<Settings>,
    store: Arc<Store>,
    paths: TorPaths,
    link: Link,
}

/// Each step ends with `None` when the core wants no tor any more, else with the reason.
impl Supervisor {
    /// One life of tor, which is over and cleaned up afterwards.
    async fn run_tor(&mut self) -> Option<End> {
        let mut process = match self.link.unless_stopped(self.start()).await? {
            Ok(process) => process,
            Err(error) => return Some(End::by_itself(error.to_string())),
        };
        let mut connected = false;
        let ended = async { Some(End::by_itself(format!("it ended ({})", process.exited().await))) }
            .or(self.stay_connected(&mut connected))
            .await;
        // The core is told also when tor went before its connection did.
        let told = if connected && ended.is_some() { self.link.tell(TorInput::Closed).await } else { Some(()) };
        let last_words = process.stop().await;
        told?;
        let mut end = ended?;
        if let Some(words) = last_words.filter(|_| !end.is_wished) {
            end.reason = format!("{}; its last warnings: {words}", end.reason);
        }
        Some(end)
    }

    async fn start(&self) -> Result<Process, TorError> {
        hidden_service::prepare(&self.store, &self.paths)?;
        Process::start(&self.settings.tor.binary, &self.paths).await
    }

    /// One control connection after the other. `connected` says whether the core believes that there is one.
    async fn stay_connected(&mut self, connected: &mut bool) -> Option<End> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5), Duration::from_secs(10));
        loop {
            let access = self.paths.control();
            let stream = match self.link.unless_stopped(connection::open_patiently(&access)).await? {
                Ok(stream) => stream,
                Err(error) => return Some(End::by_itself(format!("it gives no control connection: {error}"))),
            };
            let started = clock::mono();
            *connected = true;
            match self.link.session(stream, TorInput::Connected).await? {
                Parting::Connection(reason) => debug!(tor = self.paths.id.0, "control connection closed: {reason}"),
                Parting::Tor(reason) => return Some(End { reason, is_wished: true }),
            }
            self.link.tell(TorInput::Closed).await?;
            *connected = false;
            self.link.unless_stopped(Timer::after(backoff.after(clock::mono().since(started)))).await?;
        }
    }
}
