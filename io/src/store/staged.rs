//! A new node's directory: complete or not there at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::encrypted::STATE_KEY;
use super::{ClusterFile, Lock, Store, StoreError, atomic, permission, step};
use crate::keys::{KeyError, MasterKey, NodeKey, TOKEN_FILE, Token, WireguardKey};
use crate::tor;
use rustbalance_core::node::TORS_MAX;
use rustbalance_core::{DurableKind, TorId};
use rustix::fs::OFlags;

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
    pub fn found(&self, _claimed: &Lock, initial: &Initial<'_>) -> Result<(), KeyError> {
        let stage = self.dir.join(STAGE);
        let written = self.write_staged(&stage, initial);
        if written.is_err() {
            remove_or_warn(&stage);
        } else {
            // The node is there, whatever becomes of the copies of its keys.
            self.remove_leftovers();
        }
        written
    }

    /// Removes what founding or encrypting has left, this time or when it was cut short once all was in its place.
    pub(super) fn remove_leftovers(&self) {
        remove_or_warn(&self.dir.join(STAGE));
        remove_or_warn(&self.new_keys_dir());
        // A passphrase or the token was being changed.
        for name in [STATE_KEY, TOKEN_FILE] {
            let new = self.key_file(name).with_extension("new");
            if fs::symlink_metadata(&new).is_ok_and(|found| found.is_file()) {
                remove_or_warn(&new);
            }
        }
        if self.is_encrypted() {
            // The tors' copies, from before; now they are in memory alone.
            (0..TORS_MAX).for_each(|id| remove_or_warn(&tor::paths::hidden_service(&self.dir, TorId(id))));
        }
    }

    fn write_staged(&self, stage: &Path, initial: &Initial<'_>) -> Result<(), KeyError> {
        remove(stage)?;
        let (keys, state) = (stage.join("keys"), stage.join("state"));
        self.write_keys(&keys, initial.secrets)?;
        permission::create_private_dir(&state)?;
        let write = |path: &Path, bytes: &[u8]| atomic::create(path, bytes).map_err(StoreError::io("write", path));
        write(&state.join(DurableKind::Roster.file_name()), initial.roster)?;
        write(&stage.join("cluster.json"), initial.cluster.to_text().as_bytes())?;
        atomic::sync_dir(&state).map_err(StoreError::io("write", &state))?;
        // Without `keys`, whatever else lies there belongs to no node. The keys come last.
        remove(&self.dir.join("state"))?;
        for name in ["state", "cluster.json", "keys"] {
            let path = self.dir.join(name);
            step::rename(&stage.join(name), &path).map_err(StoreError::io("create", &path))?;
        }
        // The node is there by now.
        if let Err(error) = atomic::sync_dir(&self.dir) {
            tracing::warn!("{}: the new node may not survive a power cut yet: {error}", self.dir.display());
        }
        Ok(())
    }
}

/// [Removes](remove) it, or says that it is still there.
pub(crate) fn remove_or_warn(dir: &Path) {
    if let Err(error) = remove(dir) {
        tracing::warn!("{error}; it holds secrets: remove it by hand");
    }
}

/// [Removes](remove) a file, if it is there, and no directory.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    let overwritten = overwrite_file(path);
    unless_gone(step::remove_file(path))?;
    warn_unless(overwritten, path);
    Ok(())
}

/// Removes a directory or a file, if it is there, and overwrites first what is in it: it may be secrets. What cannot be
/// overwritten is removed all the same, and that is said. Follows no links.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    let is_dir = || fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let overwritten = overwrite(path);
    let removed = if is_dir() { step::remove_dir_all(path) } else { step::remove_file(path) };
    unless_gone(removed).map_err(StoreError::io("remove", path))?;
    warn_unless(overwritten, path);
    Ok(())
}

fn warn_unless(overwritten: io::Result<()>, path: &Path) {
    if let Err(error) = unless_gone(overwritten) {
        tracing::warn!("{}: removed, but not all of it was overwritten on the disk: {error}", path.display());
    }
}

/// What is not there any more needs nothing.
fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Opening a file that somebody has just put a link in the place of fails.
const NO_LINK: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// Puts zeros in the place of every file below `path`, on disk, unless it is a file elsewhere, too: a backup made of hard
/// links, say. A file system or a disk that writes elsewhere keeps the old bytes all the same, for a while.
fn overwrite(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_dir() {
        let overwritten = fs::read_dir(path)?.map(|entry| unless_gone(overwrite(&entry?.path())));
        // The rest is overwritten, whatever happens to one of them.
        return overwritten.fold(Ok(()), io::Result::and);
    }
    overwrite_file(path)
}

/// The same for a file; nothing to a directory.
fn overwrite_file(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_file() && found.nlink() == 1 {
        zero(&open_to_overwrite(path)?)?;
    }
    Ok(())
}

fn open_to_overwrite(path: &Path) -> io::Result<File> {
    // Its owner may have made it read-only.
    step::set_mode(path, 0o600)?;
    step::open(OpenOptions::new().write(true).custom_flags(NO_LINK), path)
}

fn zero(file: &File) -> io::Result<()> {
    step::write_zeros(file)?;
    step::sync(file)
}

/// [Replaces](atomic::replace) a file, and overwrites the old one as [`remove`] does, or says that it could not.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let old = open_to_overwrite(path).map_err(StoreError::io("open", path))?;
    atomic::replace(path, bytes)?;
    // Its own name is gone: what it still has are others.
    let has_no_name = |old: &File| old.metadata().map(|found| found.nlink() == 0);
    let overwritten = has_no_name(&old).and_then(|is_gone| if is_gone { zero(&old) } else { Ok(()) });
    if let Err(error) = overwritten {
        tracing::warn!("{}: replaced, but the old one was not overwritten on the disk: {error}", path.display());
    }
    Ok(())
}
