//! Telling what a node founded half has left behind from what is somebody else's: founding replaces the one only.

use std::fs;
use std::io;
use std::path::Path;

use rustbalance_core::DurableKind;

use super::encrypted::STATE_KEY;
use super::staged::STAGE;
use super::{Lock, Store, StoreError};
use crate::keys::KEY_FILES;

/// What may lie in a directory: the path from there, and whether it is a directory itself.
type IsOurs = fn(&Path, bool) -> bool;

impl Store {
    /// Whether nothing that a new node's files would replace is somebody else's.
    pub(super) fn check_own(&self) -> Result<(), StoreError> {
        Lock::check_own(&self.dir)?;
        check_below(&self.dir.join(STAGE), Path::new(""), is_staged)?;
        check_below(&self.new_keys_dir(), Path::new(""), is_new_key)?;
        check_below(&self.dir.join("state"), Path::new(""), is_state)?;
        let path = self.cluster_path();
        if path.is_file() && self.cluster().is_err() {
            return Err(StoreError::Foreign { path });
        }
        Ok(())
    }
}

/// Checks everything in `top/below`, if it is there.
fn check_below(top: &Path, below: &Path, is_ours: IsOurs) -> Result<(), StoreError> {
    let dir = top.join(below);
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(StoreError::Foreign { path: dir }),
        Err(error) => return Err(StoreError::io("read", &dir)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(StoreError::io("read", &dir))?;
        let below = below.join(entry.file_name());
        let is_dir = entry.file_type().map_err(StoreError::io("read", &entry.path()))?.is_dir();
        if !is_ours(&below, is_dir) {
            return Err(StoreError::Foreign { path: entry.path() });
        }
        if is_dir {
            check_below(top, &below, is_ours)?;
        }
    }
    Ok(())
}

/// What [`Store::found`] writes below [`STAGE`].
fn is_staged(path: &Path, is_dir: bool) -> bool {
    let is = |dir: &str, name: &str| path == Path::new(dir).join(name);
    if is_dir {
        return is("", "keys") || is("", "state");
    }
    let is_key = KEY_FILES.into_iter().chain([STATE_KEY]).any(|name| is("keys", name));
    is_key || is("state", DurableKind::Roster.file_name()) || is("", "cluster.json")
}

/// What [`Store::new_keys`] writes, whole or being written.
fn is_new_key(path: &Path, is_dir: bool) -> bool {
    !is_dir && KEY_FILES.into_iter().any(|name| path.with_extension("") == Path::new(name))
}

/// What a node keeps below `state`, whole or being written.
fn is_state(path: &Path, is_dir: bool) -> bool {
    let is_written = path.extension().is_none_or(|extension| extension == "new");
    !is_dir
        && is_written
        && DurableKind::SAVED.into_iter().any(|kind| path.with_extension("") == Path::new(kind.file_name()))
}
