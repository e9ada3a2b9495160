//! The command line: help, usage mistakes, exit codes, and what goes to which stream.

mod common;

use common::{assert_refused, rustbalance, text};

#[test]
fn help_names_the_common_options_and_every_exit_code() {
    let run = rustbalance(["--help"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    for word in ["--dir", "--config", "--log-level", "--log-format"] {
        assert!(run.stdout.contains(word), "{word} in\n{}", run.stdout);
    }
    for code in 0..=7 {
        assert!(run.stdout.contains(&format!("\n  {code}  ")), "{code} in\n{}", run.stdout);
    }
}

#[test]
fn shells_get_completions_and_man_gets_a_page_for_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let run = rustbalance(["completions", shell]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{shell}");
        assert!(run.stdout.contains("undrain"), "{shell}");
    }
    let out = tempfile::tempdir().expect("a directory for the test");
    let run = rustbalance(["man", text(out.path())]);
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, "", ""));
    for page in ["rustbalance.1", "rustbalance-init.1", "rustbalance-clients-add.1"] {
        let page = std::fs::read_to_string(out.path().join(page)).expect(page);
        assert!(page.contains(".TH rustbalance"), "{page}");
    }
    let missing = out.path().join("missing");
    assert_refused(&rustbalance(["man", text(&missing)]), 1, "name a directory that exists");
}

#[test]
fn help_of_a_command_is_on_standard_output() {
    for command in [&["init"][..], &["clients", "add"]] {
        let run = rustbalance(command.iter().copied().chain(["--help"]));
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{command:?}");
        assert!(run.stdout.contains("Usage: rustbalance"), "{command:?}\n{}", run.stdout);
    }
}

#[test]
fn standard_input_is_for_one_file() {
    let keys = ["--encrypt-keys", "--keys-passphrase-file", "-"];
    for (args, both) in [
        (&["init", "--import-key", "-"][..], "--import-key and --keys-passphrase-file"),
        (&["join", "--invite-file", "-"], "--invite-file and --keys-passphrase-file"),
        (&["key", "restore", "--file", "f", "--passphrase-file", "-"], "--passphrase-file and --keys-passphrase-file"),
    ] {
        let refused = rustbalance(args.iter().chain(&keys).copied().chain(["--dir", "/nonexistent"]));
        assert_refused(&refused, 2, &format!("{both}: both are -; give one of them as a file"));
    }
    for (args, both) in [
        (&["join", "--invite-file", "-", "--client-key-file", "-"][..], "--invite-file and --client-key-file"),
        (&["descriptor", "diff", "-", "-"], "FIRST and SECOND"),
        (&["descriptor", "show", "-", "--passphrase-file", "-"], "FILE and --passphrase-file"),
    ] {
        let refused = rustbalance(args.iter().copied().chain(["--dir", "/nonexistent"]));
        assert_refused(&refused, 2, &format!("{both}: both are -; give one of them as a file"));
    }
}

#[test]
fn usage_mistakes_are_one_line_and_exit_2() {
    for (args, expected) in [
        (&["statu"][..], "unrecognized subcommand 'statu' tip: a similar subcommand exists: 'status'"),
        (&["weight", "a", "-1"], "unexpected argument '-1' found"),
        (&["weight", "a", "x"], "not a number in range; or write `default`"),
        (&["pause", "--for", "2d"], "use \"1s\" to \"24h\""),
        (&["invite", "--uses", "0"], "0 is not in 1..=8"),
        (&["invite", "--uses", "9"], "9 is not in 1..=8"),
        (&["invite", "--expires", "31d"], "use \"1m\" to \"30d\""),
        (&["run", "--jsno"], "unexpected argument '--jsno' found"),
        (&["key", "show", "--file", "a", "--passphrase-file", "b"], "cannot be used with '--passphrase-file <FILE|->'"),
        (&["join", "--target", "a:1"], "required arguments were not provided: --master-onion <ADDRESS>"),
        (&["init", "--port", "70000"], "invalid value '70000' for '--port <PORT>'"),
        (&["run", "--log-level", "rustbalance=loud"], "--log-level \"rustbalance=loud\""),
        (&["clients", "add", "../alice"], "\"../alice\": a client's name has 1 to 32 letters"),
        (&["clients", "add", "alice", "--public-key", "abc"], "--public-key: a client's public key has 52 letters"),
        (&["run", "--log-format", "xml"], "[possible values: text, json]"),
    ] {
        let run = rustbalance(args.iter().copied());
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{args:?}");
        assert!(run.stderr.starts_with("rustbalance: ") && run.stderr.contains(expected), "{args:?}\n{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{args:?}\n{}", run.stderr);
    }
}

#[test]
fn no_command_is_a_usage_mistake() {
    for args in [&[][..], &["config"], &["clients"]] {
        let run = rustbalance(args.iter().copied());
        assert_eq!((run.code, run.stdout.as_str()), (2, ""));
        assert_eq!(run.stderr, "rustbalance: no command given; see rustbalance --help\n");
    }
}

#[test]
fn version_is_printed() {
    let run = rustbalance(["--version"]);
    assert_eq!((run.code, run.stdout), (0, format!("rustbalance {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn run_needs_a_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let run = rustbalance(["run", "--dir", dir.path().to_str().unwrap()]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("rustbalance.toml: no such file; run `rustbalance init`"), "{}", run.stderr);
}

#[test]
fn asking_a_node_that_does_not_run_is_a_runtime_failure() {
    let dir = tempfile::tempdir().unwrap();
    for command in [
        &["status"][..],
        &["verify"],
        &["leave"],
        &["drain"],
        &["undrain"],
        &["drain", "a"],
        &["weight", "a", "5"],
        &["priority", "a", "default"],
        &["step-down"],
        &["pause"],
        &["resume"],
        &["remove", "a"],
        &["clients", "list"],
        &["clients", "add", "a"],
        &["clients", "open"],
    ] {
        let run = rustbalance(command.iter().copied().chain(["--dir", dir.path().to_str().unwrap()]));
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{command:?}");
        assert!(run.stderr.contains("no node is running here; start it"), "{}", run.stderr);
    }
}
