//! Descriptors beside Arti's `tor-netdoc`: build, rebuild, open, blind.

use anyhow::{Context as _, ensure};
use rand_core::Rng as _;
use rustbalance_core::hsdesc::{self, Content, InnerHeader, IntroPoint, SigningKeys};
use rustbalance_core::onion::key::{HsBlindIdKeypair, HsIdKeypair, Subcredential};
use rustbalance_core::onion::period::TimePeriod;
use rustbalance_core::onion::revision::RevisionCounter;
use rustbalance_core::rng::{Rng, Seed};
use rustbalance_core::time::Wall;
use serde_json::{Map, Value};

use super::primitives::{Lengths, Primitives};
use super::stopwatch::{Times, round};
use crate::arti;

const NOW: Wall = Wall::from_secs(1_795_446_825);
const PERIOD: TimePeriod = TimePeriod { number: 20_780, length_minutes: 1440 };
const REVISION: u64 = 12_345;
const SENDME_INCREMENT: u8 = 31;
/// Numbers of points that are measured.
const COUNTS: [usize; 4] = [3, 9, 15, 20];

/// One service in both implementations.
struct Service {
    key: HsIdKeypair,
    blind: HsBlindIdKeypair,
    subcredential: Subcredential,
    header: InnerHeader,
    arti_key: arti::Identity,
    arti_blinded: arti::Blinded,
    rng: Rng,
}

/// Runs `rounds` rounds and prints a table; returns the ratios.
///
/// # Errors
/// An implementation that does not open what it built.
#[expect(clippy::print_stdout, reason = "a bench prints")]
pub fn run(rounds: usize) -> anyhow::Result<Map<String, Value>> {
    let mut service = Service::new();
    let mut ratios = Map::new();
    let mut add = |name: &str, ratio: f64| ratios.insert(name.into(), round(ratio).into());
    for count in COUNTS {
        let points: Vec<_> = (0..count).map(|_| service.point()).collect();
        let times = service.measure(&points, rounds)?;
        let Measured { build, primitives, rebuild, open, arti_build, arti_open } = &times;
        println!(
            "{count:2} points, us: build {:6.0} (primitives {:6.0}), Arti {:6.0}; rebuild {:5.0}; open {:5.0}, Arti {:6.0}",
            build.median_us(),
            primitives.median_us(),
            arti_build.median_us(),
            rebuild.median_us(),
            open.median_us(),
            arti_open.median_us(),
        );
        add(&format!("build_vs_arti_{count}"), build.faster_than(arti_build));
        add(&format!("build_vs_primitives_{count}"), primitives.faster_than(build));
        add(&format!("rebuild_vs_arti_{count}"), rebuild.faster_than(arti_build));
        add(&format!("parse_vs_arti_{count}"), open.faster_than(arti_open));
    }
    let (ours, artis) = service.measure_blinding(rounds);
    println!("blinded key pair, us: {:.1}, Arti {:.1}", ours.median_us(), artis.median_us());
    add("blind_vs_arti", ours.faster_than(&artis));
    Ok(ratios)
}

/// How much a build encrypts and signs, from what it built.
fn lengths(text: &str) -> Lengths {
    const SIGNATURE_LINE: usize = "signature \n".len() + 86;
    const LAYER_OVERHEAD: usize = 16 + 32;
    let base64: usize =
        text.lines().skip_while(|line| *line != "superencrypted").map(str::len).filter(|length| *length <= 64).sum();
    let middle = base64 / 4 * 3 / 10_000 * 10_000;
    // The middle layer is the inner one in base64, some 1,200 bytes of client lines, and padding.
    let inner = (middle - 1_200) * 64 / 65 / 4 * 3 - LAYER_OVERHEAD;
    Lengths { inner, middle, signed: text.len() - SIGNATURE_LINE }
}

#[derive(Default)]
struct Measured {
    build: Times,
    primitives: Times,
    rebuild: Times,
    open: Times,
    arti_build: Times,
    arti_open: Times,
}

