//! Every key of the file: its name, what it allows, how it is read and written. `docs/CONFIG.md` lists the same keys.

use rustbalance_core::node::TORS_MAX;
use rustbalance_io::settings::Settings;
use toml::Value;

use super::value;

/// One key.
pub struct Key {
    /// With its section: `mesh.listen`.
    pub name: &'static str,
    /// Completes "use ..." in an error.
    pub allowed: &'static str,
    /// Sets it; `None` if the value is not allowed.
    pub set: fn(&mut Settings, &Value) -> Option<()>,
    /// Its value; `None` if it has none.
    pub get: fn(&Settings) -> Option<Value>,
}

/// All keys, section by section.
pub const KEYS: &[Key] = &[
    Key {
        name: "name",
        allowed: "1 to 32 bytes of text",
        set: |settings, value| value::name(value).map(|new| settings.name = new),
        get: |settings| text(&settings.name),
    },
    Key {
        name: "priority",
        allowed: "0 to 255",
        set: |settings, value| value::integer(value, 0..=255).map(|new| settings.priority = new),
        get: |settings| number(settings.priority),
    },
    Key {
        name: "weight",
        allowed: "1 to 1000",
        set: |settings, value| value::integer(value, 1..=1000).map(|new| settings.weight = new),
        get: |settings| number(settings.weight),
    },
    Key {
        name: "mesh.listen",
        allowed: "\"IP:PORT\"",
        set: |settings, value| value::listen(value).map(|new| settings.mesh.listen = new),
        get: |settings| text(settings.mesh.listen),
    },
    Key {
        name: "mesh.endpoint",
        allowed: "\"HOST:PORT\" of at most 64 bytes",
        set: |settings, value| value::endpoint(value).map(|new| settings.mesh.endpoint = Some(new)),
        get: |settings| text(settings.mesh.endpoint.as_ref()?),
    },
    Key {
        name: "cluster.token_rotation",
        allowed: "\"off\" or a duration from \"1d\" to \"365d\"",
        set: |settings, value| {
            value::off_or_duration(value, "1d", "365d").map(|new| settings.cluster.token_rotation = new)
        },
        get: |settings| {
            settings.cluster.token_rotation.map_or_else(|| text("off"), |max| Some(value::show_duration(max)))
        },
    },
    Key {
        name: "service.port",
        allowed: "1 to 65535",
        set: |settings, value| value::integer(value, 1..=u16::MAX).map(|new| settings.service.port = new),
        get: |settings| number(settings.service.port),
    },
    Key {
        name: "service.target",
        allowed: "\"HOST:PORT\", \"unix:/path\" (at most 107 bytes) or \"ADDRESS.onion:PORT\"",
        set: |settings, value| value::target(value).map(|new| settings.service.target = new),
        get: |settings| text(value::show_target(&settings.service.target)),
    },
    Key {
        name: "service.introduction_points",
        allowed: "3 to 20",
        set: |settings, value| value::integer(value, 3..=20).map(|new| settings.service.introduction_points = new),
        get: |settings| number(settings.service.introduction_points),
    },
    Key {
        name: "service.pow",
        allowed: "true or false",
        set: |settings, value| value.as_bool().map(|new| settings.service.pow.enabled = new),
        get: |settings| Some(Value::Boolean(settings.service.pow.enabled)),
    },
    Key {
        name: "service.pow_queue_rate",
        allowed: "0 to 1000000",
        set: |settings, value| value::integer(value, 0..=1_000_000).map(|new| settings.service.pow.queue_rate = new),
        get: |settings| number(settings.service.pow.queue_rate),
    },
    Key {
        name: "service.pow_queue_burst",
        allowed: "0 to 1000000, not less than service.pow_queue_rate",
        set: |settings, value| value::integer(value, 0..=1_000_000).map(|new| settings.service.pow.queue_burst = new),
        get: |settings| number(settings.service.pow.queue_burst),
    },
    Key {
        name: "publish.points",
        allowed: "\"auto\" or 3 to 20",
        set: |settings, value| value::auto_or_integer(value, 3..=20).map(|new| settings.publish.points = new),
        get: |settings| settings.publish.points.map_or_else(|| text("auto"), number),
    },
    Key {
        name: "proxy.connect_timeout",
        allowed: "a duration from \"100ms\" to \"5m\"",
        set: |settings, value| value::duration(value, "100ms", "5m").map(|new| settings.proxy.connect_timeout = new),
        get: |settings| Some(value::show_duration(settings.proxy.connect_timeout)),
    },
    Key {
        name: "proxy.idle_timeout",
        allowed: "a duration from \"1s\" to \"7d\"",
        set: |settings, value| value::duration(value, "1s", "7d").map(|new| settings.proxy.idle_timeout = new),
        get: |settings| Some(value::show_duration(settings.proxy.idle_timeout)),
    },
    Key {
        name: "proxy.max_connections",
        allowed: "1 to 65535",
        set: |settings, value| {
            value::integer(value, 1..=u16::MAX).map(|new| settings.proxy.max_connections = new.into())
        },
        get: |settings| number(u32::try_from(settings.proxy.max_connections).ok()?),
    },
    Key {
        name: "proxy.drain_limit",
        allowed: "a duration from \"0s\" to \"1h\"",
        set: |settings, value| value::duration(value, "0s", "1h").map(|new| settings.proxy.drain_limit = new),
        get: |settings| Some(value::show_duration(settings.proxy.drain_limit)),
    },
    Key {
        name: "proxy.probe",
        allowed: "\"connect\" or \"http:/path\"",
        set: |settings, value| value::probe(value).map(|new| settings.proxy.probe.request = new),
        get: |settings| text(value::show_probe(&settings.proxy.probe.request)),
    },
    Key {
        name: "proxy.probe_status",
        allowed: "a status, \"200\", or a range of them, \"200-399\", within 100 to 599",
        set: |settings, value| value::statuses(value).map(|new| settings.proxy.probe.statuses = new),
        get: |settings| text(settings.proxy.probe.statuses),
    },
    Key {
        name: "proxy.probe_host",
        allowed: "\"HOST\" or \"HOST:PORT\"",
        set: |settings, value| value::host(value).map(|new| settings.proxy.probe.host = Some(new)),
        get: |settings| text(settings.proxy.probe.host.as_ref()?),
    },
    Key {
        name: "proxy.probe_interval",
        allowed: "a duration from \"100ms\" to \"1h\"",
        set: |settings, value| value::duration(value, "100ms", "1h").map(|new| settings.proxy.probe.interval = new),
        get: |settings| Some(value::show_duration(settings.proxy.probe.interval)),
    },
    Key {
        name: "proxy.probe_failures",
        allowed: "1 to 100",
        set: |settings, value| value::integer(value, 1..=100).map(|new| settings.proxy.probe.failures = new),
        get: |settings| number(settings.proxy.probe.failures),
    },
    Key {
        name: "proxy.probe_successes",
        allowed: "1 to 100",
        set: |settings, value| value::integer(value, 1..=100).map(|new| settings.proxy.probe.successes = new),
        get: |settings| number(settings.proxy.probe.successes),
    },
    Key {
        name: "tor.instances",
        allowed: "1 to 8, and 1 with service.pow",
        set: |settings, value| value::integer(value, 1..=TORS_MAX).map(|new| settings.tor.instances = new),
        get: |settings| number(settings.tor.instances),
    },
    Key {
        name: "tor.binary",
        allowed: "the tor program: a path, or a name found in PATH",
        set: |settings, value| value::program(value).map(|new| settings.tor.binary = new),
        get: |settings| text(settings.tor.binary.display()),
    },
    Key {
        name: "tor.runtime_dir",
        allowed: "an absolute path",
        set: |settings, value| value::absolute_path(value).map(|new| settings.tor.runtime_dir = Some(new)),
        get: |settings| text(settings.tor.runtime_dir.as_ref()?.display()),
    },
    Key {
        name: "tor.options",
        allowed: "a list of torrc lines, [\"Option value\", ...], none that RustBalance sets itself",
        set: |settings, value| value::tor_options(value).map(|new| settings.tor.options = new),
        get: |settings| Some(Value::from(settings.tor.options.clone())),
    },
    Key {
        name: "tor.attach",
        allowed: "\"unix:/path\" (at most 107 bytes), or \"IP:PORT\" with an address of this machine alone, as 127.0.0.1",
        set: |settings, value| value::control(value).map(|new| settings.tor.attach.control = Some(new)),
        get: |settings| text(settings.tor.attach.control.as_ref()?),
    },
    Key {
        name: "tor.cookie_file",
        allowed: "an absolute path",
        set: |settings, value| value::absolute_path(value).map(|new| settings.tor.attach.cookie_file = Some(new)),
        get: |settings| text(settings.tor.attach.cookie_file.as_ref()?.display()),
    },
    Key {
        name: "tor.password_file",
        allowed: "an absolute path",
        set: |settings, value| value::absolute_path(value).map(|new| settings.tor.attach.password_file = Some(new)),
        get: |settings| text(settings.tor.attach.password_file.as_ref()?.display()),
    },
    Key {
        name: "tor.service_dir",
        allowed: "an absolute path of at most 107 letters, digits and /._-",
        set: |settings, value| value::torrc_path(value).map(|new| settings.tor.attach.service_dir = new),
        get: |settings| text(settings.tor.attach.service_dir.display()),
    },
    Key {
        name: "tor.proxy_socket",
        allowed: "an absolute path of at most 107 letters, digits and /._-",
        set: |settings, value| value::torrc_path(value).map(|new| settings.tor.attach.proxy_socket = new),
        get: |settings| text(settings.tor.attach.proxy_socket.display()),
    },
];

fn text(value: impl ToString) -> Option<Value> {
    Some(Value::String(value.to_string()))
}

fn number(value: impl Into<i64>) -> Option<Value> {
    Some(Value::Integer(value.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_file::defaults;

    #[test]
    fn documented_keys_are_the_keys() {
        let settings = defaults(std::path::Path::new("/dir"));
        let known: Vec<_> = KEYS
            .iter()
            .map(|key| {
                let default = match (key.name, (key.get)(&settings)) {
                    ("name", _) => "the host name".to_owned(),
                    (_, Some(value)) => format!("`{value}`"),
                    (_, None) => "none".to_owned(),
                };
                [format!("`{}`", key.name), default, key.allowed.to_owned()]
            })
            .collect();
        let documented: Vec<_> = include_str!("../../../docs/CONFIG.md")
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| line.split('|').skip(1).take(3).map(|cell| cell.trim().to_owned()).collect::<Vec<_>>())
            .collect();
        assert_eq!(documented, known);
    }
}
