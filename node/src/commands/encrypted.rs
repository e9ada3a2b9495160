//! `rustbalance key encrypt`, `decrypt` and `passphrase`, and how other commands come by keys that are encrypted.

use std::path::Path;

use rustbalance_core::passphrase::Passphrase;
use rustbalance_io::keys::KeyError;
use rustbalance_io::settings::{AttachSettings, Settings};
use rustbalance_io::store::{Store, StoreError, credential};

use super::passphrase::{self, Use, Wanted};
use super::secret::refuse_two_from_stdin;
use crate::args::{ChangePassphrase, Common, Encrypt, NodeFlags, Unlock};
use crate::failure::Failure;
use crate::output;

/// What is asked for by commands for keys.
const KEYS: Wanted = Wanted { name: "passphrase of this node's keys", flag: "--passphrase-file" };
/// And by those whose `--passphrase-file`, if they have one, is another's.
pub const ALSO_KEYS: Wanted = Wanted { flag: "--keys-passphrase-file", ..KEYS };
/// And by `key passphrase`.
const NEW: Wanted = Wanted { name: "new passphrase", flag: "--new-passphrase-file" };
/// Under which name systemd gives it.
const CREDENTIAL: &str = "passphrase";

/// The node's directory, whose secrets can be read.
///
/// # Errors
/// No node there; no passphrase, or another one.
pub fn open(common: &Common, unlock: &Unlock) -> Result<Store, Failure> {
    open_with(common, unlock.passphrase_file.as_deref(), KEYS)
}

/// The same for a command that has a flag of its own.
///
/// # Errors
/// As for [`open`].
pub fn open_with(common: &Common, file: Option<&Path>, wanted: Wanted) -> Result<Store, Failure> {
    let store = occupied(common)?;
    if store.is_encrypted() { Ok(store.unlock(&ask(file, wanted)?)?) } else { Ok(store) }
}

/// What encryption does not cover: a tor that somebody else runs has the address' key in a file of its own.
pub fn uncovered(settings: &Settings, store: &Store) -> Option<String> {
    let AttachSettings { control, service_dir, .. } = &settings.tor.attach;
    (control.is_some() && store.is_encrypted()).then(|| {
        format!(
            "this node's keys are encrypted, but with tor.attach the address' key lies in the clear in {} \
             (tor.service_dir), where tor reads it; keep that on an encrypted disk, or let the node run its own tor",
            service_dir.display()
        )
    })
}

/// The passphrase of keys that are encrypted: from a file, as a credential, or as typed.
///
/// # Errors
/// It cannot be read, or is none; neither file nor terminal.
pub fn known(unlock: &Unlock) -> Result<Passphrase, Failure> {
    ask(unlock.passphrase_file.as_deref(), KEYS)
}

fn ask(file: Option<&Path>, wanted: Wanted) -> Result<Passphrase, Failure> {
    let credential = credential(CREDENTIAL);
    passphrase::get(file.or(credential.as_deref()), Use::Known, wanted)
}

/// With what the keys of a node that is being set up are to be encrypted, if they are.
///
/// # Errors
/// It cannot be read, is none, or was typed differently.
pub fn new(flags: &NodeFlags) -> Result<Option<Passphrase>, Failure> {
    let passphrase = || passphrase::get(flags.keys_passphrase_file.as_deref(), Use::New, ALSO_KEYS);
    flags.encrypt_keys.then(passphrase).transpose()
}

/// Encrypts the keys.
///
/// # Errors
/// A node runs there, or none is there; the keys are encrypted already; no passphrase. Nothing is changed.
pub fn encrypt(common: &Common, args: &Encrypt) -> Result<(), Failure> {
    let store = occupied(common)?;
    if store.is_encrypted() {
        return Err(KeyError::AlreadyEncrypted(common.dir.clone()).into());
    }
    store.encrypt(&passphrase::get(args.passphrase_file.as_deref(), Use::New, KEYS)?)?;
    output::line(&format!("{}: encrypted; without the passphrase the keys are lost", common.dir.join("keys").display()))
}

/// Decrypts them.
///
/// # Errors
/// A node runs there, or none is there; the keys are not encrypted, or with another passphrase. Nothing is changed.
pub fn decrypt(common: &Common, args: &Unlock) -> Result<(), Failure> {
    let store = encrypted(common)?;
    store.decrypt(&known(args)?)?;
    output::line(&format!("{}: not encrypted any more", common.dir.join("keys").display()))
}

/// Changes the passphrase.
///
/// # Errors
/// As for [`decrypt`].
pub fn change_passphrase(common: &Common, args: &ChangePassphrase) -> Result<(), Failure> {
    let store = encrypted(common)?;
    let (old, new) = (args.unlock.passphrase_file.as_deref(), args.new_passphrase_file.as_deref());
    refuse_two_from_stdin(&[("--passphrase-file", old), ("--new-passphrase-file", new)])?;
    let old = known(&args.unlock)?;
    store.change_passphrase(&old, &passphrase::get(new, Use::New, NEW)?)?;
    output::line(&format!("{}: the passphrase is another one now", common.dir.join("keys").display()))
}

fn occupied(common: &Common) -> Result<Store, Failure> {
    let store = Store::new(&common.dir);
    if store.is_occupied() { Ok(store) } else { Err(StoreError::Empty { dir: common.dir.clone() }.into()) }
}

fn encrypted(common: &Common) -> Result<Store, Failure> {
    let store = occupied(common)?;
    if store.is_encrypted() { Ok(store) } else { Err(KeyError::NotEncrypted(common.dir.clone()).into()) }
}