impl Service {
    fn new() -> Self {
        let mut rng = Seed::new([7; 32]).fork("bench");
        let key = HsIdKeypair::generate(&mut rng);
        let blind = key.blind(PERIOD);
        let subcredential = key.public().subcredential(blind.public());
        let header = InnerHeader(vec!["create2-formats 2".into(), format!("flow-control 1-2 {SENDME_INCREMENT}")]);
        let arti_key = arti::Identity::new(&key);
        let arti_blinded = arti_key.blind(PERIOD);
        Self { key, blind, subcredential, header, arti_key, arti_blinded, rng }
    }

    fn point(&mut self) -> IntroPoint {
        let [relay, auth, onion, enc] = core::array::from_fn(|_| self.bytes());
        let x25519 = |secret| x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(secret)).to_bytes();
        let mut link_specifiers = vec![3, 0, 6, 10, 1, 2, 3, 0x23, 0x29, 2, 20];
        link_specifiers.extend(&relay[..20]);
        link_specifiers.extend([3, 32]);
        link_specifiers.extend(relay);
        let auth_key = ed25519_dalek::SigningKey::from_bytes(&auth).verifying_key().to_bytes();
        IntroPoint { link_specifiers, onion_key: x25519(onion), auth_key, enc_key: x25519(enc) }
    }

    fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// Everything with these points, in turns.
    fn measure(&mut self, points: &[IntroPoint], rounds: usize) -> anyhow::Result<Measured> {
        let mut measured = Measured::default();
        let arti_points: Vec<_> = points.iter().map(arti::point).collect();
        let arti_signing = arti::SigningKey::new(self.bytes(), &self.arti_blinded, NOW);
        let primitives = Primitives::new(&mut self.rng);
        for _ in 0..rounds {
            // Each build begins without anything made before; the signing key and its certificate are given to both.
            let mut signing_keys = SigningKeys::new(&self.blind, &mut self.rng, NOW);
            let text = self.build(&mut signing_keys, points, &mut measured.build)?;
            let arti_text = self.build_with_arti(&arti_signing, &arti_points, &mut measured.arti_build);
            let lengths = lengths(&text);
            measured.primitives.measure(|| primitives.build(points, lengths, &mut self.rng));
            self.build(&mut signing_keys, points, &mut measured.rebuild)?;

            // Both begin at the address: what is blinded is part of it.
            for text in [&text, &arti_text] {
                let id = self.key.public();
                let opened = measured.open.measure(|| hsdesc::open(text.as_bytes(), id, &[PERIOD], None, NOW))?;
                ensure!(opened.points.len() == points.len(), "we lost points");
                let opened = measured
                    .arti_open
                    .measure(|| arti::open(text, &self.arti_key.blind_public(PERIOD), None, NOW))
                    .context("Arti opens")?;
                ensure!(opened.intro_points().len() == points.len(), "Arti lost points");
            }
        }
        Ok(measured)
    }

    fn build(&mut self, keys: &mut SigningKeys, points: &[IntroPoint], times: &mut Times) -> anyhow::Result<String> {
        let content = Content {
            blind: &self.blind,
            subcredential: self.subcredential,
            revision: RevisionCounter(REVISION),
            header: &self.header,
            pow: None,
            points,
            clients: &[],
            now: NOW,
        };
        Ok(times.measure(|| hsdesc::build(keys, &content, &mut self.rng))?)
    }

    fn build_with_arti(
        &mut self,
        signing: &arti::SigningKey,
        points: &[tor_netdoc::doc::hsdesc::IntroPointDesc],
        times: &mut Times,
    ) -> String {
        let content = arti::Content {
            blinded: &self.arti_blinded,
            points,
            clients: &[],
            sendme_increment: Some(SENDME_INCREMENT),
            single_onion: false,
            revision: REVISION,
            now: NOW,
        };
        times.measure(|| arti::build(signing, &content, &mut self.rng))
    }

    fn measure_blinding(&self, rounds: usize) -> (Times, Times) {
        let (mut ours, mut artis) = (Times::default(), Times::default());
        for number in 0..rounds as u64 {
            let period = TimePeriod { number, ..PERIOD };
            ours.measure(|| self.key.blind(period));
            artis.measure(|| self.arti_key.blind(period));
        }
        (ours, artis)
    }
}
