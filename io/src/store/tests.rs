use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;
use crate::keys::{MasterKey, NodeKey, Token, WireguardKey};
use rustbalance_core::{ClusterId, NodeId};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory that looks like a node's to [`Store::open`].
pub(super) fn occupied() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o700);
    for name in ["keys", "state"] {
        create_private_dir(&dir.path().join(name)).unwrap();
    }
    let store = Store::new(dir.path());
    atomic::create(&store.key_file("node_key"), b"secret").unwrap();
    (dir, store)
}

#[test]
fn an_empty_directory_is_not_opened_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let error = Store::new(dir.path()).open().unwrap_err();
    assert!(matches!(error, StoreError::Empty { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_others_can_read_is_named_with_the_command_that_mends_it() {
    let (dir, store) = occupied();
    let key = store.key_file("node_key");
    for (path, mode, mend) in [
        (key.as_path(), 0o640, "chmod 600"),
        (key.as_path(), 0o604, "chmod 600"),
        (&dir.path().join("keys"), 0o750, "chmod 700"),
        (dir.path(), 0o755, "chmod 700"),
    ] {
        let right = fs::metadata(path).unwrap().permissions();
        set_mode(path, mode);
        let message = store.open().unwrap_err().to_string();
        assert!(message.contains(&format!("{mend} {}`", path.display())), "{message}");
        fs::set_permissions(path, right).unwrap();
    }
    store.open().unwrap();
}

#[test]
fn a_second_process_is_told_who_holds_the_directory() {
    let (_dir, store) = occupied();
    let lock = store.open().unwrap();
    let error = store.open().unwrap_err();
    let us = std::process::id();
    assert!(matches!(error, StoreError::Locked { pid: Some(pid), .. } if pid == us), "{error}");
    drop(lock);
    store.open().unwrap();
}

#[test]
fn saved_state_comes_back_and_is_private() {
    let (dir, store) = occupied();
    assert!(store.saved().unwrap().is_empty());
    for bytes in [b"old".to_vec(), b"new".to_vec()] {
        store.save(&Durable { kind: DurableKind::Lease, bytes }).unwrap();
    }
    let saved = store.saved().unwrap();
    assert_eq!(saved.into_iter().collect::<Vec<_>>(), [(DurableKind::Lease, b"new".to_vec())]);
    assert_eq!(fs::metadata(dir.path().join("state/lease")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_new_token_replaces_the_file_that_operators_copy() {
    let (dir, store) = occupied();
    for bytes in [[1; 32], [2; 32]] {
        let token = ClusterToken::new(bytes);
        store.save_token(&token).unwrap();
        let file = Token::read(&store.key_file(keys::TOKEN_FILE)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(file.token(), token);
    }
    assert_eq!(fs::metadata(dir.path().join("keys/cluster_token")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_write_that_was_cut_short_leaves_the_old_file_and_does_not_block_the_next() {
    let (dir, store) = occupied();
    let lease = |bytes: &[u8]| Durable { kind: DurableKind::Lease, bytes: bytes.to_vec() };
    store.save(&lease(b"old")).unwrap();
    fs::write(dir.path().join("state/lease.new"), b"ha").unwrap();
    assert_eq!(store.saved().unwrap().get(&DurableKind::Lease).unwrap(), b"old");
    store.save(&lease(b"new")).unwrap();
    assert_eq!(store.saved().unwrap().get(&DurableKind::Lease).unwrap(), b"new");
    assert!(!dir.path().join("state/lease.new").exists());
}

#[test]
fn a_disk_that_refuses_is_an_error_and_the_old_file_stays() {
    let (dir, store) = occupied();
    let plan = |bytes: &[u8]| Durable { kind: DurableKind::Plan, bytes: bytes.to_vec() };
    store.save(&plan(b"old")).unwrap();
    // A directory in the way refuses even root.
    create_private_dir(&dir.path().join("state/plan.new")).unwrap();
    assert!(matches!(store.save(&plan(b"new")), Err(StoreError::Io { .. })));
    assert_eq!(store.saved().unwrap().get(&DurableKind::Plan).unwrap(), b"old");
}

#[test]
fn a_directory_that_holds_a_node_cannot_be_claimed() {
    let (_dir, store) = occupied();
    let error = store.claim().unwrap_err();
    assert!(matches!(error, StoreError::Occupied { .. }), "{error}");
    assert_eq!(fs::read(store.key_file("node_key")).unwrap(), b"secret");
}

#[test]
fn a_directory_with_anything_else_where_a_nodes_files_go_cannot_be_claimed() {
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o700);
    let store = Store::new(dir.path());
    for ours in ["state", ".new/keys"] {
        fs::create_dir_all(dir.path().join(ours)).unwrap();
    }
    for foreign in ["state/thesis.tex", "cluster.json", ".new/thesis.tex", ".new/keys/private.pem", "lock"] {
        let path = dir.path().join(foreign);
        fs::write(&path, b"years of work").unwrap();
        let error = store.claim().unwrap_err();
        assert!(matches!(&error, StoreError::Foreign { path: named } if *named == path), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"years of work");
        fs::remove_file(&path).unwrap();
    }
    store.claim().unwrap();
    fs::remove_dir_all(dir.path().join(".new")).unwrap();
    fs::write(dir.path().join(".new"), b"years of work").unwrap();
    let error = store.claim().unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

#[test]
fn all_that_remains_of_a_node_is_forgotten_and_its_keys_come_last() {
    let (dir, store) = occupied();
    fs::write(dir.path().join("rustbalance.toml"), b"").unwrap();
    fs::write(dir.path().join("cluster.json"), b"{}").unwrap();
    let names = |paths: &[PathBuf]| -> Vec<_> {
        paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&store.remains()), ["cluster.json", "state", "keys"]);
    assert_eq!(names(&store.forget().unwrap()), ["cluster.json", "state", "tor", "run", "keys"]);
    assert!(store.remains().is_empty() && dir.path().join("rustbalance.toml").exists());
}

#[test]
fn a_claimed_directory_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("deep/down"));
    let _lock = store.claim().unwrap();
    assert_eq!(fs::metadata(store.dir()).unwrap().mode() & 0o777, 0o700);
    assert!(matches!(store.claim(), Err(StoreError::Locked { .. })));
}

pub(super) fn secrets() -> Secrets {
    Secrets {
        master: MasterKey::generate().unwrap(),
        node: NodeKey::generate().unwrap(),
        wireguard: WireguardKey::generate().unwrap(),
        token: Token::generate().unwrap(),
    }
}

pub(super) const CLUSTER: ClusterFile =
    ClusterFile { cluster: ClusterId([1; 32]), genesis: NodeId([2; 32]), joined_through: None };

#[test]
fn a_founded_node_can_be_opened_and_is_private_throughout() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("node"));
    let lock = store.claim().unwrap();
    let secrets = secrets();
    store.found(&lock, &Initial { secrets: &secrets, cluster: CLUSTER, roster: b"roster" }).unwrap();
    drop(lock);
    let _lock = store.open().unwrap();
    assert_eq!(store.cluster().unwrap(), CLUSTER);
    assert_eq!(store.saved().unwrap().get(&DurableKind::Roster).unwrap(), b"roster");
    let read = Secrets::read(&store).unwrap_or_else(|error| panic!("{error}"));
    assert!(read.wireguard.public() == secrets.wireguard.public() && read.master.address() == secrets.master.address());
    let mut names: Vec<_> = fs::read_dir(store.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["cluster.json", "keys", "lock", "run", "state", "tor"]);
}

#[test]
fn a_node_that_was_founded_half_can_be_founded_again() {
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o700);
    for half in [".new/keys", "state"] {
        fs::create_dir_all(dir.path().join(half)).unwrap();
    }
    for half in [".new/keys/node_key", ".new/keys/state_key", "state/roster", "state/lease.new"] {
        fs::write(dir.path().join(half), b"half").unwrap();
    }
    let store = Store::new(dir.path());
    let lock = store.claim().unwrap();
    store.found(&lock, &Initial { secrets: &secrets(), cluster: CLUSTER, roster: b"whole" }).unwrap();
    assert_eq!(store.saved().unwrap().get(&DurableKind::Roster).unwrap(), b"whole");
    assert!(!dir.path().join(".new").exists());
}

#[test]
fn leftovers_that_stay_do_not_undo_a_node_that_is_founded() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("node"));
    let lock = store.claim().unwrap();
    // A file in the place of the directory cannot be removed as one.
    fs::write(store.dir().join(".joining"), b"").unwrap();
    store.found(&lock, &Initial { secrets: &secrets(), cluster: CLUSTER, roster: b"roster" }).unwrap();
    assert!(store.is_occupied());
}

#[test]
fn what_a_founding_that_was_killed_at_its_very_end_left_goes_at_the_next_start() {
    let (dir, store) = occupied();
    for leftover in [".new/keys", ".joining"] {
        fs::create_dir_all(dir.path().join(leftover)).unwrap();
    }
    fs::write(dir.path().join(".joining/node_key"), b"secret").unwrap();
    store.open().unwrap();
    assert!(!dir.path().join(".new").exists() && !dir.path().join(".joining").exists());
}

#[test]
fn what_is_removed_is_overwritten_unless_somebody_has_a_link_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let doomed = dir.path().join("doomed");
    fs::create_dir_all(doomed.join("deep")).unwrap();
    let [alone, linked, kept, backup] =
        [doomed.join("alone"), doomed.join("deep/linked"), dir.path().join("kept"), dir.path().join("backup")];
    for file in [&alone, &linked, &kept] {
        fs::write(file, b"secret").unwrap();
    }
    fs::hard_link(&linked, &backup).unwrap();
    std::os::unix::fs::symlink(&kept, doomed.join("symbolic")).unwrap();
    let mut open = fs::File::open(&alone).unwrap();
    remove(&doomed).unwrap();
    let mut left = Vec::new();
    io::Read::read_to_end(&mut open, &mut left).unwrap();
    assert_eq!(left, [0; 6]);
    assert!(!doomed.exists() && [&backup, &kept].iter().all(|file| fs::read(file).unwrap() == b"secret"));
}

#[test]
fn a_disk_that_refuses_leaves_no_node() {
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o700);
    // A directory in the way refuses even root.
    create_private_dir(&dir.path().join("cluster.json/in the way")).unwrap();
    let store = Store::new(dir.path());
    let lock = store.claim().unwrap();
    assert!(store.found(&lock, &Initial { secrets: &secrets(), cluster: CLUSTER, roster: b"" }).is_err());
    assert!(!store.is_occupied() && !dir.path().join(".new").exists());
}

