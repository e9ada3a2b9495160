//! `key backup` and `restore`: what comes back, and what is refused without a trace.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use common::terminal::on_a_terminal;
use common::{Run, assert_refused, command, rustbalance, text};
use rustbalance_core::backup::{Backup, Sealed};
use rustbalance_core::cluster::Access;
use rustbalance_core::onion::client::HsClientDescEncKeypair;
use rustbalance_core::onion::key::HsIdKeypair;
use rustbalance_core::passphrase::Passphrase;
use rustbalance_core::rng::Seed;
use rustbalance_io::store::Store;
use tempfile::TempDir;

const PASSPHRASE: &str = "correct horse battery\n";

/// A node's directory, a passphrase, and a place for backups.
struct Place {
    root: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { root: tempfile::tempdir().expect("a directory for the test") };
        place.write("passphrase", PASSPHRASE.as_bytes());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("room for a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
        path
    }

    /// Founds a node in `dir` and says its address.
    fn init(&self, dir: &str) -> String {
        let run = rustbalance(["init", "--target", "127.0.0.1:1", "--port", "8081", "--dir", text(&self.path(dir))]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.stdout.lines().next().expect("an address").to_owned()
    }

    fn back_up(&self, dir: &str, out: &str) -> Run {
        let (dir, out, passphrase) = (self.path(dir), self.path(out), self.path("passphrase"));
        let args = ["key", "backup", "--out", text(&out), "--passphrase-file", text(&passphrase)];
        rustbalance(args.into_iter().chain(["--dir", text(&dir)]))
    }

    fn restore(&self, file: &str, dir: &str, more: &[&str]) -> Run {
        let (dir, file, passphrase) = (self.path(dir), self.path(file), self.path("passphrase"));
        let args = ["key", "restore", "--file", text(&file), "--passphrase-file", text(&passphrase)];
        let node = ["--target", "127.0.0.1:1", "--dir", text(&dir)];
        rustbalance(args.into_iter().chain(node).chain(more.iter().copied()))
    }
}

/// A backup of an address that is for one client alone.
fn restricted() -> (Access, Vec<u8>) {
    let key = HsClientDescEncKeypair::from_bytes(&[9; 32]).public();
    let access = Access::Restricted([("alice".parse().expect("a name"), key)].into());
    let master = HsIdKeypair::from_seed(&[7; 32]);
    let backup = Backup { master, access: access.clone(), port: 80 };
    let passphrase = Passphrase::from_text(PASSPHRASE.as_bytes()).expect("one");
    (access, backup.seal(&passphrase, &mut Seed::new([1; 32]).fork("backup")).expect("a file"))
}

#[test]
fn an_operator_who_lost_every_machine_gets_address_and_port_back_as_a_new_node() {
    let place = Place::new();
    let address = place.init("old");
    let made = place.back_up("old", "backup");
    assert_eq!((made.code, made.stderr.as_str()), (0, ""));
    assert!(made.stdout.contains(&address), "{}", made.stdout);
    assert_eq!(fs::metadata(place.path("backup")).unwrap().permissions().mode() & 0o777, 0o600);
    let run = place.restore("backup", "new", &["--address", &address]);
    assert_eq!((run.code, run.stdout.lines().next()), (0, Some(address.as_str())), "{}", run.stderr);
    let config = fs::read_to_string(place.path("new/rustbalance.toml")).unwrap();
    assert!(config.contains("port = 8081"), "{config}");
    for (name, same) in [("hs_ed25519_secret_key", true), ("node_key", false), ("wireguard_key", false)] {
        let read = |dir: &str| fs::read(place.path(dir).join("keys").join(name)).unwrap();
        assert_eq!(read("old") == read("new"), same, "{name}");
    }
    assert_ne!(fs::read(place.path("old/cluster.json")).unwrap(), fs::read(place.path("new/cluster.json")).unwrap());
}

#[test]
fn a_restricted_address_comes_back_restricted() {
    let place = Place::new();
    let (access, file) = restricted();
    place.write("backup", &file);
    let run = place.restore("backup", "node", &["--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("\nThe address is restricted to 1 authorised client; "), "{}", run.stdout);
    let again = rustbalance_io::backup::collect(&Store::new(place.path("node")), 80).unwrap();
    assert_eq!(again.access, access);
    assert_eq!(place.back_up("node", "again").code, 0);
    let again = fs::read(place.path("again")).unwrap();
    let passphrase = Passphrase::from_text(PASSPHRASE.as_bytes()).unwrap();
    assert_eq!(Sealed::parse(&again).unwrap().open(&passphrase).unwrap().access, access);
}

#[test]
fn a_bad_backup_is_refused_by_name_and_leaves_nothing() {
    let (_, good) = restricted();
    let flipped = |at: usize| {
        let mut file = good.clone();
        file[at] ^= 1;
        file
    };
    for (file, says) in [
        (&good[..good.len() - 1], "cut off"),
        (&flipped(100)[..], "damaged"),
        (&flipped(8), "a backup of version 0"),
        (b"age-encryption.org/v1\n", "not a backup"),
        (b"", "not a backup"),
    ] {
        let place = Place::new();
        place.write("backup", file);
        assert_refused(&place.restore("backup", "node", &["--yes"]), 3, says);
        assert!(!place.path("node").exists(), "{says}");
    }
    let place = Place::new();
    place.write("backup", &good);
    place.write("passphrase", b"correct horse batterx");
    assert_refused(&place.restore("backup", "node", &["--yes"]), 3, "the passphrase is another one");
    place.write("passphrase", b"short");
    assert_refused(&place.restore("backup", "node", &["--yes"]), 3, "at least 12 characters");
    place.write("passphrase", PASSPHRASE.as_bytes());
    assert_refused(&place.restore("backup", "node", &[]), 2, "confirm that with --address");
    assert_refused(&place.restore("missing", "node", &["--yes"]), 3, "missing: cannot read");
    assert!(!place.path("node").exists());
}

#[test]
fn nothing_is_overwritten() {
    let place = Place::new();
    place.init("node");
    assert_eq!(place.back_up("node", "backup").code, 0);
    let before = fs::read(place.path("backup")).unwrap();
    assert_refused(&place.back_up("node", "backup"), 3, "exists already");
    assert_eq!(fs::read(place.path("backup")).unwrap(), before);
    assert_refused(&place.restore("backup", "node", &["--yes"]), 3, "holds a node already; nothing was changed");
    assert_refused(&place.back_up("elsewhere", "other"), 2, "no such file");
}

#[test]
fn a_node_whose_list_of_clients_is_damaged_is_not_backed_up() {
    let place = Place::new();
    place.write("backup", &restricted().1);
    assert_eq!(place.restore("backup", "node", &["--yes"]).code, 0);
    let roster = place.path("node/state/roster");
    let mut bytes = fs::read(&roster).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&roster, bytes).unwrap();
    assert_refused(&place.back_up("node", "again"), 3, "nobody knows who may connect");
    assert!(!place.path("again").exists());
}

#[test]
fn a_passphrase_that_is_typed_is_asked_for_twice_and_never_shown() {
    let place = Place::new();
    place.init("node");
    let (dir, out) = (place.path("node"), place.path("backup"));
    let args = ["key", "backup", "--out", text(&out), "--dir", text(&dir)];
    let (done, shown) = on_a_terminal(&args, &[PASSPHRASE, "correct horse batterx\n"]);
    assert!(!done && shown.contains("differ") && !out.exists(), "{shown}");
    let (done, shown) = on_a_terminal(&args, &["correct\u{3}"]);
    assert!(!done && !out.exists(), "{shown}");
    let (done, shown) = on_a_terminal(&args, &[PASSPHRASE, PASSPHRASE]);
    assert!(done && out.exists() && !shown.contains("horse"), "{shown}");
    let restored = place.path("restored");
    let args = ["key", "restore", "--file", text(&out), "--target", "a:1", "--dir", text(&restored)];
    let (done, shown) = on_a_terminal(&args, &[PASSPHRASE, "yes\n"]);
    assert!(done && restored.join("keys").exists(), "{shown}");
}

#[test]
fn a_credential_of_systemd_may_be_its_groups_to_read() {
    let place = Place::new();
    let credentials = place.path("credentials");
    fs::create_dir(&credentials).unwrap();
    let key = place.write("credentials/master-key", &HsIdKeypair::from_seed(&[7; 32]).to_tor_file());
    // That is what an access list for the service's user looks like.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o440)).unwrap();
    let show = |dir: &str| -> Run {
        let args = ["key", "show", "--file", text(&key)];
        command(args).env("CREDENTIALS_DIRECTORY", dir).output().unwrap().into()
    };
    assert_eq!(show(text(&credentials)).code, 0);
    assert_refused(&show(text(place.root.path())), 3, "other users have access to it (mode 0440)");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o444)).unwrap();
    assert_refused(&show(text(&credentials)), 3, "other users have access to it (mode 0444)");
}
