//! `rustbalance init`.

use rustbalance_core::cluster::Access;
use rustbalance_io::init::InitParams;

use super::report::{self, NewNode};
use super::setup::Setup;
use super::{encrypted, secret};
use crate::args::{Common, Init};
use crate::failure::Failure;

/// Founds a cluster.
///
/// # Errors
/// A usage mistake, a bad key, a state directory in use: nothing is written.
pub fn init(common: &Common, args: &Init) -> Result<(), Failure> {
    secret::refuse_two_from_stdin(&[
        ("--import-key", args.import_key.as_deref()),
        ("--keys-passphrase-file", args.node.keys_passphrase_file.as_deref()),
    ])?;
    let setup = Setup::prepare(common, &args.node, None)?;
    let master = args.import_key.as_deref().map(secret::master_key).transpose()?;
    let passphrase = encrypted::new(&args.node)?;
    let config = setup.create()?;
    let params = InitParams { dir: common.dir.clone(), master, access: Access::Open, passphrase };
    let founded = rustbalance_io::init::init(params)?;
    config.keep();
    let new = NewNode { address: founded.address, node: founded.node, wireguard: founded.wireguard };
    report::print(common, &setup.settings, &new, args.json)
}
