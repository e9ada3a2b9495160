//! Who may connect to an address that comes here with its key: those whom the place says that the key comes from.
//!
//! Tor passes over files that it cannot read, and where no client is left, everybody may connect. Here each is an error:
//! an address that was restricted must not come open, or to fewer clients, because of a file that was passed over.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustbalance_core::DurableKind;
use rustbalance_core::cluster::{Access, CLIENTS_MAX};
use rustbalance_core::onion::client::{ClientName, HsClientDescEncKey};

use super::auth_file::{self, AuthFileError};
use crate::fault::Fault;
use crate::keys::{MASTER_FILE, NODE_FILE};
use crate::store::{Store, StoreError};

/// Why it is not known who may connect, or cannot be so here. Each message names the file and the way out.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The directory, or a node's own list.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A client's file.
    #[error(transparent)]
    File(#[from] AuthFileError),
    /// Its list of clients did not come along.
    #[error(
        "{}: these are the keys of a node, whose list of clients is missing ({}); name keys/ in the node's own directory, or \
         take `rustbalance key backup` there and `rustbalance key restore` here", keys.display(), list.display()
    )]
    NoList {
        /// The directory.
        keys: PathBuf,
        /// Where the list should be.
        list: PathBuf,
    },
    /// Here each client has a key of its own.
    #[error("{}: has the key of {other}, too; remove one of the two files, or give each client its own key", path.display())]
    SameKey {
        /// A client's file.
        path: PathBuf,
        /// Another client.
        other: ClientName,
    },
    /// Tor may have room for more.
    #[error("{}: has {clients} clients, and there is room for {CLIENTS_MAX}; remove the files of those that are not needed", dir.display())]
    TooMany {
        /// The directory.
        dir: PathBuf,
        /// How many are in it.
        clients: usize,
    },
}

impl ImportError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::NoList { .. } | Self::File(_) | Self::SameKey { .. } | Self::TooMany { .. } => Fault::State,
        }
    }
}

/// Who may connect by what is beside `key`, a key's file or a service's directory: a node's own list if it is in the
/// `keys/` of one, else tor's `authorized_clients`. Everybody, if neither says anything.
///
/// # Errors
/// Something there cannot be read, or is not possible here.
pub fn access_beside(key: &Path) -> Result<Access, ImportError> {
    let key = if key.is_dir() { key.join(MASTER_FILE) } else { key.to_owned() };
    // A pipe has no place where it really is.
    let real = fs::canonicalize(&key).unwrap_or_else(|_| key.clone());
    if let Some(node) = node_of(&real)? {
        return Ok(node.access()?);
    }
    // Either may be a link: the key to where secrets are, or what was given to the service's own.
    for key in [&key, &real] {
        let clients = authorized(&key.with_file_name("authorized_clients"))?;
        if !clients.is_empty() {
            return Ok(Access::Restricted(clients));
        }
    }
    Ok(Access::Open)
}

/// The node whose key it is, if it is one's.
fn node_of(key: &Path) -> Result<Option<Store>, ImportError> {
    let Some(keys) = key.parent().filter(|dir| fs::symlink_metadata(dir.join(NODE_FILE)).is_ok()) else {
        return Ok(None);
    };
    let node = Store::new(keys.parent().unwrap_or(keys));
    let list = node.durable_file(DurableKind::Roster);
    if list.exists() { Ok(Some(node)) } else { Err(ImportError::NoList { keys: keys.to_owned(), list }) }
}

fn authorized(dir: &Path) -> Result<BTreeMap<ClientName, HsClientDescEncKey>, ImportError> {
    if fs::symlink_metadata(dir).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(BTreeMap::new());
    }
    let entries = fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<_> = entries.map_err(StoreError::io("read", dir))?;
    // Of several that are wrong it is always the same one that is named.
    paths.sort();
    let mut clients = BTreeMap::new();
    for path in paths {
        let Some(name) = auth_file::client(&path) else { continue };
        let (name, key) = (name?, auth_file::key(&path, HsClientDescEncKey::from_auth_line)?);
        if let Some((other, _)) = clients.iter().find(|(_, its)| **its == key) {
            return Err(ImportError::SameKey { path, other: ClientName::clone(other) });
        }
        clients.insert(name, key);
    }
    if clients.len() > CLIENTS_MAX {
        return Err(ImportError::TooMany { dir: dir.to_owned(), clients: clients.len() });
    }
    Ok(clients)
}

#[cfg(test)]
mod tests;
