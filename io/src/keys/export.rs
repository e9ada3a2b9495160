//! Keys on their way elsewhere: files that must not be there yet, for their owner's eyes only.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustbalance_core::onion::key_file::KeyFormat;

use super::{KeyError, MASTER_FILE, MasterKey};
use crate::store::{StoreError, atomic, create_private_dir, remove_or_warn};

/// Writes a secret into a new file, mode 0600, and syncs it. On error there is none.
///
/// # Errors
/// It is there already, or the disk refused.
pub fn write_new_secret(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = atomic::open(path).map_err(|error| {
        let is_there = error.kind() == ErrorKind::AlreadyExists;
        if is_there { StoreError::Exists { path: path.to_owned() } } else { StoreError::io("create", path)(error) }
    })?;
    // From here on what is there is ours.
    let written = atomic::fill(&file, bytes).and_then(|()| atomic::sync_dir(dir));
    written.map_err(|error| {
        remove_or_warn(path);
        StoreError::io("create", path)(error)
    })
}

impl MasterKey {
    /// Writes it into a new file.
    ///
    /// # Errors
    /// That format has a seed and this key's file had none; the file is there already, or the disk refused.
    pub fn export(&self, path: &Path, format: KeyFormat) -> Result<(), KeyError> {
        Ok(write_new_secret(path, &self.to_file(format)?)?)
    }

    /// Makes a service's directory of it, as a tor without RustBalance takes it: key, public key and address.
    ///
    /// # Errors
    /// There is something in that directory, or others have access to it, or the disk refused; there are no files then.
    pub fn export_service(&self, dir: &Path) -> Result<(), KeyError> {
        create_private_dir(dir)?;
        if std::fs::read_dir(dir).map_err(StoreError::io("read", dir))?.next().is_some() {
            return Err(StoreError::Exists { path: dir.to_owned() }.into());
        }
        let mut made = Vec::new();
        let exported = self.export_files(dir, &mut made);
        if exported.is_err() {
            made.iter().for_each(|path| remove_or_warn(path));
        }
        exported
    }

    fn export_files(&self, dir: &Path, made: &mut Vec<PathBuf>) -> Result<(), KeyError> {
        for (name, content) in self.public_files() {
            let path = dir.join(name);
            write_new_secret(&path, &content)?;
            made.push(path);
        }
        // The key comes last: a directory that has it is complete.
        self.export(&dir.join(MASTER_FILE), KeyFormat::Tor)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_exported_service_is_private_and_reads_back_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let service = dir.path().join("service");
        let key = MasterKey::generate().unwrap();
        key.export_service(&service).unwrap();
        assert!(MasterKey::read(&service).is_ok_and(|again| again.address() == key.address()));
        for name in [MASTER_FILE, "hs_ed25519_public_key", "hostname"] {
            let mode = std::fs::metadata(service.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert!(MasterKey::generate().unwrap().export_service(&service).is_err());
        assert!(key.export(&service.join(MASTER_FILE), KeyFormat::Tor).is_err());
        assert!(MasterKey::read(&service).is_ok_and(|again| again.address() == key.address()));
    }
}
