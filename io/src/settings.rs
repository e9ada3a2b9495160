//! What a running node is told: the configuration file after `node` has checked it. Immutable.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything `run` needs besides the state directory's own files.
#[derive(Clone, Debug)]
pub struct Settings {
    /// State directory, 0700, ours alone.
    pub dir: PathBuf,
    /// Node name, at most 32 bytes.
    pub name: String,
    /// Publisher preference, lower first.
    pub priority: u8,
    /// Share of clients, 1..=1000.
    pub weight: u16,
    /// The mesh.
    pub mesh: MeshSettings,
    /// The service.
    pub service: ServiceSettings,
    /// The proxy.
    pub proxy: ProxySettings,
    /// Tor.
    pub tor: TorSettings,
}

/// WireGuard mesh.
#[derive(Clone, Debug)]
pub struct MeshSettings {
    /// UDP address to listen on.
    pub listen: SocketAddr,
    /// `HOST:PORT` others reach us at; `None`: only we initiate.
    pub endpoint: Option<String>,
}

/// What is served.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// Port of the onion service.
    pub port: u16,
    /// The operator's application.
    pub target: Target,
    /// 3..=20 introduction points per tor.
    pub introduction_points: u8,
}

/// Where the operator's application listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `HOST:PORT`.
    Tcp(String),
    /// `unix:/path`.
    Unix(PathBuf),
    /// `<56>.onion:PORT`, through tor's SOCKS port.
    Onion {
        /// With `.onion`.
        host: String,
        /// Port.
        port: u16,
    },
}

/// Limits of the reverse proxy.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// Per connection attempt to the target. Default 10 s.
    pub connect_timeout: Duration,
    /// No byte either way for this long closes a connection. Default 1 h.
    pub idle_timeout: Duration,
    /// Connections at once. Default 4096; beyond it new ones are closed at once and counted.
    pub max_connections: usize,
    /// How often the target is probed (TCP or unix connect). Default 5 s.
    pub probe_interval: Duration,
    /// Probes that must fail in a row before the target counts as down. Default 3; one success brings it back.
    pub probe_failures: u32,
}

/// The managed tor.
#[derive(Clone, Debug)]
pub struct TorSettings {
    /// Binary. Default `tor`.
    pub binary: PathBuf,
    /// More torrc lines, for test networks and bridges; never ones we set ourselves.
    pub options: Vec<String>,
}
