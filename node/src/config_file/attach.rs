//! Which keys go with a tor of the node's own, and which with one that somebody else runs.

use std::path::Path;

use rustbalance_io::settings::{AttachSettings, ControlAddress, Settings, Target, TorSettings};

use super::default::changed;

/// Keys of a tor that RustBalance starts.
const OWN: [&str; 4] = ["tor.instances", "tor.binary", "tor.runtime_dir", "tor.options"];
/// Keys of one that somebody else runs.
const ATTACHED: [&str; 4] = ["tor.cookie_file", "tor.password_file", "tor.service_dir", "tor.proxy_socket"];
/// Directories that others use, or that nobody but this node may enter.
const NOT_FOR_TOR: [&str; 7] = ["/", "/run", "/var/run", "/tmp", "/var/tmp", "/dev/shm", "/run/rustbalance"];

/// What does not go together, a line each.
pub fn contradictions(settings: &Settings) -> Vec<String> {
    let TorSettings { attach, .. } = &settings.tor;
    let Some(control) = &attach.control else {
        let says = |key| format!("{key}: applies to a tor that somebody else runs: set tor.attach, or remove it");
        return changed(settings, &ATTACHED).map(says).collect();
    };
    let says =
        |key| format!("{key}: does not apply with tor.attach: somebody else runs the tor at {control}; remove it");
    let mut problems: Vec<String> = changed(settings, &OWN).map(says).collect();
    if attach.cookie_file.is_some() && attach.password_file.is_some() {
        problems.push("tor.cookie_file: does not go with tor.password_file; remove one of the two".to_owned());
    }
    problems.extend(shared_dir(settings));
    if attach.service_dir.starts_with(settings.dir.join("tor")) {
        problems.push(format!(
            "tor.service_dir: {} is where this node keeps and removes files of a tor of its own; name a directory of that tor's \
             owner",
            attach.service_dir.display()
        ));
    }
    if let Target::Onion { .. } = settings.service.target {
        let text = "service.target: an .onion is reached through a tor of the node's own; remove tor.attach, or name another target";
        problems.push(text.to_owned());
    }
    problems
}

/// The proxy's socket has its group from its directory, which is tor's to enter: what else lies there would be, too.
fn shared_dir(settings: &Settings) -> Option<String> {
    let AttachSettings { control, service_dir, proxy_socket, .. } = &settings.tor.attach;
    let control_dir = match control {
        Some(ControlAddress::Unix(path)) => path.parent(),
        Some(ControlAddress::Tcp(_)) | None => None,
    };
    let dir = proxy_socket.parent().unwrap_or(Path::new("/"));
    let mut used = NOT_FOR_TOR.map(Path::new).into_iter().chain(control_dir).chain([&**service_dir, &*settings.dir]);
    used.any(|used| used == dir).then(|| {
        format!(
            "tor.proxy_socket: {} has other uses; name a path in a directory for this socket alone, such as {}",
            dir.display(),
            AttachSettings::default().proxy_socket.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parse;

    #[test]
    fn keys_of_the_one_tor_are_refused_with_the_other() {
        let attach = "attach = 'unix:/run/tor/control'";
        for (service, lines, key) in [
            ("", [attach, "options = ['Log info stdout']"], "tor.options"),
            ("", [attach, "binary = '/opt/tor'"], "tor.binary"),
            ("", [attach, "instances = 2"], "tor.instances"),
            ("", [attach, "runtime_dir = '/run/x'"], "tor.runtime_dir"),
            ("", ["", "cookie_file = '/c'"], "tor.cookie_file"),
            ("", ["", "password_file = '/p'"], "tor.password_file"),
            ("", ["", "service_dir = '/s'"], "tor.service_dir"),
            ("", ["", "proxy_socket = '/s'"], "tor.proxy_socket"),
            ("", ["attach = '[::1]:9051'\ncookie_file = '/c'", "password_file = '/p'"], "tor.cookie_file"),
            (
                "target = 'dbj6lvx6ilzhqxguu4pn2qrb4kewhsz3mlvqzrbyoai3hj4ygn42wayd.onion:80'",
                [attach, ""],
                "service.target",
            ),
        ] {
            let text = format!("[service]\n{service}\n[tor]\n{}\n", lines.join("\n"));
            let problems = parse(&text, Path::new("/dir")).map(|_| ()).expect_err(&text);
            let words: Vec<_> = problems.iter().map(ToString::to_string).collect();
            assert!(words.len() == 1 && words[0].starts_with(&format!("{key}: ")), "{text}: {words:?}");
        }
        for good in ["cookie_file = '/c'", "password_file = '/p'\nservice_dir = '/s'\nproxy_socket = '/p/s.sock'"] {
            assert!(parse(&format!("[tor]\n{attach}\n{good}\n"), Path::new("/dir")).is_ok(), "{good}");
        }
    }

    #[test]
    fn the_services_directory_is_none_that_this_node_cleans() {
        let text = "[tor]\nattach = 'unix:/control/socket'\nservice_dir = '/dir/tor/hs'\n";
        let problems = parse(text, Path::new("/dir")).map(|_| ()).expect_err(text);
        assert!(problems.len() == 1 && problems[0].to_string().starts_with("tor.service_dir: "), "{problems:?}");
    }

    #[test]
    fn the_proxys_socket_is_in_a_directory_of_its_own() {
        let parsed = |socket: &str| {
            let attach = "attach = 'unix:/control/socket'\nservice_dir = '/service'";
            parse(&format!("[tor]\n{attach}\nproxy_socket = '{socket}'\n"), Path::new("/dir")).map(|_| ())
        };
        for bad in ["/s", "/run/s", "/run//s", "/tmp/s", "/run/rustbalance/s", "/control/s", "/service/s", "/dir/s"] {
            let problems = parsed(bad).expect_err(bad);
            let words: Vec<_> = problems.iter().map(ToString::to_string).collect();
            let way_out = "in a directory for this socket alone, such as /run/rustbalance-tor/proxy.sock";
            assert!(words.len() == 1 && words[0].starts_with("tor.proxy_socket: "), "{bad}: {words:?}");
            assert!(words[0].contains(way_out), "{words:?}");
        }
        for good in ["/run/rustbalance-tor/s", "/control/proxy/s"] {
            assert_eq!(parsed(good), Ok(()), "{good}");
        }
    }
}
