//! Encrypted keys: nothing of them in the clear below the state directory, whatever a node does, and back again.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::node::{Node, Running};
use common::terminal::on_a_terminal;
use common::{Run, assert_refused, command, text};
use rustix::process::Signal;
use tempfile::TempDir;

const PASSPHRASE: &str = "correct horse battery";

/// All that is secret of a node.
const SECRETS: [&str; 4] = ["hs_ed25519_secret_key", "node_key", "wireguard_key", "cluster_token"];

/// A node with a passphrase, and a place in memory for its tor's copy.
struct Place {
    node: Node,
    memory: TempDir,
    /// As they were before they were encrypted.
    secrets: Vec<(&'static str, Vec<u8>)>,
}

impl Place {
    fn new() -> Self {
        Self::of(Node::new())
    }

    fn of(node: Node) -> Self {
        let memory = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
        let runtime = format!("[tor]\noptions = ['DisableNetwork 1']\nruntime_dir = '{}'\n", memory.path().display());
        node.configure(&runtime);
        let secret = |name| Some((name, fs::read(node.dir().join("keys").join(name)).ok()?));
        let secrets = SECRETS.into_iter().filter_map(secret).collect();
        let place = Self { node, memory, secrets };
        place.write("passphrase", PASSPHRASE);
        place
    }

