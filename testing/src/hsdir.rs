//! An independent reader of what the HSDirs hold: a tor client of its own that fetches the descriptor from each HSDir that
//! clients read, by name, and decrypts it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use rustbalance_core::control::command;
use rustbalance_core::control::event::Event;
use rustbalance_core::hsdesc::{self, Descriptor};
use rustbalance_core::hsdir::consensus::Consensus;
use rustbalance_core::hsdir::microdesc;
use rustbalance_core::hsdir::ring::Ring;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::onion::period::Slot;
use rustbalance_core::time::Wall;

use crate::client::Client;
use crate::cluster::{Cluster, plan};
use crate::control::Control;
use crate::tor::Tor;
use crate::tor_net::TorNet;
use crate::wait::{self, Answer};

/// HSDirs answer in 0.2 s here; one that has not by then counts as holding nothing.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What each HSDir that clients read returned; `None`: no descriptor.
pub type Copies = BTreeMap<RelayFingerprint, Option<Descriptor>>;

/// The reader.
pub struct HsDirReader {
    control: Control,
    client: Client,
}

impl HsDirReader {
    /// Starts its tor client.
    ///
    /// # Errors
    /// If it does not bootstrap.
    pub fn start(net: &TorNet) -> Result<Self> {
        let client = Client::start(net, "reader")?;
        let mut control = client.tor().control()?;
        control.command(&command::set_events(&["HS_DESC_CONTENT"]))?;
        Ok(Self { control, client })
    }

    /// Fetches the current period's descriptor from every HSDir that clients read.
    ///
    /// # Errors
    /// If the reader's own tor fails, or an HSDir returns something that does not verify.
    pub fn read(&mut self, address: &str) -> Result<Copies> {
        let address: OnionAddress = address.parse().map_err(|error| anyhow!("{address}: {error}"))?;
        let ring = ring(&mut self.control)?;
        let slot = ring.params().current_slot(ring.valid_after());
        let blind = address.id().blind(ring.slot_period(slot)).context("an address that is no key")?;
        let hsdirs = ring.responsible(slot, blind).fetch;
        // Answers to an earlier read that came too late must not count for this one.
        while self.control.event(Instant::now())?.is_some() {}
        for hsdir in &hsdirs {
            self.control.command(&command::hs_fetch(&address, Some(*hsdir)))?;
        }
        let mut copies: Copies = hsdirs.into_iter().map(|hsdir| (hsdir, None)).collect();
        let mut silent: BTreeSet<_> = copies.keys().copied().collect();
        let periods = [Slot::First, Slot::Second].map(|slot| ring.slot_period(slot));
        let deadline = Instant::now() + ANSWER_LIMIT;
        while !silent.is_empty() {
            let Some(event) = self.control.event(deadline)? else { break };
            let Event::HsDescContent { hsdir: Some(hsdir), content, .. } = event else { continue };
            if silent.remove(&hsdir) && !content.trim_ascii().is_empty() {
                let descriptor = hsdesc::open(&content, address.id(), &periods, None, wall_now())
                    .map_err(|error| anyhow!("the descriptor that {hsdir} holds: {error}"))?;
                copies.insert(hsdir, Some(descriptor));
            }
        }
        Ok(copies)
    }

    /// What one HSDir holds, as it gives it.
    ///
    /// # Errors
    /// If it gives nothing.
    pub fn text(&mut self, address: &str, hsdir: &str) -> Result<Vec<u8>> {
        let address: OnionAddress = address.parse().map_err(|error| anyhow!("{address}: {error}"))?;
        let wanted = RelayFingerprint::from_hex(hsdir).with_context(|| format!("{hsdir} is no fingerprint"))?;
        while self.control.event(Instant::now())?.is_some() {}
        self.control.command(&command::hs_fetch(&address, Some(wanted)))?;
        let deadline = Instant::now() + ANSWER_LIMIT;
        loop {
            let event = self.control.event(deadline)?.with_context(|| format!("HSDir {hsdir} does not answer"))?;
            if let Event::HsDescContent { hsdir: by, content, .. } = event
                && by == Some(wanted)
            {
                return Ok(content);
            }
        }
    }

