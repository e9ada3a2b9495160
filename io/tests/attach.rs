//! A node attached to a tor that the test runs, off the network.

#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test may panic")]

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::tor::Attachment;
use rustbalance_io::fault::Fault;
use rustbalance_io::keys::MasterKey;
use rustbalance_io::settings::{ControlAddress, Settings, Target};
use rustbalance_io::tor::{TorCommand, TorInput, attach};
use supervised::{PATIENCE, Supervised, settings, state_directory, within};

mod supervised;

/// A tor that is somebody else's, and ends with this value.
struct SystemTor {
    child: Child,
    dir: tempfile::TempDir,
}

impl SystemTor {
    /// With these lines, and the service's directory as an operator fills it.
    fn start(address: OnionAddress, key: &Path, lines: &[String]) -> Self {
        let dir = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let service = dir.path().join("service");
        fs::create_dir(&service).unwrap();
        fs::set_permissions(&service, Permissions::from_mode(0o700)).unwrap();
        fs::copy(key, service.join("hs_ed25519_secret_key")).unwrap();
        fs::write(service.join("ob_config"), format!("MasterOnionAddress {address}\n")).unwrap();
        let own = [
            format!("DataDirectory {}", dir.path().join("data").display()),
            "SocksPort 0\nDisableNetwork 1\nLog err stderr".to_owned(),
        ];
        let text = own.iter().chain(lines).map(|line| line.replace("DIR", dir.path().to_str().unwrap()) + "\n");
        fs::write(dir.path().join("torrc"), text.collect::<String>()).unwrap();
        let child = Command::new("tor")
            .args(["--defaults-torrc", "/dev/null", "-f"])
            .arg(dir.path().join("torrc"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        // A node that looks too early looks again only after 10 s.
        while !dir.path().join("cookie").exists() {
            assert!(start.elapsed() < PATIENCE, "no cookie of tor");
            thread::sleep(Duration::from_millis(10));
        }
        Self { child, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for SystemTor {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines that `rustbalance tor lines` prints, for a tor whose files are in `DIR`.
fn service_lines() -> Vec<String> {
    [
        "DormantTimeoutEnabled 0",
        "PublishHidServDescriptors 0",
        "HiddenServiceDir DIR/service",
        "HiddenServicePort 80 unix:DIR/proxy.sock",
        "HiddenServiceNumIntroductionPoints 3",
        "HiddenServiceOnionBalanceInstance 1",
        "HiddenServiceExportCircuitID haproxy",
    ]
    .map(str::to_owned)
    .into()
}

/// A tor with these lines besides, and the settings of a node attached to it by its unix socket.
fn attached(lines: &[String]) -> (tempfile::TempDir, SystemTor, Settings) {
    let (state, address) = state_directory();
    let socket = ["ControlSocket DIR/control.sock\nCookieAuthentication 1\nCookieAuthFile DIR/cookie".to_owned()];
    let tor = SystemTor::start(address, &state.path().join("keys/hs_ed25519_secret_key"), &[&socket, lines].concat());
    let mut settings = settings(state.path());
    settings.service.target = Target::Tcp("127.0.0.1:1".to_owned());
    settings.tor.attach.control = Some(ControlAddress::Unix(tor.path("control.sock")));
    settings.tor.attach.service_dir = tor.path("service");
    settings.tor.attach.proxy_socket = tor.path("proxy.sock");
    (state, tor, settings)
}

/// What the node is told once tor answers.
fn told(node: &Supervised) -> TorInput {
    loop {
        match node.next() {
            TorInput::Unfit(reasons) if reasons.iter().any(|reason| reason.contains("is it running")) => {}
            other => return other,
        }
    }
}

fn attachment(news: TorInput) -> Attachment {
    match news {
        TorInput::Attached(_, attachment) => attachment,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tor_with_the_lines_is_used_and_outlives_the_node() {
    let (_state, mut tor, settings) = attached(&service_lines());
    let node = Supervised::start(settings.clone());
    let TorInput::Attached(connection, attachment) = told(&node) else { panic!("not attached") };
    assert_eq!(attachment, Attachment::default());
    assert_eq!(node.tor_pid(connection), tor.child.id());
    // The last words of the core arrive although it wants no tor any more.
    node.command(TorCommand::Write(connection, b"SETCONF PublishHidServDescriptors=1\r\n".to_vec()));
    node.commands.close();
    within(node.task).unwrap();
    assert_eq!(tor.child.try_wait().unwrap(), None);
    let TorInput::Attached(_, attachment) = told(&Supervised::start(settings)) else { panic!("not attached") };
    assert!(attachment.published);
}

#[test]
fn a_restart_that_the_core_wishes_is_a_new_connection_alone() {
    let (_state, tor, settings) = attached(&service_lines());
    let node = Supervised::start(settings);
    let TorInput::Attached(first, _) = told(&node) else { panic!("not attached") };
    node.command(TorCommand::Restart(first));
    assert_eq!(node.next(), TorInput::Closed);
    let second = node.connected();
    assert_eq!((node.tor_pid(second), second > first), (tor.child.id(), true));
}

#[test]
fn what_its_torrc_lacks_is_named_with_the_lines() {
    let is_left_out = |line: &str| ["Instance", "Dormant", "Export"].iter().any(|word| line.contains(word));
    let lines = service_lines().into_iter().filter(|line| !is_left_out(line));
    let (_state, _tor, settings) = attached(&lines.collect::<Vec<_>>());
    let node = Supervised::start(settings);
    let TorInput::Unfit(reasons) = told(&node) else { panic!("it is used") };
    let reasons = reasons.join("\n");
    assert!(reasons.contains("`DormantTimeoutEnabled 0`"), "{reasons}");
    assert!(reasons.contains("`HiddenServiceOnionBalanceInstance 1`"), "{reasons}");
    assert!(reasons.contains("`HiddenServiceExportCircuitID haproxy`"), "{reasons}");
}

#[test]
fn a_second_service_is_named_and_silence_is_not_for_it() {
    let second = ["HiddenServiceDir DIR/second\nHiddenServicePort 80".to_owned()];
    let public: Vec<_> = service_lines().into_iter().filter(|line| !line.contains("Publish")).collect();
    let (_state, tor, settings) = attached(&[&public[..], &second].concat());
    let node = Supervised::start(settings);
    let others = vec![tor.path("second").display().to_string()];
    assert_eq!(attachment(told(&node)), Attachment { others, published: true });
    let (_state, _tor, settings) = attached(&[&service_lines()[..], &second].concat());
    let TorInput::Unfit(reasons) = told(&Supervised::start(settings)) else { panic!("it is used") };
    assert!(reasons.join("\n").contains("PublishHidServDescriptors is 0, which silences"), "{reasons:?}");
}

#[test]
fn a_password_opens_a_port_and_a_wrong_one_does_not() {
    let output = Command::new("tor").args(["--quiet", "--hash-password", "correct horse"]).output().unwrap();
    let hash = String::from_utf8(output.stdout).unwrap();
    let hash = hash.lines().find(|line| line.starts_with("16:")).unwrap().to_owned();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lines = [format!("ControlPort {port}\nHashedControlPassword {hash}")];
    let (state, tor, mut settings) = attached(&[&service_lines()[..], &lines].concat());
    let address = MasterKey::read(&state.path().join("keys/hs_ed25519_secret_key")).unwrap().address();
    let file = tor.path("password");
    settings.tor.attach.control = Some(ControlAddress::Tcp(port));
    settings.tor.attach.password_file = Some(file.clone());
    for (password, fits) in [("correct horse\n", true), ("wrong horse\n", false)] {
        fs::write(&file, password).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let node = Supervised::start(settings.clone());
        if fits {
            attachment(told(&node));
        } else {
            let TorInput::Unfit(reasons) = node.next() else { panic!("it is used") };
            let reasons = reasons.join("\n");
            assert!(reasons.contains("refused our cookie or password with 515"), "{reasons}");
            assert!(!reasons.contains("horse"), "{reasons}");
        }
    }
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let error = attach::check(&settings, address).unwrap_err();
    assert!(error.to_string().contains("chmod 600") && error.fault() == Fault::State, "{error}");
}

#[test]
fn nobody_there_is_said_with_the_way_out() {
    let (state, _) = state_directory();
    let mut settings = settings(state.path());
    settings.tor.attach.control = Some(ControlAddress::Unix("/nonexistent/control".into()));
    let TorInput::Unfit(reasons) = Supervised::start(settings).next() else { panic!("it is used") };
    assert!(reasons[0].contains("unix:/nonexistent/control") && reasons[0].contains("is it running"), "{reasons:?}");
}
