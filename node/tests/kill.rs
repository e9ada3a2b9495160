//! `kill -9` of the node, of its tor, or of both, at any moment: what was said to be done stays done, the next start
//! works, and nothing is left behind. The tor is a real one that may not use the network.
//!
//! `RUSTBALANCE_KILLS` sets how often each test strikes; the seed is printed, and `RUSTBALANCE_SEED` replays it.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use common::node::{Node, Running, pids_naming};
use common::text;
use rand_core::Rng as _;
use rustbalance_core::rng::{Rng, Seed};
use rustix::process::{Pid, Signal, kill_process};

/// Strikes of each test unless told otherwise.
const KILLS: u64 = 4;

/// A generator for each strike.
#[expect(clippy::print_stdout, reason = "so that a failure can be replayed")]
fn strikes(label: &str) -> impl Iterator<Item = Rng> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let seed = number("RUSTBALANCE_SEED").unwrap_or(now.as_nanos() as u64);
    println!("RUSTBALANCE_SEED={seed}");
    let label = label.to_owned();
    (0..number("RUSTBALANCE_KILLS").unwrap_or(KILLS)).map(move |strike| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&strike.to_le_bytes());
        Seed::new(bytes).fork(&label)
    })
}

fn one_of<T: Copy>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.next_u32() as usize % all.len()]
}

fn pause(rng: &mut Rng, longest: Duration) {
    std::thread::sleep(Duration::from_micros(rng.next_u64() % u64::try_from(longest.as_micros()).expect("short")));
}

/// Who is killed, in this order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Node,
    Tor,
}

const NODE: &[&[Victim]] = &[&[Victim::Node], &[Victim::Node, Victim::Tor], &[Victim::Tor, Victim::Node]];

fn kill(running: &Running<'_>, victims: &[Victim]) {
    for victim in victims {
        match victim {
            Victim::Node => running.signal(Signal::KILL),
            Victim::Tor => kill_tor(running.node),
        }
    }
}

/// Whatever tor runs there, if any.
fn kill_tor(node: &Node) {
    for pid in pids_naming(&node.dir().join("tor")) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
        // It may have ended since.
        _ = kill_process(pid, Signal::KILL);
    }
}

/// The directory's own places for whatever a program leaves outside of its state.
struct Outside {
    dir: tempfile::TempDir,
}

impl Outside {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory for the test") }
    }

    fn spawn<'a>(&self, node: &'a Node, args: &[&str]) -> Running<'a> {
        let log = fs::OpenOptions::new().create(true).append(true).open(node.log()).expect("room for a log");
        let dir = text(self.dir.path());
        node.spawn(args, log, &[("TMPDIR", dir), ("HOME", dir), ("XDG_RUNTIME_DIR", dir)])
    }

    /// Nothing but the state directory, the log, and what the test itself put beside them.
    fn assert_clean(&self, node: &Node, own: &[&str]) {
        assert_eq!(fs::read_dir(self.dir.path()).expect("readable").count(), 0, "files outside the state directory");
        for entry in fs::read_dir(node.root.path()).expect("readable").flatten() {
            let name = entry.file_name().into_string().expect("text");
            assert!(["node", "log"].contains(&&*name) || own.contains(&&*name), "{name} outside the state directory");
        }
        assert_private(&node.dir());
    }
}

/// Nobody else may read anything of a node but its configuration.
fn assert_private(path: &Path) {
    let metadata = fs::symlink_metadata(path).expect("there");
    if path.extension().is_none_or(|extension| extension != "toml") {
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
    }
    if metadata.is_dir() {
        fs::read_dir(path).expect("readable").flatten().for_each(|entry| assert_private(&entry.path()));
    }
}

fn assert_no_orphan(node: &Node) {
    node.wait("the end of all tors", |node| pids_naming(&node.dir().join("tor")).is_empty());
}

/// Waits until a node that was just started answers.
fn until_it_answers(running: &mut Running<'_>) {
    running.node.wait("a status", |node| {
        assert!(running.child.try_wait().expect("our child").is_none(), "it ended:\n{}", node.log_text());
        node.run(&["status"]).code == 0
    });
}

#[test]
fn a_node_that_is_killed_while_it_starts_starts_again() {
    let (node, outside) = (Node::new(), Outside::new());
    let id = {
        let _running = node.start();
        node.status()["node"].clone()
    };
    for mut rng in strikes("start") {
        let running = outside.spawn(&node, &["run"]);
        pause(&mut rng, Duration::from_millis(400));
        kill(&running, one_of(&mut rng, NODE));
        assert_eq!(running.end().0, None);
        assert_no_orphan(&node);
        outside.assert_clean(&node, &[]);
    }
    let _running = node.start();
    assert_eq!(node.status()["node"], id);
}

