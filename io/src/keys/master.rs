//! The address' secret key.

use std::path::{Path, PathBuf};

use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::onion::key::{HsIdKeypair, public_key_file};
use rustbalance_core::onion::key_file::{HsIdKeyFile, KeyFormat};
use zeroize::Zeroizing;

use super::{KeyError, read_secret_file};
use crate::entropy;

/// Tor's name of the file with the key.
pub const MASTER_FILE: &str = "hs_ed25519_secret_key";
/// Tor's name of the file with its public half.
const PUBLIC_FILE: &str = "hs_ed25519_public_key";
/// Tor's name of the file with the address.
const HOSTNAME_FILE: &str = "hostname";

/// The address' secret key, in whatever format it came.
pub struct MasterKey {
    key: HsIdKeyFile,
    /// For messages.
    path: PathBuf,
}

impl From<HsIdKeypair> for MasterKey {
    fn from(keypair: HsIdKeypair) -> Self {
        Self { key: HsIdKeyFile::expanded(keypair), path: MASTER_FILE.into() }
    }
}

impl MasterKey {
    /// A new address.
    ///
    /// # Errors
    /// No randomness.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(HsIdKeypair::generate(&mut entropy::rng()?).into())
    }

    /// From the content of tor's `hs_ed25519_secret_key`, or of a file in PEM or base64; `path` is for messages.
    ///
    /// # Errors
    /// It is none of them.
    pub fn from_file(bytes: Zeroizing<Vec<u8>>, path: &Path) -> Result<Self, KeyError> {
        let path = path.to_owned();
        match HsIdKeyFile::parse(&bytes) {
            Ok(key) => Ok(Self { key, path }),
            Err(why) => Err(KeyError::Master { path, why }),
        }
    }

    /// Reads such a file, which nobody else may be able to read, or a service's directory as tor has it.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        if !path.is_dir() {
            return Self::from_file(read_secret_file(path)?, path);
        }
        let file = path.join(MASTER_FILE);
        let key = Self::from_file(read_secret_file(&file)?, &file)?;
        for (name, content) in key.public_files() {
            let path = path.join(name);
            if std::fs::read(&path).is_ok_and(|present| present.trim_ascii_end() != content.trim_ascii_end()) {
                return Err(KeyError::Mixed { path });
            }
        }
        Ok(key)
    }

    /// The address it is the key of.
    pub fn address(&self) -> OnionAddress {
        OnionAddress::new(self.key.keypair().public())
    }

    /// How its file had it.
    pub const fn format(&self) -> KeyFormat {
        self.key.format()
    }

    /// For the core.
    ///
    /// # Errors
    /// None in practice: the file was checked before.
    pub fn keypair(&self) -> Result<HsIdKeypair, KeyError> {
        HsIdKeypair::from_tor_file(&self.to_tor_file()).map_err(|why| KeyError::Master { path: self.path.clone(), why })
    }

    /// A file with it.
    ///
    /// # Errors
    /// That format has a seed, and this key's file had none.
    pub fn to_file(&self, format: KeyFormat) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.key.write(format).map_err(|_| KeyError::NoSeed { path: self.path.clone(), wanted: format })
    }

    /// Tor's file with it.
    pub fn to_tor_file(&self) -> Zeroizing<Vec<u8>> {
        self.key.keypair().to_tor_file()
    }

    /// What tor has beside it in a service's directory, by name.
    pub fn public_files(&self) -> [(&'static str, Vec<u8>); 2] {
        let address = self.address();
        [(PUBLIC_FILE, public_key_file(address.id())), (HOSTNAME_FILE, format!("{address}\n").into_bytes())]
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_master_key_is_tors_file_and_says_its_address() {
        let bytes = include_bytes!("../../../core/testdata/ctor/cases/plain-3ip/hs_ed25519_secret_key");
        let hostname = include_str!("../../../core/testdata/ctor/cases/plain-3ip/hostname");
        let key = MasterKey::from_file(Zeroizing::new(bytes.to_vec()), Path::new("key"))
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(key.address().to_string(), hostname.trim());
        assert!(*key.to_tor_file() == bytes);
    }

    #[test]
    fn what_is_no_master_key_is_refused_by_name() {
        for (bytes, why) in [(vec![0; 95], "95 bytes instead of the 96"), (vec![0; 96], "its header is not")] {
            let Err(error) = MasterKey::from_file(Zeroizing::new(bytes), Path::new("/k")) else { panic!("{why}") };
            let message = error.to_string();
            assert!(message.starts_with("/k: not the key of an onion service") && message.contains(why), "{message}");
        }
    }

    #[test]
    fn a_services_directory_is_read_unless_its_files_are_of_two_services() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        let file = dir.path().join(MASTER_FILE);
        fs::write(&file, &*one.to_tor_file()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let read = || MasterKey::read(dir.path());
        assert!(read().is_ok_and(|key| key.address() == one.address()), "the key alone");
        for ((name, own), (_, foreign)) in one.public_files().into_iter().zip(other.public_files()) {
            let path = dir.path().join(name);
            fs::write(&path, foreign).unwrap();
            let Err(error) = read() else { panic!("{name}") };
            assert!(error.to_string().contains("another service"), "{error}");
            fs::write(&path, own).unwrap();
            assert!(read().is_ok_and(|key| key.address() == one.address()), "{name}");
        }
    }
}
