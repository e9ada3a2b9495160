//! A node alone, with a real tor that may not use the network: start, questions, stop, and what keeps it from starting.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Instant;

use common::node::{Node, PATIENCE, pids_naming};
use common::{Run, assert_refused, command, mortal, text};
use rustix::process::Signal;

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
    node.configure("[tor]\noptions = ['DisableNetwork 1']\n[proxy]\nmax_connections = 1\ndrain_limit = '0s'\n");
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

/// `node`, with an application that sends everything back.
fn echoing(node: Node, drain_limit: &str) -> Node {
    let application = TcpListener::bind("127.0.0.1:0").expect("loopback");
    node.configure(&format!("[tor]\noptions = ['DisableNetwork 1']\n[proxy]\ndrain_limit = '{drain_limit}'\n"));
    node.set_target(application.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for connection in application.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &connection, &mut &connection));
        }
    });
    node
}

/// A client's connection, as tor hands it over, that is served.
fn session(node: &Node) -> UnixStream {
    session_of(node, b"PROXY TCP6 fc00:dead:beef:4dad::0:7 ::1 7 80\r\n")
}

/// One of whose circuit tor says this.
fn session_of(node: &Node, line: &[u8]) -> UnixStream {
    let mut session = UnixStream::connect(node.dir().join("run/proxy.sock")).expect("the proxy listens");
    session.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    session.write_all(line).expect("the proxy reads");
    assert!(is_served(&session));
    session
}

/// Whether what is sent comes back.
fn is_served(mut session: &UnixStream) -> bool {
    session.write_all(b"x").is_ok() && session.read_exact(&mut [0]).is_ok()
}

#[test]
fn connections_of_which_tor_says_no_circuit_are_served_and_once_in_the_log() {
    let node = echoing(Node::new(), "0s");
    let running = node.start();
    let _named = session(&node);
    assert!(!node.log_text().contains("HiddenServiceExportCircuitID"), "{}", node.log_text());
    let _nameless = [session_of(&node, b""), session_of(&node, b"")];
    running.signal(Signal::TERM);
    running.end();
    assert_eq!(node.log_text().matches("`HiddenServiceExportCircuitID haproxy`").count(), 1, "{}", node.log_text());
}

#[test]
fn sessions_go_on_after_sigterm_and_tor_with_them_until_the_last_one_has_ended() {
    let node = echoing(Node::new(), "1h");
    let running = node.start();
    let (first, second) = (session(&node), session(&node));
    running.signal(Signal::TERM);
    node.wait("draining", |node| node.log_text().contains("open sessions may go on for 3600 s"));
    assert!(is_served(&first) && is_served(&second));
    let status: serde_json::Value = serde_json::from_str(&node.run(&["status", "--json"]).stdout).expect("JSON");
    assert_eq!((&status["sessions"], &status["members"][0]["state"]), (&2.into(), &"leaving".into()));
    assert!(!pids_naming(&node.dir().join("tor")).is_empty(), "tor lives");
    drop(first);
    node.wait("one session", |node| node.run(&["status", "--json"]).stdout.contains("\"sessions\":1"));
    assert!(is_served(&second));
    drop(second);
    assert_eq!(running.end().0, Some(0), "{}", node.log_text());
    assert!(node.log_text().contains("all sessions have ended"), "{}", node.log_text());
    assert!(pids_naming(&node.dir().join("tor")).is_empty());
}

