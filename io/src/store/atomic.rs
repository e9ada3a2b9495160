//! Files that are either the old or the new one, whatever happens in between.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::step;
pub(crate) use super::step::sync_dir;
use super::{StoreError, staged};

/// Writes `bytes` to a new file beside `path`, syncs it, renames it over `path` and syncs the directory. Mode 0600.
///
/// # Errors
/// The disk refused. The old file is still there, unless it is [`StoreError::Unsynced`].
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let new = path.with_extension("new");
    let begun = staged::remove_file(&new).and_then(|()| open(&new));
    let file = begun.map_err(StoreError::io("write", path))?;
    let written = fill(&file, bytes).and_then(|()| step::rename(&new, path));
    if written.is_err() {
        // It may be a secret.
        staged::remove_or_warn(&new);
    }
    written.map_err(StoreError::io("write", path))?;
    path.parent().map_or(Ok(()), sync_dir).map_err(StoreError::unsynced(path))
}

/// Writes and syncs a file that must not exist yet. Mode 0600.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fill(&open(path)?, bytes)
}

/// Makes a file that must not exist yet. Mode 0600.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    step::open(OpenOptions::new().write(true).create_new(true).mode(0o600), path)
}

/// Writes and syncs all that is to be in it.
pub(crate) fn fill(file: &File, bytes: &[u8]) -> io::Result<()> {
    step::write(file, bytes)?;
    step::sync(file)
}
