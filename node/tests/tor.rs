//! `tor`: what a tor that somebody else runs needs, tried with one.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{Run, assert_refused, mortal_program, rustbalance, text};

/// A service of C tor.
const TOR_SERVICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/testdata/ctor/cases/plain-3ip");
/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// The keys and the configuration of a node, and room for a tor.
struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    fn new(tor_section: &str) -> Self {
        let root = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let machine = Self { root };
        fs::create_dir_all(machine.path("state/keys")).unwrap();
        let key = machine.path("state/keys/hs_ed25519_secret_key");
        fs::write(&key, fs::read(format!("{TOR_SERVICE}/hs_ed25519_secret_key")).unwrap()).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        let config = format!("[tor]\n{}\n", tor_section.replace("ROOT", text(machine.root.path())));
        fs::write(machine.path("state/rustbalance.toml"), config).unwrap();
        machine
    }

    fn attached() -> Self {
        Self::new(
            "attach = 'unix:ROOT/control.sock'\nservice_dir = 'ROOT/service'\nproxy_socket = 'ROOT/proxy/proxy.sock'",
        )
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", text(self.root.path()))
    }

    fn run(&self, args: &[&str]) -> Run {
        let dir = self.path("state");
        rustbalance(["--dir", dir.as_str()].into_iter().chain(args.iter().copied()))
    }

    /// Starts a tor off the network with `lines`.
    fn start_tor(&self, lines: &str) -> Tor {
        let torrc = self.path("torrc");
        let own = format!(
            "DataDirectory {}\nControlSocket {}\nCookieAuthentication 1\nSocksPort 0\nDisableNetwork 1\nLog err stderr\n",
            self.path("data"),
            self.path("control.sock")
        );
        fs::write(&torrc, own + lines).unwrap();
        let mut tor = mortal_program("tor", ["--defaults-torrc", "/dev/null", "-f", &torrc]);
        tor.stdout(Stdio::null());
        Tor(tor.spawn().expect("tor is installed"))
    }

    /// What `tor check` says once tor answers.
    fn check(&self) -> Run {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let run = self.run(&["tor", "check"]);
            if !run.stderr.contains("is it running") || Instant::now() > deadline {
                return run;
            }
        }
    }
}

struct Tor(Child);

impl Drop for Tor {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_tor_with_the_printed_lines_is_fit_and_each_one_is_needed() {
    let machine = Machine::attached();
    let lines = machine.run(&["tor", "lines"]);
    assert_eq!((lines.code, lines.stderr.as_str()), (0, ""));
    let service = machine.path("service");
    let export = machine.run(&["key", "export", "--out", &service, "--format", "service"]);
    assert_eq!(export.code, 0, "{}", export.stderr);
    let hostname = fs::read_to_string(format!("{service}/hostname")).unwrap();
    let ob_config = format!("MasterOnionAddress {hostname}");
    assert!(lines.stdout.contains(&format!("echo '{}' > {service}/ob_config", ob_config.trim())), "{}", lines.stdout);
    let next = format!("runuser -u rustbalance -- rustbalance --dir {} tor check", machine.path("state"));
    assert!(lines.stdout.contains(&next), "{}", lines.stdout);
    fs::write(format!("{service}/ob_config"), ob_config).unwrap();
    {
        let _tor = machine.start_tor(&lines.stdout);
        let run = machine.check();
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, "ok\n", ""));
        let json = machine.run(&["tor", "check", "--json"]);
        assert_eq!(json.stdout, "{\"fit\":true,\"wrong\":[],\"others\":[]}\n");
    }
    let _tor = machine.start_tor(&lines.stdout.replace("HiddenServiceNumIntroductionPoints 3\n", ""));
    assert_refused(&machine.check(), 5, "`HiddenServiceNumIntroductionPoints 3`");
}

#[test]
fn a_tor_that_is_not_there_is_said_with_the_way_out() {
    let machine = Machine::attached();
    assert_refused(&machine.run(&["tor", "check"]), 5, "is it running, and may this user use its control socket");
}

#[test]
fn files_of_this_node_that_are_wrong_are_no_fault_of_tors() {
    let machine = Machine::new("attach = 'unix:ROOT/control.sock'\npassword_file = 'ROOT/password'");
    assert_refused(&machine.run(&["tor", "check"]), 3, "password: ");
    fs::write(machine.path("password"), "secret\n").unwrap();
    fs::set_permissions(machine.path("password"), Permissions::from_mode(0o644)).unwrap();
    assert_refused(&machine.run(&["tor", "check"]), 3, "chmod 600");
    fs::set_permissions(machine.path("password"), Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(machine.path("state/keys/hs_ed25519_secret_key"), Permissions::from_mode(0o644)).unwrap();
    for command in ["lines", "check"] {
        assert_refused(&machine.run(&["tor", command]), 3, "hs_ed25519_secret_key");
    }
}

#[test]
fn a_node_with_a_tor_of_its_own_has_nothing_to_add_anywhere() {
    let machine = Machine::new("");
    for command in ["lines", "check"] {
        assert_refused(&machine.run(&["tor", command]), 2, "set tor.attach");
    }
}