#[test]
fn sessions_are_cut_when_their_time_is_over_or_at_a_second_signal() {
    for (drain_limit, signals) in [("1s", 1), ("1h", 2)] {
        let node = echoing(Node::new(), drain_limit);
        let running = node.start();
        let session = session(&node);
        for _ in 0..signals {
            running.signal(Signal::TERM);
            node.wait("draining", |node| node.log_text().contains("open sessions may go on"));
        }
        assert_eq!(running.end().0, Some(0), "{}", node.log_text());
        assert!(!is_served(&session));
        assert!(node.log_text().contains("open sessions are cut sessions=1"), "{}", node.log_text());
    }
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
    node.wait("the watch's end", |_| watch.try_wait().expect("our child").is_some());
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
    assert_refused(&leaver.run(&["leave"]), 1, "no other node serves clients now");
    assert_refused(&leaver.run(&["leave", "--force", "--forget"]), 2, "confirm that with --yes");
    let left = leaver.run(&["leave", "--force"]);
    assert_eq!(left.code, 0, "{}\n{}", left.stderr, leaver.log_text());
    assert!(left.stdout.starts_with("left; the key of the address is still in keys/"), "{}", left.stdout);
    assert_eq!(running.end().0, Some(0), "{}", leaver.log_text());
    assert_refused(&leaver.run(&["run"]), 3, "this node has left its cluster for good; join again from another --dir");
}

#[test]
fn who_is_told_to_leave_while_its_sessions_go_on_leaves_all_the_same() {
    let (member, leaver) = (Node::new(), Node::unfounded());
    let _member = member.start();
    let joined = leaver.run(&member.join_command());
    assert_eq!(joined.code, 0, "{}\n{}", joined.stderr, member.log_text());
    let leaver = echoing(leaver, "1h");
    let running = leaver.start();
    let _session = session(&leaver);
    running.signal(Signal::TERM);
    leaver.wait("draining", |node| node.log_text().contains("open sessions may go on"));
    let left = leaver.run(&["leave", "--force"]);
    assert_eq!(left.code, 0, "{}\n{}", left.stderr, leaver.log_text());
    assert_eq!(running.end().0, Some(0), "{}", leaver.log_text());
    assert_refused(&leaver.run(&["run"]), 3, "this node has left its cluster for good; join again from another --dir");
}

#[test]
fn who_is_removed_before_anybody_heard_its_name_is_named_by_its_id() {
    let (member, other) = (Node::new(), Node::unfounded());
    let _member = member.start();
    let joined = other.run(&[&member.join_command()[..], &["--json"]].concat());
    assert_eq!(joined.code, 0, "{}\n{}", joined.stderr, member.log_text());
    let joined: serde_json::Value = serde_json::from_str(&joined.stdout).expect("JSON");
    let id = &joined["node"].as_str().expect("text")[..8];
    let removed = member.run(&["remove", id]);
    assert!(
        removed.stdout.starts_with(&format!("{id} ({id}) is no member any more")),
        "{}{}",
        removed.stdout,
        removed.stderr
    );
}

#[test]
fn nobody_waits_for_a_proof_of_what_tor_publishes_by_itself() {
    let node = Node::new();
    let _running = node.start();
    let begun = Instant::now();
    let said = node.run(&["verify", "--wait", "--timeout", "600"]);
    assert!(said.stderr.contains("this node is alone, so its tor publishes by itself"), "{}", said.stderr);
    assert!(said.code == 6 && begun.elapsed() < PATIENCE, "{} after {:?}", said.code, begun.elapsed());
}

#[test]
fn who_leaves_can_forget_its_secrets() {
    let (member, leaver) = (Node::new(), Node::unfounded());
    let _member = member.start();
    let joined = leaver.run(&member.join_command());
    assert_eq!(joined.code, 0, "{}\n{}", joined.stderr, member.log_text());
    let running = leaver.start();
    let left = leaver.run(&["leave", "--force", "--forget", "--yes", "--json"]);
    assert_eq!(left.code, 0, "{}\n{}", left.stderr, leaver.log_text());
    let said: serde_json::Value = serde_json::from_str(&left.stdout).expect("JSON");
    assert_eq!(said["forgotten"].as_array().map(Vec::len), Some(6), "{said}");
    assert_eq!(running.end().0, Some(0), "{}", leaver.log_text());
    let files = fs::read_dir(leaver.dir()).expect("its directory").flatten();
    let mut files: Vec<String> = files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    files.sort();
    assert_eq!(files, ["lock", "rustbalance.toml"]);
}

