//! `descriptor show` and `descriptor diff`, offline.

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::{Run, assert_refused, command, rustbalance, text};
use rustbalance_core::hsdesc::{Content, InnerHeader, IntroPoint, SigningKeys, build};
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::onion::client::{HsClientDescEncKey, HsClientDescEncKeypair};
use rustbalance_core::onion::key::HsIdKeypair;
use rustbalance_core::onion::period::TimePeriod;
use rustbalance_core::onion::revision::RevisionCounter;
use rustbalance_io::{clock, entropy};
use serde_json::Value;

/// A service with files of descriptors.
struct Service {
    dir: tempfile::TempDir,
    key: HsIdKeypair,
    address: String,
}

impl Service {
    fn new() -> Self {
        let key = HsIdKeypair::generate(&mut entropy::rng().expect("randomness"));
        let address = OnionAddress::new(key.public()).to_string();
        Self { dir: tempfile::tempdir().expect("a directory"), key, address }
    }

    /// A descriptor for the time period that is now, on these relays.
    fn built(&self, revision: u64, relays: &[u8], clients: &[HsClientDescEncKey]) -> String {
        let now = clock::now().wall;
        let period = TimePeriod { number: (now.as_secs() - 43_200) / 86_400, length_minutes: 1440 };
        let (blind, mut rng) = (self.key.blind(period), entropy::rng().expect("randomness"));
        let points: Vec<_> = relays.iter().map(|relay| point(*relay)).collect();
        let content = Content {
            blind: &blind,
            subcredential: self.key.public().subcredential(blind.public()),
            revision: RevisionCounter(revision),
            header: &InnerHeader(vec!["create2-formats 2".to_owned()]),
            pow: None,
            points: &points,
            clients,
            now,
        };
        build(&mut SigningKeys::new(&blind, &mut rng, now), &content, &mut rng).expect("it builds")
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        path
    }

    fn run(&self, args: &[&str]) -> Run {
        let dir = self.dir.path().join("none");
        rustbalance(["descriptor"].into_iter().chain(args.iter().copied()).chain(["--dir", text(&dir)]))
    }

    fn show(&self, file: &Path, more: &[&str]) -> Run {
        self.run(&[&["show", text(file), "--address", &self.address], more].concat())
    }
}

fn point(relay: u8) -> IntroPoint {
    let mut base = [0; 32];
    base[0] = 9;
    let auth_key = HsIdKeypair::generate(&mut entropy::rng().expect("randomness")).public().0;
    let address = [0, 6, 10, 0, 0, relay, 0x23, 0x29];
    let link_specifiers = [&[2][..], &address, &[2, 20], &[relay; 20]].concat();
    IntroPoint { link_specifiers, onion_key: base, auth_key, enc_key: base }
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}\n{}", run.stdout, run.stderr))
}

