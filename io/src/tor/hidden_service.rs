//! The `HiddenServiceDir`: the master key again, and the `ob_config` that makes tor an instance of itself, so that
//! it answers introductions of the previous, the current and the next period alike.

use zeroize::Zeroizing;

use super::TorError;
use super::paths::TorPaths;
use crate::keys::MASTER_FILE;
use crate::store::{Store, atomic};

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
        atomic::replace(&path, content)
    };
    write(MASTER_FILE, &master.to_tor_file())?;
    for (name, content) in master.public_files() {
        write(name, &content)?;
    }
    Ok(write("ob_config", format!("MasterOnionAddress {}\n", master.address()).as_bytes())?)
}

#[cfg(test)]
mod tests {
    use rustbalance_core::cluster::Access;

    use super::*;
    use crate::init::{InitParams, init};
    use crate::keys::MasterKey;
    use crate::store::failing::at_every_step;

    #[test]
    fn whatever_step_fails_the_next_start_fills_the_directory_and_leaves_no_other_copy_of_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("node"));
        let new = InitParams { dir: store.dir().to_owned(), master: None, access: Access::Open, passphrase: None };
        init(new).unwrap_or_else(|error| panic!("{error}"));
        let paths = TorPaths::new(store.dir()).unwrap();
        at_every_step(|trouble| {
            _ = std::fs::remove_dir_all(&paths.hidden_service);
            paths.create_directories().unwrap();
            _ = trouble.strike_at(|| prepare(&store, &paths));
            prepare(&store, &paths).unwrap();
            let entries = std::fs::read_dir(&paths.hidden_service).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(names, ["hostname", "hs_ed25519_public_key", MASTER_FILE, "ob_config"]);
            let key = MasterKey::read(&paths.hidden_service).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(key.address(), store.master_key().unwrap_or_else(|error| panic!("{error}")).address());
        });
    }
}