#[test]
fn orders_are_kept_and_shown_and_go_before_the_configuration() {
    let (member, other) = (Node::new(), Node::unfounded());
    let _member = member.start();
    let joined = other.run(&member.join_command());
    assert_eq!(joined.code, 0, "{}\n{}", joined.stderr, member.log_text());
    let running = other.start();
    let status = |node: &Node| -> serde_json::Value {
        serde_json::from_str(&node.run(&["status", "--json"]).stdout).expect("JSON")
    };
    let id = status(&other)["node"].as_str().expect("text").to_owned();
    let line = |seen: &serde_json::Value| {
        seen["members"].as_array().and_then(|all| all.iter().find(|line| line["node"] == id.as_str()).cloned())
    };
    member.wait("they hear each other", |node| line(&status(node)).is_some_and(|line| line["liveness"] == "live"));
    let said = member.run(&["weight", &id[..8], "7", "--wait"]);
    assert_eq!(said.code, 0, "{}\n{}", said.stderr, other.log_text());
    assert!(said.stdout.contains("; known to all live nodes: 2"), "{}", said.stdout);
    other.wait("it follows", |node| status(node)["ordered"] == serde_json::json!(["weight 7"]));
    assert_refused(&member.run(&["drain", &id[..8]]), 1, "no other node serves clients now");
    assert_refused(&member.run(&["step-down"]), 1, "nobody publishes now");
    assert!(member.run(&["pause", "--for", "90m", "--wait"]).stdout.starts_with("paused for 90 min"));
    other.wait("the other one pauses, too", |node| !status(node)["paused"].is_null());
    assert_eq!(other.run(&["resume", "--json", "--wait"]).stdout, "{\"paused\":false}\n");
    member.wait("both go on", |node| status(node)["paused"].is_null());

    let file = other.dir().join("rustbalance.toml");
    let before = fs::read_to_string(&file).expect("its configuration");
    fs::write(&file, format!("weight = 0\n{before}")).expect("writable");
    running.signal(Signal::HUP);
    other.wait("a mistake is said", |node| node.log_text().contains("all settings stay as they are"));
    fs::write(&file, format!("weight = 50\npriority = 9\n{before}")).expect("writable");
    running.signal(Signal::HUP);
    other.wait("the change is said", |node| node.log_text().contains("priority was 100, and is 9 from now on"));
    other.wait("and in force", |node| line(&status(node)).is_some_and(|line| line["priority"] == 9));
    assert_eq!(line(&status(&other)).map(|line| line["weight"].clone()), Some(7.into()), "the order goes before it");
    let said = other.run(&["weight", &id[..8], "default"]);
    assert!(said.stdout.contains("weight 50, priority 9; as its configuration says"), "{}{}", said.stdout, said.stderr);
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
fn systemd_is_told_of_start_role_every_round_and_stop_and_hears_nothing_of_tor() {
    let node = Node::new();
    let path = node.root.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let (to_test, told) = mpsc::channel();
    // As systemd does, it reads whatever the node is doing: who says something waits for that.
    std::thread::spawn(move || {
        let mut datagram = [0; 512];
        while let Ok(length) = socket.recv(&mut datagram) {
            let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
            if to_test.send(text).is_err() {
                return;
            }
        }
    });
    let next = || told.recv_timeout(PATIENCE).expect("something");
    let environment = [("NOTIFY_SOCKET", text(&path)), ("WATCHDOG_USEC", "2000000")];
    let running = node.start_in(fs::File::create(node.log()).expect("room for a log"), &environment);
    assert_eq!(next(), "READY=1\nSTATUS=alone\n");
    assert_eq!([next(), next()], ["WATCHDOG=1\n"; 2]);
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    let rest: Vec<_> = told.try_iter().filter(|text| text != "WATCHDOG=1\n").collect();
    assert_eq!(rest, ["STOPPING=1\n"]);
}

#[test]
fn tor_dies_with_a_killed_node() {
    let node = Node::new();
    let running = node.start();
    let tors = || pids_naming(&node.dir().join("tor")).len();
    node.wait("a tor", |_| tors() > 0);
    running.signal(Signal::KILL);
    assert_eq!(running.end().0, None);
    node.wait("tor's end", |_| tors() == 0);
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
