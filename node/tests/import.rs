//! A service of tor's that is for authorised clients alone, on its way here (`init --import-key`) and elsewhere.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use common::{Run, assert_refused, rustbalance, text};
use rustbalance_core::cluster::Access;
use rustbalance_io::store::Store;
use tempfile::TempDir;

/// A service of C tor.
const TOR_SERVICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/testdata/ctor/cases/plain-3ip");
/// From tor's own manual.
const BOB: &str = "OM7TGIVRYMY6PFX6GAC6ATRTA5U6WW6U7A4ZNHQDI6OVL52XVV2Q";

/// A `HiddenServiceDir`, and a place for a node that is to take it over.
struct Place(TempDir);

impl Place {
    /// With these files in `authorized_clients`.
    fn new(clients: &[(&str, &str)]) -> Self {
        let place = Self(tempfile::tempdir().expect("a directory for the test"));
        fs::create_dir_all(place.service().join("authorized_clients")).expect("room for a directory");
        for name in ["hs_ed25519_secret_key", "hostname"] {
            let file = place.service().join(name);
            fs::copy(format!("{TOR_SERVICE}/{name}"), &file).expect("tor's own file");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("our own file");
        }
        for (name, content) in clients {
            fs::write(place.service().join("authorized_clients").join(name), content).expect("room for a file");
        }
        place
    }

    fn service(&self) -> PathBuf {
        self.0.path().join("service")
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("node")
    }

    fn init(&self, key: &str, more: &[&str]) -> Run {
        let (key, dir) = (self.0.path().join(key), self.dir());
        let args = ["init", "--target", "127.0.0.1:1", "--import-key", text(&key), "--dir", text(&dir)];
        rustbalance(args.into_iter().chain(more.iter().copied()))
    }

    /// Who may connect to the address of the node that was founded.
    fn access(&self) -> Access {
        Store::new(self.dir()).access().expect("what init wrote")
    }
}

fn bob_alone() -> Access {
    Access::Restricted([("bob".parse().expect("a name"), BOB.parse().expect("a key"))].into())
}

#[test]
fn a_restricted_service_stays_restricted_and_init_says_so() {
    for key in ["service", "service/hs_ed25519_secret_key"] {
        let place = Place::new(&[("bob.auth", &format!("descriptor:x25519:{BOB}\n")), ("README", "anything")]);
        let run = place.init(key, &[]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        assert!(
            run.stdout.contains("\nThe address is restricted to 1 authorised client; `rustbalance clients`"),
            "{key}"
        );
        assert_eq!(place.access(), bob_alone(), "{key}");
    }
    let place = Place::new(&[("bob.auth", &format!("descriptor:x25519:{}", BOB.to_lowercase()))]);
    let report: serde_json::Value = serde_json::from_str(&place.init("service", &["--json"]).stdout).unwrap();
    assert_eq!(report["access"], serde_json::json!({ "restricted": true, "clients": 1 }));
    assert_eq!(place.access(), bob_alone());
}

#[test]
fn an_open_service_stays_open_and_init_says_so() {
    let place = Place::new(&[]);
    let run = place.init("service", &[]);
    assert!(run.stdout.contains("\nThe address is open to everybody; "), "{}", run.stdout);
    assert_eq!((run.code, place.access()), (0, Access::Open));
}

#[test]
fn a_client_that_cannot_be_taken_over_is_named_and_nothing_is_founded() {
    let bob = format!("descriptor:x25519:{BOB}");
    for (name, content, says) in [
        ("my phone.auth", bob.as_str(), "begins with a letter or digit; rename the file"),
        ("carol.auth", "descriptor:x25519:ABC", "as in descriptor:x25519:<key>; copy it again"),
        ("carol.auth", bob.as_str(), "has the key of bob, too; remove one of the two files"),
    ] {
        let place = Place::new(&[("bob.auth", &bob), (name, content)]);
        let run = place.init("service", &[]);
        assert_refused(&run, 3, says);
        let named = format!("rustbalance: {}/authorized_clients/{name}: ", text(&place.service()));
        assert!(run.stderr.starts_with(&named), "{}", run.stderr);
        assert!(!place.dir().exists(), "{name}");
    }
}

#[test]
fn a_key_that_goes_elsewhere_without_its_clients_says_so() {
    for (clients, is_said) in [(&[("bob.auth", &*format!("descriptor:x25519:{BOB}"))][..], true), (&[], false)] {
        let place = Place::new(clients);
        assert_eq!(place.init("service", &[]).code, 0);
        let (dir, service, out) = (place.dir(), place.service(), place.0.path().join("out"));
        for from in [
            &["import", "--yes", "--file", text(&service), "--out", text(&out)][..],
            &["export", "--format", "service", "--dir", text(&dir), "--out", text(&out)],
        ] {
            let run = rustbalance(["key"].iter().chain(from).copied());
            assert_eq!((run.code, run.stdout.lines().count()), (0, 1), "{}", run.stderr);
            assert_eq!(
                run.stderr.contains("lets everybody in, unless it has the clients' files"),
                is_said,
                "{}",
                run.stderr
            );
            fs::remove_dir_all(&out).unwrap();
        }
    }
}
