//! Whole nodes in one process, each with a real tor that stays off the network.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustbalance_core::cluster::Access;
use rustbalance_core::status::Status;
use rustbalance_io::init::{Founded, InitParams, init};
use rustbalance_io::join::{JoinParams, join};
use rustbalance_io::keys::{MasterKey, Token};
use rustbalance_io::run::{self, Reloaded, RunError};
use rustbalance_io::settings::{
    ClusterSettings, MeshSettings, PowSettings, ProbeSettings, ProxySettings, PublishSettings, ServiceSettings,
    Settings, Target, TorSettings,
};
use rustbalance_io::status;
use rustix::process::{Pid, Signal, kill_process};

const WITHIN: Duration = Duration::from_secs(30);

/// A loopback address that was free a moment ago.
fn free_address() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    socket.local_addr().expect("bound")
}

fn settings(dir: &Path, listen: SocketAddr) -> Settings {
    Settings {
        dir: dir.to_owned(),
        name: dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        priority: 100,
        weight: 100,
        mesh: MeshSettings { listen, endpoint: Some(listen.to_string()) },
        cluster: ClusterSettings::default(),
        service: ServiceSettings {
            port: 80,
            target: Target::Tcp("127.0.0.1:9".to_owned()),
            introduction_points: 3,
            pow: PowSettings::default(),
        },
        publish: PublishSettings::default(),
        proxy: ProxySettings {
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(60),
            max_connections: 16,
            probe: ProbeSettings { interval: Duration::from_secs(1), ..ProbeSettings::default() },
            ..ProxySettings::default()
        },
        tor: TorSettings { options: vec!["DisableNetwork 1".to_owned()], ..TorSettings::default() },
    }
}

/// Runs a node whose configuration never changes.
fn run(settings: Settings) -> Result<(), RunError> {
    run::run(settings, None, Box::new(|| Reloaded::Refused(Vec::new())))
}

/// A running node, told to stop when the test ends, however it ends.
struct Running {
    dir: PathBuf,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

impl Running {
    fn start(settings: Settings) -> Self {
        let dir = settings.dir.clone();
        Self { dir, thread: Some(thread::spawn(|| run(settings))) }
    }

    /// Waits for a status that satisfies `wanted`.
    fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let started = Instant::now();
        loop {
            let status = status::status(&self.dir);
            match &status {
                Ok(status) if wanted(status) => return status.clone(),
                _ if started.elapsed() > WITHIN => panic!("never {what}: {status:#?}"),
                _ => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Stops it as an operator does.
    fn stop(mut self) {
        status::shut_down(&self.dir).expect("a running node");
        self.thread.take().expect("running").join().expect("no panic").expect("an orderly end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            _ = status::shut_down(&self.dir);
            _ = thread.join();
        }
    }
}

fn found(dir: &Path) -> Founded {
    init(InitParams { dir: dir.to_owned(), master: None, access: Access::Open, passphrase: None })
        .expect("an empty directory")
}

/// One that was ended says so behind that word.
fn is_connected(tor: impl AsRef<str>) -> bool {
    !tor.as_ref().starts_with("disconnected")
}

fn socket_is_dead(path: &Path) -> bool {
    UnixStream::connect(path).is_err()
}

#[test]
fn a_node_runs_answers_and_stops_without_leaving_anything_behind() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("one");
    let founded = found(&dir);
    let node = Running::start(settings(&dir, free_address()));
    let status = node.until("with its tor", |status| status.tors.iter().all(is_connected));
    assert_eq!(status.address, founded.address.to_string());
    assert_eq!(status.members.len(), 1);
    node.stop();
    assert!(!dir.join("run/status.sock").exists() && !dir.join("run/proxy.sock").exists());
    assert!(socket_is_dead(&dir.join("run/control.sock")), "tor is gone");

    let again = Running::start(settings(&dir, free_address()));
    again.until("back", |status| status.address == founded.address.to_string());
    again.stop();
}

/// The tor that runs on this torrc.
fn tor_on(torrc: &Path) -> Option<Pid> {
    let processes = fs::read_dir("/proc").expect("a Linux").flatten();
    let runs = |cmdline: &[u8]| {
        let mut words = cmdline.split(|byte| *byte == 0).map(OsStr::from_bytes);
        words.any(|word| word == torrc) && !words.any(|word| word == "--verify-config")
    };
    let pid = processes.into_iter().find_map(|process| {
        fs::read(process.path().join("cmdline")).is_ok_and(|cmdline| runs(&cmdline)).then(|| process.file_name())
    })?;
    Pid::from_raw(pid.to_str()?.parse().ok()?)
}

#[test]
fn one_of_two_tors_is_killed_and_comes_back_and_a_node_of_one_tor_removes_what_the_second_had() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("one");
    init(InitParams { dir: dir.clone(), master: None, access: Access::Restricted(BTreeMap::new()), passphrase: None })
        .unwrap();
    let with_tors = |instances| {
        let mut settings = settings(&dir, free_address());
        settings.tor.instances = instances;
        settings
    };
    let node = Running::start(with_tors(2));
    let status = node.until("with both tors", |status| status.tors.iter().filter(|tor| is_connected(tor)).count() == 2);
    assert_eq!(status.mode, "merged");
    for service in ["tor/hs", "tor/1/hs"] {
        let own = dir.join(service).join("authorized_clients/_rustbalance.auth");
        node.until("with its client", |_| own.exists());
    }
    let pids = || ["tor/torrc", "tor/1/torrc"].map(|torrc| tor_on(&dir.join(torrc)).expect("it runs"));
    let before = pids();
    kill_process(before[1], Signal::KILL).unwrap();
    node.until("with another second tor", |status| {
        status.tors.last().is_some_and(|tor| is_connected(tor) && tor.ends_with("; ends within an hour: 1"))
    });
    let now = pids();
    assert!(now[0] == before[0] && now[1] != before[1], "{before:?}, {now:?}");
    node.stop();
    assert!(socket_is_dead(&dir.join("run/control.sock")) && socket_is_dead(&dir.join("run/1/control.sock")));

