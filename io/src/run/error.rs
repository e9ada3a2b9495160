//! What keeps a node from running, in an operator's words.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustbalance_core::join::NotAMember;
use rustbalance_core::node::ConfigError;

use crate::entropy::EntropyError;
use crate::fault::Fault;
use crate::keys::KeyError;
use crate::proxy::ListenError;
use crate::store::StoreError;
use crate::tor::TorError;

/// Why a node did not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The files are not those of a member.
    #[error("{}: {why}", dir.display())]
    NotAMember {
        /// The state directory.
        dir: PathBuf,
        /// Why not.
        why: NotAMember,
    },
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// Tor.
    #[error(transparent)]
    Tor(#[from] TorError),
    /// The proxy's socket.
    #[error(transparent)]
    Proxy(#[from] ListenError),
    /// The mesh's socket.
    #[error("mesh.listen = \"{address}\": {}", explain_bind(.source))]
    Mesh {
        /// As configured.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The operators' socket.
    #[error("{}: cannot listen: {source}; check that the directory is writable by this user", path.display())]
    Status {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Signals.
    #[error("cannot listen for SIGTERM, SIGINT and SIGHUP: {0}; check the limits of this process")]
    Signals(io::Error),
    /// Another process runs with the node's keys.
    #[error(
        "{}: another node runs with the keys in this directory, perhaps from a copy of it; stop one of the two for \
         good, and let that machine join anew with an empty directory",
        .0.display()
    )]
    DuplicateIdentity(PathBuf),
    /// The core.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A task that should last as long as the node.
    #[error("the {0} ended by itself, so the node stopped; start it again, and report this as a bug with its log")]
    PartEnded(&'static str),
}

impl RunError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Key(error) => error.fault(),
            Self::Tor(error) => error.fault(),
            Self::Proxy(error) => error.fault(),
            Self::Config(_) => Fault::Usage,
            Self::NotAMember { .. } | Self::DuplicateIdentity(_) => Fault::State,
            Self::Entropy(_) | Self::Mesh { .. } | Self::Status { .. } | Self::Signals(_) | Self::PartEnded(_) => {
                Fault::Runtime
            }
        }
    }
}

fn explain_bind(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::AddrInUse {
        "another program uses that UDP port; stop it, or choose another port".to_owned()
    } else if error.kind() == io::ErrorKind::AddrNotAvailable {
        "this machine has no such address; listen on 0.0.0.0 or [::]".to_owned()
    } else {
        format!("cannot listen: {error}; choose another address or port")
    }
}
