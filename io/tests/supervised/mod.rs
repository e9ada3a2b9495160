//! The supervisor of a real tor that is kept off the network, and the test in the driver's place.

#![expect(clippy::unwrap_used, reason = "the tests' own: whatever fails, fails the test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustbalance_core::TorId;
use rustbalance_core::control::reply::{Reader, Reply};
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::onion::key::HsIdKeypair;
use rustbalance_core::rng::Seed;
use rustbalance_io::settings::{
    ClusterSettings, MeshSettings, PowSettings, ProxySettings, PublishSettings, ServiceSettings, Settings, Target,
    TorSettings,
};
use rustbalance_io::store::Store;
use rustbalance_io::tor::{ConnectionId, TorCommand, TorError, TorInput, attach, supervise};
use smol::channel::{Receiver, Sender};
use smol::future::FutureExt as _;

/// Nothing here takes this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A state directory with a master key.
pub fn state_directory() -> (tempfile::TempDir, OnionAddress) {
    // A path that tor reads right only when it is quoted right.
    let dir = tempfile::Builder::new().prefix("a \"b\" #c\\").tempdir().unwrap();
    let key = key();
    fs::create_dir(dir.path().join("keys")).unwrap();
    let file = dir.path().join("keys/hs_ed25519_secret_key");
    fs::write(&file, key.to_tor_file()).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    let address = OnionAddress::new(key.public());
    (dir, address)
}

/// The master key.
fn key() -> HsIdKeypair {
    HsIdKeypair::generate(&mut Seed::new([7; 32]).fork("test"))
}

pub fn settings(dir: &Path) -> Settings {
    Settings {
        dir: dir.to_owned(),
        name: "test".to_owned(),
        priority: 1,
        weight: 100,
        mesh: MeshSettings { listen: ([127, 0, 0, 1], 0).into(), endpoint: None },
        service: ServiceSettings {
            port: 80,
            target: Target::Onion { host: "target.onion".to_owned(), port: 80 },
            introduction_points: 3,
            pow: PowSettings::default(),
        },
        cluster: ClusterSettings::default(),
        publish: PublishSettings::default(),
        proxy: ProxySettings {
            connect_timeout: PATIENCE,
            idle_timeout: PATIENCE,
            max_connections: 1,
            ..ProxySettings::default()
        },
        tor: TorSettings { options: vec!["DisableNetwork 1".to_owned()], ..TorSettings::default() },
    }
}

/// A supervisor, and we in the driver's place.
pub struct Supervised {
    pub task: smol::Task<Result<(), TorError>>,
    pub news: Receiver<(TorId, TorInput)>,
    pub commands: Sender<TorCommand>,
}

impl Supervised {
    /// Of a tor of the node's own, or one that it is attached to.
    pub fn start(settings: Settings) -> Self {
        let (to_core, news) = smol::channel::bounded(4);
        let (commands, from_core) = smol::channel::bounded(4);
        let (store, settings) = (Arc::new(Store::new(&settings.dir)), Arc::new(settings));
        let task = if settings.tor.attach.control.is_some() {
            let address = OnionAddress::new(key().public());
            smol::spawn(attach::supervise(settings, address, to_core, from_core))
        } else {
            smol::spawn(supervise(settings, store, TorId(0), to_core, from_core))
        };
        Self { task, news, commands }
    }

    pub fn next(&self) -> TorInput {
        let (tor, input) = within(self.news.recv()).expect("the supervisor ended");
        assert_eq!(tor, TorId(0));
        input
    }

    pub fn connected(&self) -> ConnectionId {
        match self.next() {
            TorInput::Connected(connection) | TorInput::Attached(connection, _) => connection,
            other => panic!("{other:?}"),
        }
    }

    pub fn command(&self, command: TorCommand) {
        within(self.commands.send(command)).unwrap();
    }

    /// The value of `key` in the answer to `GETINFO key` or `GETCONF key`.
    pub fn get(&self, connection: ConnectionId, command: &str, key: &str) -> String {
        let reply = self.ask(connection, &format!("{command} {key}"));
        String::from_utf8(reply.value(key).unwrap().to_vec()).unwrap()
    }

    /// One command, and tor's reply.
    pub fn ask(&self, connection: ConnectionId, command: &str) -> Reply {
        self.command(TorCommand::Write(connection, format!("{command}\r\n").into_bytes()));
        let mut reader = Reader::default();
        loop {
            if let Some(reply) = reader.next_reply().unwrap() {
                return reply;
            }
            match self.next() {
                TorInput::Bytes(bytes) => reader.push(&bytes),
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn tor_pid(&self, connection: ConnectionId) -> u32 {
        self.get(connection, "GETINFO", "process/pid").parse().unwrap()
    }
}

pub fn within<T>(future: impl Future<Output = T>) -> T {
    smol::block_on(async { Some(future.await) }.or(async {
        smol::Timer::after(PATIENCE).await;
        None
    }))
    .expect("in time")
}
