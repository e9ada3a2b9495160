//! `rustbalance key backup` and `restore`.

use std::path::Path;

use rustbalance_io::backup;
use rustbalance_io::init::{InitParams, init};
use rustbalance_io::keys::{MasterKey, write_new_secret};
use rustbalance_io::store::{Store, StoreError};

use super::encrypted::ALSO_KEYS;
use super::passphrase::{self, Use, Wanted};
use super::secret::{is_stdin, refuse_two_from_stdin};
use super::setup::Setup;
use super::{confirm, encrypted, report, settings};
use crate::args::{Backup, Common, Restore};
use crate::failure::Failure;
use crate::output;

/// What is asked for.
const PASSPHRASE: Wanted = Wanted { name: "passphrase of the backup", flag: "--passphrase-file" };

/// Writes what belongs to this node's address into one encrypted file.
///
/// # Errors
/// No node there, no passphrase, something where the file would go.
pub fn make(common: &Common, args: &Backup) -> Result<(), Failure> {
    if is_stdin(&args.out) {
        output::refuse_terminal("--out -", "a backup is not text; name a file")?;
    } else if args.out.exists() {
        return Err(StoreError::Exists { path: args.out.clone() }.into());
    }
    refuse_two_from_stdin(&[
        ("--passphrase-file", args.passphrase_file.as_deref()),
        ("--keys-passphrase-file", args.keys_passphrase_file.as_deref()),
    ])?;
    let port = settings(common)?.service.port;
    let content =
        backup::collect(&encrypted::open_with(common, args.keys_passphrase_file.as_deref(), ALSO_KEYS)?, port)?;
    let passphrase = passphrase::get(args.passphrase_file.as_deref(), Use::New, PASSPHRASE)?;
    let file = backup::seal(&content, &passphrase)?;
    let address = MasterKey::from(content.master).address();
    if is_stdin(&args.out) {
        output::note(&format!("a backup of {address}"));
        return output::bytes(&file);
    }
    write_new_secret(&args.out, &file)?;
    output::line(&format!("{}: a backup of {address}; without the passphrase it is lost", args.out.display()))
}

/// Founds a new cluster with the address in a backup.
///
/// # Errors
/// A node lives there; the file is bad or the passphrase another one; the address is not confirmed. Nothing is written.
pub fn restore(common: &Common, args: &Restore) -> Result<(), Failure> {
    refuse_two_from_stdin(&[
        ("--passphrase-file", args.passphrase_file.as_deref()),
        ("--keys-passphrase-file", args.node.keys_passphrase_file.as_deref()),
    ])?;
    if Store::new(&common.dir).is_occupied() {
        return Err(StoreError::Occupied { dir: common.dir.clone() }.into());
    }
    let content = open(&args.file, args.passphrase_file.as_deref())?;
    let master = MasterKey::from(content.master);
    confirm::address(master.address(), &args.confirm)?;
    let mut flags = args.node.clone();
    flags.port.get_or_insert(content.port);
    let setup = Setup::prepare(common, &flags, None)?;
    let passphrase = encrypted::new(&args.node)?;
    let config = setup.create()?;
    let (dir, access) = (common.dir.clone(), content.access);
    let founded = init(InitParams { dir, master: Some(master), access, passphrase })?;
    config.keep();
    output::note(
        "the address is this machine's now; start nothing else that has its key: nodes of the cluster from before are \
         of another one, and are to be set up anew, with an invite",
    );
    report::print(common, &setup.settings, &founded.into(), args.json)
}

fn open(path: &Path, passphrase_file: Option<&Path>) -> Result<rustbalance_core::backup::Backup, Failure> {
    let file = backup::read(path)?;
    let sealed = backup::check(&file, path)?;
    let passphrase = passphrase::get(passphrase_file, Use::Known, PASSPHRASE)?;
    Ok(backup::open(&sealed, &passphrase, path)?)
}