    fn encrypted() -> Self {
        let place = Self::new();
        let run = place.key("encrypt", &[]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.node.root.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("room for a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
        path
    }

    fn key(&self, command: &str, more: &[&str]) -> Run {
        let file = self.path("passphrase");
        self.node.run(&[&["key", command, "--passphrase-file", text(&file)], more].concat())
    }

    /// Starts it and waits until it answers.
    fn start(&self) -> Running<'_> {
        let log = fs::File::create(self.node.log()).expect("room for a log");
        let file = self.path("passphrase");
        let mut running = self.node.spawn(&["run", "--passphrase-file", text(&file)], log, &[]);
        self.node.wait("a status", |node| {
            assert!(running.child.try_wait().expect("our child").is_none(), "it ended:\n{}", node.log_text());
            node.run(&["status"]).code == 0
        });
        running
    }

    /// Tor's directories in memory.
    fn in_memory(&self) -> Vec<PathBuf> {
        fs::read_dir(self.memory.path()).expect("readable").map(|entry| entry.expect("an entry").path()).collect()
    }

    fn assert_nothing_in_the_clear(&self) {
        for file in files_below(&self.node.dir()) {
            let bytes = fs::read(&file).expect("readable");
            for (name, secret) in &self.secrets {
                let needles = needles(name, secret);
                let found = bytes.windows(32).any(|window| needles.iter().any(|needle| needle == window));
                assert!(!found, "{name} in {}", file.display());
            }
        }
    }
}

/// Parts of a secret that betray it, of 32 bytes each: its text, and the bytes that the text stands for.
fn needles(name: &str, secret: &[u8]) -> Vec<Vec<u8>> {
    match name {
        // Tor's file: a header of 32 bytes, then the key.
        "hs_ed25519_secret_key" => vec![secret[32..64].to_vec(), secret[64..96].to_vec()],
        // A line of base64.
        _ => vec![secret[..32].to_vec(), BASE64_STANDARD.decode(secret.trim_ascii_end()).expect("base64")],
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("readable") {
        let entry = entry.expect("an entry");
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => files.extend(files_below(&entry.path())),
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}

#[test]
fn keys_are_encrypted_and_decrypted_and_every_command_that_needs_them_takes_the_passphrase() {
    let place = Place::encrypted();
    place.assert_nothing_in_the_clear();
    let keys = place.node.dir().join("keys");
    assert_eq!(fs::metadata(keys.join("state_key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_refused(&place.key("encrypt", &[]), 3, "encrypted already");

    let (out, token, backup) = (place.path("key"), place.path("token"), place.path("backup"));
    let shown = place.key("show", &[]);
    assert!(shown.code == 0 && shown.stdout.contains(".onion"), "{}", shown.stderr);
    assert_eq!(place.key("export", &["--out", text(&out)]).code, 0);
    assert!(fs::read(&out).unwrap() == place.secrets[0].1);
    let file = place.path("passphrase");
    let export = ["token", "export", "--out", text(&token), "--passphrase-file", text(&file)];
    assert_eq!(place.node.run(&export).code, 0);
    assert!(fs::read(&token).unwrap() == place.secrets[3].1);
    let args = ["key", "backup", "--out", text(&backup), "--passphrase-file", text(&file)];
    let made = place.node.run(&[&args[..], &["--keys-passphrase-file", text(&file)]].concat());
    assert_eq!((made.code, made.stderr.as_str()), (0, ""));
    assert_refused(&place.node.run(&["key", "show"]), 2, "with --passphrase-file");

    assert_eq!(place.key("decrypt", &[]).code, 0);
    for (name, secret) in &place.secrets {
        assert!(fs::read(keys.join(name)).unwrap() == *secret, "{name}");
    }
    assert!(!keys.join("state_key").exists() && !place.node.dir().join(".new").exists());
    assert_refused(&place.key("decrypt", &[]), 3, "are not encrypted");
    assert_refused(&place.key("passphrase", &[]), 3, "are not encrypted");
}

#[test]
fn a_new_node_can_have_encrypted_keys_from_the_beginning() {
    let node = Node::unfounded();
    let file = node.root.path().join("passphrase");
    fs::write(&file, PASSPHRASE).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_refused(&node.run(&["init", "--keys-passphrase-file", text(&file)]), 2, "--encrypt-keys");
    let run = node.run(&["init", "--encrypt-keys", "--keys-passphrase-file", text(&file)]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for name in SECRETS {
        assert!(fs::read(node.dir().join("keys").join(name)).unwrap().starts_with(b"RBSECRET"), "{name}");
    }
    let shown = node.run(&["key", "show", "--passphrase-file", text(&file)]).stdout;
    assert!(shown.starts_with(run.stdout.lines().next().unwrap()), "{shown}");
}

#[test]
fn a_wrong_passphrase_is_refused_in_words_and_changes_nothing() {
    let place = Place::encrypted();
    let before = files_below(&place.node.dir().join("keys")).into_iter().map(|file| fs::read(file).unwrap());
    let before: Vec<_> = before.collect();
    place.write("passphrase", "correct horse batterx");
    let file = place.path("passphrase");
    let run = place.node.run(&["run", "--log-level", "error", "--passphrase-file", text(&file)]);
    assert_refused(&run, 3, "state_key: whole, but the passphrase is another one");
    for command in ["show", "decrypt"] {
        assert_refused(&place.key(command, &[]), 3, "the passphrase is another one");
    }
    let new = place.write("new", "battery horse correct");
    assert_refused(
        &place.key("passphrase", &["--new-passphrase-file", text(&new)]),
        3,
        "the passphrase is another one",
    );
    let after: Vec<_> =
        files_below(&place.node.dir().join("keys")).into_iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(before == after);
    assert!(place.in_memory().is_empty());
}

#[test]
fn a_new_passphrase_opens_what_the_old_one_opens_no_more() {
    let place = Place::encrypted();
    let new = place.write("new", "battery horse correct");
    assert_eq!(place.key("passphrase", &["--new-passphrase-file", text(&new)]).code, 0);
    assert_refused(&place.key("show", &[]), 3, "the passphrase is another one");
    place.write("passphrase", "battery horse correct");
    assert_eq!(place.key("show", &[]).code, 0);
}

#[test]
fn a_node_with_encrypted_keys_runs_and_leaves_no_secret_on_the_disk_nor_in_memory() {
    let place = Place::encrypted();
    let running = place.start();
    assert_eq!(place.in_memory().len(), 1);
    let copy = place.in_memory()[0].join("hs/hs_ed25519_secret_key");
    place.node.wait("tor's copy", |_| fs::read(&copy).is_ok_and(|bytes| bytes == place.secrets[0].1));
    assert!(!place.node.dir().join("tor/hs").exists());
    assert_refused(&place.key("decrypt", &[]), 3, "in use by another rustbalance");
    let new = place.write("new", "battery horse correct");
    assert_refused(&place.key("passphrase", &["--new-passphrase-file", text(&new)]), 3, "in use by another");

    let client = place.node.run(&["clients", "add", "alice"]);
    assert_eq!(client.code, 0, "{}", client.stderr);
    let authorized = place.in_memory()[0].join("hs/authorized_clients/alice.auth");
    place.node.wait("tor's list of clients", |_| authorized.exists());
    assert!(!place.node.dir().join("tor/hs").exists());

    let token = place.node.dir().join("keys/cluster_token");
    let before = fs::read(&token).unwrap();
    let rotated = place.node.run(&["token", "rotate"]);
    assert!(rotated.code == 0 && rotated.stdout.contains("token export"), "{}", rotated.stderr);
    assert!(fs::read(&token).unwrap() != before);
    place.assert_nothing_in_the_clear();
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0), "{}", place.node.log_text());
    assert_eq!(place.in_memory(), [] as [PathBuf; 0]);

    let file = place.path("passphrase");
    let export = ["token", "export", "--out", "-", "--passphrase-file", text(&file)];
    let now = place.node.run(&export);
    assert!(now.code == 0 && now.stdout.len() == 45 && now.stdout.as_bytes() != place.secrets[3].1, "{}", now.stderr);
    assert!(!fs::read(&token).unwrap().windows(32).any(|window| window == &now.stdout.as_bytes()[..32]));
}

#[test]
fn a_killed_node_leaves_its_copy_in_memory_and_the_next_start_has_its_own() {
    let place = Place::encrypted();
    let running = place.start();
    running.signal(Signal::KILL);
    running.end();
    let stale = place.in_memory();
    assert_eq!(stale.len(), 1);
    fs::write(stale[0].join("stale"), b"left").unwrap();
    let running = place.start();
    assert!(place.in_memory() == stale && !stale[0].join("stale").exists());
    running.signal(Signal::KILL);
    running.end();
    place.node.wait("tor's end", |node| common::node::pids_naming(&node.dir().join("tor")).is_empty());
    // And a start that needs none has none.
    assert_eq!(place.key("decrypt", &[]).code, 0);
    let running = place.node.start();
    assert!(place.in_memory().is_empty());
    running.signal(Signal::TERM);
    running.end();
}

#[test]
fn what_tor_had_in_the_clear_before_is_gone_once_the_keys_are_encrypted() {
    let place = Place::new();
    let running = place.node.start();
    let copy = place.node.dir().join("tor/hs/hs_ed25519_secret_key");
    place.node.wait("tor's copy", |_| copy.exists());
    assert_refused(&place.key("encrypt", &[]), 3, "in use by another rustbalance");
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    assert_eq!(place.key("encrypt", &[]).code, 0);
    place.assert_nothing_in_the_clear();
    assert!(!copy.exists());
}

#[test]
fn a_node_that_joined_with_encrypted_keys_and_leaves_leaves_nothing() {
    let (member, place) = (Node::new(), Place::of(Node::unfounded()));
    let _member = member.start();
    let file = place.path("passphrase");
    let encrypted = ["--encrypt-keys", "--keys-passphrase-file", text(&file)];
    let joined = place.node.run(&[&member.join_command()[..], &encrypted].concat());
    assert_eq!(joined.code, 0, "{}\n{}", joined.stderr, member.log_text());
    let running = place.start();
    assert_eq!(place.in_memory().len(), 1);
    let left = place.node.run(&["leave", "--force", "--forget", "--yes"]);
    assert_eq!(left.code, 0, "{}\n{}", left.stderr, place.node.log_text());
    running.end();
    assert!(place.in_memory().is_empty() && !place.node.dir().join("keys").exists());
}

#[test]
fn a_directory_on_a_disk_is_no_place_for_tors_copy() {
    let place = Place::encrypted();
    // The usual place for temporary files is in memory on some machines.
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    place.node.configure(&format!("[tor]\nruntime_dir = '{}'\n", disk.path().display()));
    let file = place.path("passphrase");
    let run = place.node.run(&["run", "--log-level", "error", "--passphrase-file", text(&file)]);
    assert_refused(&run, 2, "not in memory");
    assert!(run.stderr.contains("tor.runtime_dir"), "{}", run.stderr);
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
}

#[test]
fn a_place_that_cannot_be_had_for_tors_copy_is_named_with_the_way_out() {
    let place = Place::encrypted();
    place.node.configure("[tor]\nruntime_dir = '/proc/nowhere'\n");
    let file = place.path("passphrase");
    let run = place.node.run(&["run", "--log-level", "error", "--passphrase-file", text(&file)]);
    assert_refused(&run, 2, "/proc/nowhere: cannot be used");
    assert!(run.stderr.contains("tor.runtime_dir"), "{}", run.stderr);
}

#[test]
fn a_passphrase_is_typed_twice_when_it_is_new_and_once_when_it_is_known() {
    let place = Place::new();
    let (dir, line) = (place.node.dir(), format!("{PASSPHRASE}\n"));
    let on = |command: &str, lines: &[&str]| on_a_terminal(&["key", command, "--dir", text(&dir)], lines);
    let (done, shown) = on("encrypt", &[&line, "correct horse batterx\n"]);
    assert!(!done && shown.contains("differ") && !dir.join("keys/state_key").exists(), "{shown}");
    let (done, shown) = on("encrypt", &[&line, &line]);
    assert!(done && dir.join("keys/state_key").exists() && !shown.contains("horse"), "{shown}");
    let (done, shown) = on("show", &[&line]);
    assert!(done && shown.contains(".onion") && !shown.contains("horse"), "{shown}");
    let new = "battery horse correct\n";
    let (done, shown) = on("passphrase", &[&line, new, new]);
    assert!(done && shown.contains("new passphrase"), "{shown}");
    let (done, shown) = on("decrypt", &[new]);
    assert!(done && !dir.join("keys/state_key").exists(), "{shown}");
}

#[test]
fn the_passphrase_may_be_a_credential() {
    let place = Place::encrypted();
    let credentials = place.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::copy(place.path("passphrase"), credentials.join("passphrase")).unwrap();
    let dir = place.node.dir();
    let mut show = command(["key", "show", "--dir", text(&dir)]);
    let run: Run = show.env("CREDENTIALS_DIRECTORY", &credentials).output().unwrap().into();
    assert!(run.code == 0 && run.stdout.contains(".onion"), "{}", run.stderr);
}

#[test]
fn a_tor_that_somebody_else_runs_reads_a_key_that_is_not_covered_and_that_is_said() {
    let place = Place::encrypted();
    assert_eq!(place.node.run(&["config", "check"]).stderr, "");
    // Without a password the node does not start.
    place.node.configure("[tor]\nattach = 'unix:/nowhere/control'\npassword_file = '/nowhere/password'\n");
    let config = place.node.run(&["config", "check"]);
    let words = "lies in the clear in /var/lib/tor/rustbalance (tor.service_dir)";
    assert!(config.code == 0 && config.stderr.contains(words), "{}", config.stderr);
    let file = place.path("passphrase");
    for (command, code) in [(&["tor", "lines"][..], 0), (&["tor", "check"], 3), (&["run", "--log-level", "warn"], 3)] {
        let run = place.node.run(&[command, &["--passphrase-file", text(&file)]].concat());
        assert!(run.code == code && run.stderr.contains(words), "{command:?}: {} {}", run.code, run.stderr);
    }
}

#[test]
fn a_file_among_the_keys_that_is_none_stays_and_hinders() {
    let place = Place::new();
    let own = place.node.dir().join("keys/notes");
    fs::write(&own, b"precious").unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o600)).unwrap();
    assert_refused(&place.key("encrypt", &[]), 3, "notes: is none of the node's keys; nothing was changed");
    assert_eq!(fs::read(&own).unwrap(), b"precious");
    assert_eq!(place.node.run(&["key", "show"]).code, 0);
}

/// What the kernel says of a process.
fn kernel_says(pid: u32, file: &str, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a process");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_running_node_has_locked_memory_and_leaves_no_core_dump() {
    let place = Place::encrypted();
    let running = place.start();
    let pid = running.child.id();
    let locked = kernel_says(pid, "status", "VmLck:");
    assert!(locked != "0 kB", "{locked}");
    assert_eq!(kernel_says(pid, "limits", "Max core file size"), "0 0 bytes");
    for tor in common::node::pids_naming(&place.node.dir().join("tor")) {
        assert_eq!(kernel_says(tor, "limits", "Max core file size"), "0 0 bytes");
    }
    running.signal(Signal::TERM);
    running.end();
}