#[test]
fn a_full_disk_is_worth_another_start_and_a_missing_directory_is_not() {
    let fault = |errno: Errno| StoreError::io("write", Path::new("/x"))(errno.into()).fault();
    assert_eq!([Errno::NOSPC, Errno::IO].map(fault), [Fault::Runtime; 2]);
    assert_eq!([Errno::NOENT, Errno::ACCESS].map(fault), [Fault::State; 2]);
}

#[test]
fn what_its_owner_made_read_only_is_overwritten_and_removed_and_what_cannot_be_is_removed_too() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, elsewhere) = (dir.path().join("keys"), dir.path().join("link"));
    fs::create_dir(&keys).unwrap();
    fs::write(keys.join("a"), b"secret").unwrap();
    fs::set_permissions(keys.join("a"), fs::Permissions::from_mode(0o400)).unwrap();
    let old = fs::File::open(keys.join("a")).unwrap();
    fs::write(keys.join("b"), b"kept in a backup of hard links").unwrap();
    fs::hard_link(keys.join("b"), &elsewhere).unwrap();
    staged::remove(&keys).unwrap();
    assert!(!keys.exists());
    assert_eq!(io::read_to_string(old).unwrap(), "\0".repeat(6));
    assert_eq!(fs::read_to_string(elsewhere).unwrap(), "kept in a backup of hard links");
    staged::remove(&keys).unwrap();
}
