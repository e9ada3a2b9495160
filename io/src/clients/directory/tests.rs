use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use rustbalance_core::onion::client::HsClientDescEncKeypair;

use super::*;
use crate::store::failing::at_every_step;

fn key(n: u8) -> HsClientDescEncKey {
    HsClientDescEncKeypair::from_bytes(&[n; 32]).public()
}

fn access(clients: &[(&str, u8)]) -> Access {
    Access::Restricted(clients.iter().map(|(name, n)| (name.parse().unwrap(), key(*n))).collect())
}

fn add(name: &str, n: u8) -> AccessChange {
    AccessChange::Add(name.parse().unwrap(), key(n))
}

fn remove(name: &str) -> AccessChange {
    AccessChange::Remove(name.parse().unwrap())
}

/// A directory that shows `clients`.
fn showing(clients: &[(&str, u8)]) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("authorized_clients");
    Look::take(&dir).unwrap().show(&dir, &access(clients)).unwrap();
    (root, dir)
}

fn write(dir: &Path, name: &str, n: u8) {
    fs::write(dir.join(format!("{name}.auth")), key(n).to_auth_line()).unwrap();
}

fn orders(dir: &Path, access: &Access) -> Vec<Vec<AccessChange>> {
    Look::take(dir).unwrap().orders(access).into_iter().map(|(_, order)| order).collect()
}

fn names(dir: &Path) -> Vec<String> {
    Look::take(dir).unwrap().files.keys().map(ToString::to_string).collect()
}

#[test]
fn what_is_written_changed_or_removed_is_an_order() {
    let in_force = [("alice", 1), ("bob", 2), ("carol", 3)];
    let (_root, dir) = showing(&in_force);
    assert_eq!(orders(&dir, &access(&in_force)), Vec::<Vec<_>>::new());
    fs::remove_file(dir.join("alice.auth")).unwrap();
    write(&dir, "bob", 9);
    write(&dir, "dave", 4);
    assert_eq!(
        orders(&dir, &access(&in_force)),
        [vec![remove("alice")], vec![remove("bob"), add("bob", 9)], vec![add("dave", 4)]]
    );
    // Done: nothing is left to order, and the directory counts as shown.
    let done = access(&[("bob", 9), ("carol", 3), ("dave", 4)]);
    let look = Look::take(&dir).unwrap();
    assert_eq!(orders(&dir, &done), Vec::<Vec<_>>::new());
    look.show(&dir, &done).unwrap();
    assert_eq!(names(&dir), ["bob", "carol", "dave"]);
}

#[test]
fn an_order_that_is_refused_stays_one_and_keeps_nothing_else_from_being_shown() {
    let (_root, dir) = showing(&[("alice", 1)]);
    write(&dir, "dave", 1);
    let now = access(&[("alice", 1), ("erin", 5)]);
    for _ in 0..2 {
        let look = Look::take(&dir).unwrap();
        assert_eq!(orders(&dir, &now), [vec![add("dave", 1)]]);
        look.show(&dir, &now).unwrap();
        assert_eq!(names(&dir), ["alice", "dave", "erin"]);
    }
}

#[test]
fn a_directory_that_is_merely_old_orders_nothing_and_is_brought_up_to_date() {
    let (_root, dir) = showing(&[("alice", 1), ("mallory", 2)]);
    let now = access(&[("alice", 7), ("erin", 5)]);
    let look = Look::take(&dir).unwrap();
    assert_eq!(orders(&dir, &now), Vec::<Vec<_>>::new());
    look.show(&dir, &now).unwrap();
    assert_eq!(names(&dir), ["alice", "erin"]);
    assert_eq!(Look::take(&dir).unwrap().files.values().copied().collect::<Vec<_>>(), [key(7), key(5)]);
    fs::remove_dir_all(&dir).unwrap();
    let look = Look::take(&dir).unwrap();
    assert_eq!(orders(&dir, &now), Vec::<Vec<_>>::new(), "a directory that is gone removes nobody");
    look.show(&dir, &now).unwrap();
    assert_eq!(names(&dir), ["alice", "erin"]);
}

#[test]
fn a_crash_between_two_files_orders_nothing_that_is_not_in_force() {
    let (_root, dir) = showing(&[("alice", 1), ("mallory", 2)]);
    // What a step wrote of alice and erin, without mallory, before it could say so in `.known`.
    fs::remove_file(dir.join("mallory.auth")).unwrap();
    write(&dir, "erin", 5);
    let now = access(&[("alice", 1), ("erin", 5)]);
    assert_eq!(orders(&dir, &now), Vec::<Vec<_>>::new());
}

#[test]
fn whatever_step_fails_nothing_is_taken_for_an_order_also_when_others_change_it_again_before_the_next_look() {
    let (then, now) = (access(&[("alice", 7), ("erin", 5)]), access(&[("alice", 8), ("mallory", 3)]));
    at_every_step(|trouble| {
        let (_root, dir) = showing(&[("alice", 1), ("mallory", 2)]);
        let look = Look::take(&dir).unwrap();
        _ = trouble.strike_at(|| look.show(&dir, &then));
        for now in [&then, &now] {
            assert_eq!(orders(&dir, now), Vec::<Vec<_>>::new());
        }
        Look::take(&dir).unwrap().show(&dir, &now).unwrap();
        assert_eq!(Look::take(&dir).unwrap().files.values().copied().collect::<Vec<_>>(), [key(8), key(3)]);
        write(&dir, "erin", 5);
        assert_eq!(orders(&dir, &now), [vec![add("erin", 5)]], "an order is one afterwards");
    });
}