#[test]
fn a_good_descriptor_is_shown_to_the_last_link_specifier() {
    let service = Service::new();
    let file = service.file("good", &service.built(77, &[1, 2], &[]));
    let run = service.show(&file, &[]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    for part in [
        "good: clients use all of it",
        "revision counter    77",
        "ipv4 10.0.0.2:9001",
        "create2-formats 2",
        "UTC, in 5",
    ] {
        assert!(run.stdout.contains(part), "{part} in\n{}", run.stdout);
    }
    let shown = json(&service.show(&file, &["--json"]));
    assert_eq!((&shown["good"], &shown["address"]), (&true.into(), &service.address.as_str().into()));
    assert_eq!(shown["inner"]["points"][1]["relay"], "02".repeat(20));
    assert_eq!(shown["outer"]["signing_cert"]["kind"], 8);
    let mut child = command(["descriptor", "show", "-", "--address", &service.address[..56], "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&fs::read(&file).unwrap()).unwrap();
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!((run.code, &json(&run)["source"]), (0, &"standard input".into()));
}

#[test]
fn a_bad_descriptor_is_shown_as_far_as_it_goes_with_its_fault_and_place() {
    let service = Service::new();
    let good = service.built(77, &[1, 2], &[]);
    let signature = good.lines().count();
    let flipped = service.file("flipped", &good.replace("revision-counter 77", "revision-counter  77"));
    let run = service.show(&flipped, &[]);
    assert_eq!(run.code, 7);
    let fault = format!("outer layer, line {signature}: the descriptor's signature does not match");
    assert_eq!(run.stderr, format!("rustbalance: {}: {fault}\n", flipped.display()));
    assert!(run.stdout.contains("ipv4 10.0.0.2:9001") && run.stdout.contains(&fault), "{}", run.stdout);

    let cut = service.file("cut", &good[..200]);
    let run = service.show(&cut, &["--json"]);
    let shown = json(&run);
    assert_eq!((run.code, &shown["good"], &shown["complete"]), (7, &false.into(), &false.into()));
    assert_eq!(shown["faults"][0]["layer"], "outer");
    assert_eq!(shown["faults"][0]["fault"]["syntax"], "unterminated_object");
    assert_eq!(shown["outer"]["lines"][0]["text"], "hs-descriptor 3");

    let other = Service::new();
    let run = service.run(&["show", text(&flipped), "--address", &other.address]);
    assert_eq!(run.code, 7);
    assert!(run.stderr.contains("line 3: the descriptor is of another service or time period"), "{}", run.stderr);
}

#[test]
fn a_descriptor_for_clients_is_shown_to_who_has_a_key() {
    let service = Service::new();
    let client = HsClientDescEncKeypair::generate(&mut entropy::rng().expect("randomness"));
    let file = service.file("closed", &service.built(1, &[1], &[client.public()]));
    let run = service.show(&file, &[]);
    assert_eq!(run.code, 7);
    assert!(run.stderr.contains("for authorised clients only: give the key of one"), "{}", run.stderr);
    let address = service.address.parse().expect("an address");
    let key = service.file("key", &client.expose_auth_private_line(address));
    // The address stands in the key's file.
    let run = service.run(&["show", text(&file), "--client-key", text(&key)]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    assert!(run.stdout.contains("the given key's among them"), "{}", run.stdout);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_refused(&service.run(&["show", text(&file), "--client-key", text(&key)]), 3, "chmod 600");
}

#[test]
fn two_descriptors_are_compared_by_what_they_say() {
    let service = Service::new();
    let text_1 = service.built(1, &[1, 2], &[]);
    let (first, same) = (service.file("1", &text_1), service.file("same", &text_1));
    let diff = |second: &Path, more: &[&str]| {
        service.run(&[&["diff", text(&first), text(second), "--address", &service.address], more].concat())
    };
    let run = diff(&same, &[]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert!(run.stdout.contains("say the same"), "{}", run.stdout);
    let second = service.file("2", &service.built(2, &[3], &[]));
    let run = diff(&second, &[]);
    assert_eq!(run.code, 6);
    assert!(run.stdout.contains("outer layer: revision counter\n  - 1\n  + 2\n"), "{}", run.stdout);
    assert_eq!(run.stdout.matches("\nintroduction point").count(), 3, "{}", run.stdout);
    let differences = json(&diff(&second, &["--json"]));
    let counter = differences.as_array().unwrap().iter().find(|one| one["what"] == "outer layer: revision counter");
    assert_eq!((&counter.unwrap()["first"], &counter.unwrap()["second"]), (&"1".into(), &"2".into()));
}

#[test]
fn what_cannot_be_looked_at_is_a_usage_mistake() {
    let service = Service::new();
    let file = service.file("file", "");
    assert_refused(&service.run(&["show"]), 2, "<FILE|->");
    assert_refused(&service.run(&["show", text(&file)]), 2, "say whose descriptor it is with --address");
    assert_refused(&service.run(&["show", text(&file), "--address", "abc"]), 2, "--address: a v3 onion address has 56");
    assert_refused(&service.run(&["show", "/none", "--address", &service.address]), 2, "/none: No such file");
    let live = service.run(&["show", "--live", "--address", &service.address]);
    assert_refused(&live, 1, "no tor is running here");
    let hsdir = service.run(&["show", "--live", "--address", &service.address, "--hsdir", "xyz"]);
    assert_refused(&hsdir, 2, "--hsdir: not a relay's fingerprint");
}
