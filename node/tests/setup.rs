//! `init` and `join`: what they write, what they refuse, and that a refusal leaves nothing behind.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Run, assert_refused, command, rustbalance, text};
use rustbalance_core::time::Wall;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service of C tor: its key file and the address tor wrote beside it.
const TOR_SERVICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/testdata/ctor/cases/plain-3ip");
const PUBKEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

/// A place for one node, its directory `dir` not made yet.
struct Place {
    root: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { root: tempfile::tempdir().expect("a directory for the test") }
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("node")
    }

    fn run(&self, args: &[&str]) -> Run {
        let dir = self.dir();
        rustbalance(args.iter().copied().chain(["--dir", text(&dir)]))
    }

    /// Writes a file beside the node's directory.
    fn file(&self, name: &str, content: &[u8], mode: u32) -> String {
        let path = self.root.path().join(name);
        fs::write(&path, content).expect("room for a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our own file");
        text(&path).to_owned()
    }

    fn tor_key(&self) -> String {
        self.file(
            "hs_ed25519_secret_key",
            &fs::read(format!("{TOR_SERVICE}/hs_ed25519_secret_key")).expect("tor's key"),
            0o600,
        )
    }

    /// Every path below the node's directory with its mode and content, but for the lock, which names its last holder.
    fn tree(&self) -> Vec<(PathBuf, u32, Vec<u8>)> {
        let mut found = Vec::new();
        walk(&self.dir(), &mut found);
        found.retain(|(path, _, _)| !path.ends_with("lock"));
        found.sort();
        found
    }

    /// No key, no configuration: as before.
    fn assert_holds_no_node(&self) {
        for name in ["keys", "state", "cluster.json", "rustbalance.toml"] {
            assert!(!self.dir().join(name).exists(), "{name}");
        }
    }
}

fn walk(path: &Path, found: &mut Vec<(PathBuf, u32, Vec<u8>)>) {
    let metadata = fs::metadata(path).expect("there");
    let content = if metadata.is_dir() { Vec::new() } else { fs::read(path).expect("readable") };
    found.push((path.to_owned(), metadata.permissions().mode() & 0o7777, content));
    if metadata.is_dir() {
        for entry in fs::read_dir(path).expect("readable") {
            walk(&entry.expect("readable").path(), found);
        }
    }
}

fn tor_address() -> String {
    fs::read_to_string(format!("{TOR_SERVICE}/hostname")).expect("tor's address").trim().to_owned()
}

