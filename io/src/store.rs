//! The state directory: what is where, who may read it, and how it is written.
//!
//! ```text
//! DIR/                       0700
//!   rustbalance.toml         configuration
//!   lock                     held while a node runs, joins or is founded here
//!   cluster.json             which cluster; not secret
//!   keys/                    0700, files 0600: hs_ed25519_secret_key, node_key, wireguard_key, cluster_token
//!   state/                   0700: lease, roster, plan, drain
//!   authorized_clients/      0700: who may connect, as tor's own files
//!   tor/  run/               0700: tor's own files; sockets
//! ```
//! `keys/` is put in place last, in one step: a directory that has it is complete, one that lacks it holds no node.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustbalance_core::cluster::ClusterToken;
use rustbalance_core::node::Saved;
use rustbalance_core::{Durable, DurableKind};

use crate::fault::Fault;
use crate::keys::{self, Token};
use crate::tor;

pub(crate) mod atomic;
mod cluster_file;
mod foreign;
mod lock;
mod permission;
mod staged;

pub use cluster_file::{ClusterFile, JoinedThrough};
pub use lock::Lock;
pub use permission::{check_secret_file, create_private_dir};
pub use staged::{Initial, Secrets};

/// Why the state directory cannot be used. Each message names the file and the way out.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused.
    #[error("{}: cannot {action}: {source}; check that the path exists and that this user has access to it", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Nothing there.
    #[error("{}: holds no node; run `rustbalance init` or `rustbalance join` first, or name the right --dir", dir.display())]
    Empty {
        /// The state directory.
        dir: PathBuf,
    },
    /// Something there.
    #[error("{}: holds a node already; nothing was changed; name another --dir to set up a new one", dir.display())]
    Occupied {
        /// The state directory.
        dir: PathBuf,
    },
    /// Where a new node's file would go lies something else.
    #[error("{}: is not of a node; nothing was changed; name a --dir that holds nothing else", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
    },
    /// Others can read or write it.
    #[error("{}: other users have access to it (mode {mode:04o}); run `chmod {wanted:o} {}`", path.display(), path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// As it is.
        mode: u32,
        /// As it should be.
        wanted: u32,
    },
    /// It belongs to someone else.
    #[error("{}: belongs to user {owner}, but this is user {us}; run as that user, or `chown -R {us} {}`", path.display(), path.display())]
    Owner {
        /// Which.
        path: PathBuf,
        /// User id it belongs to.
        owner: u32,
        /// Our user id.
        us: u32,
    },
    /// Another process uses it.
    #[error("{}: in use by another rustbalance{}; stop that one first, or name another --dir", dir.display(), process(*pid))]
    Locked {
        /// The state directory.
        dir: PathBuf,
        /// Its process id, if it wrote one.
        pid: Option<u32>,
    },
    /// Not what we wrote.
    #[error("{}: damaged: {why}; restore it from a backup, or set the node up anew in another --dir", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl StoreError {
    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        Fault::State
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// A state directory.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The state directory `dir`, which is not touched yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A key file, by name.
    pub fn key_file(&self, name: &str) -> PathBuf {
        self.dir.join("keys").join(name)
    }

    /// The operators' socket.
    pub fn status_socket(&self) -> PathBuf {
        self.dir.join("run/status.sock")
    }

    /// Who may connect, as tor's own files, for operators.
    pub fn authorized_clients(&self) -> PathBuf {
        self.dir.join("authorized_clients")
    }

    /// The cluster token that operators copy to new nodes.
    pub fn token_file(&self) -> PathBuf {
        self.key_file(keys::TOKEN_FILE)
    }

    /// Whether a node lives here.
    pub fn is_occupied(&self) -> bool {
        self.dir.join("keys").exists()
    }

    /// Takes the directory for this process and checks that it holds a node and that nobody else can read its secrets.
    ///
    /// # Errors
    /// No node there, in use, or a wrong owner or mode; nothing has changed.
    pub fn open(&self) -> Result<Lock, StoreError> {
        if !self.is_occupied() {
            return Err(StoreError::Empty { dir: self.dir.clone() });
        }
        permission::check_private(&self.dir)?;
        let lock = Lock::take(&self.dir)?;
        for name in ["keys", "state"] {
            permission::check_tree(&self.dir.join(name))?;
        }
        for name in ["run", "tor"] {
            create_private_dir(&self.dir.join(name))?;
        }
        Ok(lock)
    }

    /// What the last run left.
    ///
    /// # Errors
    /// A file is there but cannot be read.
    pub fn saved(&self) -> Result<Saved, StoreError> {
        let mut saved = Saved::new();
        for kind in DurableKind::SAVED {
            let path = self.durable_file(kind);
            match fs::read(&path) {
                Ok(bytes) => _ = saved.insert(kind, bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io("read", &path)(error)),
            }
        }
        Ok(saved)
    }

    /// Replaces one file of the node's state, or all those in which tor reads who may connect. On return it is on disk,
    /// whole, or the old one still is.
    ///
    /// # Errors
    /// The disk refused.
    pub fn save(&self, record: &Durable) -> Result<(), StoreError> {
        if record.kind == DurableKind::AuthorizedClients {
            let dir = self.dir.join("tor/hs/authorized_clients");
            return tor::authorized_clients::write(&dir, &String::from_utf8_lossy(&record.bytes));
        }
        let path = self.durable_file(record.kind);
        atomic::replace(&path, &record.bytes).map_err(StoreError::io("write", &path))
    }

    /// Replaces the cluster token that operators copy to new nodes.
    ///
    /// # Errors
    /// The disk refused; the old one is still there.
    pub fn save_token(&self, token: &ClusterToken) -> Result<(), StoreError> {
        let path = self.token_file();
        atomic::replace(&path, &Token::from(token).to_file()).map_err(StoreError::io("write", &path))
    }

    fn durable_file(&self, kind: DurableKind) -> PathBuf {
        self.dir.join("state").join(kind.file_name())
    }

    fn cluster_path(&self) -> PathBuf {
        self.dir.join("cluster.json")
    }
}

#[cfg(test)]
mod tests;