#[test]
fn a_tor_that_is_killed_is_replaced_whenever_that_happens() {
    let (node, outside) = (Node::new(), Outside::new());
    let mut running = outside.spawn(&node, &["run"]);
    until_it_answers(&mut running);
    // Until then it is one that looks at its configuration.
    node.wait("a tor that serves", |node| node.dir().join("run/control.sock").exists());
    for mut rng in strikes("tor").take(3) {
        node.wait("a tor", |node| !pids_naming(&node.dir().join("tor")).is_empty());
        pause(&mut rng, Duration::from_millis(300));
        let before = pids_naming(&node.dir().join("tor"));
        kill(&running, &[Victim::Tor]);
        node.wait("another tor", |node| {
            let now = pids_naming(&node.dir().join("tor"));
            !now.is_empty() && now.iter().all(|pid| !before.contains(pid))
        });
    }
    node.wait("a count", |node| node.status()["tors"].to_string().contains("ends within an hour: "));
    running.signal(Signal::KILL);
    assert_eq!(running.end().0, None);
    assert_no_orphan(&node);
}

/// What was written to a node.
#[derive(Default)]
struct Written {
    /// The last weight that was ordered with success; none at first.
    weight: Option<u32>,
    /// One whose order may have been cut short.
    tried: Option<u32>,
    /// Clients that were authorised.
    clients: Vec<String>,
}

impl Written {
    /// Changes one thing after the other until the node is there no more.
    fn write_until_killed(&mut self, node: &Node, id: &str, strike: usize, rng: &mut Rng) {
        self.tried = self.weight;
        for number in 0..1000 {
            let code = match rng.next_u32() % 3 {
                0 => {
                    let name = format!("client-{strike}-{number}");
                    let code = node.run(&["clients", "add", &name, "--public-key", KEY]).code;
                    self.clients.extend((code == 0).then_some(name));
                    code
                }
                1 => node.run(&["token", "rotate"]).code,
                _ => {
                    self.tried = Some(1 + rng.next_u32() % 1000);
                    let code = node.run(&["weight", &id[..8], &self.tried.unwrap_or_default().to_string()]).code;
                    if code == 0 {
                        self.weight = self.tried;
                    }
                    code
                }
            };
            if code != 0 {
                return;
            }
        }
        panic!("it was not killed");
    }

    /// Checks that all of it is there.
    fn assert_kept(&mut self, node: &Node) {
        let listed = node.run(&["clients", "list"]).stdout;
        assert!(self.clients.iter().all(|name| listed.contains(name.as_str())), "{:?} in {listed}", self.clients);
        let ordered = node.status()["ordered"].clone();
        let lines = |weight: &Option<u32>| weight.iter().map(|weight| format!("weight {weight}")).collect::<Vec<_>>();
        let kept = [self.weight, self.tried].into_iter().find(|weight| ordered == serde_json::json!(lines(weight)));
        self.weight = kept.unwrap_or_else(|| panic!("{:?} or {:?} in {ordered}", self.weight, self.tried));
    }
}

#[test]
fn what_a_node_said_to_have_done_before_it_was_killed_it_has_done() {
    let (node, outside, mut written) = (Node::new(), Outside::new(), Written::default());
    let mut running = node.start();
    let id = node.status()["node"].as_str().expect("text").to_owned();
    for (strike, mut rng) in strikes("writes").enumerate() {
        let victims = one_of(&mut rng, NODE);
        let mut later = rng.clone();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pause(&mut later, Duration::from_millis(500));
                kill(&running, victims);
            });
            written.write_until_killed(&node, &id, strike, &mut rng);
        });
        assert_eq!(running.end().0, None);
        assert_no_orphan(&node);
        outside.assert_clean(&node, &[]);
        running = outside.spawn(&node, &["run"]);
        until_it_answers(&mut running);
        assert_eq!(node.status()["node"], id.as_str());
        written.assert_kept(&node);
    }
}

/// A client's public key.
const KEY: &str = "descriptor:x25519:N2NU7BSRL6YODZCYPN4CREB54TYLKGIE2KYOQWLFYC23ZJVCE5DQ";

#[test]
fn an_init_that_is_killed_can_be_asked_for_again() {
    let outside = Outside::new();
    for mut rng in strikes("init") {
        let node = Node::unfounded();
        let init = outside.spawn(&node, &["init"]);
        pause(&mut rng, Duration::from_millis(40));
        init.signal(Signal::KILL);
        init.end();
        if !node.dir().join("keys").exists() {
            let again = node.run(&["init"]);
            assert_eq!(again.code, 0, "{}", again.stderr);
        }
        let running = node.start();
        assert!(!node.dir().join(".new").exists());
        drop(running);
        assert_no_orphan(&node);
        outside.assert_clean(&node, &[]);
    }
}

