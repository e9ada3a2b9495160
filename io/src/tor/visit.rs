//! A tor for reaching an onion service before there is a node: SOCKS, no hidden service, and gone at the end.

use std::path::PathBuf;
use std::time::Duration;

use async_io::Timer;
use rustbalance_core::control::command;
use rustbalance_core::control::event::bootstrap_phase;
use rustbalance_core::control::reply::Reply;
use smol::future::FutureExt as _;

use super::connection::{self, Dialogue};
use super::process::{self, Process};
use super::{TorError, TorPaths, torrc};
use crate::settings::Settings;
use crate::store::{StoreError, atomic, create_private_dir};

/// How often tor is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A running tor. Dropping it kills tor.
pub(crate) struct Visitor {
    process: Process,
    dialogue: Dialogue,
    _client_key: Option<ClientKeyFile>,
}

/// In tor's `ClientOnionAuthDir`; removed on drop.
struct ClientKeyFile(PathBuf);

impl ClientKeyFile {
    fn write(paths: &TorPaths, line: &[u8]) -> Result<Self, StoreError> {
        let dir = paths.client_keys();
        create_private_dir(&dir)?;
        let file = Self(dir.join("invited.auth_private"));
        atomic::replace(&file.0, line)?;
        Ok(file)
    }
}

impl Drop for ClientKeyFile {
    fn drop(&mut self) {
        // What stays is closed to others, and of a client that the operator has.
        _ = std::fs::remove_file(&self.0);
    }
}

impl Visitor {
    /// Starts tor and opens a control connection. `client_key` is the line of an `.auth_private` file, for a service that
    /// needs one; tor reads it from a file that goes with the visitor.
    ///
    /// # Errors
    /// It does not run, or does not answer.
    pub(crate) async fn start(
        settings: &Settings,
        paths: &TorPaths,
        client_key: Option<&[u8]>,
    ) -> Result<Self, TorError> {
        process::check(&settings.tor, paths)?;
        let client_key = client_key.map(|line| ClientKeyFile::write(paths, line)).transpose()?;
        let client_keys = client_key.as_ref().and_then(|file| file.0.parent());
        let text = torrc::visitor(settings, paths, std::process::id(), client_keys);
        process::configure(&settings.tor.binary, paths, &text).await?;
        let mut process = Process::start(&settings.tor.binary, paths).await?;
        let connected = async { connection::open_patiently(&paths.control()).await.map_err(|error| error.to_string()) };
        match async { Err(process.exited().await) }.or(connected).await {
            Ok(stream) => Ok(Self { process, dialogue: Dialogue::new(stream), _client_key: client_key }),
            Err(why) => {
                let last_words = process.stop().await;
                Err(TorError::Ended(last_words.unwrap_or(why)))
            }
        }
    }

    /// Waits until tor is bootstrapped, and says how far it is.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) async fn bootstrapped(&mut self) -> Result<(), TorError> {
        let mut said = None;
        loop {
            let reply = self.ask(&command::get_info(&["status/bootstrap-phase"])).await?;
            let percent = bootstrap_phase(reply.value("status/bootstrap-phase").unwrap_or_default());
            if percent != said {
                tracing::info!("tor is bootstrapped to {} %", percent.unwrap_or_default());
                said = percent;
            }
            if percent == Some(100) {
                return Ok(());
            }
            Timer::after(LOOK_EVERY).await;
        }
    }

    /// Has tor forget circuits and descriptors: an old one may name points that are gone.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) async fn forget(&mut self) -> Result<(), TorError> {
        self.ask(&command::signal("NEWNYM")).await.map(drop)
    }

    /// Stops tor.
    pub(crate) async fn stop(self) {
        self.process.stop().await;
    }

    async fn ask(&mut self, command: &[u8]) -> Result<Reply, TorError> {
        self.dialogue.ask(command).await.map_err(|error| TorError::Ended(error.to_string()))
    }
}
