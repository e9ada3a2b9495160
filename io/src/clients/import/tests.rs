use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use rustbalance_core::onion::client::{CLIENT_NAME_MAX, HsClientDescEncKeypair};
use tempfile::TempDir;

use super::*;
use crate::init::{InitParams, init};

fn key(n: u8) -> HsClientDescEncKey {
    HsClientDescEncKeypair::from_bytes(&[n; 32]).public()
}

fn access(clients: &[(&str, u8)]) -> Access {
    Access::Restricted(clients.iter().map(|(name, n)| (name.parse().unwrap(), key(*n))).collect())
}

/// A service as tor has it, as far as anybody looks here.
struct Service(TempDir);

impl Service {
    fn new(clients: &[(&str, u8)]) -> Self {
        let service = Self(tempfile::tempdir().unwrap());
        fs::write(service.key(), "secret").unwrap();
        fs::create_dir(service.clients()).unwrap();
        clients.iter().for_each(|(name, n)| service.write(format!("{name}.auth"), &key(*n).to_auth_line()));
        service
    }

    fn key(&self) -> PathBuf {
        self.0.path().join(MASTER_FILE)
    }

    fn clients(&self) -> PathBuf {
        self.0.path().join("authorized_clients")
    }

    fn write(&self, name: impl AsRef<Path>, content: &str) {
        fs::write(self.clients().join(name), content).unwrap();
    }

    #[track_caller]
    fn assert_refused(&self, says: &str) {
        let error = access_beside(self.0.path()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}{says}", self.clients().display())), "{says}\n{error}");
    }
}

#[test]
fn clients_come_with_a_service_however_its_key_is_named() {
    let clients = [("alice", 1), ("bob", 2)];
    let service = Service::new(&clients);
    service.write("README", "anything");
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("key");
    symlink(service.key(), &link).unwrap();
    for path in [service.0.path(), &service.key(), &link] {
        assert_eq!(access_beside(path).unwrap(), access(&clients), "{}", path.display());
    }
    let secret = elsewhere.path().join("secret");
    fs::rename(service.key(), &secret).unwrap();
    symlink(&secret, service.key()).unwrap();
    for path in [service.0.path(), &service.key()] {
        assert_eq!(access_beside(path).unwrap(), access(&clients), "{}", path.display());
    }
    assert_eq!(access_beside(&secret).unwrap(), Access::Open, "a key alone");
}

#[test]
fn without_a_clients_file_everybody_may_connect_as_with_tor() {
    let service = Service::new(&[]);
    assert_eq!(access_beside(service.0.path()).unwrap(), Access::Open);
    service.write("alice.auth.disabled", &key(1).to_auth_line());
    assert_eq!(access_beside(service.0.path()).unwrap(), Access::Open);
    fs::remove_dir_all(service.clients()).unwrap();
    assert_eq!(access_beside(service.0.path()).unwrap(), Access::Open);
    assert_eq!(access_beside(Path::new("/dev/null")).unwrap(), Access::Open);
}

#[test]
fn a_client_whose_name_is_none_here_is_named_and_not_passed_over() {
    let long = "x".repeat(CLIENT_NAME_MAX + 1);
    for (name, shown) in [(&b"my phone"[..], "my phone"), (long.as_bytes(), &long), (b"\xff", "\u{fffd}"), (b"", "")] {
        let service = Service::new(&[("alice", 1)]);
        service.write(OsStr::from_bytes(&[name, b".auth"].concat()), &key(2).to_auth_line());
        service.assert_refused(&format!("/{shown}.auth: a client's name has 1 to 32 letters"));
    }
}

#[test]
fn a_file_that_holds_no_clients_key_is_named_and_not_passed_over() {
    let line = key(2).to_auth_line();
    let alone = key(2).to_base32();
    for content in ["", "descriptor:x25519:", &alone, &line.replace("x25519", "p256"), &format!("{line}\n{line}\n")] {
        let service = Service::new(&[("alice", 1)]);
        service.write("bob.auth", content);
        service.assert_refused("/bob.auth: a client's public key has 52 letters");
    }
    let only = Service::new(&[]);
    only.write("alice.auth", "not a key");
    only.assert_refused("/alice.auth: a client's public key has 52 letters");
    only.write("alice.auth", &format!("descriptor:x25519:{}", "A".repeat(52)));
    only.assert_refused("/alice.auth: this is no x25519 key that could keep a secret");
    only.write("alice.auth", &(line + &" ".repeat(1024)));
    only.assert_refused("/alice.auth: has more than 1024 bytes");
}

#[test]
fn what_cannot_be_read_is_named_and_not_passed_over() {
    let service = Service::new(&[("alice", 1)]);
    symlink("nowhere", service.clients().join("bob.auth")).unwrap();
    service.assert_refused("/bob.auth: cannot be read: No such file or directory");
    let service = Service::new(&[("alice", 1)]);
    fs::create_dir(service.clients().join("bob.auth")).unwrap();
    service.assert_refused("/bob.auth: is not a file");
    fs::remove_dir_all(service.clients()).unwrap();
    fs::write(service.clients(), "").unwrap();
    service.assert_refused(": cannot read: Not a directory (os error 20); move away what is in its place");
    fs::remove_file(service.clients()).unwrap();
    symlink("nowhere", service.clients()).unwrap();
    service.assert_refused(": cannot read: No such file or directory");
}

#[test]
fn two_clients_with_one_key_are_refused_as_when_they_are_added() {
    Service::new(&[("alice", 1), ("bob", 2), ("carol", 1)])
        .assert_refused("/carol.auth: has the key of alice, too; remove");
}

#[test]
fn as_many_clients_come_as_there_is_room_for_and_of_more_none() {
    let names: Vec<_> = (0..=CLIENTS_MAX).map(|n| format!("c{n:03}")).collect();
    let clients: Vec<_> = names.iter().zip(1..).map(|(name, n)| (name.as_str(), n)).collect();
    let (all, fitting) = (Service::new(&clients), &clients[1..]);
    all.assert_refused(": has 112 clients, and there is room for 111; remove");
    assert_eq!(access_beside(Service::new(fitting).0.path()).unwrap(), access(fitting));
}

#[test]
fn the_key_of_a_node_comes_with_the_clients_of_that_node() {
    for access in [access(&[("alice", 1)]), access(&[]), Access::Open] {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("node");
        let founding = InitParams { dir: dir.clone(), master: None, access: access.clone(), passphrase: None };
        init(founding).unwrap_or_else(|error| panic!("{error}"));
        for path in [dir.join("keys"), dir.join("keys").join(MASTER_FILE)] {
            assert_eq!(access_beside(&path).unwrap(), access);
        }
        let refused = |because: &str| {
            let error = access_beside(&dir.join("keys")).unwrap_err().to_string();
            assert!(error.contains(because), "{error}");
        };
        fs::write(dir.join("state/roster"), "damaged").unwrap();
        refused("nobody knows who may connect");
        fs::remove_file(dir.join("state/roster")).unwrap();
        refused("whose list of clients is missing");
    }
}
