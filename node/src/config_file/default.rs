//! The settings of an empty file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use rustbalance_io::settings::{
    ClusterSettings, MeshSettings, PowSettings, ProxySettings, PublishSettings, ServiceSettings, Settings, Target,
    TorSettings,
};

use super::{KEYS, value};

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
        cluster: ClusterSettings { token_rotation: None },
        service: ServiceSettings {
            port: 80,
            target: Target::Tcp("127.0.0.1:8080".into()),
            introduction_points: 3,
            pow: PowSettings::default(),
        },
        publish: PublishSettings { points: None },
        proxy: ProxySettings::default(),
        tor: TorSettings::default(),
    }
}

/// Those of `keys` that are not as they are if left out.
pub fn changed(settings: &Settings, keys: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    let before = self::settings(&settings.dir);
    let is_changed = move |name: &&str| {
        KEYS.iter().filter(|key| key.name == *name).any(|key| (key.get)(settings) != (key.get)(&before))
    };
    keys.iter().copied().filter(is_changed)
}

/// The machine's host name as far as it can be a node name.
fn host_name() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let printable: String = read.chars().filter(|letter| !letter.is_control()).collect();
    let name = value::prefix(&printable, value::NAME_MAX);
    if name.is_empty() { "node".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_systemd_unit_gives_a_stop_time_for_goodbye_sessions_and_tor_and_tells_the_node_alone() {
        let unit = include_str!("../../package/rustbalance.service");
        let value = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let time: u64 = value("TimeoutStopSec").and_then(|secs| secs.parse().ok()).expect("a number");
        let drain_limit = settings(Path::new("/dir")).proxy.drain_limit;
        // As docs/CONFIG.md says: circuits closed at the very end take up to 12 s, tor 5 s, a busy machine more.
        assert!(Duration::from_secs(time) >= drain_limit + Duration::from_secs(25), "{time}");
        assert_eq!(value("KillMode"), Some("mixed"));
    }
}
