//! Writes what the corpora began with: `cargo run -p rustbalance-fuzz-targets --example seeds`.
#![allow(clippy::print_stdout, reason = "a program")]

mod hidden_points;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustbalance_core::backup;
use rustbalance_core::cluster::exercise::{Pair, heard, saved_sample, spoken};
use rustbalance_core::hsdesc::exercise::Sealer;
use rustbalance_core::hsdesc::{InnerHeader, open};
use rustbalance_core::hsdir::consensus::Consensus;
use rustbalance_core::hsdir::microdesc::identities;
use rustbalance_core::invite;
use rustbalance_core::join;
use rustbalance_core::onion::cert::{CertType, ExpirationHours, unsigned};
use rustbalance_core::onion::client::HsClientDescEncKeypair;
use rustbalance_core::onion::key::HsIdKeypair;
use rustbalance_core::onion::period::TimePeriod;
use rustbalance_core::time::Wall;
use rustbalance_fuzz_targets::control::Dialogue;
use rustbalance_fuzz_targets::descriptor::HEADER;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn vector(relative: &str) -> Outcome<Vec<u8>> {
    let path = root().join("core/testdata/ctor").join(relative);
    fs::read(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn write(target: &str, name: &str, bytes: &[u8]) -> Outcome<()> {
    let dir = root().join("fuzz/corpus").join(target);
    fs::create_dir_all(&dir)?;
    println!("{target}/{name}: {} bytes", bytes.len());
    Ok(fs::write(dir.join(name), bytes)?)
}

fn main() -> Outcome<()> {
    descriptors()?;
    directory()?;
    control()?;
    cluster()?;
    invites()?;
    files()
}

fn descriptors() -> Outcome<()> {
    let mut sealer = Sealer::default();
    let now = sealer.now();
    for case in ["plain-3ip", "pow-on", "single-onion-hop", "client-auth-2"] {
        let key = HsIdKeypair::from_tor_file(&vector(&format!("cases/{case}/hs_ed25519_secret_key"))?)?;
        let expected: serde_json::Value = serde_json::from_slice(&vector(&format!("cases/{case}/expected.json"))?)?;
        let number = |pointer| expected.pointer(pointer).and_then(serde_json::Value::as_u64).ok_or("a number");
        let period = TimePeriod { number: number("/time_period/number")?, length_minutes: 8 };
        let at = Wall::from_secs(number("/captured_at")?);
        let text = vector(&format!("cases/{case}/descriptor.txt"))?;
        write("descriptor_middle", case, &vector(&format!("cases/{case}/middle.txt"))?)?;
        let Ok(read) = open(&text, key.public(), &[period], None, at) else { continue };
        let header = InnerHeader([&read.header.0[..], &pow_params(case)].concat());
        let inner = sealer.inner(&header, &read.points)?;
        write("descriptor_inner", case, inner.as_bytes())?;
        let points = sealer.inner(&InnerHeader::default(), &read.points)?;
        write("intro_point", case, points.as_bytes())?;
        let whole = sealer.with_inner([HEADER, &points].concat().as_bytes());
        write("descriptor", case, whole.as_bytes())?;
        let unsigned = whole.split_at(whole.rfind("signature ").unwrap_or_default()).0;
        write("descriptor_outer", case, unsigned.as_bytes())?;
        let middle = sealer.middle(inner.as_bytes());
        write("descriptor_middle", &format!("{case}-sealed"), &middle)?;
        let middle = middle.split(|byte| *byte == 0).next().unwrap_or_default();
        for (layer, text) in [(1, unsigned.as_bytes()), (2, middle), (3, inner.as_bytes())] {
            write("arti", &format!("{case}-{layer}"), &[&[layer], text].concat())?;
        }
        if let Some(point) = read.points.first() {
            write("intro_point", &format!("{case}-specifiers"), &point.link_specifiers)?;
        }
    }
    let signer = ed25519_dalek::SigningKey::from_bytes(&[5; 32]).verifying_key().to_bytes();
    for kind in [CertType::DescSigning, CertType::IntroAuth, CertType::IntroEnc] {
        let cert = unsigned(kind, &[6; 32], ExpirationHours::rounded_up(now, 54), &signer);
        write("certificate", &format!("{kind:?}"), &cert)?;
    }
    Ok(())
}

fn pow_params(case: &str) -> Vec<String> {
    let line = "pow-params v1 SfuEIYSuqRb5YUmpNI1+hKVLgPMvaLbIy8hqGVOCYmM 30 2027-01-01T00:00:00";
    if case == "pow-on" { vec![line.to_owned()] } else { vec![] }
}

fn directory() -> Outcome<()> {
    let (consensus, microdescs) =
        (vector("ring/srv-to-tp/consensus-microdesc.txt")?, vector("ring/srv-to-tp/microdescs.txt")?);
    write("consensus", "srv-to-tp", &consensus)?;
    write("consensus", "tp-to-srv-no-srv", &vector("ring/tp-to-srv-no-srv/consensus-microdesc.txt")?)?;
    write("microdesc", "srv-to-tp", &microdescs)?;
    let (consensus, microdescs) = (few_relays(&consensus), few_microdescs(&consensus, &microdescs));
    let descriptor = vector("cases/plain-3ip/descriptor.txt")?;
    let mut steps = Vec::new();
    let mut dialogue = Dialogue::default();
    for _ in 0..6 {
        let text = match dialogue.fake.wants().unwrap_or_default() {
            "circuit-status" => CIRCUIT,
            "md/all" => &microdescs,
            key if key.starts_with("hs/") => &descriptor,
            key if key.starts_with("dir/") => &consensus,
            _ => b"",
        };
        let step = [&[0], text].concat();
        dialogue.step(Duration::from_millis(90), &step);
        steps.extend(spoken(3, &step));
    }
    for step in [&b"\x03A"[..], b"\x00", b"\x01650 HS_DESC UPLOADED dbj6lvx6 UNKNOWN $41~a\r\n", b"\x02"] {
        steps.extend(spoken(10, step));
    }
    write("circuit_line", "whole", b"PROXY TCP6 fc00:dead:beef:4dad::0:29a ::1 666 42\r\nGET /\r\n")?;
    write("tor_dialogue", "ready", &steps)?;
    write("tor_dialogue", "hidden-points", &hidden_points::dialogue()?)
}

const CIRCUIT: &[u8] =
    b"6 BUILT $AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA~guard,$BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB~relay \
    BUILD_FLAGS=IS_INTERNAL PURPOSE=HS_SERVICE_INTRO HS_STATE=HSSI_ESTABLISHED \
    REND_QUERY=dbj6lvx6ilzhqxguu4pn2qrb4kewhsz3mlvqzrbyoai3hj4ygn42wayd";

/// Head and foot of a consensus, and its first relays.
fn few_relays(consensus: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(consensus);
    let parts: Vec<_> = text.split("\nr ").collect();
    let footer = text.find("\ndirectory-footer").and_then(|at| text.get(at..)).unwrap_or_default();
    (parts.get(..5).unwrap_or_default().join("\nr ") + footer).into_bytes()
}

/// The microdescriptors that `consensus` names.
fn few_microdescs(consensus: &[u8], microdescs: &[u8]) -> Vec<u8> {
    let hsdirs = Consensus::parse(consensus).map(|consensus| consensus.hsdirs).unwrap_or_default();
    let text = String::from_utf8_lossy(microdescs);
    let parts = text.split("onion-key\n").skip(1).map(|part| format!("onion-key\n{part}"));
    let named = |part: &String| {
        let found = identities(part.as_bytes());
        hsdirs.iter().any(|(_, digest)| found.contains_key(digest))
    };
    parts.filter(named).collect::<String>().into_bytes()
}

fn control() -> Outcome<()> {
    for name in fs::read_dir(root().join("core/testdata/ctor/control"))? {
        let name = name?.file_name().into_string().map_err(|_| "a name")?;
        for entry in fs::read_dir(root().join("core/testdata/ctor/control").join(&name))? {
            let path = entry?.path();
            let bytes = fs::read(&path)?;
            let is_text = path.extension().is_none_or(|extension| extension != "json");
            if is_text && bytes.len() < 6_000 {
                let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
                write("control_reply", &format!("{name}-{file}"), &bytes)?;
            }
        }
    }
    Ok(())
}

fn cluster() -> Outcome<()> {
    let conversation = Pair::default().conversation(15);
    write("peer_datagram", "conversation", &conversation)?;
    let mut kinds = std::collections::BTreeSet::new();
    for (_, datagram) in heard(&conversation) {
        if kinds.insert(datagram.get(1..3).map(<[u8]>::to_vec)) {
            write("peer_datagram", &format!("kind-{}", kinds.len()), &spoken(3, datagram))?;
            write("node", &format!("kind-{}", kinds.len()), &spoken(3, &[&[0], datagram].concat()))?;
        }
    }
    let steps: Vec<u8> =
        heard(&conversation).take(60).flat_map(|(_, datagram)| spoken(3, &[&[0], datagram].concat())).collect();
    let dialogue = fs::read(root().join("fuzz/corpus/tor_dialogue/ready"))?;
    let answers = heard(&dialogue).flat_map(|(_, step)| spoken(3, &[&[6], step.get(1..).unwrap_or_default()].concat()));
    write("node", "conversation", &[&steps[..], &answers.collect::<Vec<u8>>()].concat())?;
    for (name, bytes) in ["sealed", "content"].iter().zip(backup::exercise::samples().ok_or("a backup")?) {
        write("backup", name, &bytes)?;
    }
    write("saved_state", "running", &saved_sample(15))?;
    let (ask, replies) = join::exercise::samples();
    write("join_request", "good", &ask)?;
    for (name, reply) in ["good", "refusal"].iter().zip(&replies) {
        write("join_reply", name, reply)?;
    }
    write("mesh_packet", "good", &rustbalance_io::mesh::exercise::packet_sample())?;
    let steps =
        [spoken(1, b"\x01hello"), spoken(1, b"\x00\x01\x00\x00\x00"), spoken(30, b"\x02\x55"), spoken(60, b"\x01hi")];
    write("mesh_datagram", "good", &steps.concat())
}

fn invites() -> Outcome<()> {
    let texts = invite::exercise::text_samples().ok_or("an invite")?;
    for (name, text) in ["line", "content"].iter().zip(&texts) {
        write("invite", name, text)?;
    }
    write("invite", "upper-case", format!(" {}\n", String::from_utf8_lossy(&texts[0]).to_uppercase()).as_bytes())?;
    for (name, said) in ["request", "headers", "answer", "length"].iter().zip(invite::exercise::front_samples()) {
        write("invite_front", name, &said)?;
    }
    let (ask, replies) = invite::exercise::samples().ok_or("an answer")?;
    write("invite_request", "good", &ask)?;
    for (name, reply) in ["welcome", "refusal"].iter().zip(&replies) {
        write("invite_reply", name, reply)?;
    }
    for (name, answer) in ["final", "interim", "switch"].iter().zip(rustbalance_io::probe::exercise::answer_samples()) {
        write("probe_answer", name, &answer)?;
    }
    Ok(())
}

fn files() -> Outcome<()> {
    let config = "name = \"a\"\npriority = 7\nweight = 10\n[mesh]\nlisten = \"[::]:7900\"\nendpoint = \"host:1\"\n\
        [service]\nport = 80\ntarget = \"unix:/a\"\nintroduction_points = 5\n[proxy]\nidle_timeout = \"2h\"\n\
        max_connections = 10\nprobe_interval = \"100ms\"\n[tor]\nbinary = \"tor\"\noptions = [\"NumCPUs 1\"]\n";
    write("configuration", "many-keys", config.as_bytes())?;
    let id = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let through = format!(",\"joined_through\":{{\"wireguard\":\"{id}\",\"endpoint\":\"host:1\"}}");
    write("cluster_file", "good", format!("{{\"cluster\":\"{id}\",\"genesis\":\"{id}\"{through}}}").as_bytes())?;
    write("keys", "secret-key", &vector("cases/plain-3ip/hs_ed25519_secret_key")?)?;
    let seed = "1O5y2/kTWErVttjx92n4rTr+fCjL8dT74Jeoj0R1WEI=";
    write("keys", "seed", seed.as_bytes())?;
    let pem = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n");
    write("keys", "pem", pem.as_bytes())?;
    let host = String::from_utf8(vector("cases/plain-3ip/hostname")?)?;
    write("keys", "address", host.trim().as_bytes())?;
    let keypair = HsClientDescEncKeypair::from_bytes(&[7; 32]);
    write("keys", "auth-line", keypair.public().to_auth_line().as_bytes())?;
    write("keys", "auth-private", keypair.expose_auth_private_line(host.trim().parse()?).as_bytes())?;
    write("keys", "fingerprint", b"$A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5~name")
}
