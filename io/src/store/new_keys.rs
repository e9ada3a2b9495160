//! The keys of a node that has not joined yet, kept from one attempt to the next: a cluster admits a node, and an invite is
//! used by one, so one that died half way is to be the same node again.

use std::path::PathBuf;

use super::{Lock, Store, atomic, permission};
use crate::keys::{KeyError, NODE_FILE, NodeKey, WIREGUARD_FILE, WireguardKey};

/// Where they are until there is a node.
pub(super) const NEW_KEYS: &str = ".joining";

/// The node to be.
pub(crate) struct NewKeys {
    /// Signs for it.
    pub node: NodeKey,
    /// Its mesh key.
    pub wireguard: WireguardKey,
}

impl Store {
    /// The keys of the last attempt, or new ones, on disk. The lock proves that the directory was claimed.
    ///
    /// # Errors
    /// The disk refused, or what is there is no key; no randomness.
    pub(crate) fn new_keys(&self, _claimed: &Lock) -> Result<NewKeys, KeyError> {
        let dir = self.new_keys_dir();
        permission::create_private_dir(&dir)?;
        let (node, wireguard) = (dir.join(NODE_FILE), dir.join(WIREGUARD_FILE));
        if !node.exists() {
            atomic::replace(&node, &NodeKey::generate()?.to_file())?;
        }
        if !wireguard.exists() {
            atomic::replace(&wireguard, &WireguardKey::generate()?.to_file())?;
        }
        Ok(NewKeys { node: NodeKey::read(&node)?, wireguard: WireguardKey::read(&wireguard)? })
    }

    pub(super) fn new_keys_dir(&self) -> PathBuf {
        self.dir.join(NEW_KEYS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_attempt_is_the_same_node() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("node"));
        let ids = || {
            let lock = store.claim().unwrap();
            let keys = store.new_keys(&lock).unwrap_or_else(|error| panic!("{error}"));
            (keys.node.keypair().id(), keys.wireguard.public())
        };
        assert_eq!(ids(), ids());
        assert!(!store.is_occupied());
    }
}
