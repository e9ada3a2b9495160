//! Secrets are for their owner's eyes only.

use std::fs::{self, Metadata};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::StoreError;

/// Makes `dir` and its missing parents, 0700; one that is there is checked.
///
/// # Errors
/// It cannot be made, is not ours, or others have access to it.
pub fn create_private_dir(dir: &Path) -> Result<(), StoreError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(dir).map_err(StoreError::io("create", dir))?;
    check_private(dir)
}

/// Checks that `path` is ours and that nobody else has any access to it.
pub(super) fn check_private(path: &Path) -> Result<(), StoreError> {
    let found = metadata(path)?;
    let us = rustix::process::geteuid().as_raw();
    if found.uid() != us {
        return Err(StoreError::Owner { path: path.to_owned(), owner: found.uid(), us });
    }
    check_mode(path, &found)
}

/// Checks a directory and the files in it.
pub(super) fn check_tree(dir: &Path) -> Result<(), StoreError> {
    check_private(dir)?;
    for entry in fs::read_dir(dir).map_err(StoreError::io("read", dir))? {
        check_private(&entry.map_err(StoreError::io("read", dir))?.path())?;
    }
    Ok(())
}

/// Checks a key or token file somewhere outside the state directory: whoever owns it, nobody else may read it.
///
/// # Errors
/// It cannot be found, or others have access to it.
pub fn check_secret_file(path: &Path) -> Result<(), StoreError> {
    check_mode(path, &metadata(path)?)
}

fn metadata(path: &Path) -> Result<Metadata, StoreError> {
    fs::metadata(path).map_err(StoreError::io("read", path))
}

fn check_mode(path: &Path, found: &Metadata) -> Result<(), StoreError> {
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let wanted = if found.is_dir() { 0o700 } else { 0o600 };
    Err(StoreError::Exposed { path: path.to_owned(), mode, wanted })
}
