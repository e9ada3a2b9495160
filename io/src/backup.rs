//! Making a backup of an address, and opening it again. What it holds is the core's: `rustbalance_core::backup`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustbalance_core::backup::{Backup, Sealed};
use rustbalance_core::passphrase::{Passphrase, PassphraseError};
use rustbalance_core::sealed::{FILE_MAX, SealedError};

use crate::entropy::{self, EntropyError};
use crate::fault::Fault;
use crate::keys::KeyError;
use crate::store::{Store, StoreError};

/// Why there is no backup, or none that can be opened.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The state directory, or a file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address' key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No randomness for its salt.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The file.
    #[error("{}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: SealedError,
    },
    /// The passphrase.
    #[error("{from}: {why}")]
    Passphrase {
        /// Where it came from.
        from: String,
        /// What is wrong with it.
        why: PassphraseError,
    },
    /// More clients than there can be.
    #[error("more is to be backed up than a backup holds; report this as a bug")]
    TooLong,
}

impl BackupError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Key(error) => error.fault(),
            Self::Entropy(error) => error.fault(),
            Self::TooLong => Fault::Runtime,
            Self::File { .. } | Self::Passphrase { .. } => Fault::State,
        }
    }
}

/// What belongs to the address of the node in `store`, which may be running. `port` is the service's.
///
/// # Errors
/// No node there; its key cannot be used; what its disk says of who may connect does not verify.
pub fn collect(store: &Store, port: u16) -> Result<Backup, BackupError> {
    if !store.is_occupied() {
        return Err(StoreError::Empty { dir: store.dir().to_owned() }.into());
    }
    let master = store.master_key()?.keypair()?;
    Ok(Backup { master, access: store.access()?, port })
}

/// The file with it.
///
/// # Errors
/// No randomness.
pub fn seal(backup: &Backup, passphrase: &Passphrase) -> Result<Vec<u8>, BackupError> {
    backup.seal(passphrase, &mut entropy::rng()?).ok_or(BackupError::TooLong)
}

/// Reads the file at `path`, no further than a backup can be long.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, BackupError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(StoreError::io("read", path))?;
    file.take(FILE_MAX as u64 + 1).read_to_end(&mut bytes).map_err(StoreError::io("read", path))?;
    Ok(bytes)
}

/// What needs no passphrase: that it is whole, and a backup. `path` is for messages.
///
/// # Errors
/// What is wrong with it.
pub fn check<'a>(file: &'a [u8], path: &Path) -> Result<Sealed<'a>, BackupError> {
    Sealed::parse(file).map_err(|why| BackupError::File { path: path.to_owned(), why })
}

/// What is in it.
///
/// # Errors
/// The passphrase is another one.
pub fn open(sealed: &Sealed<'_>, passphrase: &Passphrase, path: &Path) -> Result<Backup, BackupError> {
    sealed.open(passphrase).map_err(|why| BackupError::File { path: path.to_owned(), why })
}
