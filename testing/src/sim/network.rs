//! A synthetic tor network: relays, microdescriptors, and a consensus for any hour.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use rustbalance_core::hsdir::consensus::Consensus;
use rustbalance_core::hsdir::microdesc;
use rustbalance_core::hsdir::ring::Ring;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::time::Wall;
use sha2::{Digest, Sha256};

/// Seconds between two consensuses, as on the public network.
pub const VOTING_INTERVAL_SECS: u64 = 3600;
/// Relays of the network at first.
const RELAYS: u64 = 200;

/// A relay of the synthetic network.
#[derive(Clone, Debug)]
pub struct Relay {
    /// RSA identity.
    pub fingerprint: RelayFingerprint,
    /// Ed25519 identity.
    pub ed25519: [u8; 32],
    /// `ntor-onion-key`.
    pub ntor: [u8; 32],
    microdesc: String,
    /// In consensuses from the first to before the second, unix seconds.
    there: (u64, u64),
}

/// All relays, every one an HSDir.
pub struct TorNetwork {
    /// The relays, in order of fingerprint; those that have left among them.
    pub relays: Vec<Relay>,
    count: u64,
    hours: BTreeMap<u64, Arc<Hour>>,
    microdescs_reply: Option<Arc<[u8]>>,
}

/// What one consensus says.
pub struct Hour {
    /// As text.
    pub consensus: String,
    /// The ring it makes.
    pub ring: Arc<Ring>,
    /// The reply to GETINFO of it.
    pub(super) consensus_reply: Arc<[u8]>,
}

impl Hour {
    fn new(consensus: String, microdescs: &str) -> Self {
        let parsed = Consensus::parse(consensus.as_bytes()).expect("our own consensus parses");
        let identities = microdesc::identities(microdescs.as_bytes());
        let ring = Arc::new(Ring::new(&parsed, &identities, false));
        let consensus_reply = block("dir/status-vote/current/consensus-microdesc", &consensus);
        Self { consensus, ring, consensus_reply }
    }
}

/// Hours kept: tors lag behind, and some look back.
const HOURS_MAX: usize = 6;

fn hash(label: &str, number: u64) -> [u8; 32] {
    Sha256::new().chain_update(label).chain_update(number.to_be_bytes()).finalize().into()
}

impl Relay {
    fn new(number: u64) -> Self {
        let mut fingerprint = [0; 20];
        fingerprint.copy_from_slice(hash("rsa", number).split_at(20).0);
        let ed25519 = hash("ed25519", number);
        let ntor = *x25519_base(hash("ntor", number)).as_bytes();
        let (key, id) = (BASE64.encode(ntor), BASE64.encode(ed25519));
        let microdesc = format!("onion-key\nntor-onion-key {key}\nid ed25519 {id}\n");
        Self { fingerprint: RelayFingerprint(fingerprint), ed25519, ntor, microdesc, there: (0, u64::MAX) }
    }

    /// Whether it is in the consensus of that hour.
    pub fn is_there(&self, valid_after: u64) -> bool {
        (self.there.0..self.there.1).contains(&valid_after)
    }
}

/// The public key of `secret`.
pub fn x25519_base(secret: [u8; 32]) -> x25519_dalek::PublicKey {
    x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(secret))
}

impl Default for TorNetwork {
    /// A network of 200 HSDirs, always the same ones, whose keys are made once.
    fn default() -> Self {
        static ALL: LazyLock<Vec<Relay>> = LazyLock::new(|| (0..RELAYS).map(Relay::new).collect());
        let mut relays = ALL.clone();
        relays.sort_by_key(|relay| relay.fingerprint);
        Self { relays, count: RELAYS, hours: BTreeMap::new(), microdescs_reply: None }
    }
}

