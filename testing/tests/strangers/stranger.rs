//! Somebody else with the master key, and what they upload.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result};
use rand_core::SeedableRng as _;
use rustbalance_core::control::command;
use rustbalance_core::control::event::{Circ, Event, HsDescAction};
use rustbalance_core::hsdesc::{self, Content, Descriptor, SigningKeys, build};
use rustbalance_core::hsdir::ring::Ring;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::onion::key::HsIdKeypair;
use rustbalance_core::onion::period::Slot;
use rustbalance_core::onion::revision::{RevisionCipher, RevisionCounter};
use rustbalance_core::rng::Rng;
use rustbalance_testing::cluster::Cluster;
use rustbalance_testing::control::Control;
use rustbalance_testing::hsdir::{self, wall_now};
use rustbalance_testing::plain::Plain;
use rustbalance_testing::tor_net::TorNet;
use rustbalance_testing::wait::{self, Answer};

use crate::{LIMIT, STRANGER};

/// The slot that is not this one.
pub fn other(slot: Slot) -> Slot {
    if slot == Slot::First { Slot::Second } else { Slot::First }
}

/// Has the tor behind `control` upload a descriptor. Returns why the HSDir did not take it, if so.
pub fn upload(
    control: &mut Control,
    hsdir: RelayFingerprint,
    address: &OnionAddress,
    text: &str,
) -> Result<Option<String>> {
    control.command(&command::set_events(&["HS_DESC"]))?;
    control.command(&command::hs_post(hsdir, address, text))?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let event = control.event(deadline)?.with_context(|| format!("HSDir {hsdir} does not answer an upload"))?;
        let Event::HsDesc(event) = event else { continue };
        if event.hsdir == Some(hsdir) {
            if event.action == HsDescAction::Uploaded {
                return Ok(None);
            }
            if event.action == HsDescAction::Failed {
                return Ok(Some(event.reason.unwrap_or_default()));
            }
        }
    }
}

/// Somebody else with the master key, whose tor serves visitors with its own web application.
pub struct Stranger {
    pub address: OnionAddress,
    key: HsIdKeypair,
    /// What its tor would publish.
    content: Descriptor,
    _service: Plain,
}

/// A descriptor, and its counter.
pub struct Forged {
    pub text: String,
    pub revision: RevisionCounter,
}

impl Stranger {
    /// Steals the key, and waits until its own introduction points stand.
    pub fn start(net: &TorNet, cluster: &Cluster<'_>) -> Result<Self> {
        let stolen = net.dir_of("stolen");
        let out = stolen.to_str().context("a path in UTF-8")?;
        cluster.node(0)?.ask(&["key", "export", "--format", "service", "--out", out])?;
        let key = HsIdKeypair::from_tor_file(&fs::read(stolen.join("hs_ed25519_secret_key"))?)?;
        let address = OnionAddress::new(key.public());
        let service = Plain::start_silent(net, STRANGER, &stolen, cluster.address()?)?;
        let mut control = service.tor().control()?;
        let ring = hsdir::ring(&mut control)?;
        let periods = [Slot::First, Slot::Second].map(|slot| ring.slot_period(slot));
        let host = address.host();
        let content = wait::until("introduction points of the stranger", LIMIT, || {
            let text = control.get_info(&format!("hs/service/desc/id/{host}")).unwrap_or_default();
            let circuits = control.get_info_text("circuit-status")?;
            let standing = |circuit: &Circ| circuit.is_established_intro(&host);
            let standing: BTreeSet<_> = circuits
                .lines()
                .filter_map(Circ::parse)
                .filter(standing)
                .filter_map(|one| one.path.last().copied())
                .collect();
            let read = hsdesc::open(&text, key.public(), &periods, None, wall_now()).ok();
            let stands = |read: &Descriptor| {
                let relays = read.points.iter().filter_map(|point| point.relay());
                read.points.len() >= 3 && relays.into_iter().all(|relay| standing.contains(&relay))
            };
            Ok(Answer::from_option(read.filter(stands), || format!("circuits to {} relays", standing.len())))
        })?;
        Ok(Self { address, key, content, _service: service })
    }

    /// Who is responsible for the slot that clients read, and for the other one.
    pub fn responsible(&self, ring: &Ring) -> [Vec<RelayFingerprint>; 2] {
        let current = ring.params().current_slot(ring.valid_after());
        [current, other(current)]
            .map(|slot| ring.responsible(slot, self.key.blind(ring.slot_period(slot)).public()).store)
    }

    /// Where clients look.
    pub fn fetched(&self, ring: &Ring, slot: Slot) -> Vec<RelayFingerprint> {
        ring.responsible(slot, self.key.blind(ring.slot_period(slot)).public()).fetch
    }

    /// A descriptor with the stranger's points, under the counter of so many seconds from now.
    pub fn forge(&self, ring: &Ring, slot: Slot, ahead_secs: u32) -> Result<Forged> {
        let (blind, now) = (self.key.blind(ring.slot_period(slot)), wall_now());
        let n = self.now(ring, slot) + ahead_secs;
        let revision = RevisionCipher::new(&blind).counter(n).context("a second of this time period")?;
        let content = Content {
            blind: &blind,
            subcredential: self.key.public().subcredential(blind.public()),
            revision,
            header: &self.content.header,
            pow: None,
            points: &self.content.points,
            clients: &[],
            now,
        };
        let mut rng = Rng::seed_from_u64(now.as_ms());
        let text = build(&mut SigningKeys::new(&blind, &mut rng, now), &content, &mut rng)?;
        Ok(Forged { text, revision })
    }

    /// The second that a counter is of, and the one that this is.
    pub fn seconds(&self, ring: &Ring, slot: Slot, revision: RevisionCounter) -> (u32, u32) {
        let cipher = RevisionCipher::new(&self.key.blind(ring.slot_period(slot)));
        (cipher.n_at_most(revision), self.now(ring, slot))
    }

    fn now(&self, ring: &Ring, slot: Slot) -> u32 {
        let origin = ring.params().counter_origin(ring.valid_after(), slot);
        u32::try_from(wall_now().as_secs() - origin + 1).unwrap_or(u32::MAX)
    }
}
