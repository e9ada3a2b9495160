//! A new node's directory: complete or not there at all.

use std::fs;
use std::io;
use std::path::Path;

use super::{ClusterFile, Lock, Store, StoreError, atomic, permission};
use crate::keys::{MasterKey, NodeKey, Token, WireguardKey};
use rustbalance_core::DurableKind;

/// The secrets of a node.
pub struct Secrets {
    /// The address' key.
    pub master: MasterKey,
    /// Signs for the node.
    pub node: NodeKey,
    /// The mesh key.
    pub wireguard: WireguardKey,
    /// Admits to the cluster.
    pub token: Token,
}

/// Everything a new node's directory starts with.
pub struct Initial<'a> {
    /// `keys/`.
    pub secrets: &'a Secrets,
    /// `cluster.json`.
    pub cluster: ClusterFile,
    /// `state/roster`.
    pub roster: &'a [u8],
}

/// Where a new node is put together; renamed into place.
pub(super) const STAGE: &str = ".new";

impl Store {
    /// Takes the directory for a new node, making it if it is missing.
    ///
    /// # Errors
    /// A node lives there, or something that is no node's, it is in use, or others have access to it; nothing has
    /// changed.
    pub fn claim(&self) -> Result<Lock, StoreError> {
        let check_free = || match self.is_occupied() {
            true => Err(StoreError::Occupied { dir: self.dir.clone() }),
            false => Ok(()),
        };
        check_free()?;
        self.check_own()?;
        permission::create_private_dir(&self.dir)?;
        let lock = Lock::take(&self.dir)?;
        // Another process may have had the lock and founded a node.
        check_free()?;
        Ok(lock)
    }

    /// Writes a new node's files; on error there is no node. The lock proves that the directory was claimed.
    ///
    /// # Errors
    /// The disk refused.
    pub fn found(&self, _claimed: &Lock, initial: &Initial<'_>) -> Result<(), StoreError> {
        let stage = self.dir.join(STAGE);
        let written = self.write_staged(&stage, initial);
        // What an earlier attempt or this one left half done.
        remove(&stage)?;
        written
    }

    fn write_staged(&self, stage: &Path, initial: &Initial<'_>) -> Result<(), StoreError> {
        remove(stage)?;
        let (keys, state) = (stage.join("keys"), stage.join("state"));
        permission::create_private_dir(&keys)?;
        permission::create_private_dir(&state)?;
        let write = |path: &Path, bytes: &[u8]| atomic::create(path, bytes).map_err(StoreError::io("write", path));
        for (name, bytes) in initial.secrets.files() {
            write(&keys.join(name), &bytes)?;
        }
        write(&state.join(DurableKind::Roster.file_name()), initial.roster)?;
        write(&stage.join("cluster.json"), initial.cluster.to_text().as_bytes())?;
        for dir in [&keys, &state] {
            atomic::sync_dir(dir).map_err(StoreError::io("sync", dir))?;
        }
        // Without `keys`, whatever else lies there belongs to no node. The keys come last.
        remove(&self.dir.join("state"))?;
        for name in ["state", "cluster.json", "keys"] {
            let path = self.dir.join(name);
            fs::rename(stage.join(name), &path).map_err(StoreError::io("create", &path))?;
        }
        atomic::sync_dir(&self.dir).map_err(StoreError::io("sync", &self.dir))
    }
}

/// Removes a directory, if it is there.
fn remove(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", dir)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
