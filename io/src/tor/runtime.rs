//! Where the tors' copies of the address' key lie while the state is encrypted: in memory, on a tmpfs. Tor reads it from a file
//! at its start and at every `SETCONF`, so it has to lie somewhere in the clear while tor runs.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use sha3::{Digest as _, Sha3_256};

use super::TorError;
use crate::settings::Settings;
use crate::store::{StoreError, check_private, remove};

/// What systemd calls the directories that it makes for a service below `/run` (systemd.exec(5)).
const RUNTIME_DIRECTORY: &str = "RUNTIME_DIRECTORY";
/// Where nobody names another.
const DEFAULT: &str = "/run/rustbalance";
/// statfs(2): the file systems that are in memory.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// A node's own directory in memory; removed, with all that is in it, when this is dropped.
#[derive(Debug)]
pub(crate) struct RuntimeDir(PathBuf);

impl RuntimeDir {
    /// Makes it anew.
    ///
    /// # Errors
    /// It cannot be made, or would not be in memory.
    pub(crate) fn create(settings: &Settings) -> Result<Self, TorError> {
        let parent = parent(settings);
        // systemd's, and a tmpfs of the operator's, is there; whose it is does not matter: what we make in it is ours.
        let make = |dir: &Path| match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => Ok(()),
            Err(source) => Err(TorError::RuntimeDir { path: dir.to_owned(), source }),
        };
        if !parent.exists() {
            make(&parent)?;
        }
        let found =
            statfs(&parent).map_err(|error| TorError::RuntimeDir { path: parent.clone(), source: error.into() })?;
        if !u64::try_from(found.f_type).is_ok_and(|kind| IN_MEMORY.contains(&kind)) {
            return Err(TorError::NotInMemory(parent));
        }
        let dir = Self::remove_stale(settings)?;
        make(&dir)?;
        Ok(Self(dir))
    }

    /// Removes what a node of this state directory left there when it was killed. Returns where that is.
    ///
    /// # Errors
    /// It cannot be removed, or is not ours.
    pub(crate) fn remove_stale(settings: &Settings) -> Result<PathBuf, TorError> {
        let dir = parent(settings).join(name(&settings.dir)?);
        if dir.symlink_metadata().is_ok() {
            // Below a directory that others can write to it may be anybody's.
            check_private(&dir)?;
            remove(&dir)?;
        }
        Ok(dir)
    }

    /// Where it is; the tors' `HiddenServiceDir`s are in it.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!("{error}; it holds the key of the address: remove it by hand");
        }
    }
}

fn parent(settings: &Settings) -> PathBuf {
    let first = |dirs: std::ffi::OsString| std::env::split_paths(&dirs).next();
    let systemds = || std::env::var_os(RUNTIME_DIRECTORY).and_then(first).filter(|dir| dir.is_absolute());
    settings.tor.runtime_dir.clone().or_else(systemds).unwrap_or_else(|| DEFAULT.into())
}

/// One for each state directory, however it is spelled, known without its secrets.
fn name(dir: &Path) -> Result<String, StoreError> {
    let dir = dir.canonicalize().map_err(StoreError::io("find", dir))?;
    let hash = Sha3_256::digest(dir.as_os_str().as_encoded_bytes());
    let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("node-{hex}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_state_directory_has_one_name_however_it_is_spelled() {
        let root = tempfile::tempdir().unwrap();
        let [one, two, link] = ["one", "two", "link"].map(|name| root.path().join(name));
        [&one, &two].into_iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
        symlink(&one, &link).unwrap();
        let expected = name(&one).unwrap();
        for spelling in [link, one.join("."), two.join("../one")] {
            assert_eq!(name(&spelling).unwrap(), expected, "{}", spelling.display());
        }
        assert_ne!(name(&two).unwrap(), expected);
        assert!(name(&root.path().join("none")).is_err());
    }
}
