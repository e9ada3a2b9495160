//! The HSDir ring of 8,000 relays beside Onionbalance's, and the memory of a node that has it.

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::ensure;
use rustbalance_core::hsdir::consensus::Consensus;
use rustbalance_core::hsdir::microdesc;
use rustbalance_core::hsdir::ring::Ring;
use rustbalance_core::onion::key::HsBlindId;
use rustbalance_core::onion::period::Slot;
use serde_json::{Map, Value};

use super::consensus::Network;
use super::node;
use super::onionbalance::Onionbalance;
use super::stopwatch::{Times, round};

pub(super) const RELAYS: usize = 8_000;
/// Both sides get the same arbitrary key.
const BLIND: HsBlindId = HsBlindId([0x5A; 32]);

/// Measures the memory of [nodes](node) that rest for `settle`, and runs `rounds` rounds. Returns that and the ratios.
///
/// # Errors
/// Onionbalance and we disagree on an HSDir, a file cannot be written, or as for [`node::run`].
#[expect(clippy::print_stdout, reason = "a bench prints")]
pub fn run(rounds: usize, settle: Duration) -> anyhow::Result<Map<String, Value>> {
    let mut results = node::run(settle)?;
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
    results.extend(ratios([load, ring], peer));
    // Bytes per microsecond.
    results.insert("consensus_mb_per_s".into(), round(network.consensus.len() as f64 / parse).into());
    Ok(results)
}

/// How many times as fast as the peer; null where it was not measured, so that nobody takes that for a ratio they know.
fn ratios([load, ring]: [f64; 2], peer: Option<[f64; 2]>) -> [(String, Value); 2] {
    let again = peer.map(|[_, peer_ring]| round(peer_ring / ring));
    let first = peer.map(|[peer_load, peer_ring]| round((peer_load + peer_ring) / (load + ring)));
    [("ring_vs_onionbalance".into(), again.into()), ("ring_first_vs_onionbalance".into(), first.into())]
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
