//! What a running node is told: the configuration file after `node` has checked it. Immutable.

use std::fmt;
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
    /// What this node does for all while it is the publisher.
    pub cluster: ClusterSettings,
    /// The service.
    pub service: ServiceSettings,
    /// What this node publishes while it is the publisher.
    pub publish: PublishSettings,
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

/// What a publisher does for all members.
#[derive(Clone, Debug, Default)]
pub struct ClusterSettings {
    /// How old the cluster token may become; `None`: it is replaced by order alone.
    pub token_rotation: Option<Duration>,
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
    /// Proof of work.
    pub pow: PowSettings,
}

/// Tor's proof-of-work defence of a service. Tor sets the effort by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowSettings {
    /// Whether clients may, and under load must, solve a puzzle first. Default false.
    pub enabled: bool,
    /// Clients served a second, sustained; 0 is without limit. Default 250, as tor's.
    pub queue_rate: u32,
    /// Clients served at once after a calm time, at least the rate. Default 2500, as tor's.
    pub queue_burst: u32,
}

impl Default for PowSettings {
    fn default() -> Self {
        Self { enabled: false, queue_rate: 250, queue_burst: 2500 }
    }
}

/// What a publisher does its own way.
#[derive(Clone, Debug, Default)]
pub struct PublishSettings {
    /// The most introduction points in one descriptor, 3..=20; `None`: as many as clients accept.
    pub points: Option<u8>,
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
    /// Sessions that are open when the node is told to stop may go on for this long. Default 30 s.
    pub drain_limit: Duration,
    /// How the target is probed.
    pub probe: ProbeSettings,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(3600),
            max_connections: 4096,
            drain_limit: Duration::from_secs(30),
            probe: ProbeSettings::default(),
        }
    }
}

/// Whether the operator's application answers: how that is found out.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// What a probe does once it is connected. Default: nothing more.
    pub request: ProbeRequest,
    /// The statuses with which an HTTP probe succeeds. Default 200 to 399.
    pub statuses: Statuses,
    /// The HTTP probe's `Host`; `None`: the target's if it is an onion service, else this service's address.
    pub host: Option<String>,
    /// How often. Default 5 s.
    pub interval: Duration,
    /// Probes that must fail in a row before the target counts as down. Default 3.
    pub failures: u32,
    /// Probes that must succeed in a row before one that is down counts as up. Default 1.
    pub successes: u32,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            request: ProbeRequest::Connect,
            statuses: Statuses { first: 200, last: 399 },
            host: None,
            interval: Duration::from_secs(5),
            failures: 3,
            successes: 1,
        }
    }
}

/// A range of HTTP's statuses, 100..=599.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    /// The lowest.
    pub first: u16,
    /// The highest, not below it.
    pub last: u16,
}

impl Statuses {
    /// Whether `status` is one of them.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

/// What a probe asks of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeRequest {
    /// To take a connection.
    Connect,
    /// To answer `GET` of this path, which begins with `/`.
    Http(String),
}

/// The node's tors: its own, unless it is attached to another.
#[derive(Clone, Debug)]
pub struct TorSettings {
    /// How many tors serve side by side, 1..=8. Default 1.
    pub instances: u8,
    /// Binary. Default `tor`.
    pub binary: PathBuf,
    /// Where its copy of the address' key lies while the state is encrypted: a directory on a tmpfs; `None`: systemd's
    /// `RuntimeDirectory`, else `/run/rustbalance`.
    pub runtime_dir: Option<PathBuf>,
    /// More torrc lines, for test networks and bridges; never ones we set ourselves.
    pub options: Vec<String>,
    /// A tor that somebody else runs.
    pub attach: AttachSettings,
}

impl Default for TorSettings {
    fn default() -> Self {
        Self {
            instances: 1,
            binary: "tor".into(),
            runtime_dir: None,
            options: Vec::new(),
            attach: AttachSettings::default(),
        }
    }
}

/// A tor that somebody else runs, such as the system's.
#[derive(Clone, Debug)]
pub struct AttachSettings {
    /// Where it takes commands; `None`: the node runs a tor of its own, and the rest means nothing.
    pub control: Option<ControlAddress>,
    /// Its control cookie, if not where it says.
    pub cookie_file: Option<PathBuf>,
    /// The password for it, instead of the cookie.
    pub password_file: Option<PathBuf>,
    /// The service's directory in it.
    pub service_dir: PathBuf,
    /// Where it hands over the service's connections: a unix socket that we make.
    pub proxy_socket: PathBuf,
}

impl Default for AttachSettings {
    fn default() -> Self {
        Self {
            control: None,
            cookie_file: None,
            password_file: None,
            service_dir: "/var/lib/tor/rustbalance".into(),
            proxy_socket: "/run/rustbalance-tor/proxy.sock".into(),
        }
    }
}

/// Where a tor takes commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// A port of this machine.
    Tcp(SocketAddr),
}

impl fmt::Display for ControlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}
