//! The managed tor: our own torrc and data directory, a child that dies with us, a control connection that comes
//! back. [`supervise`] repairs what it can and carries bytes; what they mean is the core's business. [`attach`] does the same
//! with a tor that somebody else runs.

pub mod attach;
pub(crate) mod authorized_clients;
mod connection;
pub mod fetch;
mod hidden_service;
mod instances;
mod link;
pub mod paths;
mod process;
mod restarts;
pub(crate) mod runtime;
mod stream;
mod supervisor;
pub mod torrc;
mod version;
pub(crate) mod visit;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use instances::supervise;
pub(crate) use instances::{Supervisors, Tors, supervise_all};
pub use paths::TorPaths;
pub use torrc::{OptionError, check_options};
pub use version::check_binary;

use rustbalance_core::tor::{Attachment, TorVersion};

use crate::fault::Fault;
use crate::keys::KeyError;
use crate::store::{StoreError, of_the_disk};

/// One control connection of a tor, counted from 1. A command names the connection it is meant for, so that what was
/// written for a lost connection never reaches its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What happens on a tor's control connection.
#[derive(Debug, PartialEq, Eq)]
pub enum TorInput {
    /// Connected and authenticated.
    Connected(ConnectionId),
    /// The same, to a tor that somebody else runs.
    Attached(ConnectionId, Attachment),
    /// A tor that somebody else runs cannot be reached or used, for these reasons.
    Unfit(Vec<String>),
    /// Bytes from tor, at most 64 KiB.
    Bytes(Vec<u8>),
    /// Closed, for whatever reason. It comes back by itself.
    Closed,
    /// Tor has ended, for whatever reason, and is started again by itself.
    Ended {
        /// After so long.
        again_in: Duration,
    },
}

/// What a tor's control connection is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum TorCommand {
    /// Write these bytes.
    Write(ConnectionId, Vec<u8>),
    /// Close and reopen it.
    Reconnect(ConnectionId),
    /// Replace the tor behind it.
    Restart(ConnectionId),
}

/// Tor cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum TorError {
    /// No such program.
    #[error("cannot find tor as {0:?}: install Debian's tor package or set tor.binary")]
    Missing(PathBuf),
    /// It does not run.
    #[error("cannot run tor ({binary:?}): {source}; set tor.binary to a tor that this user may run")]
    Start {
        /// The program.
        binary: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `--version` says something else.
    #[error("{0:?} does not say its version as tor does: set tor.binary to a tor of at least 0.4.8")]
    NotTor(PathBuf),
    /// Too old.
    #[error("tor {0} is too old: at least 0.4.8 is needed, as in Debian 12 and later")]
    TooOld(TorVersion),
    /// Built without proof of work.
    #[error(
        "tor ({0:?}) was built without its module for proof of work: set tor.binary to one whose --list-modules says \
             pow: yes, as Debian's does, or service.pow to false"
    )]
    NoPow(PathBuf),
    /// The operator's lines cannot be used.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// Tor refuses the torrc.
    #[error("tor refuses its configuration: {0}; check tor.options")]
    Config(String),
    /// A unix socket's path does not fit into the system's structure.
    #[error("the path {path} is {excess} bytes too long for a unix socket: use a shorter state directory")]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// By how much.
        excess: usize,
    },
    /// There is no place for tor's copy of the key.
    #[error(
        "{}: cannot be used for tor's copy of the address' key: {source}; set tor.runtime_dir to a directory in memory (a \
             tmpfs) that this user can write to, such as /dev/shm",
        path.display()
    )]
    RuntimeDir {
        /// Where it would be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Tor's copy of the key would lie on a disk.
    #[error(
        "{}: is not in memory (a tmpfs), and there tor's copy of the address' key must lie while the state is encrypted; \
             set tor.runtime_dir to a directory that is, such as /dev/shm",
        .0.display()
    )]
    NotInMemory(PathBuf),
    /// The master key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file of the state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no tor of somebody else to be attached to.
    #[error("this node runs a tor of its own: set tor.attach to the control socket of the one to use instead")]
    NotAttached,
    /// It ended, or does not answer.
    #[error("tor does not run as it should: {0}; look at what it logged, and at tor.options")]
    Ended(String),
    /// Who keeps it running ended.
    #[error(
        "the part that runs tor ended by itself, so the node stopped; start it again, and report this as a bug with its log"
    )]
    Supervisor,
    /// Another tor uses the data directory.
    #[error("another tor uses {0} and does not go: stop it")]
    Busy(PathBuf),
}

impl TorError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing(_)
            | Self::Start { .. }
            | Self::NotTor(_)
            | Self::TooOld(_)
            | Self::NoPow(_)
            | Self::Busy(_)
            | Self::Ended(_) => Fault::Tor,
            Self::RuntimeDir { source, .. } if of_the_disk(source) == Fault::Runtime => Fault::Runtime,
            Self::Option(_) | Self::Config(_) | Self::RuntimeDir { .. } | Self::NotInMemory(_) | Self::NotAttached => {
                Fault::Usage
            }
            Self::SocketPath { .. } => Fault::State,
            Self::Supervisor => Fault::Runtime,
            Self::Key(error) => error.fault(),
            Self::Store(error) => error.fault(),
        }
    }

    fn start(binary: &Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::NotFound {
            Self::Missing(binary.to_owned())
        } else {
            Self::Start { binary: binary.to_owned(), source }
        }
    }
}
