use rustbalance_core::cluster::ClusterToken;
use rustbalance_core::sealed::{Flaw, Kind};
use rustbalance_core::{ClusterId, NodeId};

use super::*;
use crate::keys::{MasterKey, NodeKey, Token, WireguardKey};
use crate::store::{ClusterFile, Initial};

fn passphrase(text: &str) -> Passphrase {
    Passphrase::from_text(text.as_bytes()).unwrap()
}

fn right() -> Passphrase {
    passphrase("correct horse battery")
}

struct Place {
    _dir: tempfile::TempDir,
    store: Store,
    secrets: Secrets,
}

/// A node whose keys are not encrypted.
fn founded() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("node"));
    let secrets = Secrets {
        master: MasterKey::generate().unwrap(),
        node: NodeKey::generate().unwrap(),
        wireguard: WireguardKey::generate().unwrap(),
        token: Token::generate().unwrap(),
    };
    let cluster = ClusterFile { cluster: ClusterId([1; 32]), genesis: NodeId([2; 32]), joined_through: None };
    let lock = store.claim().unwrap();
    store.found(&lock, &Initial { secrets: &secrets, cluster, roster: b"" }).unwrap();
    Place { _dir: dir, store, secrets }
}

impl Place {
    fn stage(&self) -> std::path::PathBuf {
        self.store.dir().join(STAGE)
    }

    /// Opens the directory as the next start does: what was left goes, and all secrets are there.
    fn assert_whole(&self, store: &Store) {
        drop(store.open().unwrap());
        let read = Secrets::read(store).unwrap_or_else(|error| panic!("{error}"));
        for ((name, now), (_, then)) in read.files().into_iter().zip(self.secrets.files()) {
            assert!(now == then, "{name}");
        }
        assert!(!self.stage().exists());
    }

    fn assert_encrypted(&self) {
        for (name, secret) in self.secrets.files() {
            let file = fs::read(self.store.key_file(name)).unwrap();
            assert!(!file.windows(16).any(|window| window == &secret[..16]), "{name}");
        }
        self.assert_whole(&self.store.unlock(&right()).unwrap());
    }
}

/// What is in a directory once its first `count` files were written, the last of them half.
fn cut_short(dir: &Path, count: usize) {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in &files[count..] {
        fs::remove_file(file).unwrap();
    }
    if let Some(half) = count.checked_sub(1).map(|last| &files[last]) {
        let bytes = fs::read(half).unwrap();
        fs::write(half, &bytes[..bytes.len() / 2]).unwrap();
    }
}

#[test]
fn keys_are_encrypted_and_come_back() {
    let place = founded();
    place.store.encrypt(&right()).unwrap();
    place.assert_encrypted();
    assert!(matches!(place.store.read_secret("node_key"), Err(KeyError::Encrypted(_))));
    assert!(matches!(place.store.encrypt(&right()), Err(KeyError::AlreadyEncrypted(_))));
    place.store.decrypt(&right()).unwrap();
    place.assert_whole(&place.store);
    assert!(!place.store.is_encrypted());
    assert!(matches!(place.store.decrypt(&right()), Err(KeyError::NotEncrypted(_))));
}

#[test]
fn encrypting_that_is_cut_short_at_any_write_leaves_the_keys_as_they_were() {
    for count in 0..=5 {
        let place = founded();
        let staged = place.stage().join("keys");
        place.store.with_new_key(&right()).unwrap().write_keys(&staged, &place.secrets).unwrap();
        cut_short(&staged, count);
        assert!(!place.store.is_encrypted(), "{count}");
        place.assert_whole(&place.store);
    }
}

#[test]
fn encrypting_that_is_cut_short_while_the_old_keys_are_removed_has_encrypted_them_and_the_next_start_removes_them() {
    for count in 0..=4 {
        let place = founded();
        let (keys, staged) = (place.store.dir().join("keys"), place.stage().join("keys"));
        place.store.with_new_key(&right()).unwrap().write_keys(&staged, &place.secrets).unwrap();
        step::exchange(&staged, &keys).unwrap();
        cut_short(&staged, count);
        let copy = place.store.dir().join("tor/hs");
        permission::create_private_dir(&copy).unwrap();
        fs::write(copy.join("hs_ed25519_secret_key"), b"secret").unwrap();
        place.assert_encrypted();
        assert!(!copy.exists());
    }
}

