//! The state directory: what is where, who may read it, and how it is written.
//!
//! ```text
//! DIR/                       0700
//!   rustbalance.toml         configuration
//!   lock                     held while a node runs, joins or is founded here
//!   cluster.json             which cluster; not secret
//!   keys/                    0700, files 0600: hs_ed25519_secret_key, node_key, wireguard_key, cluster_token;
//!                            state_key if they are encrypted
//!   state/                   0700: lease, roster, plan, orders, invites, token_age
//!   .joining/                0700: keys of a node that has not joined yet
//!   authorized_clients/      0700: who may connect, as tor's own files
//!   tor/  run/               0700: tor's own files; sockets
//! ```
//! `keys/` is put in place last, in one step: a directory that has it is complete, one that lacks it holds no node.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustbalance_core::cluster::ClusterToken;
use rustbalance_core::node::Saved;
use rustbalance_core::{Durable, DurableKind, TorId};
use rustix::io::Errno;

use crate::fault::Fault;
use crate::keys::{self, KeyError, Token};
use crate::tor;

pub(crate) mod atomic;
mod cluster_file;
mod encrypted;
#[cfg(test)]
pub(crate) mod failing;
mod foreign;
mod lock;
mod new_keys;
mod permission;
mod staged;
pub(crate) mod step;

pub use cluster_file::{ClusterFile, JoinedThrough};
pub use lock::Lock;
pub(crate) use new_keys::NewKeys;
pub(crate) use permission::check_private;
pub use permission::{check_secret_file, create_private_dir, credential};
pub use staged::{Initial, Secrets};
pub(crate) use staged::{remove, remove_or_warn};

