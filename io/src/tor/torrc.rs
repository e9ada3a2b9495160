//! The managed tor's configuration, as text.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustbalance_core::control::quote::quote;

use super::paths::TorPaths;
use crate::settings::{ServiceSettings, Settings, Target};

/// Options that are ours. A trailing `*` means every option that starts so.
const RESERVED: &[&str] = &[
    "%include",
    "ControlPort*",
    "ControlSocket*",
    "CookieAuth*",
    "DataDirectory*",
    "DormantTimeoutEnabled",
    "HashedControlPassword",
    "HiddenService*",
    "PublishHidServDescriptors",
    "RunAsDaemon",
    "SocksPort",
    "User",
    "__ControlPort",
    "__DisableSignalHandlers",
    "__HashedControlSessionPassword",
    "__OwningController*",
    "__SocksPort",
];

/// A line of `tor.options` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// It would change what we rely on.
    #[error("tor.options: {0} is set by RustBalance itself; remove that line")]
    Reserved(String),
    /// It would swallow or add lines.
    #[error("tor.options: {0:?} must be one line of its own that does not end in a backslash")]
    NotOneLine(String),
}

/// Checks the operator's own lines, so that none collides with ours; tor itself judges the rest.
pub fn check_options(options: &[String]) -> Result<(), OptionError> {
    options.iter().try_for_each(|line| check_option(line))
}

fn check_option(line: &str) -> Result<(), OptionError> {
    if line.contains(['\n', '\r', '\0']) || line.trim_end().ends_with('\\') {
        return Err(OptionError::NotOneLine(line.to_owned()));
    }
    let name = option_name(line);
    let collides = RESERVED.iter().any(|reserved| match reserved.strip_suffix('*') {
        Some(prefix) => starts_with(name, prefix) || starts_with(prefix, name),
        // Tor takes an abbreviation for the option it begins.
        None => starts_with(reserved, name),
    });
    if collides && !name.is_empty() { Err(OptionError::Reserved(name.to_owned())) } else { Ok(()) }
}

/// The name that the line sets, without the `+` or `/` that means append or clear; empty for a comment.
fn option_name(line: &str) -> &str {
    let name = line.trim_start().trim_start_matches(['+', '/']);
    name.split([' ', '\t', '#']).next().unwrap_or(name)
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The whole torrc for a tor owned by the process `owner`, which holds the other end of tor's standard input.
///
/// Native publishing is always off here and turned on over the control port only, since a restarted tor would
/// otherwise publish before anybody can stop it.
pub fn torrc(settings: &Settings, paths: &TorPaths, owner: u32) -> String {
    let port = format!("{} {}", settings.service.port, unix(&paths.proxy_socket, ""));
    let mut service =
        vec![("HiddenServiceDir", quote(bytes(&paths.hidden_service))), ("HiddenServicePort", quote(port.as_bytes()))];
    service.extend(service_options(&settings.service));
    let socks = match &settings.service.target {
        Target::Onion { .. } => onion_socks(paths),
        Target::Tcp(_) | Target::Unix(_) => "0".to_owned(),
    };
    with_socks(&socks, settings, paths, owner, &service)
}

/// The service's options besides its directory and port, whoever's tor it is.
pub(super) fn service_options(service: &ServiceSettings) -> Vec<(&'static str, String)> {
    let mut options = vec![
        ("HiddenServiceNumIntroductionPoints", service.introduction_points.to_string()),
        ("HiddenServiceOnionBalanceInstance", "1".to_owned()),
        // The proxy takes it off again.
        ("HiddenServiceExportCircuitID", "haproxy".to_owned()),
    ];
    // Not even "0" otherwise: a tor without the module need not know the options.
    let pow = &service.pow;
    if pow.enabled {
        options.push(("HiddenServicePoWDefensesEnabled", "1".to_owned()));
        options.push(("HiddenServicePoWQueueRate", pow.queue_rate.to_string()));
        options.push(("HiddenServicePoWQueueBurst", pow.queue_burst.to_string()));
    }
    options
}

/// The same for a tor that only reaches onion services, before there is a node, with the keys of authorised clients in
/// the directory `client_keys`.
pub(super) fn visitor(settings: &Settings, paths: &TorPaths, owner: u32, client_keys: Option<&Path>) -> String {
    let keys = client_keys.map(|dir| ("ClientOnionAuthDir", quote(bytes(dir))));
    with_socks(&onion_socks(paths), settings, paths, owner, keys.as_slice())
}

fn with_socks(socks: &str, settings: &Settings, paths: &TorPaths, owner: u32, service: &[(&str, String)]) -> String {
    let mut text = String::from("# Written by RustBalance at every start; put your own lines into tor.options.\n");
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name} {value}");
    };
    line("DataDirectory", &quote(bytes(&paths.data)));
    line("ControlSocket", &quote(unix(&paths.control_socket, "").as_bytes()));
    line("CookieAuthentication", "1");
    line("CookieAuthFile", &quote(bytes(&paths.cookie)));
    line("__OwningControllerFD", "0");
    line("__OwningControllerProcess", &owner.to_string());
    line("SocksPort", socks);
    line("DormantTimeoutEnabled", "0");
    line("PublishHidServDescriptors", "0");
    for (name, value) in [("AvoidDiskWrites", "1"), ("Log", "notice stdout")] {
        if !settings.tor.options.iter().any(|option| option_name(option).eq_ignore_ascii_case(name)) {
            line(name, value);
        }
    }
    for (name, value) in service {
        line(name, value);
    }
    for option in &settings.tor.options {
        text.push_str(option);
        text.push('\n');
    }
    text
}