#[test]
fn files_that_hold_no_key_are_named_and_remove_nobody() {
    let in_force = [("alice", 1)];
    let (_root, dir) = showing(&in_force);
    fs::write(dir.join("alice.auth"), "descriptor:x25519:").unwrap();
    write(&dir, "not a name", 3);
    fs::write(dir.join("README"), "anything").unwrap();
    let look = Look::take(&dir).unwrap();
    assert_eq!((orders(&dir, &access(&in_force)), look.problems.len()), (vec![], 2), "{:?}", look.problems);
    look.show(&dir, &access(&in_force)).unwrap();
    assert_eq!(fs::read_to_string(dir.join("alice.auth")).unwrap(), "descriptor:x25519:", "it is the operator's");
}

#[test]
fn each_file_that_is_no_clients_is_named_with_what_is_wrong_and_removes_nobody() {
    let in_force = [("alice", 1), ("bob", 2), ("carol", 3), ("dave", 4)];
    let (_root, dir) = showing(&in_force);
    in_force.iter().for_each(|(name, _)| fs::remove_file(dir.join(format!("{name}.auth"))).unwrap());
    fs::create_dir(dir.join("alice.auth")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.join("bob.auth")).unwrap();
    fs::write(dir.join("carol.auth"), key(3).to_auth_line() + &" ".repeat(1024)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("dave.auth")).unwrap();
    for name in [&b"not a name.auth"[..], b"\xff.auth", b".auth"] {
        fs::write(dir.join(std::ffi::OsStr::from_bytes(name)), key(5).to_auth_line()).unwrap();
    }
    let look = Look::take(&dir).unwrap();
    for (name, why) in [
        ("alice", "is not a file; put one with the client's key in its place"),
        ("bob", "cannot be read: No such file or directory (os error 2); see that it is there"),
        ("carol", "has more than 1024 bytes, and a client's file has one line"),
        ("dave", "is not a file; put one with the client's key in its place"),
        ("not a name", "a client's name has 1 to 32 letters"),
        ("\u{fffd}", "a client's name has 1 to 32 letters"),
        ("", "a client's name has 1 to 32 letters"),
    ] {
        let expected = format!("{}/{name}.auth: {why}", dir.display());
        let is_named = |problem: &String| problem.starts_with(&expected) && problem.ends_with("ignored until then");
        assert!(look.problems.iter().any(is_named), "{expected} in {:#?}", look.problems);
    }
    assert_eq!((orders(&dir, &access(&in_force)), look.problems.len()), (vec![], 7), "{:#?}", look.problems);
    look.show(&dir, &access(&in_force)).unwrap();
    assert_eq!(Look::take(&dir).unwrap().problems, look.problems, "they are the operator's");
}

#[test]
fn what_is_no_directory_of_ours_orders_nothing_and_is_named_with_what_is_wrong() {
    let (root, dir) = showing(&[("alice", 1)]);
    let refused = |why: &str| {
        let error = Look::take(&dir).unwrap_err().to_string();
        assert!(error.starts_with(&dir.display().to_string()) && error.contains(why), "{error}");
    };
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    refused("other users have access to it (mode 0755); run `chmod 700");
    fs::rename(&dir, root.path().join("away")).unwrap();
    fs::write(&dir, "").unwrap();
    refused("File exists (os error 17); move away what is in its place");
    fs::remove_file(&dir).unwrap();
    std::os::unix::fs::symlink("nowhere", &dir).unwrap();
    refused("File exists (os error 17); move away what is in its place");
}

#[test]
fn an_order_that_is_refused_is_named_by_its_file() {
    let (_root, dir) = showing(&[("alice", 1)]);
    write(&dir, "dave", 1);
    let (questions, asked) = smol::channel::unbounded::<Question>();
    let answering = smol::spawn(async move {
        let question = asked.recv().await.unwrap();
        question.answer.try_send(Answer::Refused("no".to_owned())).unwrap();
    });
    let problems = smol::block_on(step(Arc::new(dir.clone()), access(&[("alice", 1)]), &questions));
    smol::block_on(answering);
    assert_eq!(problems, [format!("{}/dave.auth: no", dir.display())].into());
}

#[test]
fn a_directory_with_too_many_files_orders_nothing_and_is_left_as_it_is() {
    let (_root, dir) = showing(&[("alice", 1)]);
    (0..FILES_MAX).for_each(|n| fs::write(dir.join(format!("{n}.txt")), "").unwrap());
    let before = fs::read_dir(&dir).unwrap().count();
    let (questions, asked) = smol::channel::unbounded();
    let now = access(&[("alice", 1), ("erin", 5)]);
    let problems = smol::block_on(step(Arc::new(dir.clone()), now, &questions));
    let expected = format!("{}: has more than 1024 entries, so nothing in it counts; remove all", dir.display());
    assert!(problems.len() == 1 && problems.first().unwrap().starts_with(&expected), "{problems:?}");
    assert!(asked.is_empty() && fs::read_dir(&dir).unwrap().count() == before);
}

#[test]
fn opening_the_address_empties_the_directory() {
    let (_root, dir) = showing(&[("alice", 1)]);
    let look = Look::take(&dir).unwrap();
    assert_eq!(orders(&dir, &Access::Open), Vec::<Vec<_>>::new());
    look.show(&dir, &Access::Open).unwrap();
    assert_eq!(names(&dir), Vec::<String>::new());
}
