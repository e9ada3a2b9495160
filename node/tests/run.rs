//! A node alone, with a real tor that may not use the network: start, questions, stop, and what keeps it from starting.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{Run, assert_refused, command, mortal, rustbalance, text};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nobody listens there.
const NO_TARGET: &str = "127.0.0.1:9";

/// A node that was set up and not yet started.
struct Node {
    root: TempDir,
    /// What others join with: the command that `init` printed.
    join: Vec<String>,
}

impl Node {
    fn new() -> Self {
        let mut node = Self::unfounded();
        let run = node.run(&["init", "--json"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
        let words = report["join"].as_array().expect("a command").iter();
        node.join = words.map(|word| word.as_str().expect("text").to_owned()).collect();
        node
    }

    /// Only its configuration is there.
    fn unfounded() -> Self {
        let node = Self { root: tempfile::tempdir().expect("a directory for the test"), join: Vec::new() };
        node.configure("[tor]\noptions = ['DisableNetwork 1']\n");
        node
    }

    /// How another node joins through this one, without the endpoint, which its configuration names.
    fn join_command(&self) -> Vec<&str> {
        let words: Vec<_> = self.join.iter().map(String::as_str).collect();
        let endpoint = words.iter().position(|word| *word == "--endpoint").expect("a flag");
        [&words[1..endpoint], &words[endpoint + 2..]].concat()
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("node")
    }

    /// Writes the configuration: a mesh port of the system's choice, a target that is not there, and `more`.
    fn configure(&self, more: &str) {
        let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        self.configure_port(port, more);
    }

    fn configure_port(&self, port: u16, more: &str) {
        let mesh = format!("mesh.listen = '127.0.0.1:{port}'\nmesh.endpoint = '127.0.0.1:{port}'\n");
        let config = format!("{mesh}service.target = '{NO_TARGET}'\n{more}");
        let file = self.dir().join("rustbalance.toml");
        fs::create_dir_all(self.dir()).expect("room for a directory");
        fs::set_permissions(self.dir(), fs::Permissions::from_mode(0o700)).expect("our own directory");
        fs::write(file, config).expect("room for a file");
    }

    /// Puts an application in the place of the one that is not there.
    fn set_target(&self, target: SocketAddr) {
        let file = self.dir().join("rustbalance.toml");
        let config = fs::read_to_string(&file).expect("our own file");
        fs::write(file, config.replace(NO_TARGET, &target.to_string())).expect("room for a file");
    }

    fn run(&self, args: &[&str]) -> Run {
        rustbalance(args.iter().copied().chain(["--dir", text(&self.dir())]))
    }

    /// Starts the node, all its logs going to a file, and waits until it answers.
    fn start(&self) -> Running<'_> {
        self.start_logging_to(fs::File::create(self.log()).expect("room for a log"))
    }

    fn start_logging_to(&self, log: impl Into<Stdio>) -> Running<'_> {
        let dir = self.dir();
        let args = ["run", "--log-level", "trace,boringtun=trace", "--dir", text(&dir)];
        let child = mortal(args).stdout(Stdio::piped()).stderr(log).spawn().expect("the binary starts");
        let mut running = Running { node: self, child };
        let started = Instant::now();
        while self.run(&["status"]).code != 0 {
            assert!(started.elapsed() < PATIENCE, "no status:\n{}", self.log_text());
            assert!(running.child.try_wait().expect("our child").is_none(), "it ended:\n{}", self.log_text());
            std::thread::sleep(Duration::from_millis(50));
        }
        running
    }

    fn log(&self) -> PathBuf {
        self.root.path().join("log")
    }

    fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_else(|error| format!("no log: {error}"))
    }
}

/// A node that runs; killed when dropped.
struct Running<'a> {
    node: &'a Node,
    child: Child,
}

