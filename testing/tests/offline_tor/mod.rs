//! A tor that never touches the network, and a blocking control connection to it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the tests' own helper: whatever fails, fails the test"
)]

use std::fs::Permissions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustbalance_core::control::auth::{self, ProtocolInfo, SafeCookie};
use rustbalance_core::control::reply::{Reader, Reply};
use tempfile::TempDir;

/// Debian's package `tor` has it.
const TOR: &str = "tor";
/// Nothing here takes longer, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// The process, which ends with this value, and an authenticated connection.
pub struct OfflineTor {
    pub child: Child,
    stream: UnixStream,
    _directory: TempDir,
}

impl OfflineTor {
    /// Starts it and authenticates by SAFECOOKIE.
    pub fn start() -> Self {
        // Tor refuses a control socket where others can reach it.
        let private = Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().permissions(private).tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let (torrc, defaults) = (directory.path().join("torrc"), directory.path().join("defaults"));
        let lines = [
            format!("DataDirectory {}", directory.path().join("data").display()),
            format!("ControlSocket {}", socket.display()),
            "CookieAuthentication 1\nDisableNetwork 1\nSocksPort 0\nLog err stderr\n".to_owned(),
        ];
        std::fs::write(&torrc, lines.join("\n")).unwrap();
        std::fs::write(&defaults, "").unwrap();
        let mut tor = Command::new(TOR);
        tor.arg("--defaults-torrc").arg(defaults).arg("-f").arg(torrc);
        let mut child = tor.stdout(Stdio::null()).spawn().expect("start tor: is it installed?");
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => panic!("tor's control socket: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
            assert_eq!(child.try_wait().unwrap(), None, "tor ended");
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut tor = Self { child, stream, _directory: directory };
        tor.authenticate();
        tor
    }

    fn authenticate(&mut self) {
        let info = ProtocolInfo::parse(&self.ask(&auth::protocol_info())).unwrap();
        let cookie = std::fs::read(String::from_utf8(info.cookie_file.unwrap()).unwrap()).unwrap();
        let auth = SafeCookie::new(&cookie, [7; 32]).unwrap();
        let challenge = self.ask(&auth.challenge());
        let proof = auth.authenticate(&challenge).unwrap();
        assert_eq!(self.ask(&proof).status, 250);
    }

    /// One command and its reply, when no event can come between.
    fn ask(&mut self, command: &[u8]) -> Reply {
        self.send(command);
        let mut reader = Reader::default();
        loop {
            reader.push(&self.hear());
            if let Some(reply) = reader.next_reply().unwrap() {
                return reply;
            }
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, command: &[u8]) {
        self.stream.write_all(command).unwrap();
    }

    /// The next bytes.
    pub fn hear(&mut self) -> Vec<u8> {
        let mut buffer = [0; 4096];
        let length = loop {
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result.unwrap(),
            }
        };
        assert_ne!(length, 0, "tor closed the connection");
        buffer[..length].to_vec()
    }
}

impl Drop for OfflineTor {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
