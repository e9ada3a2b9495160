//! A synthetic network as large as the public one: lines of the same kinds and lengths, random keys.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use rand_core::Rng as _;
use rustbalance_core::rng::{Rng, Seed};
use rustbalance_core::time::Wall;
use sha2::{Digest as _, Sha256};

pub(super) const HOUR_SECS: u64 = 3600;

/// What tor gives its controller.
pub struct Network {
    /// `GETINFO dir/status-vote/current/consensus-microdesc`.
    pub consensus: String,
    /// `GETINFO md/all`.
    pub microdescs: String,
}

impl Network {
    /// `relays` relays, all HSDirs, in a consensus of the hour that `now` (unix seconds) lies in.
    pub fn new(relays: usize, now: u64) -> Self {
        let mut rng = Seed::new([8; 32]).fork("synthetic consensus");
        let mut relays: Vec<_> = (0..relays).map(|number| Relay::new(number, &mut rng)).collect();
        relays.sort_by_key(|relay| relay.identity);
        Self {
            consensus: consensus(&relays, now - now % HOUR_SECS, &mut rng),
            microdescs: relays.into_iter().map(|relay| relay.microdesc).collect(),
        }
    }
}

struct Relay {
    number: usize,
    identity: [u8; 20],
    microdesc: String,
}

impl Relay {
    fn new(number: usize, rng: &mut Rng) -> Self {
        let mut rsa_key = [0; 140];
        rng.fill_bytes(&mut rsa_key);
        let rsa_key = STANDARD.encode(rsa_key);
        let lines: Vec<_> = rsa_key.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        let [ntor, ed25519] = [bytes::<32>(rng), bytes::<32>(rng)].map(|key| STANDARD_NO_PAD.encode(key));
        let microdesc = format!(
            "onion-key\n-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\nntor-onion-key {ntor}\n\
             p reject 1-65535\nid ed25519 {ed25519}\n",
            lines.join("\n")
        );
        Self { number, identity: bytes(rng), microdesc }
    }
}

fn consensus(relays: &[Relay], valid_after: u64, rng: &mut Rng) -> String {
    let mut text = String::from("network-status-version 3 microdesc\nvote-status consensus\nconsensus-method 35\n");
    for (word, hours) in [("valid-after", 0), ("fresh-until", 1), ("valid-until", 3)] {
        let _ = writeln!(text, "{word} {}", Wall::from_secs(valid_after + hours * HOUR_SECS));
    }
    text.push_str("voting-delay 300 300\nclient-versions 0.4.9.11\nserver-versions 0.4.9.11\n");
    text.push_str("known-flags Authority BadExit Exit Fast Guard HSDir Running Stable V2Dir Valid\n");
    text.push_str("params hs_service_max_rdv_failures=1 hsdir_spread_store=4\n");
    for which in ["previous", "current"] {
        let _ = writeln!(text, "shared-rand-{which}-value 9 {}", STANDARD.encode(bytes::<32>(rng)));
    }
    for relay in relays {
        let (identity, digest) = (STANDARD_NO_PAD.encode(relay.identity), Sha256::digest(&relay.microdesc));
        let (number, digest) = (relay.number, STANDARD_NO_PAD.encode(digest));
        let _ = write!(
            text,
            "r relay{number} {identity} 2038-01-01 00:00:00 10.{}.{}.1 9001 0\na [2001:db8::{number:x}]:9001\n\
             m {digest}\ns Fast Guard HSDir Running Stable V2Dir Valid\nv Tor 0.4.9.11\n\
             pr Conflux=1 Cons=1-2 Desc=1-2 FlowCtrl=1-2 HSDir=2 HSIntro=4-5 HSRend=1-2 Link=1-5 LinkAuth=3 \
             Microdesc=1-2 Padding=2 Relay=2-4\nw Bandwidth={}\n",
            number / 256 % 256,
            number % 256,
            1000 + number,
        );
    }
    text.push_str("directory-footer\nbandwidth-weights Wbd=0 Wbe=0 Wbg=4131 Wbm=10000\n");
    text
}

fn bytes<const N: usize>(rng: &mut Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustbalance_core::hsdir::consensus::Consensus;
    use rustbalance_core::hsdir::microdesc;
    use rustbalance_core::hsdir::ring::Ring;

    #[test]
    fn every_relay_is_on_the_ring() {
        let network = Network::new(300, 1_795_446_800);
        let consensus = Consensus::parse(network.consensus.as_bytes()).unwrap();
        let identities = microdesc::identities(network.microdescs.as_bytes());
        assert_eq!(Ring::new(&consensus, &identities, false).relays(), 300);
    }
}
