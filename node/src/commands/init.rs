//! `rustbalance init`.

use rustbalance_io::init::InitParams;
use rustbalance_io::keys::MasterKey;

use super::report::{self, NewNode};
use super::setup::Setup;
use crate::args::{Common, Init};
use crate::failure::Failure;

/// Founds a cluster.
///
/// # Errors
/// A usage mistake, a bad key, a state directory in use: nothing is written.
pub fn init(common: &Common, args: &Init) -> Result<(), Failure> {
    let setup = Setup::prepare(common, &args.node, None)?;
    let master = args.import_key.as_deref().map(MasterKey::read).transpose()?;
    let config = setup.create()?;
    let founded = rustbalance_io::init::init(InitParams { dir: common.dir.clone(), master })?;
    config.keep();
    let new = NewNode { address: founded.address, node: founded.node, wireguard: founded.wireguard };
    report::print(common, &setup.settings, &new, args.json)
}
