//! The settings of an empty file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustbalance_io::settings::{MeshSettings, ProxySettings, ServiceSettings, Settings, Target, TorSettings};

use super::value;

/// Default UDP port of the mesh.
pub const MESH_PORT: u16 = 7900;

/// The defaults for a node in `dir`; its name is the machine's.
pub fn settings(dir: &Path) -> Settings {
    Settings {
        dir: dir.to_path_buf(),
        name: host_name(),
        priority: 100,
        weight: 100,
        mesh: MeshSettings { listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, MESH_PORT)), endpoint: None },
        service: ServiceSettings { port: 80, target: Target::Tcp("127.0.0.1:8080".into()), introduction_points: 3 },
        proxy: ProxySettings {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(3600),
            max_connections: 4096,
            probe_interval: Duration::from_secs(5),
            probe_failures: 3,
        },
        tor: TorSettings { binary: PathBuf::from("tor"), options: Vec::new() },
    }
}

/// The machine's host name as far as it can be a node name.
fn host_name() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let printable: String = read.chars().filter(|letter| !letter.is_control()).collect();
    let name = value::prefix(&printable, value::NAME_MAX);
    if name.is_empty() { "node".into() } else { name.into() }
}
