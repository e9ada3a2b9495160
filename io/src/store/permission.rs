//! Secrets are for their owner's eyes only.

use std::fs::{self, Metadata};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{StoreError, step};

/// Makes `dir` and its missing parents, 0700; one that is there is checked.
///
/// # Errors
/// It cannot be made, is not ours, or others have access to it.
pub fn create_private_dir(dir: &Path) -> Result<(), StoreError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    step::create_dir(&builder, dir).map_err(StoreError::io("create", dir))?;
    check_private(dir)
}

/// Checks that `path` is ours, no link, and that nobody else has any access to it.
pub(crate) fn check_private(path: &Path) -> Result<(), StoreError> {
    let found = fs::symlink_metadata(path).map_err(StoreError::io("read", path))?;
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

/// Where systemd puts a service's credentials (systemd.exec(5)): the name of a directory, and no secret.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The file of the credential called `name`, if systemd has given this process one.
pub fn credential(name: &str) -> Option<PathBuf> {
    let file = Path::new(&std::env::var_os(CREDENTIALS_DIRECTORY)?).join(name);
    file.exists().then_some(file)
}

/// Checks a key or token file somewhere outside the state directory: whoever owns it, nobody else may read it.
///
/// # Errors
/// It cannot be found, or others have access to it.
pub fn check_secret_file(path: &Path) -> Result<(), StoreError> {
    let found = metadata(path)?;
    let credentials = std::env::var_os(CREDENTIALS_DIRECTORY);
    let is_credential = credentials.is_some_and(|dir| path.parent() == Some(Path::new(&dir)));
    // A credential is root's, with an access list for the service's user alone: that shows as the group's right to read.
    if is_credential && found.permissions().mode() & 0o037 == 0 {
        return Ok(());
    }
    check_mode(path, &found)
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
