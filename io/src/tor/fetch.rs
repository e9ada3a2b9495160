//! One descriptor fetched through the running node's tor, over a control connection of its own.

use core::time::Duration;
use std::io;
use std::path::{Path, PathBuf};

use rustbalance_core::TorId;
use rustbalance_core::control::command;
use rustbalance_core::control::event::{self, Event, HsDescAction};
use rustbalance_core::control::reply::{Reader, Reply};
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::address::OnionAddress;
use smol::io::AsyncWriteExt as _;

use super::connection::{self, ConnectError, ControlAccess};
use super::stream::Stream;
use super::{TorError, TorPaths};
use crate::fault::Fault;
use crate::settings::{ControlAddress, TorSettings};
use crate::{clock, entropy};

/// How long tor may take; it gives up on a circuit after a minute at most.
const FETCH_WITHIN: Duration = Duration::from_secs(60);
/// Reasons of `HS_DESC FAILED` after which tor asks no other HSDir.
const FINAL_REASONS: [&str; 3] = ["QUERY_NO_HSDIR", "QUERY_RATE_LIMITED", "BAD_DESC"];

/// A descriptor as an HSDir gave it.
pub struct Fetched {
    /// Who.
    pub hsdir: Option<RelayFingerprint>,
    /// Its text, not looked at.
    pub text: Vec<u8>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The state directory's path.
    #[error(transparent)]
    Paths(#[from] TorError),
    /// Nobody listens.
    #[error("{}: no tor is running here; start the node with `rustbalance run`, or name the right --dir", dir.display())]
    NotRunning {
        /// The state directory.
        dir: PathBuf,
    },
    /// Nobody listens where somebody else's tor should.
    #[error("no tor takes commands at {0}; start it, or set tor.attach to where it does")]
    NotThere(ControlAddress),
    /// The control connection.
    #[error("cannot use the running node's tor: {0}; run this as the user the node runs as")]
    Control(String),
    /// The same of somebody else's tor.
    #[error(
        "cannot use the tor at {tor}: {why}; run this as a user who may use its control socket and read its cookie"
    )]
    Attached {
        /// Where it takes commands.
        tor: ControlAddress,
        /// Why not.
        why: String,
    },
    /// Tor does not do it.
    #[error("tor does not fetch it ({0}); wait until `rustbalance status` says that tor is ready")]
    Refused(String),
    /// No HSDir has it.
    #[error("{} has no descriptor of {address} for the current time period{}", from.map_or("no HSDir asked".to_owned(), |hsdir| format!("HSDir {hsdir}")), why(.reason))]
    NotFound {
        /// The service.
        address: OnionAddress,
        /// Who was asked, if one was named.
        from: Option<RelayFingerprint>,
        /// What tor says.
        reason: Option<String>,
    },
    /// No answer.
    #[error("no HSDir answered within {} s; look at tor's log", FETCH_WITHIN.as_secs())]
    Late,
}

fn why(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default()
}

impl FetchError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Paths(error) => error.fault(),
            Self::NotRunning { .. } | Self::Control(_) => Fault::Runtime,
            Self::NotThere(_) | Self::Attached { .. } | Self::Refused(_) => Fault::Tor,
            Self::NotFound { .. } | Self::Late => Fault::Network,
        }
    }
}

/// Where to fetch.
enum Place<'a> {
    /// Through a tor of the node in this directory.
    Own(&'a Path),
    /// Through the one that it is attached to.
    Attached(&'a ControlAddress),
}

impl Place<'_> {
    fn nobody(&self) -> FetchError {
        match *self {
            Self::Own(dir) => FetchError::NotRunning { dir: dir.to_owned() },
            Self::Attached(tor) => FetchError::NotThere(tor.clone()),
        }
    }

    fn failed(&self, error: impl ToString) -> FetchError {
        let why = error.to_string();
        match *self {
            Self::Own(_) => FetchError::Control(why),
            Self::Attached(tor) => FetchError::Attached { tor: tor.clone(), why },
        }
    }
}