fn onion_socks(paths: &TorPaths) -> String {
    quote(unix(&paths.socks_socket, " OnionTrafficOnly ExtendedErrors").as_bytes())
}

/// A unix socket as tor's port options take it inside their (quoted) value.
fn unix(path: &Path, flags: &str) -> String {
    format!("unix:{}{flags}", quote(bytes(path)))
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> Option<OptionError> {
        check_options(&["ContactInfo me".to_owned(), line.to_owned()]).err()
    }

    #[test]
    fn lines_that_collide_with_ours_are_refused_by_name() {
        for (line, name) in [
            ("HiddenServiceDir /x", "HiddenServiceDir"),
            ("  hiddenserviceport 80", "hiddenserviceport"),
            ("HiddenServiceNonAnonymousMode 1", "HiddenServiceNonAnonymousMode"),
            ("ControlPort 9051", "ControlPort"),
            ("__controlport 9051", "__controlport"),
            ("ControlSocketsGroupWritable 1", "ControlSocketsGroupWritable"),
            ("CookieAuthFileGroupReadable 1", "CookieAuthFileGroupReadable"),
            ("+SocksPort\t9050", "SocksPort"),
            ("/PublishHidServDescriptors", "PublishHidServDescriptors"),
            ("publishhid 1", "publishhid"),
            ("HiddenS x", "HiddenS"),
            ("DataDirectory /x", "DataDirectory"),
            ("RunAsDaemon 1", "RunAsDaemon"),
            ("User nobody", "User"),
            ("%include /etc/tor/torrc", "%include"),
            ("__OwningControllerProcess 1", "__OwningControllerProcess"),
        ] {
            assert_eq!(refused(line), Some(OptionError::Reserved(name.to_owned())), "{line}");
        }
    }

    #[test]
    fn lines_that_are_not_one_line_are_refused() {
        for line in ["Log notice syslog\nUser nobody", "Log notice \\", "# a comment \\ ", "Log\rUser x"] {
            assert_eq!(refused(line), Some(OptionError::NotOneLine(line.to_owned())), "{line:?}");
        }
    }

    #[test]
    fn other_lines_pass() {
        for line in [
            "",
            "# User",
            "UseBridges 1",
            "Bridge obfs4 192.0.2.1:1 AA",
            "UserX 1",
            "AvoidDiskWrites 0",
            "Log info stdout",
        ] {
            assert_eq!(refused(line), None, "{line:?}");
        }
    }

    fn settings(target: Target, options: &[&str]) -> Settings {
        use crate::settings::{
            ClusterSettings, MeshSettings, PowSettings, ProxySettings, PublishSettings, TorSettings,
        };
        Settings {
            dir: "/var/lib/rust balance".into(),
            name: "a".to_owned(),
            priority: 1,
            weight: 100,
            mesh: MeshSettings { listen: ([127, 0, 0, 1], 0).into(), endpoint: None },
            cluster: ClusterSettings::default(),
            service: ServiceSettings { port: 80, target, introduction_points: 6, pow: PowSettings::default() },
            publish: PublishSettings::default(),
            proxy: ProxySettings::default(),
            tor: TorSettings {
                options: options.iter().map(|&line| line.to_owned()).collect(),
                ..TorSettings::default()
            },
        }
    }

    #[test]
    fn torrc_of_a_tcp_target() {
        let settings = settings(Target::Tcp("127.0.0.1:8080".to_owned()), &["UseBridges 1", "Bridge 192.0.2.1:9001"]);
        let text = torrc(&settings, &TorPaths::new(&settings.dir).unwrap(), 4711);
        let expected = r##"# Written by RustBalance at every start; put your own lines into tor.options.
DataDirectory "/var/lib/rust balance/tor/data"
ControlSocket "unix:\"/var/lib/rust balance/run/control.sock\""
CookieAuthentication 1
CookieAuthFile "/var/lib/rust balance/run/cookie"
__OwningControllerFD 0
__OwningControllerProcess 4711
SocksPort 0
DormantTimeoutEnabled 0
PublishHidServDescriptors 0
AvoidDiskWrites 1
Log notice stdout
HiddenServiceDir "/var/lib/rust balance/tor/hs"
HiddenServicePort "80 unix:\"/var/lib/rust balance/run/proxy.sock\""
HiddenServiceNumIntroductionPoints 6
HiddenServiceOnionBalanceInstance 1
HiddenServiceExportCircuitID haproxy
UseBridges 1
Bridge 192.0.2.1:9001
"##;
        assert_eq!(text, expected);
    }

    #[test]
    fn proof_of_work_is_the_services_own() {
        let mut settings = settings(Target::Unix("/app".into()), &["UseBridges 1"]);
        settings.service.pow.enabled = true;
        let text = torrc(&settings, &TorPaths::new(&settings.dir).unwrap(), 1);
        let expected =
            "HiddenServicePoWDefensesEnabled 1\nHiddenServicePoWQueueRate 250\nHiddenServicePoWQueueBurst 2500\n";
        let end = text.split_once("HiddenServiceExportCircuitID haproxy\n").map(|(_, end)| end);
        assert_eq!(end, Some(&*format!("{expected}UseBridges 1\n")));
    }

    #[test]
    fn an_onion_target_needs_a_socks_port() {
        let settings = settings(Target::Onion { host: "x.onion".to_owned(), port: 80 }, &[]);
        let text = torrc(&settings, &TorPaths::new(&settings.dir).unwrap(), 1);
        let line = r#"SocksPort "unix:\"/var/lib/rust balance/run/socks.sock\" OnionTrafficOnly ExtendedErrors""#;
        assert!(text.lines().any(|found| found == line), "{text}");
    }

    #[test]
    fn a_tor_that_only_visits_serves_nothing() {
        let settings = settings(Target::Tcp("127.0.0.1:8080".to_owned()), &["UseBridges 1"]);
        let paths = TorPaths::new(&settings.dir).unwrap();
        let text = visitor(&settings, &paths, 1, None);
        assert!(
            !text.contains("HiddenService") && text.contains("OnionTrafficOnly") && text.ends_with("UseBridges 1\n")
        );
        assert!(!text.contains("ClientOnionAuthDir"));
        let text = visitor(&settings, &paths, 1, Some(Path::new("/client keys")));
        assert!(text.contains("ClientOnionAuthDir \"/client keys\"\n"), "{text}");
    }

    #[test]
    fn the_operators_log_and_disk_lines_replace_ours() {
        let settings = settings(Target::Unix("/app".into()), &["log info stdout", " AvoidDiskWrites 0"]);
        let text = torrc(&settings, &TorPaths::new(&settings.dir).unwrap(), 1);
        assert!(!text.contains("Log notice") && !text.contains("AvoidDiskWrites 1"), "{text}");
    }

    #[test]
    fn quoting_survives_every_byte() {
        assert_eq!(quote(b"/a b#c"), r#""/a b#c""#);
        assert_eq!(quote(b"\"\\\n7\xff"), r#""\"\\\0127\377""#);
    }
}
