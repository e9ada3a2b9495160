//! Keys on their way elsewhere: files that must not be there yet, for their owner's eyes only.

use std::path::Path;

use rustbalance_core::onion::key_file::KeyFormat;

use super::{KeyError, MASTER_FILE, MasterKey};
use crate::store::{StoreError, atomic, create_private_dir};

/// Writes a secret into a new file, mode 0600, and syncs it. On error there is none.
///
/// # Errors
/// It is there already, or the disk refused.
pub fn write_new_secret(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = atomic::create(path, bytes).and_then(|()| atomic::sync_dir(dir));
    written.map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return StoreError::Exists { path: path.to_owned() };
        }
        // Half a file may be there. What cannot be removed is for its owner's eyes only, too.
        _ = std::fs::remove_file(path);
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
    /// There is something in that directory, or others have access to it, or the disk refused.
    pub fn export_service(&self, dir: &Path) -> Result<(), KeyError> {
        create_private_dir(dir)?;
        if std::fs::read_dir(dir).map_err(StoreError::io("read", dir))?.next().is_some() {
            return Err(StoreError::Exists { path: dir.to_owned() }.into());
        }
        for (name, content) in self.public_files() {
            write_new_secret(&dir.join(name), &content)?;
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