/// Why the state directory cannot be used. Each message names the file and the way out.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused.
    #[error("{}: cannot {action}: {source}; {}", path.display(), way_out(source.kind()))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The system refused the very last step.
    #[error("{}: the new one is in its place, but may be lost in a power cut: {source}; look at what is wrong with the disk", path.display())]
    Unsynced {
        /// What was replaced.
        path: PathBuf,
        /// What the disk said.
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
    /// Among the node's keys lies something else.
    #[error("{}: is none of the node's keys; nothing was changed; move it to another directory first", path.display())]
    Stray {
        /// Which.
        path: PathBuf,
    },
    /// Two directories cannot change places.
    #[error("{}: its file system cannot exchange two directories in one step, which this needs; nothing was changed; use ext4, XFS, Btrfs or a tmpfs", dir.display())]
    NoExchange {
        /// The state directory.
        dir: PathBuf,
    },
    /// Where something new would go, something is.
    #[error("{}: exists already; nothing was written; name a new one", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// More in it than is looked at.
    #[error("{}: has more than {max} entries, so nothing in it counts; remove all but the clients' files", dir.display())]
    Crowded {
        /// The directory.
        dir: PathBuf,
        /// How many may be in it.
        max: usize,
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

/// Out of a system's refusal.
fn way_out(refusal: io::ErrorKind) -> &'static str {
    if matches!(refusal, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        "make room on that disk"
    } else if refusal == io::ErrorKind::ReadOnlyFilesystem {
        "mount that disk so that it can be written"
    } else if matches!(refusal, io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) {
        "move away what is in its place"
    } else {
        "check that the path exists and that this user has access to it"
    }
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl StoreError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        if let Self::Io { source, .. } | Self::Unsynced { source, .. } = self {
            of_the_disk(source)
        } else {
            Fault::State
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn unsynced(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Unsynced { path, source }
    }
}

/// What a disk or a system says that may do better the next time: full, failing, out of handles or memory.
const PASSING: [Errno; 7] =
    [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::IO, Errno::MFILE, Errno::NFILE, Errno::NOMEM];

/// Whose fault it is that a file cannot be used. Of what may pass it is not the directory's: it is worth trying again.
pub(crate) fn of_the_disk(error: &io::Error) -> Fault {
    let is_passing = Errno::from_io_error(error).is_some_and(|errno| PASSING.contains(&errno));
    if is_passing { Fault::Runtime } else { Fault::State }
}

/// A state directory.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    /// With what secrets are encrypted; `None`: they are not, or not open.
    sealing: Option<Arc<encrypted::Sealing>>,
    /// Where the tors' `HiddenServiceDir`s are, if that is elsewhere.
    runtime_dir: Option<PathBuf>,
    /// How many tors the node here has.
    tors: u8,
}

impl Store {
    /// The state directory `dir`, which is not touched yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), sealing: None, runtime_dir: None, tors: 1 }
    }

    /// The same, with the tors' `HiddenServiceDir`s elsewhere, in memory.
    pub(crate) fn with_runtime_dir(self, dir: PathBuf) -> Self {
        Self { runtime_dir: Some(dir), ..self }
    }

    /// The same of a node with so many tors.
    pub fn with_tors(self, tors: u8) -> Self {
        Self { tors, ..self }
    }

    /// The tors of the node here.
    pub(crate) fn tors(&self) -> impl Iterator<Item = TorId> {
        (0..self.tors).map(TorId)
    }

    /// The `HiddenServiceDir` of one of them.
    pub(crate) fn hidden_service(&self, id: TorId) -> PathBuf {
        let in_memory = |dir: &PathBuf| tor::paths::hidden_service_in_memory(dir, id);
        self.runtime_dir.as_ref().map_or_else(|| tor::paths::hidden_service(&self.dir, id), in_memory)
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
        self.remove_leftovers();
        for name in ["keys", "state"] {
            permission::check_tree(&self.dir.join(name))?;
        }
        for name in ["run", "tor"] {
            create_private_dir(&self.dir.join(name))?;
        }
        Ok(lock)
    }

    /// Removes the keys and all that a node here has learnt; the configuration stays. For a node that has left. Returns
    /// what is gone.
    ///
    /// # Errors
    /// No node there, in use, or something cannot be removed: then some is gone, and the rest [remains](Self::remains).
    pub fn forget(&self) -> Result<Vec<PathBuf>, StoreError> {
        let _lock = self.open()?;
        let gone = self.remains();
        gone.iter().try_for_each(|path| remove(path))?;
        Ok(gone)
    }

    /// What of a node is here: all but its configuration. `keys` come last: while they are there, there is a node.
    pub fn remains(&self) -> Vec<PathBuf> {
        let names = ["cluster.json", "authorized_clients", "state", "tor", "run", "keys"];
        names.map(|name| self.dir.join(name)).into_iter().filter(|path| path.symlink_metadata().is_ok()).collect()
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

    /// Replaces one file of the node's state, or all those in which its tors read who may connect. On return it is on disk,
    /// whole, or the old one still is.
    ///
    /// # Errors
    /// The disk refused; after [`StoreError::Unsynced`] the new one is there all the same, until a power cut.
    pub fn save(&self, record: &Durable) -> Result<(), StoreError> {
        if record.kind == DurableKind::AuthorizedClients {
            let lines = String::from_utf8_lossy(&record.bytes);
            let dirs = self.tors().map(|id| self.hidden_service(id).join("authorized_clients"));
            return dirs.into_iter().try_for_each(|dir| tor::authorized_clients::write(&dir, &lines));
        }
        atomic::replace(&self.durable_file(record.kind), &record.bytes)
    }

    /// Replaces the cluster token that operators copy to new nodes.
    ///
    /// # Errors
    /// The disk refused; the old one is still there, unless it is [`StoreError::Unsynced`].
    pub fn save_token(&self, token: &ClusterToken) -> Result<(), KeyError> {
        let file = self.secret_file(keys::TOKEN_FILE, &Token::from(token).to_file())?;
        Ok(atomic::replace(&self.token_file(), &file)?)
    }

    pub(crate) fn durable_file(&self, kind: DurableKind) -> PathBuf {
        self.dir.join("state").join(kind.file_name())
    }

    fn cluster_path(&self) -> PathBuf {
        self.dir.join("cluster.json")
    }
}

#[cfg(test)]
mod tests;
