//! The secrets below `keys/`, encrypted or not.
//!
//! They are if `keys/state_key` is there: a random key, closed with the operator's passphrase, with which all others are
//! sealed. From one to the other it is a single step: a whole new `keys/` changes places with the old one, so that never
//! some are encrypted and others are not.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustbalance_core::passphrase::Passphrase;
use rustbalance_core::sealed::SealedError;
use rustbalance_core::state_key::{self, StateKey};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::staged::{self, STAGE, remove};
use super::{Lock, Secrets, Store, StoreError, atomic, permission, step};
use crate::entropy;
use crate::keys::{KEY_FILES, KeyError, read_secret_file};
use crate::memory::LockedKey;

/// The state key's file, below `keys/`.
pub(super) const STATE_KEY: &str = "state_key";

/// What secrets are sealed with.
#[derive(Debug)]
pub(super) struct Sealing {
    key: LockedKey,
    /// The state key's file, closed with the passphrase.
    file: Vec<u8>,
}

impl Sealing {
    fn new(key: &[u8; 32], file: Vec<u8>, path: &Path) -> Result<Arc<Self>, KeyError> {
        let key = LockedKey::new(key).map_err(StoreError::io("get memory for", path))?;
        Ok(Arc::new(Self { key, file }))
    }

    fn key(&self) -> StateKey<'_> {
        StateKey::new(self.key.expose())
    }
}

/// Names the file.
fn at(path: &Path) -> impl FnOnce(SealedError) -> KeyError {
    let path = path.to_owned();
    move |why| KeyError::Sealed { path, why }
}