/// Fetches the current period's descriptor of `address` through a tor of the node in `dir`, or the one that it is attached
/// to, as `settings` say: from `hsdir`, or from whomever tor asks.
///
/// # Errors
/// See [`FetchError`].
pub fn fetch(
    dir: &Path,
    settings: &TorSettings,
    address: OnionAddress,
    hsdir: Option<RelayFingerprint>,
) -> Result<Fetched, FetchError> {
    let place = settings.attach.control.as_ref().map_or(Place::Own(dir), Place::Attached);
    let tors = match ControlAccess::attached(&settings.attach) {
        Some(access) => vec![access],
        None => {
            let own = (0..settings.instances).map(|id| TorPaths::of(dir, TorId(id)).map(|paths| paths.control()));
            own.collect::<Result<_, _>>()?
        }
    };
    let fetched = clock::within(FETCH_WITHIN, fetch_through(&tors, &place, address, hsdir));
    smol::block_on(fetched).unwrap_or(Err(FetchError::Late))
}

async fn fetch_through(
    tors: &[ControlAccess],
    place: &Place<'_>,
    address: OnionAddress,
    hsdir: Option<RelayFingerprint>,
) -> Result<Fetched, FetchError> {
    let stream = connect(tors, place).await?;
    let mut control = Control { stream, reader: Reader::default(), place };
    control.write(&command::set_events(&["HS_DESC", "HS_DESC_CONTENT"])).await?;
    control.write(&command::hs_fetch(&address, hsdir)).await?;
    let (host, mut reason) = (address.host(), None);
    loop {
        let reply = control.next().await?;
        if !reply.is_event() && !reply.is_ok() {
            return Err(FetchError::Refused(reply.to_string()));
        }
        match event::parse(&reply) {
            Some(Event::HsDesc(failed)) if failed.action == HsDescAction::Failed && failed.address == host => {
                let is_final = failed.reason.as_deref().is_some_and(|reason| FINAL_REASONS.contains(&reason));
                if hsdir.is_none() && is_final {
                    return Err(FetchError::NotFound { address, from: None, reason: failed.reason });
                }
                reason = failed.reason;
            }
            Some(Event::HsDescContent { address: of, hsdir: by, content }) if of == host => {
                let is_answer = hsdir.is_none() || by == hsdir;
                if is_answer && !content.is_empty() {
                    return Ok(Fetched { hsdir: by, text: content });
                }
                // Without a name tor goes on to the next HSDir by itself.
                if is_answer && hsdir.is_some() {
                    return Err(FetchError::NotFound { address, from: hsdir, reason });
                }
            }
            _ => {}
        }
    }
}

/// To the first of the node's tors that answers.
async fn connect(tors: &[ControlAccess], place: &Place<'_>) -> Result<Stream, FetchError> {
    const ABSENT: [io::ErrorKind; 2] = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
    let mut why = place.nobody();
    for access in tors {
        let nonce = entropy::secret().map_err(|error| place.failed(error))?;
        match connection::open(access, *nonce).await {
            Ok(stream) => return Ok(stream),
            Err(ConnectError::Io(error)) if ABSENT.contains(&error.kind()) => {}
            Err(error) => why = place.failed(error),
        }
    }
    Err(why)
}

struct Control<'a> {
    stream: Stream,
    reader: Reader,
    place: &'a Place<'a>,
}

impl Control<'_> {
    async fn write(&mut self, command: &[u8]) -> Result<(), FetchError> {
        (&self.stream).write_all(command).await.map_err(|error| self.place.failed(error))
    }

    async fn next(&mut self) -> Result<Reply, FetchError> {
        connection::next_reply(&self.stream, &mut self.reader).await.map_err(|error| self.place.failed(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tor_that_does_not_listen_is_named_with_the_way_out_that_is_its_owners() {
        let dir = tempfile::tempdir().unwrap();
        let address = crate::keys::MasterKey::generate().unwrap().address();
        let mut settings = TorSettings::default();
        let mut error = |control| {
            settings.attach.control = control;
            fetch(dir.path(), &settings, address, None).err().unwrap().to_string()
        };
        assert!(error(None).contains("start the node with `rustbalance run`"), "{}", error(None));
        let attached = error(Some(ControlAddress::Unix(dir.path().join("control"))));
        assert!(attached.contains("/control; start it, or set tor.attach"), "{attached}");
    }
}
