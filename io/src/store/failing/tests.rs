//! Whatever step fails, what is on the disk is as before or as it should be, and the next start leaves no secret
//! behind.

use rustbalance_core::passphrase::Passphrase;

use super::*;
use crate::keys::{KeyError, TOKEN_FILE, write_new_secret};
use crate::store::encrypted::STATE_KEY;
use crate::store::tests::{CLUSTER, occupied, secrets};
use crate::store::{
    ClusterToken, Durable, DurableKind, Initial, Path, PathBuf, Secrets, Store, StoreError, atomic, staged,
};

/// All that is in a directory.
fn paths(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { paths(&path) } else { vec![path] }).collect()
}

/// The next start leaves nothing that was being written.
fn assert_tidy_once_open(store: &Store) {
    drop(store.open().unwrap());
    let below = paths(store.dir());
    let is_left =
        |path: &&PathBuf| path.to_string_lossy().contains(".new") || path.starts_with(store.dir().join(".joining"));
    assert_eq!(below.iter().find(is_left), None);
}

fn assert_has(store: &Store, wanted: &Secrets) {
    let read = Secrets::read(store).unwrap_or_else(|error| panic!("{error}"));
    for ((name, now), (_, then)) in read.files().into_iter().zip(wanted.files()) {
        assert!(now == then, "{name}");
    }
}

/// A store whose secrets are encrypted, or one whose are not; the same keys open the first kind wherever it is.
fn stores() -> [Store; 2] {
    let plain = Store::new("");
    let passphrase = Passphrase::from_text(b"correct horse battery").unwrap();
    [plain.clone().encrypting(Some(&passphrase)).unwrap(), plain]
}

/// The same in a new directory.
fn somewhere(store: &Store) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store { dir: dir.path().join("node"), ..store.clone() };
    (dir, store)
}

fn found(store: &Store, secrets: &Secrets) -> Result<(), KeyError> {
    let lock = store.claim()?;
    store.found(&lock, &Initial { secrets, cluster: CLUSTER, roster: b"roster" })
}

#[test]
fn a_record_is_the_old_or_the_new_one() {
    let lease = |bytes: &[u8]| Durable { kind: DurableKind::Lease, bytes: bytes.to_vec() };
    at_every_step(|trouble| {
        let (_dir, store) = occupied();
        store.save(&lease(b"old")).unwrap();
        let saved = trouble.strike_at(|| store.save(&lease(b"newer")));
        let read = store.saved().unwrap().remove(&DurableKind::Lease).unwrap();
        assert!(read == b"newer" || saved.is_err() && read == b"old");
        store.save(&lease(b"newest")).unwrap();
        assert_eq!(store.saved().unwrap()[&DurableKind::Lease], b"newest");
        assert_tidy_once_open(&store);
    });
}

#[test]
fn a_token_is_the_old_or_the_new_one() {
    for kind in stores() {
        let secrets = secrets();
        at_every_step(|trouble| {
            let (_dir, store) = somewhere(&kind);
            found(&store, &secrets).unwrap();
            let (old, new) = (secrets.token.token(), ClusterToken::new([7; 32]));
            let saved = trouble.strike_at(|| store.save_token(&new));
            assert_tidy_once_open(&store);
            let read = store.token().unwrap_or_else(|error| panic!("{error}")).token();
            assert!(read == new || saved.is_err() && read == old);
        });
    }
}

#[test]
fn there_is_a_whole_node_or_none_and_it_can_be_founded_then() {
    for kind in stores() {
        let secrets = secrets();
        at_every_step(|trouble| {
            let (_dir, store) = somewhere(&kind);
            let founded = trouble.strike_at(|| found(&store, &secrets));
            assert_eq!(store.is_occupied(), founded.is_ok());
            if founded.is_err() {
                found(&store, &secrets).unwrap();
            }
            assert_tidy_once_open(&store);
            assert_has(&store, &secrets);
            assert_eq!((store.cluster().unwrap(), store.saved().unwrap().len()), (CLUSTER, 1));
        });
    }
}

