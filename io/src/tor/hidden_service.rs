//! The `HiddenServiceDir`: the master key again, and the `ob_config` that makes tor an instance of itself, so that
//! it answers introductions of the previous, the current and the next period alike.

use zeroize::Zeroizing;

use super::TorError;
use super::paths::TorPaths;
use crate::keys::MASTER_FILE;
use crate::store::{Store, StoreError, atomic};

/// Fills the `HiddenServiceDir` from the master key. Files that are right already are not touched.
///
/// # Errors
/// The key cannot be used; a file cannot be written.
pub(super) fn prepare(store: &Store, paths: &TorPaths) -> Result<(), TorError> {
    let master = store.master_key()?;
    let write = |name: &str, content: &[u8]| {
        let path = paths.hidden_service.join(name);
        if std::fs::read(&path).map(Zeroizing::new).is_ok_and(|present| *present == content) {
            return Ok(());
        }
        atomic::replace(&path, content).map_err(StoreError::io("write", &path))
    };
    write(MASTER_FILE, &master.to_tor_file())?;
    for (name, content) in master.public_files() {
        write(name, &content)?;
    }
    Ok(write("ob_config", format!("MasterOnionAddress {}\n", master.address()).as_bytes())?)
}
