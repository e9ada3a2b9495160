//! `key`: whose key a file is, and the ways from one format to another.

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::{Run, assert_refused, command, rustbalance, text};

/// RFC 8410, section 10.3, and its address.
const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";
const SEED: &str = "1O5y2/kTWErVttjx92n4rTr+fCjL8dT74Jeoj0R1WEI=\n";

/// A service of C tor.
const TOR_SERVICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/testdata/ctor/cases/plain-3ip");

fn file(path: PathBuf, content: &[u8]) -> PathBuf {
    fs::write(&path, content).expect("room for a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
    path
}

fn address_of(run: &Run) -> String {
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    run.stdout.split(' ').next().expect("an address").to_owned()
}

fn show(path: &Path) -> Run {
    rustbalance(["key", "show", "--file", text(path)])
}

#[test]
fn tors_own_key_is_shown_by_its_address_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let key = file(root.path().join("key"), &fs::read(format!("{TOR_SERVICE}/hs_ed25519_secret_key")).unwrap());
    let hostname = fs::read_to_string(format!("{TOR_SERVICE}/hostname")).unwrap();
    let run = show(&key);
    assert_eq!((run.code, run.stdout.as_str()), (0, format!("{}  (tor)\n", hostname.trim()).as_str()));
    let json = rustbalance(["key", "show", "--json", "--file", text(&key)]);
    assert_eq!(json.stdout, format!("{{\"address\":\"{}\",\"format\":\"tor\"}}\n", hostname.trim()));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_refused(&show(&key), 3, "chmod 600");
}

#[test]
fn a_key_is_the_same_in_every_format_and_becomes_a_service_for_a_plain_tor() {
    let root = tempfile::tempdir().unwrap();
    let pem = file(root.path().join("pem"), PEM.as_bytes());
    let address = address_of(&show(&pem));
    for format in ["tor", "base64", "pem", "service"] {
        let out = root.path().join(format!("out-{format}"));
        let args = ["key", "import", "--file", text(&pem), "--out", text(&out), "--format", format];
        let run = rustbalance(args.into_iter().chain(["--address", &address]));
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{format}");
        assert!(run.stdout.contains(&address), "{}", run.stdout);
        assert_eq!(address_of(&show(&out)), address, "{format}");
        let mode = fs::metadata(&out).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if format == "service" { 0o700 } else { 0o600 }, "{format}");
        let again = rustbalance(args.into_iter().chain(["--yes"]));
        assert_eq!((again.code, again.stdout.as_str()), (3, ""), "{format}: nothing is overwritten");
        assert!(again.stderr.contains("exists already; nothing was written"), "{}", again.stderr);
    }
    assert_eq!(fs::read_to_string(root.path().join("out-base64")).unwrap(), SEED);
    assert_eq!(fs::read_to_string(root.path().join("out-pem")).unwrap(), PEM);
    let hostname = fs::read_to_string(root.path().join("out-service/hostname")).unwrap();
    assert_eq!(hostname, format!("{address}\n"));
}

#[test]
fn an_address_that_is_not_confirmed_is_not_written() {
    let root = tempfile::tempdir().unwrap();
    let (pem, out) = (file(root.path().join("pem"), PEM.as_bytes()), root.path().join("out"));
    let args = ["key", "import", "--file", text(&pem), "--out", text(&out)];
    assert_refused(&rustbalance(args), 2, "confirm that with --address ");
    let hostname = fs::read_to_string(format!("{TOR_SERVICE}/hostname")).unwrap();
    let other = rustbalance(args.into_iter().chain(["--address", hostname.trim()]));
    assert_refused(&other, 3, &format!("not of {}; nothing was written", hostname.trim()));
    assert_refused(&rustbalance(args.into_iter().chain(["--address", "a.onion"])), 2, "--address \"a.onion\"");
    assert!(!out.exists());
}

#[test]
fn a_nodes_key_goes_out_as_tors_and_as_nothing_that_needs_a_seed() {
    let root = tempfile::tempdir().unwrap();
    let (dir, out) = (root.path().join("node"), root.path().join("out"));
    assert_refused(&rustbalance(["key", "show", "--dir", text(&dir)]), 3, "holds no node");
    let address = rustbalance(["init", "--target", "127.0.0.1:1", "--dir", text(&dir)]).stdout;
    let address = address.lines().next().unwrap();
    assert_eq!(address_of(&rustbalance(["key", "show", "--dir", text(&dir)])), address);
    let export = |args: &[&str]| rustbalance([&["key", "export", "--dir", text(&dir)], args].concat());
    for format in ["pem", "base64"] {
        assert_refused(&export(&["--out", text(&out), "--format", format]), 2, "expanded form");
        assert!(!out.exists());
    }
    assert_eq!(export(&["--out", text(&out)]).code, 0);
    let kept = fs::read(dir.join("keys/hs_ed25519_secret_key")).unwrap();
    assert!(fs::read(&out).unwrap() == kept);
    assert_refused(&export(&["--out", "-", "--format", "service"]), 2, "a directory cannot be printed");
}

#[test]
fn a_key_travels_through_pipes_and_founds_a_node() {
    let root = tempfile::tempdir().unwrap();
    let mut import = command(["key", "import", "--file", "-", "--out", "-", "--format", "base64", "--yes"]);
    let mut running = import.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    running.stdin.take().unwrap().write_all(PEM.as_bytes()).unwrap();
    let run: Run = running.wait_with_output().unwrap().into();
    assert_eq!((run.code, run.stdout.as_str()), (0, SEED), "{}", run.stderr);
    assert!(!run.stderr.contains(SEED.trim()) && run.stderr.contains(".onion"), "{}", run.stderr);
    let seed = file(root.path().join("seed"), SEED.as_bytes());
    let dir = root.path().join("node");
    let init = rustbalance(["init", "--target", "a:1", "--import-key", text(&seed), "--dir", text(&dir)]);
    assert_eq!(init.stdout.lines().next().unwrap(), address_of(&show(&seed)));
}

#[test]
fn what_is_no_key_is_refused_with_what_it_is() {
    let root = tempfile::tempdir().unwrap();
    for (content, says) in [
        (&b"hello"[..], "5 bytes instead of the 96"),
        (&PEM.replace("PRIVATE", "ENCRYPTED PRIVATE").into_bytes(), "openssl pkey"),
        (&PEM.replace("VwBC", "VuBC").into_bytes(), "not an ed25519 seed"),
    ] {
        let path = file(root.path().join("key"), content);
        assert_refused(&show(&path), 3, says);
    }
}