#[test]
fn a_node_that_is_joining_has_its_keys_or_makes_them_the_next_time() {
    at_every_step(|trouble| {
        let (_dir, store) = somewhere(&Store::new(""));
        let lock = store.claim().unwrap();
        let ids = || store.new_keys(&lock).map(|keys| (keys.node.keypair().id(), keys.wireguard.public()));
        let first = trouble.strike_at(ids);
        let again = ids().unwrap();
        assert!(first.is_err() || first.is_ok_and(|first| first == again));
        assert_eq!(paths(&store.dir().join(".joining")).len(), 2, "keys alone");
        drop(lock);
        found(&store, &secrets()).unwrap();
        assert_tidy_once_open(&store);
    });
}

#[test]
fn keys_are_all_encrypted_or_all_not() {
    let kinds = stores();
    for (from, to) in [(&kinds[0], &kinds[1]), (&kinds[1], &kinds[0])] {
        let secrets = secrets();
        at_every_step(|trouble| {
            let (_dir, before) = somewhere(from);
            let after = Store { dir: before.dir.clone(), ..to.clone() };
            found(&before, &secrets).unwrap();
            let lock = before.open().unwrap();
            let copy = before.dir().join("tor/hs/hs_ed25519_secret_key");
            std::fs::create_dir(before.dir().join("tor/hs")).unwrap();
            std::fs::write(&copy, b"secret").unwrap();
            let replaced = trouble.strike_at(|| after.replace_keys(&lock, &secrets));
            drop(lock);
            let is_done = before.is_encrypted() == after.sealing.is_some();
            assert!(is_done || replaced.is_err());
            // It says so if it is done all the same.
            let is_told = |error: &KeyError| is_done == matches!(error, KeyError::File(StoreError::Unsynced { .. }));
            assert!(replaced.as_ref().err().is_none_or(is_told));
            let now = if is_done { &after } else { &before };
            assert_tidy_once_open(now);
            assert_has(now, &secrets);
            assert!(!(now.is_encrypted() && copy.exists()));
        });
    }
}

#[test]
fn the_passphrase_is_the_old_or_the_new_one_and_the_error_says_which() {
    let kind = &stores()[0];
    at_every_step(|trouble| {
        let (_dir, store) = somewhere(kind);
        found(&store, &secrets()).unwrap();
        let file = store.key_file(STATE_KEY);
        let (old, new) = (std::fs::read(&file).unwrap(), b"closed anew".to_vec());
        let replaced = trouble.strike_at(|| staged::replace(&file, &new));
        assert_tidy_once_open(&store);
        let read = std::fs::read(&file).unwrap();
        let is_new = matches!(&replaced, Ok(()) | Err(StoreError::Unsynced { .. }));
        assert!(read == if is_new { new } else { old });
    });
}

#[test]
fn a_directory_that_could_not_be_opened_can_be_the_next_time() {
    at_every_step(|trouble| {
        let (_dir, store) = occupied();
        for name in ["cluster_token.new", "state_key.new"] {
            atomic::create(&store.key_file(name), b"secret").unwrap();
        }
        _ = trouble.strike_at(|| store.open());
        assert_tidy_once_open(&store);
        assert!(store.key_file("node_key").exists());
    });
}

#[test]
fn an_exported_secret_is_whole_or_not_there_unless_it_cannot_be_removed() {
    at_every_step(|trouble| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let written = trouble.strike_at(|| write_new_secret(&path, b"secret"));
        if trouble.is_over() {
            assert_eq!(path.exists(), written.is_ok());
            _ = std::fs::remove_file(&path);
            write_new_secret(&path, b"secret").unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"secret");
        }
    });
}

#[test]
fn what_is_where_an_exported_secret_would_go_stays() {
    at_every_step(|trouble| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(TOKEN_FILE);
        std::fs::write(&path, b"somebody's").unwrap();
        let refused = trouble.strike(|| write_new_secret(&path, b"secret"));
        assert!(matches!(refused, Err(StoreError::Io { .. } | StoreError::Exists { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"somebody's");
    });
}

#[test]
fn an_exported_service_is_whole_or_can_be_exported_again() {
    let key = secrets().master;
    at_every_step(|trouble| {
        let dir = tempfile::tempdir().unwrap();
        let service = dir.path().join("service");
        let exported = trouble.strike_at(|| key.export_service(&service));
        if exported.is_err() && trouble.is_over() {
            key.export_service(&service).unwrap();
        }
        let read = crate::keys::MasterKey::read(&service);
        assert!(!trouble.is_over() && exported.is_err() || read.is_ok_and(|again| again.address() == key.address()));
    });
}
