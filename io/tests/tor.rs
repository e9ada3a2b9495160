//! The supervisor with a real tor that is kept off the network.

#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustbalance_io::proxy::{Connector, Isolation};
use rustbalance_io::settings::{Settings, Target, TorSettings};
use rustbalance_io::tor::{TorCommand, TorError, TorInput, TorPaths, check_binary};
use rustix::fs::inotify;
use rustix::process::{Pid, Signal};
use supervised::{PATIENCE, Supervised, settings, state_directory, within};

mod supervised;

/// Whether the process runs; a zombie does not.
fn alive(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

/// How long the process lives on.
fn time_until_gone(pid: u32) -> Duration {
    let start = Instant::now();
    while alive(pid) {
        assert!(start.elapsed() < PATIENCE, "tor lives on");
        thread::sleep(Duration::from_millis(2));
    }
    start.elapsed()
}

fn signal(pid: u32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn tor_runs_as_configured_and_stops_when_the_core_does() {
    let (dir, address) = state_directory();
    let tor = Supervised::start(settings(dir.path()));
    let connection = tor.connected();
    let pid = tor.tor_pid(connection);
    assert!(alive(pid));
    assert_eq!(tor.get(connection, "GETCONF", "PublishHidServDescriptors"), "0");
    assert_eq!(tor.get(connection, "GETCONF", "DormantTimeoutEnabled"), "0");
    // As the core turns native publishing on and off.
    assert_eq!(tor.ask(connection, "SETCONF PublishHidServDescriptors=1").status, 250);
    assert_eq!(tor.get(connection, "GETCONF", "PublishHidServDescriptors"), "1");
    let service = dir.path().join("tor/hs");
    assert_eq!(fs::read_to_string(service.join("hostname")).unwrap(), format!("{address}\n"));
    assert_eq!(fs::read_to_string(service.join("ob_config")).unwrap(), format!("MasterOnionAddress {address}\n"));
    for file in ["tor/hs/hs_ed25519_secret_key", "run/cookie", "run/control.sock"] {
        let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    tor.commands.close();
    within(tor.task).unwrap();
    assert!(!alive(pid));
}

#[test]
fn a_killed_tor_comes_back_and_old_commands_do_not_reach_it() {
    let (dir, _) = state_directory();
    let tor = Supervised::start(settings(dir.path()));
    let first = tor.connected();
    let pid = tor.tor_pid(first);
    signal(pid, Signal::KILL);
    assert_eq!(tor.next(), TorInput::Closed);
    assert_eq!(tor.next(), TorInput::Ended { again_in: Duration::from_millis(500) });
    tor.command(TorCommand::Write(first, b"GETINFO version\r\n".to_vec()));
    let second = tor.connected();
    tor.command(TorCommand::Write(first, b"GETINFO version\r\n".to_vec()));
    tor.command(TorCommand::Reconnect(first));
    // The first bytes are the answer to this.
    assert_ne!(tor.tor_pid(second), pid);
}

#[test]
fn a_reconnect_keeps_tor() {
    let (dir, _) = state_directory();
    let tor = Supervised::start(settings(dir.path()));
    let first = tor.connected();
    let pid = tor.tor_pid(first);
    tor.command(TorCommand::Reconnect(first));
    assert_eq!(tor.next(), TorInput::Closed);
    let second = tor.connected();
    assert!(second > first);
    assert_eq!(tor.tor_pid(second), pid);
}

#[test]
fn a_tor_that_hangs_is_killed() {
    let (dir, _) = state_directory();
    let tor = Supervised::start(settings(dir.path()));
    let pid = tor.tor_pid(tor.connected());
    signal(pid, Signal::STOP);
    tor.commands.close();
    within(tor.task).unwrap();
    assert!(!alive(pid));
}

#[test]
fn dropping_the_supervisor_ends_tor() {
    let (dir, _) = state_directory();
    let tor = Supervised::start(settings(dir.path()));
    let pid = tor.tor_pid(tor.connected());
    within(tor.task.cancel());
    time_until_gone(pid);
}

#[test]
fn a_driver_that_takes_nothing_does_not_keep_the_supervisor_from_stopping() {
    let (dir, _) = state_directory();
    let tor = Supervised::start(settings(dir.path()));
    let connection = tor.connected();
    let pid = tor.tor_pid(connection);
    for _ in 0..16 {
        tor.command(TorCommand::Write(connection, b"GETINFO config/names\r\n".to_vec()));
    }
    tor.commands.close();
    within(tor.task).unwrap();
    assert!(!alive(pid));
}

/// Where [`daemon_to_be_killed`] finds its state directory.
const DAEMON_DIRECTORY: &str = "RUSTBALANCE_TEST_DAEMON_DIRECTORY";

/// Not a test: the daemon that [`tor_dies_with_a_killed_daemon`] starts and kills.
#[test]
#[ignore = "runs for ever; another test starts it in a process of its own"]
fn daemon_to_be_killed() {
    let dir = PathBuf::from(std::env::var_os(DAEMON_DIRECTORY).unwrap());
    let tor = Supervised::start(settings(&dir));
    let pid = tor.tor_pid(tor.connected());
    fs::write(dir.join("pid.new"), pid.to_string()).unwrap();
    fs::rename(dir.join("pid.new"), dir.join("pid")).unwrap();
    loop {
        thread::park();
    }
}

#[test]
fn tor_dies_with_a_killed_daemon() {
    let (dir, _) = state_directory();
    let mut daemon = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "daemon_to_be_killed", "--ignored"])
        .env(DAEMON_DIRECTORY, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let pid = loop {
        if let Ok(pid) = fs::read_to_string(dir.path().join("pid")) {
            break pid.parse().unwrap();
        }
        assert_eq!(daemon.try_wait().unwrap(), None);
        assert!(start.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(10));
    };
    assert!(alive(pid));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let lived_on = time_until_gone(pid);
    // Without our closing its control connection it looks every 15 s.
    assert!(lived_on < Duration::from_secs(10), "{lived_on:?}");
}

#[test]
fn a_tor_that_another_daemon_left_is_waited_for() {
    let (dir, _) = state_directory();
    let old = Supervised::start(settings(dir.path()));
    let old_pid = old.tor_pid(old.connected());
    let lock = smol::Async::new(inotify::init(inotify::CreateFlags::empty()).unwrap()).unwrap();
    inotify::add_watch(&lock, dir.path().join("tor/data/lock"), inotify::WatchFlags::CLOSE_WRITE).unwrap();
    let new = Supervised::start(settings(dir.path()));
    // It has looked at the lock, and found the data directory taken.
    within(lock.readable()).unwrap();
    assert!(new.news.is_empty());
    assert!(dir.path().join("run/control.sock").exists(), "the old tor's");
    old.commands.close();
    within(old.task).unwrap();
    let connection = new.connected();
    assert_ne!(new.tor_pid(connection), old_pid);
}

#[test]
fn tors_socks_port_answers_our_client() {
    let (dir, _) = state_directory();
    let mut settings = settings(dir.path());
    // The only authority is a port where nobody listens.
    let nobody = "DirAuthority nobody orport=1 v3ident=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA 127.0.0.1:1 \
                  AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    settings.tor.options = ["TestingTorNetwork 1", nobody].map(str::to_owned).into();
    let paths = TorPaths::new(dir.path()).unwrap();
    let no_address = Target::Onion { host: format!("{}.onion", "a".repeat(56)), port: 80 };
    let connector = Connector::new(no_address, vec![paths.socks_socket], PATIENCE);
    let tor = Supervised::start(settings);
    tor.connected();
    let error = within(connector.connect(Isolation::unique())).err().unwrap();
    assert_eq!(error.to_string(), "the onion target's address is invalid");
}

fn refusal(adjust: impl FnOnce(&mut Settings)) -> String {
    let (dir, _) = state_directory();
    let mut settings = settings(dir.path());
    adjust(&mut settings);
    within(Supervised::start(settings).task).unwrap_err().to_string()
}

#[test]
fn what_cannot_be_repaired_is_said_at_once() {
    let missing = refusal(|settings| settings.tor.binary = "/nonexistent/tor".into());
    assert!(missing.contains("install Debian's tor package or set tor.binary"), "{missing}");
    let not_tor = refusal(|settings| settings.tor.binary = "/bin/echo".into());
    assert!(not_tor.contains("tor.binary"), "{not_tor}");
    let no_pow = refusal(|settings| {
        settings.tor.binary = settings.dir.join("tor-without-pow");
        settings.service.pow.enabled = true;
        fs::write(&settings.tor.binary, "#!/bin/sh\necho 'Tor version 0.4.9.11.'\n").unwrap();
        fs::set_permissions(&settings.tor.binary, fs::Permissions::from_mode(0o700)).unwrap();
    });
    assert!(no_pow.contains("built without its module for proof of work: set tor.binary"), "{no_pow}");
    let reserved = refusal(|settings| settings.tor.options.push("ControlPort 9051".to_owned()));
    assert!(reserved.contains("ControlPort"), "{reserved}");
    let unknown = refusal(|settings| settings.tor.options.push("NoSuchOption 1".to_owned()));
    assert!(unknown.contains("NoSuchOption"), "{unknown}");
    let long = refusal(|settings| settings.dir = format!("/{}", "d".repeat(100)).into());
    assert!(long.contains("shorter state directory"), "{long}");
    let no_key = refusal(|settings| fs::remove_dir_all(settings.dir.join("keys")).unwrap());
    assert!(no_key.contains("hs_ed25519_secret_key"), "{no_key}");
    let bad_key = refusal(|settings| fs::write(settings.dir.join("keys/hs_ed25519_secret_key"), [0; 96]).unwrap());
    assert!(bad_key.contains("hs_ed25519_secret_key"), "{bad_key}");
}

#[test]
fn old_tors_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let binary = dir.path().join("tor");
    for (version, refused) in [("0.4.7.16", true), ("0.4.8.1-alpha", false), ("0.5.0.1", false)] {
        fs::write(&binary, format!("#!/bin/sh\necho 'Tor version {version}.'\n")).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o700)).unwrap();
        let outcome = check_binary(&TorSettings { binary: binary.clone(), ..TorSettings::default() });
        assert_eq!(matches!(outcome, Err(TorError::TooOld(_))), refused, "{outcome:?}");
        assert_eq!(outcome.is_ok(), !refused);
    }
}