#[test]
fn an_init_that_is_killed_leaves_no_half_a_configuration() {
    let outside = Outside::new();
    for mut rng in strikes("configuration") {
        let node = Node::unfounded();
        fs::remove_dir_all(node.dir()).expect("our own directory");
        let words = ["init", "--target", "127.0.0.1:9", "--endpoint", "127.0.0.1:7901", "--name", "one"];
        let init = outside.spawn(&node, &words);
        pause(&mut rng, Duration::from_millis(40));
        init.signal(Signal::KILL);
        init.end();
        if !node.dir().join("keys").exists() {
            let again = node.run(&words);
            assert_eq!(again.code, 0, "{}", again.stderr);
        }
        let settings = node.run(&["config", "check", "--json"]).stdout;
        assert!(settings.contains("127.0.0.1:7901"), "{settings}");
        outside.assert_clean(&node, &[]);
    }
}

#[test]
fn keys_whose_encryption_is_killed_are_encrypted_or_not_and_whole() {
    let outside = Outside::new();
    let node = Node::new();
    let file = node.root.path().join("passphrase");
    fs::write(&file, "correct horse battery").expect("room for a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("our own file");
    let key = |command: &'static str| ["key", command, "--passphrase-file", text(&file)];
    let address = node.run(&key("show")).stdout;
    let next = || if node.dir().join("keys/state_key").exists() { "decrypt" } else { "encrypt" };
    for mut rng in strikes("encryption") {
        let running = outside.spawn(&node, &key(next()));
        pause(&mut rng, Duration::from_millis(800));
        running.signal(Signal::KILL);
        running.end();
        assert_eq!(node.run(&key("show")).stdout, address, "{}", next());
    }
    let done = node.run(&key(next()));
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(!node.dir().join(".new").exists());
    outside.assert_clean(&node, &["passphrase"]);
}

#[test]
fn a_join_that_is_killed_can_be_asked_for_again_and_is_the_same_node() {
    let (member, outside) = (Node::new(), Outside::new());
    let _member = member.start();
    let words = member.join_command();
    for (strike, mut rng) in strikes("join").take(10).enumerate() {
        let joiner = Node::unfounded();
        let join = outside.spawn(&joiner, &words);
        pause(&mut rng, Duration::from_millis(200));
        join.signal(Signal::KILL);
        join.end();
        if !joiner.dir().join("keys").exists() {
            let again = joiner.run(&words);
            assert_eq!(again.code, 0, "{}\n{}", again.stderr, member.log_text());
        }
        let members = member.status()["members"].as_array().map(Vec::len);
        assert_eq!(members, Some(strike + 2), "one more");
        assert_eq!(joiner.run(&["config", "check"]).code, 0);
        outside.assert_clean(&joiner, &[]);
    }
}

#[test]
fn a_join_through_tor_that_is_killed_leaves_neither_a_tor_nor_a_key_of_a_client() {
    let outside = Outside::new();
    let member = Node::new();
    let _running = member.start();
    let invite = member.run(&["invite"]).stdout;
    for mut rng in strikes("invite") {
        let joiner = Node::unfounded();
        for (name, content) in [("invite", invite.trim()), ("client", CLIENT_KEY)] {
            let file = joiner.root.path().join(name);
            fs::write(&file, content).expect("room for a file");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("our own file");
        }
        let (invite, client) = (joiner.root.path().join("invite"), joiner.root.path().join("client"));
        let words = ["join", "--invite-file", text(&invite), "--client-key-file", text(&client), "--timeout", "60"];
        let mut join = outside.spawn(&joiner, &words);
        pause(&mut rng, Duration::from_millis(800));
        let victims = one_of(&mut rng, &[NODE[0], NODE[1], NODE[2], &[Victim::Tor]]);
        kill(&join, victims);
        if victims == [Victim::Tor] && join.child.try_wait().expect("our child").is_none() {
            // It may have had none yet.
            join.signal(Signal::KILL);
        }
        join.end();
        assert_no_orphan(&joiner);
        outside.assert_clean(&joiner, &["invite", "client"]);
        let joined = joiner.run(&member.join_command());
        assert_eq!(joined.code, 0, "{}\n{}", joined.stderr, joiner.log_text());
        drop(joiner.start());
        assert!(!joiner.dir().join("tor/client_keys").exists() && !joiner.dir().join(".joining").exists());
        assert_no_orphan(&joiner);
    }
}

/// A client's secret key, as in tor's files.
const CLIENT_KEY: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaad:descriptor:x25519:\
    ZDUVQQ7IKBXSGR2WWOBNM3VP5ELNOYSSINDK7CAUN2WD7A3EKZWQ";