    let node = Running::start(with_tors(1));
    node.until("with its tor", |status| status.tors.iter().all(is_connected) && status.mode == "native");
    assert!(!dir.join("tor/1").exists() && !dir.join("run/1").exists() && dir.join("tor/hs").exists());
    node.stop();
}

#[test]
fn what_is_in_use_is_named() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (root.path().join("one"), root.path().join("two"));
    found(&one);
    found(&two);
    let listen = free_address();
    let node = Running::start(settings(&one, listen));
    node.until("up", |_| true);
    let message = run(settings(&one, free_address())).unwrap_err().to_string();
    assert!(message.contains("in use by another rustbalance (process "), "{message}");
    let message = run(settings(&two, listen)).unwrap_err().to_string();
    assert!(message.starts_with(&format!("mesh.listen = \"{listen}\": another program uses that")), "{message}");
    node.stop();
}

#[test]
fn a_second_node_joins_and_both_see_each_other() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (root.path().join("one"), root.path().join("two"));
    let founded = found(&one);
    let listen = free_address();
    let first = Running::start(settings(&one, listen));
    let params = |token: Token| JoinParams {
        dir: two.clone(),
        address: founded.address,
        endpoint: listen.to_string(),
        peer: founded.wireguard,
        token,
        master: MasterKey::read(&one.join("keys/hs_ed25519_secret_key")).expect("the first node's key"),
        passphrase: None,
    };
    first.until("with its tor", |status| status.tors.iter().all(is_connected));

    let refused = join(params(Token::generate().unwrap())).err().expect("a wrong token is refused").to_string();
    assert!(refused.contains("token"), "{refused}");
    assert!(!two.join("keys").exists());

    let joined = join(params(Token::read(&one.join("keys/cluster_token")).unwrap())).expect("the right token");
    assert!(joined.by == founded.node && joined.node != founded.node);

    let second = Running::start(settings(&two, free_address()));
    for node in [&first, &second] {
        node.until("two live members", |status| {
            status.members.len() == 2 && status.members.iter().all(|member| member.liveness == "live")
        });
    }
    second.stop();
    first.until("one left alone", |status| status.members.iter().any(|member| member.liveness != "live"));
    first.stop();
}
