//! `rustbalance init`.

use rustbalance_io::init::InitParams;

use super::setup::Setup;
use super::{encrypted, report, secret};
use crate::args::{Common, Init};
use crate::failure::Failure;

/// Founds a cluster.
///
/// # Errors
/// A usage mistake, a bad key, clients of its service that cannot be taken over, a state directory in use: nothing is
/// written.
pub fn init(common: &Common, args: &Init) -> Result<(), Failure> {
    secret::refuse_two_from_stdin(&[
        ("--import-key", args.import_key.as_deref()),
        ("--keys-passphrase-file", args.node.keys_passphrase_file.as_deref()),
    ])?;
    let setup = Setup::prepare(common, &args.node, None)?;
    let (master, access) = args.import_key.as_deref().map(secret::service).transpose()?.unzip();
    let passphrase = encrypted::new(&args.node)?;
    let config = setup.create()?;
    let params = InitParams { dir: common.dir.clone(), master, access: access.unwrap_or_default(), passphrase };
    let founded = rustbalance_io::init::init(params)?;
    config.keep();
    report::print(common, &setup.settings, &founded.into(), args.json)
}