    /// Reads until every HSDir that clients read has a descriptor.
    ///
    /// # Errors
    /// After `limit`, or as [`read`](Self::read).
    pub fn wait_published(&mut self, address: &str, limit: Duration) -> Result<Copies> {
        wait::until("a descriptor on every HSDir that clients read", limit, || {
            let copies = self.read(address)?;
            let held = copies.values().flatten().count();
            let all = copies.len();
            Ok(Answer::from_option((held == all).then_some(copies), || format!("{held} of {all} have one")))
        })
    }

    /// Compares what every HSDir that clients read holds with the plan of the publisher, node `holder`. If the plan changes
    /// meanwhile (nodes learn of a rotation one after the other), there is nothing to compare, and it reads again.
    ///
    /// # Errors
    /// If the plan does not stand still for as long as that takes within `limit`, or as [`read`](Self::read).
    pub fn compare(&mut self, cluster: &Cluster<'_>, holder: usize, limit: Duration) -> Result<Comparison> {
        let (address, holder) = (cluster.address()?, cluster.node(holder)?);
        let confirmed = || -> Result<Option<BTreeSet<String>>> {
            let status = holder.status()?;
            let points = status.publication.points.iter().map(|point| point.auth_key.clone()).collect();
            Ok(plan::is_confirmed(&status, u64::MAX).is_ok().then_some(points))
        };
        let (copies, planned) = wait::until("a plan that stands still while HSDirs are read", limit, || {
            let before = confirmed()?;
            let copies = self.wait_published(address, limit)?;
            let planned = before.filter(|before| confirmed().is_ok_and(|after| after.as_ref() == Some(before)));
            Ok(Answer::from_option(planned.map(|planned| (copies, planned)), || "it changes".to_owned()))
        })?;
        let same = copies.values().flatten().filter(|copy| auth_keys(copy) == planned).count();
        Ok(Comparison { hsdirs: copies.len(), same, points: planned.len() })
    }

    /// Its tor.
    pub fn tor(&self) -> &Tor {
        self.client.tor()
    }
}

/// What HSDirs hold, beside a plan.
pub struct Comparison {
    hsdirs: usize,
    /// Those that hold exactly the plan's points.
    same: usize,
    points: usize,
}

impl Comparison {
    /// Every HSDir holds what is planned.
    pub fn is_good(&self) -> bool {
        self.same == self.hsdirs
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} HSDirs, {} points", self.same, self.hsdirs, self.points)
    }
}

/// The ring as the tor behind `control` knows it.
///
/// # Errors
/// As [`Control::get_info`], or what it knows cannot be read.
pub fn ring(control: &mut Control) -> Result<Ring> {
    let consensus = control.get_info("dir/status-vote/current/consensus-microdesc")?;
    let consensus = Consensus::parse(&consensus)?;
    let identities = microdesc::identities(&control.get_info("md/all")?);
    Ok(Ring::new(&consensus, &identities, true))
}

/// Whether a copy lists one of `auth_keys`.
pub fn lists_any(descriptor: &Descriptor, wanted: &BTreeSet<String>) -> bool {
    !auth_keys(descriptor).is_disjoint(wanted)
}

/// The introduction points' auth keys in hex, as `status` names them, of one copy.
pub fn auth_keys(descriptor: &Descriptor) -> BTreeSet<String> {
    let hex = |key: &[u8; 32]| key.iter().map(|byte| format!("{byte:02x}")).collect();
    descriptor.points.iter().map(|point| hex(&point.auth_key)).collect()
}

/// Unix time, for certificates.
pub fn wall_now() -> Wall {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall::from_ms(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