impl Store {
    /// Whether the secrets are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.key_file(STATE_KEY).exists()
    }

    /// The same directory, its secrets open to this process. Takes 64 MiB of memory and some tenths of a second.
    ///
    /// # Errors
    /// Another passphrase; the file is damaged or cannot be read.
    pub fn unlock(&self, passphrase: &Passphrase) -> Result<Self, KeyError> {
        let path = self.key_file(STATE_KEY);
        let file = read_secret_file(&path)?;
        let key = state_key::open(&file, passphrase).map_err(at(&path))?;
        Ok(Self { sealing: Some(Sealing::new(&key, file.to_vec(), &path)?), ..self.clone() })
    }

    /// The same directory, whose secrets will be encrypted when they are written.
    fn with_new_key(&self, passphrase: &Passphrase) -> Result<Self, KeyError> {
        let key = entropy::secret()?;
        let file = StateKey::new(&key).close(passphrase, &mut entropy::rng()?).ok_or(KeyError::TooLong)?;
        Ok(Self { sealing: Some(Sealing::new(&key, file, &self.key_file(STATE_KEY))?), ..self.clone() })
    }

    /// The same directory, whose secrets will be encrypted when a node is founded in it, if there is a passphrase.
    pub(crate) fn encrypting(self, passphrase: Option<&Passphrase>) -> Result<Self, KeyError> {
        passphrase.map_or_else(|| Ok(self.clone()), |passphrase| self.with_new_key(passphrase))
    }

    /// Encrypts every secret below `keys/`, and removes the copies that are not. A crash leaves the one or the other.
    ///
    /// # Errors
    /// A node runs there; they are encrypted already; a file is none of ours; the disk refused. Nothing has changed, unless
    /// it is [`StoreError::Unsynced`]: then it is done, and the copies go with the next command.
    pub fn encrypt(&self, passphrase: &Passphrase) -> Result<(), KeyError> {
        let lock = self.open()?;
        if self.is_encrypted() {
            return Err(KeyError::AlreadyEncrypted(self.dir.clone()));
        }
        let secrets = Secrets::read(self)?;
        self.with_new_key(passphrase)?.replace_keys(&lock, &secrets)
    }

    /// Decrypts every secret below `keys/`. A crash leaves them encrypted or not.
    ///
    /// # Errors
    /// As for [`encrypt`](Self::encrypt), and another passphrase. Nothing has changed.
    pub fn decrypt(&self, passphrase: &Passphrase) -> Result<(), KeyError> {
        let lock = self.open()?;
        let secrets = Secrets::read(&self.unlock_encrypted(passphrase)?)?;
        Self { sealing: None, ..self.clone() }.replace_keys(&lock, &secrets)
    }

    /// Closes the state key with another passphrase, and overwrites what was closed with the old one.
    ///
    /// # Errors
    /// As for [`decrypt`](Self::decrypt).
    pub fn change_passphrase(&self, old: &Passphrase, new: &Passphrase) -> Result<(), KeyError> {
        let _lock = self.open()?;
        let unlocked = self.unlock_encrypted(old)?;
        let sealing = unlocked.sealing.as_ref().ok_or_else(|| KeyError::NotEncrypted(self.dir.clone()))?;
        let file = sealing.key().close(new, &mut entropy::rng()?).ok_or(KeyError::TooLong)?;
        Ok(staged::replace(&self.key_file(STATE_KEY), &file)?)
    }

    fn unlock_encrypted(&self, passphrase: &Passphrase) -> Result<Self, KeyError> {
        match self.is_encrypted() {
            true => self.unlock(passphrase),
            false => Err(KeyError::NotEncrypted(self.dir.clone())),
        }
    }

    /// A secret below `keys/`, decrypted.
    pub(crate) fn read_secret(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let path = self.key_file(name);
        let file = read_secret_file(&path)?;
        match &self.sealing {
            Some(sealing) => sealing.key().open(name, &file).map_err(at(&path)),
            None if self.is_encrypted() => Err(KeyError::Encrypted(path)),
            None => Ok(file),
        }
    }

    /// The file of a secret below `keys/`.
    pub(super) fn secret_file(&self, name: &str, secret: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let Some(sealing) = &self.sealing else { return Ok(Zeroizing::new(secret.to_vec())) };
        let file = sealing.key().seal(name, secret, &mut entropy::rng()?).ok_or(KeyError::TooLong)?;
        Ok(Zeroizing::new(file))
    }

    /// Fills a new `keys` directory.
    pub(super) fn write_keys(&self, keys: &Path, secrets: &Secrets) -> Result<(), KeyError> {
        permission::create_private_dir(keys)?;
        let write = |name: &str, bytes: &[u8]| {
            let path = keys.join(name);
            atomic::create(&path, bytes).map_err(StoreError::io("write", &path))
        };
        if let Some(sealing) = &self.sealing {
            write(STATE_KEY, &sealing.file)?;
        }
        for (name, secret) in secrets.files() {
            write(name, &self.secret_file(name, &secret)?)?;
        }
        Ok(atomic::sync_dir(keys).map_err(StoreError::io("write", keys))?)
    }

    pub(super) fn replace_keys(&self, _stopped: &Lock, secrets: &Secrets) -> Result<(), KeyError> {
        let (keys, stage) = (self.dir.join("keys"), self.dir.join(STAGE));
        check_ours(&keys)?;
        remove(&stage)?;
        let staged = stage.join("keys");
        let exchanged = self.write_keys(&staged, secrets).and_then(|()| {
            Ok(step::exchange(&staged, &keys).map_err(|error| match Errno::from_io_error(&error) {
                Some(Errno::INVAL | Errno::NOSYS) => StoreError::NoExchange { dir: self.dir.clone() },
                Some(_) | None => StoreError::io("exchange", &keys)(error),
            })?)
        });
        if exchanged.is_ok() {
            // The old ones are overwritten only when the disk has the new ones; else the next command does it.
            atomic::sync_dir(&self.dir).map_err(StoreError::unsynced(&keys))?;
        }
        self.remove_leftovers();
        exchanged
    }
}

/// The old `keys/` goes for good, so there must be nothing in it that is not in the new one.
fn check_ours(keys: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(keys).map_err(StoreError::io("read", keys))? {
        let path = entry.map_err(StoreError::io("read", keys))?.path();
        let whole = path.with_extension("");
        let is_ours = KEY_FILES.into_iter().chain([STATE_KEY]).any(|name| whole == keys.join(name));
        if !is_ours || path.extension().is_some_and(|extension| extension != "new") || !path.is_file() {
            return Err(StoreError::Stray { path });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