#[test]
fn what_is_refused_leaves_the_keys_as_they_were() {
    let place = founded();
    let stray = place.store.key_file("stray");
    atomic::create(&stray, b"somebody's").unwrap();
    assert!(matches!(place.store.encrypt(&right()), Err(KeyError::File(StoreError::Stray { path })) if path == stray));
    fs::remove_file(stray).unwrap();
    place.assert_whole(&place.store);
    place.store.encrypt(&right()).unwrap();
    let before = fs::read(place.store.key_file(STATE_KEY)).unwrap();
    // A directory in the place of the new file refuses even root.
    permission::create_private_dir(&place.store.dir().join("keys/state_key.new")).unwrap();
    assert!(place.store.change_passphrase(&right(), &passphrase("battery horse correct")).is_err());
    assert!(matches!(place.store.decrypt(&right()), Err(KeyError::File(StoreError::Stray { .. }))));
    fs::remove_dir(place.store.dir().join("keys/state_key.new")).unwrap();
    assert!(fs::read(place.store.key_file(STATE_KEY)).unwrap() == before);
    place.assert_encrypted();
}

#[test]
fn a_change_of_the_passphrase_that_is_cut_short_leaves_the_old_one() {
    let place = founded();
    place.store.encrypt(&right()).unwrap();
    atomic::create(&place.store.dir().join("keys/state_key.new"), b"RBSTATEK").unwrap();
    place.assert_encrypted();
    drop(place.store.open().unwrap());
    assert!(
        !place.store.dir().join("keys/state_key.new").exists(),
        "it may be what a passphrase opens that is not in force"
    );
    let new = passphrase("battery horse correct");
    place.store.change_passphrase(&right(), &new).unwrap();
    assert!(place.store.unlock(&right()).is_err());
    place.assert_whole(&place.store.unlock(&new).unwrap());
}

#[test]
fn a_change_of_the_passphrase_overwrites_what_the_old_one_opens_but_for_copies_elsewhere() {
    let passphrases = ["one horse battery", "two horse battery", "three horse battery"].map(passphrase);
    let place = founded();
    place.store.encrypt(&passphrases[0]).unwrap();
    let path = place.store.key_file(STATE_KEY);
    let mut old = fs::File::open(&path).unwrap();
    place.store.change_passphrase(&passphrases[0], &passphrases[1]).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut old, &mut bytes).unwrap();
    assert!(!bytes.is_empty() && bytes.iter().all(|byte| *byte == 0));

    let (before, backup) = (fs::read(&path).unwrap(), place.store.dir().join("backup"));
    fs::hard_link(&path, &backup).unwrap();
    place.store.change_passphrase(&passphrases[1], &passphrases[2]).unwrap();
    assert!(fs::read(&backup).unwrap() == before);
}

#[test]
fn a_new_token_is_encrypted_without_the_passphrase() {
    let place = founded();
    place.store.encrypt(&right()).unwrap();
    let unlocked = place.store.unlock(&right()).unwrap();
    unlocked.save_token(&ClusterToken::new([5; 32])).unwrap();
    assert_eq!(place.store.unlock(&right()).unwrap().token().unwrap().token(), ClusterToken::new([5; 32]));
    assert!(Token::read(&place.store.token_file()).is_err());
}

#[test]
fn a_bad_file_is_named_with_what_is_wrong() {
    let place = founded();
    place.store.encrypt(&right()).unwrap();
    let node_key = place.store.key_file("node_key");
    let good = fs::read(&node_key).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let other = fs::read(place.store.key_file("wireguard_key")).unwrap();
    for (bytes, flaw) in [
        (good[..good.len() - 1].to_vec(), Flaw::Truncated),
        (flipped(40), Flaw::Damaged),
        (flipped(8), Flaw::Version(0)),
        (other, Flaw::WrongKey),
        (place.secrets.node.to_file().to_vec(), Flaw::OtherKind),
    ] {
        fs::write(&node_key, &bytes).unwrap();
        let unlocked = place.store.unlock(&right()).unwrap();
        let Err(KeyError::Sealed { path, why }) = Secrets::read(&unlocked) else { panic!("{flaw:?}") };
        assert_eq!((path, why.kind, why.flaw), (node_key.clone(), Kind::Secret, flaw));
    }
}
