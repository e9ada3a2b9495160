//! The `HiddenServiceDir`: the master key again, and the `ob_config` that makes tor an instance of itself, so that
//! it answers introductions of the previous, the current and the next period alike.

use zeroize::Zeroizing;

use rustbalance_core::onion::key::public_key_file;

use super::TorError;
use super::paths::TorPaths;
use crate::keys::MasterKey;
use crate::store::{StoreError, atomic};

/// Fills the `HiddenServiceDir` from the master key. Files that are right already are not touched.
///
/// # Errors
/// The key cannot be used; a file cannot be written.
pub(super) fn prepare(paths: &TorPaths) -> Result<(), TorError> {
    let master = MasterKey::read(&paths.master_key)?;
    let (key, address) = (master.keypair()?, master.address());
    let write = |name: &str, content: &[u8]| {
        let path = paths.hidden_service.join(name);
        if std::fs::read(&path).map(Zeroizing::new).is_ok_and(|present| *present == content) {
            return Ok(());
        }
        atomic::replace(&path, content).map_err(StoreError::io("write", &path))
    };
    write("hs_ed25519_secret_key", &key.to_tor_file())?;
    write("hs_ed25519_public_key", &public_key_file(address.id()))?;
    write("hostname", format!("{address}\n").as_bytes())?;
    Ok(write("ob_config", format!("MasterOnionAddress {address}\n").as_bytes())?)
}
