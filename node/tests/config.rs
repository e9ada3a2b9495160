//! `rustbalance config check`: what is accepted, what is refused and how.

mod common;

use common::{Run, rustbalance};

fn check(text: &str, more: &[&str]) -> Run {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let file = dir.path().join("node.toml");
    let path = file.to_str().expect("a path in UTF-8");
    std::fs::write(&file, text).expect("room for a file");
    let mut run = rustbalance(["config", "check", "--config", path].into_iter().chain(more.iter().copied()));
    for stream in [&mut run.stdout, &mut run.stderr] {
        *stream = stream.replace(path, "FILE");
    }
    run
}

#[test]
fn good_files_are_ok() {
    for text in ["", "# nothing\n", "weight = 3\n[service]\ntarget = '[::1]:80'\n", "proxy = { idle_timeout = '5m' }"] {
        let run = check(text, &[]);
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, "FILE: ok\n", ""), "{text}");
    }
}

#[test]
fn json_shows_the_settings_in_effect() {
    let run = check("weight = 3\n[proxy]\nidle_timeout = '120s'\n", &["--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let settings: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(settings["weight"], 3);
    assert_eq!(settings["priority"], 100);
    assert_eq!(settings["proxy.idle_timeout"], "2m");
    assert_eq!(settings["mesh.endpoint"], serde_json::Value::Null);
    assert_eq!(settings["tor.options"], serde_json::json!([]));
}

#[test]
fn the_packaged_example_has_every_key_as_it_is_if_left_out() {
    let example = include_str!("../package/rustbalance.toml");
    let lines = example.lines().map(|line| line.strip_prefix('#').unwrap_or(line));
    let keys: Vec<_> = lines.filter(|line| line.contains(" = ") || line.starts_with('[')).collect();
    // Those that have none, or the machine's own, can only be shown; some of them do not go with others.
    let shown = [
        "name",
        "mesh.endpoint",
        "proxy.probe_host",
        "tor.runtime_dir",
        "tor.attach",
        "tor.cookie_file",
        "tor.password_file",
    ];
    let is_shown = |line: &&&str| shown.iter().any(|key| line.starts_with(&format!("{} = ", word(key))));
    let valid: Vec<_> = keys.iter().filter(|line| !is_shown(line)).copied().collect();
    let [said, defaults] = [valid.join("\n").as_str(), ""].map(|text| {
        let run = check(text, &["--json"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        serde_json::from_str::<serde_json::Map<_, _>>(&run.stdout).unwrap()
    });
    for (key, default) in defaults {
        assert!(keys.iter().any(|line| line.starts_with(&format!("{} = ", word(&key)))), "{key} is missing");
        if !shown.contains(&key.as_str()) {
            assert_eq!(said[&key], default, "{key}");
        }
    }
}

/// The key without its section.
fn word(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(_, word)| word)
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one_and_its_line() {
    let run = check("name = 'a'\n\n[mesh]\nlisten_address = '0.0.0.0:1'\n", &[]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    let expected = "rustbalance: FILE: line 4: mesh.listen_address: unknown key; did you mean mesh.listen?\n";
    assert_eq!(run.stderr, expected);
}

#[test]
fn wrong_values_are_named_with_what_is_allowed() {
    for (text, expected) in [
        ("priority = 256", "priority: 256 is not allowed; use 0 to 255"),
        ("priority = -1", "priority: -1 is not allowed; use 0 to 255"),
        ("priority = 99999999999999999999", "priority: 99999999999999999999 is not allowed; use 0 to 255"),
        ("weight = 0", "weight: 0 is not allowed; use 1 to 1000"),
        ("weight = '5'", "weight: '5' is not allowed; use 1 to 1000"),
        ("weight = 1.0", "weight: 1.0 is not allowed; use 1 to 1000"),
        ("name = ''", "name: '' is not allowed; use 1 to 32 bytes of text"),
        ("mesh.listen = '1.2.3.4'", "mesh.listen: '1.2.3.4' is not allowed; use \"IP:PORT\""),
        ("mesh.listen = 'localhost:1'", "mesh.listen: 'localhost:1' is not allowed; use \"IP:PORT\""),
        ("mesh.endpoint = 'host'", "mesh.endpoint: 'host' is not allowed; use \"HOST:PORT\" of at most 64 bytes"),
        ("service.port = 0", "service.port: 0 is not allowed; use 1 to 65535"),
        ("service.introduction_points = 2", "service.introduction_points: 2 is not allowed; use 3 to 20"),
        ("service.introduction_points = 21", "service.introduction_points: 21 is not allowed; use 3 to 20"),
        ("service.target = ''", "service.target: '' is not allowed; use \"HOST:PORT\", "),
        ("service.target = 'abc.onion:80'", "service.target: 'abc.onion:80' is not allowed; use \"HOST:PORT\", "),
        ("proxy.connect_timeout = '99ms'", "use a duration from \"100ms\" to \"5m\""),
        ("proxy.idle_timeout = 60", "proxy.idle_timeout: 60 is not allowed; use a duration from \"1s\" to \"7d\""),
        ("proxy.max_connections = 0", "proxy.max_connections: 0 is not allowed; use 1 to 65535"),
        ("proxy.probe = '/health'", "proxy.probe: '/health' is not allowed; use \"connect\" or \"http:/path\""),
        ("proxy.probe_status = '200-'", "proxy.probe_status: '200-' is not allowed; use a status, \"200\", or a range"),
        ("proxy.probe_host = 'a b'", "proxy.probe_host: 'a b' is not allowed; use \"HOST\" or \"HOST:PORT\""),
        ("proxy.probe_successes = 0", "proxy.probe_successes: 0 is not allowed; use 1 to 100"),
        ("proxy.probe_failures = true", "proxy.probe_failures: true is not allowed; use 1 to 100"),
        ("tor.binary = ''", "tor.binary: '' is not allowed; use the tor program"),
        ("tor.options = 'a'", "tor.options: 'a' is not allowed; use a list of torrc lines"),
        ("tor.options = ['HiddenServiceDir /a']", "tor.options: ['HiddenServiceDir /a'] is not allowed; use a list"),
        ("tor.options = ['']", "tor.options: [''] is not allowed; use a list of torrc lines"),
    ] {
        let run = check(text, &[]);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{text}");
        let start = format!("rustbalance: FILE: line 1: {}", text.split(' ').next().unwrap());
        assert!(run.stderr.starts_with(&start) && run.stderr.contains(expected), "{text}\n{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}

#[test]
fn every_mistake_is_reported_at_once() {
    let run = check("weight = 0\n[proxy]\nidle = 1\n[proxies]\n", &[]);
    assert_eq!(run.code, 2);
    assert_eq!(
        run.stderr,
        "rustbalance: FILE: line 1: weight: 0 is not allowed; use 1 to 1000\n\
         rustbalance: FILE: line 3: proxy.idle: unknown key; did you mean proxy.idle_timeout?\n\
         rustbalance: FILE: line 4: [proxies]: unknown section; did you mean [proxy]?\n"
    );
}

#[test]
fn broken_toml_is_one_line() {
    let run = check("weight = = 1\n", &[]);
    assert_eq!((run.code, run.stderr.lines().count()), (2, 1), "{}", run.stderr);
    assert!(run.stderr.starts_with("rustbalance: FILE: line 1: not TOML: "), "{}", run.stderr);
}

#[test]
fn a_missing_file_says_what_to_run() {
    let run = rustbalance(["config", "check", "--config", "/nonexistent/a.toml"]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("/nonexistent/a.toml: no such file; run `rustbalance init`"), "{}", run.stderr);
}