impl Running<'_> {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("our child");
    }

    /// Waits for its end; the exit code, and what it printed.
    fn end(mut self) -> (Option<i32>, String) {
        let started = Instant::now();
        while self.child.try_wait().expect("our child").is_none() {
            assert!(started.elapsed() < PATIENCE, "it does not end:\n{}", self.node.log_text());
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut printed = String::new();
        let mut stdout = self.child.stdout.take().expect("piped");
        std::io::Read::read_to_string(&mut stdout, &mut printed).expect("text");
        (self.child.wait().expect("our child").code(), printed)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Processes whose command line contains `path`.
fn processes_naming(path: &Path) -> usize {
    let processes = fs::read_dir("/proc").expect("proc").flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(text(path))).count()
}

#[test]
fn a_node_answers_and_stops_in_order_on_sigterm() {
    let node = Node::new();
    let running = node.start();
    let status: serde_json::Value = serde_json::from_str(&node.run(&["status", "--json"]).stdout).expect("JSON");
    assert_eq!(status["role"], "alone");
    assert_eq!(status["members"].as_array().map(Vec::len), Some(1));
    assert!(node.run(&["status"]).stdout.contains("\nMembers\n"));
    assert_refused(&node.run(&["run"]), 3, "in use by another rustbalance");
    running.signal(Signal::TERM);
    assert_eq!(running.end(), (Some(0), String::new()), "{}", node.log_text());
    assert_refused(&node.run(&["status"]), 1, "no node is running here");
}

#[test]
fn a_log_that_nobody_reads_keeps_a_node_neither_from_running_nor_from_stopping() {
    let node = Node::new();
    // As in `rustbalance run 2>&1 | tee log` after a Ctrl-C, which ends tee too.
    let (_, log) = std::io::pipe().expect("a pipe");
    let running = node.start_logging_to(log);
    running.signal(Signal::INT);
    assert_eq!(running.end(), (Some(0), String::new()));
}

#[test]
fn connections_over_the_limit_are_in_the_status_and_once_in_the_log() {
    let node = Node::new();
    let application = TcpListener::bind("127.0.0.1:0").unwrap();
    node.configure("[tor]\noptions = ['DisableNetwork 1']\n[proxy]\nmax_connections = 1\n");
    node.set_target(application.local_addr().unwrap());
    let running = node.start();
    let visitor = || UnixStream::connect(node.dir().join("run/proxy.sock")).expect("the proxy listens");
    let _first = visitor();
    for _ in 0..3 {
        assert_eq!(visitor().read(&mut [0]).unwrap(), 0, "closed at once");
    }
    let status: serde_json::Value = serde_json::from_str(&node.run(&["status", "--json"]).stdout).expect("JSON");
    assert_eq!(status["rejected"]["proxy_over_limit"], 3);
    running.signal(Signal::TERM);
    running.end();
    assert_eq!(node.log_text().matches("proxy.max_connections").count(), 1, "{}", node.log_text());
}

#[test]
fn a_watch_ends_when_nobody_reads_it() {
    let node = Node::new();
    let _running = node.start();
    let dir = node.dir();
    let watch = mortal(["status", "--watch", "--json", "--dir", text(&dir)]).stdout(Stdio::piped()).spawn();
    let mut watch = watch.expect("the binary starts");
    let mut pages = BufReader::new(watch.stdout.take().expect("piped")).lines();
    for _ in 0..2 {
        let page = pages.next().expect("a page").expect("text");
        assert!(page.starts_with('{'), "{page}");
    }
    drop(pages);
    let started = Instant::now();
    while watch.try_wait().expect("our child").is_none() {
        if started.elapsed() > PATIENCE {
            _ = watch.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(watch.wait().expect("our child").code(), Some(0));
}

#[test]
fn the_only_member_does_not_leave() {
    let node = Node::new();
    let running = node.start();
    assert_refused(&node.run(&["leave"]), 1, "this is the only member of its cluster");
    assert_eq!(node.run(&["status"]).code, 0);
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0), "{}", node.log_text());
    node.start();
}

#[test]
fn who_leaves_stops_and_cannot_come_back() {
    let (member, leaver) = (Node::new(), Node::unfounded());
    let _member = member.start();
    let joined = leaver.run(&member.join_command());
    assert_eq!(joined.code, 0, "{}\n{}", joined.stderr, member.log_text());
    let running = leaver.start();
    let left = leaver.run(&["leave"]);
    assert_eq!((left.code, left.stdout.as_str()), (0, ""), "{}\n{}", left.stderr, leaver.log_text());
    assert_eq!(running.end().0, Some(0), "{}", leaver.log_text());
    assert_refused(&leaver.run(&["run"]), 3, "this node has left its cluster for good; join again from another --dir");
}

#[test]
fn who_joins_may_give_either_secret_on_standard_input() {
    let member = Node::new();
    let _member = member.start();
    for (flag, name) in [("--cluster-token-file", "cluster_token"), ("--master-key-file", "hs_ed25519_secret_key")] {
        let joiner = Node::unfounded();
        let mut words = member.join_command();
        let file = words.iter().position(|word| *word == flag).expect("a flag") + 1;
        let secret = std::mem::replace(&mut words[file], "-");
        let dir = joiner.dir();
        let mut join = command(words.into_iter().chain(["--dir", text(&dir)]));
        let joined: Run = join.stdin(fs::File::open(secret).unwrap()).output().unwrap().into();
        assert_eq!(joined.code, 0, "{flag}: {}\n{}", joined.stderr, member.log_text());
        assert!(fs::read(dir.join("keys").join(name)).unwrap() == fs::read(secret).unwrap(), "{name}");
    }
}

#[test]
fn files_that_make_no_member_keep_a_node_from_starting() {
    let (node, other) = (Node::new(), Node::new());
    let roster = node.dir().join("state/roster");
    let whole = fs::read(&roster).unwrap();
    fs::write(&roster, &whole[..whole.len() - 1]).unwrap();
    assert_refused(&node.run(&["run"]), 3, "state/roster is missing or damaged; restore it from a backup");
    fs::remove_file(&roster).unwrap();
    assert_refused(&node.run(&["run"]), 3, "state/roster is missing or damaged; restore it from a backup");
    fs::copy(other.dir().join("state/roster"), &roster).unwrap();
    assert_refused(&node.run(&["run"]), 3, "state/roster is missing or damaged; restore it from a backup");
    let key = "keys/hs_ed25519_secret_key";
    fs::copy(other.dir().join(key), node.dir().join(key)).unwrap();
    assert_refused(&node.run(&["run"]), 3, "is not the key of the address this cluster serves; put the right one back");
}

#[test]
fn tor_dies_with_a_killed_node() {
    let node = Node::new();
    let running = node.start();
    let tors = || processes_naming(&node.dir().join("tor"));
    let started = Instant::now();
    while tors() == 0 {
        assert!(started.elapsed() < PATIENCE, "no tor:\n{}", node.log_text());
        std::thread::sleep(Duration::from_millis(20));
    }
    running.signal(Signal::KILL);
    assert_eq!(running.end().0, None);
    let killed = Instant::now();
    while tors() > 0 {
        assert!(killed.elapsed() < PATIENCE, "tor lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn no_secret_is_in_the_fullest_log() {
    let node = Node::new();
    let running = node.start();
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    let log = node.log_text().to_lowercase();
    assert!(log.contains("starting"), "{log}");
    for name in ["cluster_token", "node_key", "wireguard_key"] {
        let secret = fs::read_to_string(node.dir().join("keys").join(name)).expect("a key");
        assert!(!log.contains(secret.trim().trim_end_matches('=').to_lowercase().as_str()), "{name}");
    }
    let master = fs::read(node.dir().join("keys/hs_ed25519_secret_key")).expect("a key");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (scalar, prefix) = master[32..].split_at(32);
    assert!(!log.contains(&hex(scalar)) && !log.contains(&hex(prefix)));
}

#[test]
fn what_keeps_a_node_from_starting_is_said_in_one_line() {
    let node = Node::new();
    node.configure("[tor]\nbinary = '/nonexistent/tor'\n");
    assert_refused(&node.run(&["run"]), 5, "cannot find tor as \"/nonexistent/tor\"");

    let old = node.root.path().join("old-tor");
    fs::write(&old, "#!/bin/sh\necho 'Tor version 0.4.7.16.'\n").unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o700)).unwrap();
    node.configure(&format!("[tor]\nbinary = '{}'\n", text(&old)));
    assert_refused(&node.run(&["run"]), 5, "tor 0.4.7.16 is too old: at least 0.4.8 is needed");

    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    node.configure_port(taken.local_addr().unwrap().port(), "");
    assert_refused(&node.run(&["run"]), 1, "another program uses that UDP port; stop it, or choose another port");

    node.configure("[tor]\noptions = ['NoSuchOption 1']\n");
    let run = node.run(&["run", "--log-level", "off"]);
    assert_refused(&run, 2, "NoSuchOption");

    let key = node.dir().join("keys/node_key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert_refused(&node.run(&["run"]), 3, "node_key: other users have access to it (mode 0640); run `chmod 600 ");
}