#[test]
fn init_writes_a_private_directory_and_says_how_others_join() {
    let place = Place::new();
    let run = place.run(&["init", "--target", "127.0.0.1:8080", "--endpoint", "a.example:7901", "--name", "one"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    for (path, mode, _) in place.tree() {
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert!(mode == wanted || path.ends_with("cluster.json"), "{path:?} {mode:o}");
    }
    let address = run.stdout.lines().next().unwrap();
    assert!(address.len() == 62 && address.ends_with(".onion"), "{address}");
    let join = format!("rustbalance join --master-onion {address} --peer-endpoint a.example:7901 --peer-pubkey ");
    assert!(run.stdout.contains(&join), "{}", run.stdout);
    let copies = format!("--cluster-token-file {0}/cluster_token --master-key-file {0}/hs_ed25519", text(&place.dir()));
    assert!(run.stdout.contains(&copies), "{}", run.stdout);
    let config = fs::read_to_string(place.dir().join("rustbalance.toml")).unwrap();
    assert!(config.ends_with(
        "\nname = \"one\"\n\n[mesh]\nlisten = \"0.0.0.0:7901\"\nendpoint = \"a.example:7901\"\n\n[service]\ntarget = \"127.0.0.1:8080\"\n"
    ), "{config}");
    assert_eq!(place.run(&["config", "check"]).code, 0);
}

#[test]
fn init_prints_one_json_object_and_no_secret() {
    let place = Place::new();
    let run = place.run(&["init", "--target", "unix:/run/a b.sock", "--json"]);
    assert_eq!((run.code, run.stdout.lines().count()), (0, 1), "{}", run.stderr);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let dir = place.dir();
    assert_eq!(report["dir"], text(&dir));
    assert_eq!(report["peer_endpoint"], serde_json::Value::Null);
    assert_eq!(report["node"].as_str().unwrap().len(), 64);
    let join: Vec<_> = report["join"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(join[..3], ["rustbalance", "join", "--master-onion"]);
    assert!(join.contains(&text(&dir.join("keys/cluster_token"))), "{join:?}");
    for name in ["cluster_token", "node_key", "wireguard_key"] {
        let secret = fs::read_to_string(dir.join("keys").join(name)).unwrap();
        assert!(!run.stdout.contains(secret.trim()), "{name}");
    }
}

#[test]
fn init_refuses_a_directory_that_holds_a_node_and_changes_nothing() {
    let place = Place::new();
    assert_eq!(place.run(&["init", "--target", "127.0.0.1:8080"]).code, 0);
    let before = place.tree();
    let run = place.run(&["init", "--target", "127.0.0.1:8080"]);
    assert_refused(&run, 3, "holds a node already; nothing was changed");
    assert!(place.tree() == before);
}

#[test]
fn init_without_a_target_says_so() {
    let place = Place::new();
    assert_refused(&place.run(&["init"]), 2, "--target: missing; say where your application listens");
    assert!(!place.dir().exists());
}

#[test]
fn init_refuses_bad_flags_before_it_writes_anything() {
    let place = Place::new();
    for (flag, value, expected) in [
        ("--target", "", "--target: \"\" is not allowed; use \"HOST:PORT\""),
        ("--target", "nowhere", "--target: \"nowhere\" is not allowed"),
        ("--endpoint", "nowhere", "--endpoint: \"nowhere\" is not allowed; use \"HOST:PORT\""),
        ("--endpoint", "HOST:7900", "--endpoint \"HOST:7900\": HOST stands for this machine's own name or address"),
        ("--listen", "localhost:1", "--listen: \"localhost:1\" is not allowed; use \"IP:PORT\""),
        ("--name", "a name that is much longer than a name may be", "use 1 to 32 bytes of text"),
        ("--port", "0", "--port: 0 is not allowed; use 1 to 65535"),
    ] {
        let target = if flag == "--target" { &[][..] } else { &["--target", "a:1"] };
        let run = place.run(&[&["init", flag, value], target].concat());
        assert_refused(&run, 2, expected);
        assert!(!place.dir().exists());
    }
}

#[test]
fn init_keeps_the_address_of_an_imported_key() {
    let place = Place::new();
    let key = place.tor_key();
    let run = place.run(&["init", "--target", "127.0.0.1:8080", "--import-key", &key]);
    assert_eq!((run.code, run.stdout.lines().next()), (0, Some(tor_address().as_str())), "{}", run.stderr);
    let kept = fs::read(place.dir().join("keys/hs_ed25519_secret_key")).unwrap();
    assert!(kept == fs::read(key).unwrap());
}

#[test]
fn init_refuses_a_bad_key_and_writes_nothing() {
    let place = Place::new();
    let good = fs::read(place.tor_key()).unwrap();
    let mut header = good.clone();
    header[5] ^= 1;
    let files = [
        (place.file("open", &good, 0o640), "other users have access to it (mode 0640)"),
        (place.file("header", &header, 0o600), "its header is not"),
        (place.file("short", &good[..95], 0o600), "95 bytes instead of the 96"),
        (place.file("empty", b"", 0o600), "0 bytes instead of the 96"),
        (text(&place.root.path().join("missing")).to_owned(), "missing: cannot read: No such file"),
    ];
    for (file, expected) in files {
        let run = place.run(&["init", "--target", "127.0.0.1:8080", "--import-key", &file]);
        assert_refused(&run, 3, expected);
        place.assert_holds_no_node();
    }
}

#[test]
fn init_founds_no_node_whose_configuration_cannot_be_written() {
    let place = Place::new();
    let nowhere = place.root.path().join("missing/node.toml");
    let run = place.run(&["init", "--target", "127.0.0.1:8080", "--config", text(&nowhere)]);
    assert_refused(&run, 3, "missing/node.toml: cannot be created: ");
    place.assert_holds_no_node();
    assert_eq!(place.run(&["init", "--target", "127.0.0.1:8080"]).code, 0);
}

#[test]
fn init_that_fails_takes_its_configuration_file_away_again() {
    let place = Place::new();
    assert_eq!(place.run(&["init", "--target", "127.0.0.1:8080"]).code, 0);
    let config = place.root.path().join("second.toml");
    let run = place.run(&["init", "--target", "127.0.0.1:8080", "--config", text(&config)]);
    assert_refused(&run, 3, "holds a node already; nothing was changed");
    assert!(!config.exists());
}

#[test]
fn init_uses_an_existing_configuration_as_it_is() {
    let place = Place::new();
    fs::create_dir(place.dir()).unwrap();
    fs::set_permissions(place.dir(), fs::Permissions::from_mode(0o700)).unwrap();
    let config = place.dir().join("rustbalance.toml");
    let text = "name = 'kept'\n[service]\ntarget = '127.0.0.1:8080'\n";
    fs::write(&config, text).unwrap();
    let run = place.run(&["init", "--target", "127.0.0.1:8081"]);
    assert_refused(&run, 2, "--target \"127.0.0.1:8081\" contradicts service.target = \"127.0.0.1:8080\" in ");
    assert!(!place.dir().join("keys").exists());
    let run = place.run(&["init", "--target", "127.0.0.1:8080"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(fs::read_to_string(config).unwrap(), text);
}

fn join(place: &Place, change: (&str, &str)) -> Run {
    let args = join_flags(place, change);
    place.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The flags of a join that is right but for what `change` replaces.
fn join_flags(place: &Place, change: (&str, &str)) -> Vec<String> {
    let (key, token) = (place.tor_key(), place.file("token", format!("{}\n", "A".repeat(43) + "=").as_bytes(), 0o600));
    let address = tor_address();
    let mut args = vec!["join".to_owned()];
    for (flag, value) in [
        ("--master-onion", address.as_str()),
        ("--peer-endpoint", "127.0.0.1:9"),
        ("--peer-pubkey", PUBKEY),
        ("--cluster-token-file", &token),
        ("--master-key-file", &key),
        ("--target", "127.0.0.1:8080"),
    ] {
        args.extend([flag, if flag == change.0 { change.1 } else { value }].map(str::to_owned));
    }
    args
}

#[test]
fn join_refuses_bad_input_and_writes_nothing() {
    let place = Place::new();
    let other = place.file("other", b"not a token\n", 0o600);
    let open = place.file("open", b"", 0o604);
    let wrong_address = "duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion";
    for (flag, value, code, expected) in [
        ("--master-onion", "abc.onion", 2, "--master-onion \"abc.onion\": a v3 onion address has 56 characters"),
        ("--master-onion", wrong_address, 3, "the master key is not the key of "),
        (
            "--peer-endpoint",
            "HOST:7900",
            2,
            "--peer-endpoint \"HOST:7900\": HOST stands for the member's name or address",
        ),
        ("--peer-endpoint", "host", 2, "--peer-endpoint \"host\": not HOST:PORT"),
        ("--peer-pubkey", "abc", 2, "--peer-pubkey \"abc\": not a WireGuard key"),
        ("--cluster-token-file", &other, 3, "not a cluster token"),
        ("--cluster-token-file", &open, 3, "other users have access to it"),
        ("--master-key-file", &other, 3, "not the key of an onion service"),
        ("--target", "nowhere", 2, "--target: \"nowhere\" is not allowed"),
    ] {
        let run = join(&place, (flag, value));
        assert_refused(&run, code, expected);
        place.assert_holds_no_node();
    }
}

#[test]
fn join_reads_one_secret_from_standard_input_at_most() {
    let place = Place::new();
    let args = ["join", "--master-onion", "a", "--peer-endpoint", "a:1", "--peer-pubkey", PUBKEY, "--target", "a:1"];
    let run = place.run(&[&args[..], &["--cluster-token-file", "-", "--master-key-file", "-"]].concat());
    assert_refused(&run, 2, "both are -; give one of them as a file");
}

#[test]
fn join_gives_up_on_a_member_that_does_not_answer() {
    let place = Place::new();
    // Bound and never read: nobody answers, and nobody else can.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let endpoint = silent.local_addr().unwrap().to_string();
    let run = join(&place, ("--peer-endpoint", &endpoint));
    assert_refused(&run, 4, &format!("{endpoint}: no answer within "));
    place.assert_holds_no_node();
}

#[test]
fn join_that_is_stopped_while_it_waits_leaves_nothing_behind() {
    let place = Place::new();
    let member = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    member.set_read_timeout(Some(PATIENCE)).unwrap();
    let flags = join_flags(&place, ("--peer-endpoint", &member.local_addr().unwrap().to_string()));
    let dir = place.dir();
    let joining = command(flags.iter().map(String::as_str).chain(["--dir", text(&dir)]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It knocks: it waits for an answer.
    member.recv(&mut [0; 2048]).unwrap();
    assert!(dir.join("rustbalance.toml").exists());
    kill_process(Pid::from_child(&joining), Signal::INT).unwrap();
    let run = joining.wait_with_output().unwrap().into();
    assert_refused(&run, 1, "stopped before the node had joined");
    place.assert_holds_no_node();
}

/// A well-formed invite of [`TOR_SERVICE`]'s address, good until `expires`.
fn invite(expires: u64) -> String {
    let address = tor_address().parse().expect("tor's address");
    let rng = &mut rustbalance_core::rng::Seed::new([1; 32]).fork("invite");
    let invite = rustbalance_core::invite::Invite::new(address, 80, Wall::from_secs(expires), rng);
    invite.expose_line().to_string()
}

/// One that was good until 1970.
fn expired_invite() -> String {
    invite(1)
}

#[test]
fn a_tor_that_never_gets_going_holds_join_up_no_longer_than_its_timeout() {
    let place = Place::new();
    let script = "#!/bin/sh\ncase \"$*\" in *--version*) echo 'Tor version 0.4.8.9.';; *) exec sleep 300;; esac\n";
    let tor = place.file("tor", script.as_bytes(), 0o700);
    let config =
        place.file("config", format!("service.target = '127.0.0.1:1'\ntor.binary = '{tor}'\n").as_bytes(), 0o600);
    let file = place.file("invite", invite(u64::MAX).as_bytes(), 0o600);
    let started = Instant::now();
    let run = place.run(&["join", "--invite-file", &file, "--config", &config, "--timeout", "1"]);
    assert_refused(&run, 4, "tor was not bootstrapped in time");
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    place.assert_holds_no_node();
}

#[test]
fn an_invite_that_is_none_or_has_expired_is_refused_before_anything_is_made() {
    let good = expired_invite();
    let damaged = good.replacen("rbi1-", "rbi1-a", 1);
    for (text, mode, code, says) in [
        ("hello", 0o600, 3, "not an invite"),
        (&good[..50], 0o600, 3, "cut off"),
        (&damaged[..good.len()], 0o600, 3, "checksum"),
        (&good, 0o644, 3, "chmod 600"),
        (&good, 0o600, 4, "expired"),
    ] {
        let place = Place::new();
        let file = place.file("invite", text.as_bytes(), mode);
        let run = place.run(&["join", "--invite-file", &file, "--target", "127.0.0.1:1"]);
        assert_refused(&run, code, says);
        assert!(!run.stderr.contains(&good[..40]), "{}", run.stderr);
        place.assert_holds_no_node();
    }
}

#[test]
fn an_invite_and_the_direct_form_exclude_each_other() {
    let place = Place::new();
    let file = place.file("invite", expired_invite().as_bytes(), 0o600);
    let address = tor_address();
    let both = place.run(&["join", "--invite-file", &file, "--master-onion", &address, "--target", "127.0.0.1:1"]);
    assert_refused(&both, 2, "cannot be used with");
    assert_refused(&place.run(&["join", "--target", "127.0.0.1:1"]), 2, "required");
    let other_port = place.run(&["join", "--invite-file", &file, "--target", "x"]);
    assert_refused(&other_port, 2, "--target");
}
