//! Tor at the start of a time period: it is made to show the points that it hides, and an HSDir gives them.

use std::time::Duration;

use rustbalance_core::cluster::exercise::spoken;
use rustbalance_core::hsdesc::{Content, InnerHeader, IntroPoint, PowParams, SigningKeys, build, open};
use rustbalance_core::hsdir::consensus::Consensus;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::key::HsIdKeypair;
use rustbalance_core::onion::period::TimePeriod;
use rustbalance_core::onion::revision::RevisionCounter;
use rustbalance_core::rng::Seed;
use rustbalance_core::time::Wall;
use rustbalance_fuzz_targets::control::{Dialogue, SAME};

use crate::{Outcome, few_microdescs, few_relays, vector};

/// The recorded service `plain-3ip`.
const ADDRESS: &str = "dbj6lvx6ilzhqxguu4pn2qrb4kewhsz3mlvqzrbyoai3hj4ygn42wayd";
const RECORDED_AT: Wall = Wall::from_secs(1_795_446_825);
/// The time period in which it was recorded; of the consensus `tp-to-srv` it is the one before.
const BEFORE: TimePeriod = TimePeriod { number: 3_740_513, length_minutes: 8 };
const CURRENT: TimePeriod = TimePeriod { number: BEFORE.number + 1, ..BEFORE };

/// What both say, so far.
#[derive(Default)]
struct Talk {
    dialogue: Dialogue,
    steps: Vec<u8>,
    circuits: String,
    consensus: Vec<u8>,
    microdescs: Vec<u8>,
    /// What tor shows, and whether it has.
    shown: String,
    is_shown: bool,
}

impl Talk {
    fn step(&mut self, pause: u8, step: &[u8]) {
        self.dialogue.step(Duration::from_millis(u64::from(pause).pow(2) * 10), step);
        self.steps.extend(spoken(pause, step));
    }

    fn says(&mut self, event: &str) {
        self.step(0, &[b"\x01", event.as_bytes()].concat());
    }

    /// Tor answers what it is asked, up to so many texts.
    fn answers(&mut self, texts: usize) {
        for _ in 0..texts {
            let text = match self.dialogue.fake.wants().unwrap_or_default() {
                "circuit-status" => self.circuits.as_bytes(),
                "md/all" => &self.microdescs,
                key if key.starts_with("dir/") => &self.consensus,
                key if key.starts_with("hs/") && core::mem::replace(&mut self.is_shown, true) => SAME,
                key if key.starts_with("hs/") => self.shown.as_bytes(),
                _ => b"",
            };
            let step = [&[0], text].concat();
            self.step(0, &step);
        }
    }
}

pub fn dialogue() -> Outcome<Vec<u8>> {
    let key = HsIdKeypair::from_tor_file(&vector("cases/plain-3ip/hs_ed25519_secret_key")?)?;
    let recorded = vector("cases/plain-3ip/descriptor.txt")?;
    let points = open(&recorded, key.public(), &[BEFORE], None, RECORDED_AT)?.points;
    let descriptor = |period, seed| with_pow(&key, period, seed, &points);
    let consensus = few_relays(&vector("ring/tp-to-srv/consensus-microdesc.txt")?);
    let hsdir = Consensus::parse(&consensus)?.hsdirs.first().ok_or("an HSDir")?.0;
    let mut talk = Talk {
        circuits: points.iter().zip(1..).filter_map(|(point, id)| Some(circuit(id, point.relay()?))).collect(),
        microdescs: few_microdescs(&consensus, &vector("ring/tp-to-srv/microdescs.txt")?),
        consensus,
        shown: descriptor(BEFORE, 1)?,
        ..Talk::default()
    };
    // 3 min 45 s, to when that consensus is live.
    talk.step(150, &[2]);
    talk.answers(6);
    talk.step(0, &[3]);
    let given = descriptor(CURRENT, 2)?.replace('\n', "\r\n");
    for event in [
        format!("650 HS_DESC UPLOAD {ADDRESS} UNKNOWN ${hsdir}~x id\r\n"),
        format!("650 HS_DESC UPLOADED {ADDRESS} UNKNOWN ${hsdir}~x\r\n"),
        format!("650+HS_DESC_CONTENT {ADDRESS} id ${hsdir}~x\r\n{given}.\r\n650 OK\r\n"),
    ] {
        talk.answers(1);
        talk.says(&event);
    }
    (talk.shown, talk.is_shown) = (descriptor(BEFORE, 2)?, false);
    for _ in 0..3 {
        talk.step(11, &[2]);
        talk.answers(1);
    }
    let found = talk.dialogue.facts().harvest.as_ref().map(|harvest| harvest.points.len());
    if found == Some(points.len()) { Ok(talk.steps) } else { Err(format!("found {found:?}").into()) }
}

/// A descriptor of the service with proof of work.
fn with_pow(key: &HsIdKeypair, period: TimePeriod, seed: u8, points: &[IntroPoint]) -> Outcome<String> {
    let blind = key.blind(period);
    let content = Content {
        blind: &blind,
        subcredential: key.public().subcredential(blind.public()),
        revision: RevisionCounter(seed.into()),
        header: &InnerHeader(vec!["create2-formats 2".to_owned()]),
        pow: Some(&PowParams { seed: [seed; 32], effort: 0, expires: RECORDED_AT.as_secs() + 7200 }),
        points,
        clients: &[],
        now: RECORDED_AT,
    };
    let mut rng = Seed::new([seed; 32]).fork("seeds");
    Ok(build(&mut SigningKeys::new(&blind, &mut rng, RECORDED_AT), &content, &mut rng)?)
}

fn circuit(id: u32, last_hop: RelayFingerprint) -> String {
    let guard = RelayFingerprint([0xAA; 20]);
    format!(
        "{id} BUILT ${guard}~guard,${last_hop}~relay BUILD_FLAGS=IS_INTERNAL PURPOSE=HS_SERVICE_INTRO \
         HS_STATE=HSSI_ESTABLISHED REND_QUERY={ADDRESS}\n"
    )
}
