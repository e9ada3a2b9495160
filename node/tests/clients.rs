//! Authorised clients of a node that runs, with a real tor that may not use the network.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{Run, assert_refused, mortal, rustbalance, text};
use tempfile::TempDir;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// From tor's own manual.
const BOB: &str = "OM7TGIVRYMY6PFX6GAC6ATRTA5U6WW6U7A4ZNHQDI6OVL52XVV2Q";

/// A node that runs; killed when dropped.
struct Node {
    root: TempDir,
    child: Option<Child>,
}

impl Node {
    fn start() -> Self {
        let mut node = Self { root: tempfile::tempdir().expect("a directory for the test"), child: None };
        let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let config = format!(
            "mesh.listen = '127.0.0.1:{port}'\nservice.target = '127.0.0.1:9'\n[tor]\noptions = ['DisableNetwork 1']\n"
        );
        fs::create_dir(node.dir()).expect("room for a directory");
        fs::set_permissions(node.dir(), fs::Permissions::from_mode(0o700)).expect("our own directory");
        fs::write(node.dir().join("rustbalance.toml"), config).expect("room for a file");
        assert_eq!(node.run(&["init"]).code, 0);
        node.go_on();
        node
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("node")
    }

    fn go_on(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.root.path().join("log")).expect("a log");
        let dir = self.dir();
        let child =
            mortal(["run", "--log-level", "trace", "--dir", text(&dir)]).stdout(Stdio::null()).stderr(log).spawn();
        self.child = Some(child.expect("the binary starts"));
        self.wait("an answer", |node| node.run(&["status"]).code == 0);
    }

    fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("our child");
        child.wait().expect("our child");
    }

    fn run(&self, args: &[&str]) -> Run {
        rustbalance(args.iter().copied().chain(["--dir", text(&self.dir())]))
    }

    fn clients(&self, args: &[&str]) -> Run {
        self.run(&[&["clients"], args].concat())
    }

    /// What goes well and says so in one line.
    fn order(&self, args: &[&str]) {
        let run = self.clients(args);
        assert_eq!((run.code, run.stdout.lines().count(), run.stderr.as_str()), (0, 1, ""), "{args:?}");
    }

    /// Whether the address is restricted, and to whom.
    fn list(&self) -> (bool, Vec<String>) {
        let list: serde_json::Value = serde_json::from_str(&self.clients(&["list", "--json"]).stdout).expect("JSON");
        let names = list["clients"].as_object().expect("by name").keys().cloned().collect();
        (list["restricted"].as_bool().expect("yes or no"), names)
    }

    fn names(&self) -> Vec<String> {
        self.list().1
    }

    fn wait(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !done(self) {
            let log = fs::read_to_string(self.root.path().join("log")).unwrap_or_default();
            assert!(started.elapsed() < PATIENCE, "{what}:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The `.auth` files that tor reads.
    fn tors_files(&self) -> Vec<String> {
        files(&self.dir().join("tor/hs/authorized_clients"))
    }

    /// The operator's directory.
    fn directory(&self) -> PathBuf {
        self.dir().join("authorized_clients")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

fn files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name.ends_with(".auth"));
    names.sort();
    names
}

#[test]
fn clients_are_added_listed_and_removed_and_the_address_opens_by_order_alone() {
    let mut node = Node::start();
    assert_eq!(node.clients(&["list"]).stdout, "everybody may connect who knows the address\n");
    assert_eq!(node.tors_files(), Vec::<String>::new());

    let added = node.clients(&["add", "alice"]);
    assert_eq!((added.code, added.stderr.as_str()), (0, ""));
    let status: serde_json::Value = serde_json::from_str(&node.run(&["status", "--json"]).stdout).expect("JSON");
    let host = status["address"].as_str().and_then(|address| address.strip_suffix(".onion")).expect("an address");
    let secret = added.stdout.strip_prefix(&format!("{host}:descriptor:x25519:")).expect("a private line").trim();
    assert_eq!((secret.len(), added.stdout.lines().count()), (52, 1));
    assert_eq!(status["access"], serde_json::json!({ "restricted": true, "clients": 1 }));

    node.order(&["add", "bob", "--public-key", BOB]);
    node.order(&["add", "bob", "--public-key", &format!("descriptor:x25519:{}", BOB.to_lowercase())]);
    assert_eq!(node.list(), (true, vec!["alice".to_owned(), "bob".to_owned()]));
    assert!(node.clients(&["list"]).stdout.contains(BOB));
    node.wait("tor's files", |node| node.tors_files() == ["_rustbalance.auth", "alice.auth", "bob.auth"]);
    let bobs = fs::read_to_string(node.dir().join("tor/hs/authorized_clients/bob.auth")).unwrap();
    assert_eq!(bobs, format!("descriptor:x25519:{BOB}\n"));
    assert_refused(&node.clients(&["add", "alice"]), 1, "another authorised client has that name");
    assert_refused(&node.clients(&["add", "carol", "--public-key", BOB]), 1, "another authorised client has that key");
    assert_refused(&node.clients(&["remove", "carol"]), 1, "no authorised client has that name");

    node.kill();
    node.go_on();
    assert_eq!(node.names(), ["alice", "bob"], "over a crash");
    node.order(&["remove", "alice"]);
    node.order(&["remove", "bob"]);
    assert_eq!(node.list(), (true, vec![]));
    assert!(node.clients(&["list"]).stdout.starts_with("nobody may connect"));
    node.wait("tor's files", |node| node.tors_files() == ["_rustbalance.auth"]);
    node.order(&["open"]);
    assert_eq!(node.list(), (false, vec![]));
    node.wait("tor's files", |node| node.tors_files().is_empty());

    node.kill();
    let mut said = vec![node.root.path().to_owned()];
    while let Some(path) = said.pop() {
        match fs::read_dir(&path) {
            Ok(entries) => said.extend(entries.flatten().map(|entry| entry.path())),
            Err(_) => {
                let content = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).to_uppercase();
                assert!(!content.contains(secret), "a client's secret is in {}", path.display());
            }
        }
    }
}

#[test]
fn what_is_done_in_the_directory_is_done_in_the_cluster() {
    let mut node = Node::start();
    let file = |node: &Node, name: &str| node.directory().join(format!("{name}.auth"));
    node.wait("the directory", |node| node.directory().exists());
    fs::write(file(&node, "bob"), format!("descriptor:x25519:{BOB}\n")).unwrap();
    node.wait("bob", |node| node.list() == (true, vec!["bob".to_owned()]));
    assert_eq!(node.clients(&["add", "alice"]).code, 0);
    node.wait("alice's file", |node| files(&node.directory()) == ["alice.auth", "bob.auth"]);
    fs::remove_file(file(&node, "bob")).unwrap();
    node.wait("bob's removal", |node| node.names() == ["alice"]);
    node.wait("tor's files", |node| node.tors_files() == ["_rustbalance.auth", "alice.auth"]);

    // While it does not run, too.
    node.wait("the directory to be up to date", |node| {
        fs::read_to_string(node.directory().join(".known")).is_ok_and(|known| known.lines().count() == 1)
    });
    node.kill();
    fs::remove_file(file(&node, "alice")).unwrap();
    fs::write(file(&node, "carol"), BOB).unwrap();
    node.go_on();
    node.wait("what was done meanwhile", |node| node.list() == (true, vec!["carol".to_owned()]));
    fs::remove_dir_all(node.directory()).unwrap();
    node.wait("the directory", |node| files(&node.directory()) == ["carol.auth"]);
    assert_eq!(node.names(), ["carol"]);
}

#[test]
fn what_is_wrong_in_the_directory_is_in_the_list_until_it_is_mended() {
    let node = Node::start();
    let file = |name: &str| node.directory().join(name);
    node.wait("the directory", |node| node.directory().exists());
    fs::write(file("bob.auth"), BOB).unwrap();
    node.wait("bob", |node| node.names() == ["bob"]);
    fs::create_dir(file("carol.auth")).unwrap();
    fs::write(file("dave.auth"), BOB).unwrap();
    let problems = |node: &Node| {
        let list: serde_json::Value = serde_json::from_str(&node.clients(&["list", "--json"]).stdout).expect("JSON");
        list["problems"].as_array().expect("a list").len()
    };
    node.wait("both problems", |node| problems(node) == 2);
    let list = node.clients(&["list"]);
    assert_eq!((list.code, list.stdout.lines().count()), (0, 2), "{}", list.stdout);
    for says in ["carol.auth: is not a file; put one", "dave.auth: another authorised client has that key; give each"] {
        let is_said = |line: &str| line.starts_with(&format!("rustbalance: {}/{says}", text(&node.directory())));
        assert!(list.stderr.lines().any(is_said), "{says}: {}", list.stderr);
    }
    fs::remove_dir(file("carol.auth")).unwrap();
    fs::remove_file(file("dave.auth")).unwrap();
    node.wait("the end of both", |node| problems(node) == 0);
    assert_eq!((node.names(), node.clients(&["list"]).stderr.as_str()), (vec!["bob".to_owned()], ""));
}
