//! The HSDir ring of 8,000 relays beside Onionbalance's, and the memory it takes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use rustbalance_core::hsdir::consensus::Consensus;
use rustbalance_core::hsdir::microdesc;
use rustbalance_core::hsdir::ring::Ring;
use rustbalance_core::onion::key::HsBlindId;
use rustbalance_core::onion::period::Slot;
use serde_json::{Map, Value};

use super::consensus::Network;
use super::onionbalance::Onionbalance;
use super::stopwatch::{Times, round};

const RELAYS: usize = 8_000;
/// Both sides get the same arbitrary key.
const BLIND: HsBlindId = HsBlindId([0x5A; 32]);

/// Runs `rounds` rounds; `settle` is how long the process whose memory is measured rests first. Returns the ratios.
///
/// # Errors
/// Onionbalance and we disagree on an HSDir, or a file cannot be written.
#[expect(clippy::print_stdout, reason = "a bench prints")]
pub fn run(rounds: usize, settle: Duration) -> anyhow::Result<Map<String, Value>> {
    let directory = tempfile::tempdir()?;
    let now = SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    let network = Network::new(RELAYS, now);
    fs::write(directory.path().join("consensus"), &network.consensus)?;
    fs::write(directory.path().join("microdescs"), &network.microdescs)?;
    let mut peer = match Onionbalance::start(directory.path(), BLIND.0) {
        Ok(peer) => Some(peer),
        Err(error) => {
            println!("Onionbalance is left out, it could not be installed: {error:#}");
            None
        }
    };

    let [mut parse, mut load, mut ring, mut peer_load, mut peer_ring] = [(); 5].map(|()| Times::default());
    for _ in 0..rounds {
        parse.measure(|| Consensus::parse(network.consensus.as_bytes()))?;
        let (consensus, identities) = load.measure(|| read(&network))?;
        let ours = ring.measure(|| hsdirs(&Ring::new(&consensus, &identities, false)));
        if let Some(peer) = &mut peer {
            peer_load.push(peer.load()?);
            let (time, theirs) = peer.ring()?;
            peer_ring.push(time);
            ensure!(ours == theirs, "the rings differ: {ours:?}, Onionbalance {theirs:?}");
        }
    }

    let [parse, load, ring, peer_load, peer_ring] =
        [parse, load, ring, peer_load, peer_ring].map(|times| times.median_us());
    let peer = peer.map(|_| [peer_load, peer_ring]);
    let [peer_load, peer_ring] = peer.map_or(["not measured".to_owned(), "not measured".to_owned()], |times| {
        times.map(|time| format!("{:.0}", time / 1e3))
    });
    println!("{RELAYS} relays, ms: read consensus and microdescriptors {:.2}, Onionbalance {peer_load}", load / 1e3);
    println!("both slots' rings, ms: {:.2}, Onionbalance {peer_ring}", ring / 1e3);
    let mut results = Map::from_iter(ratios([load, ring], peer));
    // Bytes per microsecond.
    results.insert("consensus_mb_per_s".into(), round(network.consensus.len() as f64 / parse).into());
    let (resident, peak) = memory(directory.path(), settle)?;
    println!("memory with {RELAYS} relays, MiB: {resident:.1}, at most {peak:.1}");
    results.insert("rss_mib_8000_relays".into(), round(resident).into());
    results.insert("peak_rss_mib_8000_relays".into(), round(peak).into());
    Ok(results)
}

/// How many times as fast as the peer; null where it was not measured, so that nobody takes that for a ratio they know.
fn ratios([load, ring]: [f64; 2], peer: Option<[f64; 2]>) -> [(String, Value); 2] {
    let again = peer.map(|[_, peer_ring]| round(peer_ring / ring));
    let first = peer.map(|[peer_load, peer_ring]| round((peer_load + peer_ring) / (load + ring)));
    [("ring_vs_onionbalance".into(), again.into()), ("ring_first_vs_onionbalance".into(), first.into())]
}

/// Reads the files of [`run`] as a node reads its tor's answers, keeps what a node keeps, rests, and prints what
/// `/proc` says of this process.
///
/// # Errors
/// Unreadable files.
#[expect(clippy::print_stdout, reason = "its parent reads it")]
pub fn hold(directory: &Path, settle: Duration) -> anyhow::Result<()> {
    let read_file = |name| fs::read_to_string(directory.join(name));
    let network = Network { consensus: read_file("consensus")?, microdescs: read_file("microdescs")? };
    let (consensus, identities) = read(&network)?;
    drop(network);
    let ring = Ring::new(&consensus, &identities, false);
    std::thread::sleep(settle);
    print!("{}", fs::read_to_string("/proc/self/status")?);
    ensure!(hsdirs(&ring).iter().all(|slot| !slot.is_empty()), "an empty ring of {}", identities.len());
    ensure!(ring.relays() == consensus.hsdirs.len(), "relays are missing on the ring");
    Ok(())
}

type Read = (Consensus, std::collections::BTreeMap<[u8; 32], rustbalance_core::id::RelayEd25519Id>);

fn read(network: &Network) -> anyhow::Result<Read> {
    Ok((Consensus::parse(network.consensus.as_bytes())?, microdesc::identities(network.microdescs.as_bytes())))
}

/// Both slots' HSDirs in Onionbalance's form.
fn hsdirs(ring: &Ring) -> [String; 2] {
    [Slot::First, Slot::Second].map(|slot| {
        let hsdirs: Vec<_> = ring.responsible(slot, BLIND).store.iter().map(ToString::to_string).collect();
        hsdirs.join(",")
    })
}

/// `VmRSS` and `VmHWM` of a process that holds the ring, MiB.
fn memory(directory: &Path, settle: Duration) -> anyhow::Result<(f64, f64)> {
    let mut holder = Command::new(std::env::current_exe()?);
    holder.arg("hold").arg(directory).args(["--settle-secs", &settle.as_secs().to_string()]);
    let output = holder.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    let mib = |field: &str| {
        let line = status.lines().find(|line| line.starts_with(field)).context("a field of /proc/self/status")?;
        let kib: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
        anyhow::Ok(kib / 1024.0)
    };
    Ok((mib("VmRSS:")?, mib("VmHWM:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_null_without_the_peer_and_never_missing() {
        let json = |peer| Value::Object(Map::from_iter(ratios([10.0, 5.0], peer))).to_string();
        assert_eq!(json(Some([290.0, 10.0])), r#"{"ring_first_vs_onionbalance":20.0,"ring_vs_onionbalance":2.0}"#);
        assert_eq!(json(None), r#"{"ring_first_vs_onionbalance":null,"ring_vs_onionbalance":null}"#);
    }
}