impl TorNetwork {
    /// One with these consensuses and microdescriptors instead of its own; points lie on relays that are in neither.
    pub fn of<'a>(consensuses: impl IntoIterator<Item = &'a str>, microdescs: &str) -> Self {
        let hours = consensuses.into_iter().map(|consensus| Arc::new(Hour::new(consensus.to_owned(), microdescs)));
        Self {
            hours: hours.map(|hour| (hour.ring.valid_after().as_secs(), hour)).collect(),
            microdescs_reply: Some(block("md/all", microdescs)),
            ..Self::default()
        }
    }

    /// The relay is not in the consensuses after the one at unix time `secs`.
    pub(super) fn leave(&mut self, relay: RelayFingerprint, secs: u64) {
        let next = Self::valid_after(secs) + VOTING_INTERVAL_SECS;
        if let Some(relay) = self.relays.iter_mut().find(|other| other.fingerprint == relay) {
            relay.there.1 = relay.there.1.min(next);
        }
        self.hours.retain(|valid_after, _| *valid_after < next);
    }

    /// One relay more is in the consensuses after the one at unix time `secs`.
    pub(super) fn enter(&mut self, secs: u64) {
        let next = Self::valid_after(secs) + VOTING_INTERVAL_SECS;
        let relay = Relay { there: (next, u64::MAX), ..Relay::new(self.count) };
        self.count += 1;
        let at = self.relays.partition_point(|other| other.fingerprint < relay.fingerprint);
        self.relays.insert(at, relay);
        self.hours.retain(|valid_after, _| *valid_after < next);
        self.microdescs_reply = None;
    }

    /// `valid-after` of the consensus in force at unix time `secs`.
    pub fn valid_after(secs: u64) -> u64 {
        secs - secs % VOTING_INTERVAL_SECS
    }

    /// The consensus in force at unix time `secs`, as text.
    fn consensus(&self, secs: u64) -> String {
        let valid_after = Self::valid_after(secs);
        // A new shared random value comes every 24 voting intervals, at 00:00 UTC.
        let run = valid_after / (24 * VOTING_INTERVAL_SECS);
        let mut text = String::from("network-status-version 3 microdesc\nvote-status consensus\nconsensus-method 35\n");
        for (word, at) in [("valid-after", 0), ("fresh-until", 1), ("valid-until", 3)] {
            let _ = writeln!(text, "{word} {}", Wall::from_secs(valid_after + at * VOTING_INTERVAL_SECS));
        }
        for (word, run) in [("previous", run - 1), ("current", run)] {
            let value = base64::engine::general_purpose::STANDARD.encode(hash("srv", run));
            let _ = writeln!(text, "shared-rand-{word}-value 3 {value}");
        }
        for (number, relay) in self.relays.iter().filter(|relay| relay.is_there(valid_after)).enumerate() {
            let digest = BASE64.encode(Sha256::digest(&relay.microdesc));
            let name = BASE64.encode(relay.fingerprint.0);
            let _ = writeln!(text, "r relay{number} {name} 2038-01-01 00:00:00 10.0.0.1 9001 0\nm {digest}");
            text.push_str("s Fast Guard HSDir Running Stable V2Dir Valid\nw Bandwidth=100\n");
        }
        text.push_str("directory-footer\nbandwidth-weights Wbd=0\n");
        text
    }

    /// The reply to GETINFO of all microdescriptors; a tor keeps those of relays that have left for days.
    pub(super) fn microdescs_reply(&mut self) -> Arc<[u8]> {
        if let Some(reply) = &self.microdescs_reply {
            return reply.clone();
        }
        let reply = block("md/all", &self.microdescs());
        self.microdescs_reply = Some(reply.clone());
        reply
    }

    fn microdescs(&self) -> String {
        self.relays.iter().map(|relay| relay.microdesc.as_str()).collect()
    }

    /// The consensus in force at unix time `secs`.
    pub fn hour(&mut self, secs: u64) -> Arc<Hour> {
        let valid_after = Self::valid_after(secs);
        if let Some(hour) = self.hours.get(&valid_after) {
            return hour.clone();
        }
        let hour = Arc::new(Hour::new(self.consensus(secs), &self.microdescs()));
        while self.hours.len() >= HOURS_MAX {
            self.hours.pop_first();
        }
        self.hours.insert(valid_after, hour.clone());
        hour
    }

    /// The ring in force at unix time `secs`.
    pub fn ring(&mut self, secs: u64) -> Arc<Ring> {
        self.hour(secs).ring.clone()
    }
}

/// The whole reply to GETINFO of one long value.
fn block(key: &str, value: &str) -> Arc<[u8]> {
    format!("250+{key}=\r\n{}.\r\n250 OK\r\n", value.replace('\n', "\r\n")).as_bytes().into()
}
