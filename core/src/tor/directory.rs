//! What tor knows of the network: bootstrap progress, consensus, microdescriptors, and the HSDir ring made of them.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::facts::Validity;
use super::poll::Poll;
use super::session::Asked;
use crate::control::event::{bootstrap_phase, bootstrap_progress};
use crate::control::reply::Reply;
use crate::hsdir::consensus::{self, Consensus, ConsensusError};
use crate::hsdir::microdesc;
use crate::hsdir::ring::Ring;
use crate::id::RelayEd25519Id;
use crate::onion::period::{Slot, TimePeriod};
use crate::sabotage::{Rule, is_broken};
use crate::time::{Mono, ValidAfter, Wall};

/// `GETINFO` keys of [`Asked::Status`]. None of them ever fails.
pub(super) const STATUS_KEYS: [&str; 3] = ["status/bootstrap-phase", "consensus/valid-after", "process/pid"];
/// `GETINFO` key of [`Asked::Consensus`].
pub(super) const CONSENSUS_KEY: &str = "dir/status-vote/current/consensus-microdesc";
/// `GETINFO` key of [`Asked::Microdescs`].
pub(super) const MICRODESCS_KEY: &str = "md/all";

/// How often to look for a new consensus, without and with a ring.
const STATUS_PERIOD_EAGER: Duration = Duration::from_secs(2);
const STATUS_PERIOD: Duration = Duration::from_secs(5);
/// How soon, and at most how late, to read microdescriptors again when some are missing.
const MICRODESCS_PAUSE_MIN: Duration = Duration::from_secs(2);
const MICRODESCS_PAUSE_MAX: Duration = Duration::from_secs(60);
/// A ring is of use once this share of the HSDirs (in tenths) is known: where many are missing, uploads would go
/// to the wrong places.
const KNOWN_TENTHS: usize = 9;
/// A consensus counts this long before its own time,
const EARLY_SECS: u64 = 60;
/// and this long after, as tor's service code counts it ("reasonably live"), for which it counts as long before, too.
const LATE_SECS: u64 = 24 * 3600;

/// Directory knowledge. Survives a reconnect: the same consensus need not be read twice.
pub(super) struct Directory {
    testing: bool,
    progress: u8,
    process: Option<String>,
    status: Poll,
    /// `valid-after` of tor's newest consensus, and of the one read; empty if none.
    announced: Vec<u8>,
    read: Vec<u8>,
    reading: bool,
    consensus_draft: consensus::Draft,
    consensus: Option<Consensus>,
    microdescs: Poll,
    microdescs_draft: microdesc::Draft,
    microdescs_pause: Duration,
    missing: usize,
    /// What microdescriptors say by their digests, so that what was read once holds whatever tor says later. After each
    /// answer only of relays in the newest consensus.
    identities: BTreeMap<[u8; 32], RelayEd25519Id>,
    ring: Option<Arc<Ring>>,
}

impl Directory {
    pub(super) fn new() -> Self {
        Self {
            testing: false,
            progress: 0,
            process: None,
            status: Poll::at(Mono::default()),
            announced: Vec::new(),
            read: Vec::new(),
            reading: false,
            consensus_draft: consensus::Draft::default(),
            consensus: None,
            microdescs: Poll::at(Mono::default()),
            microdescs_draft: microdesc::Draft::default(),
            microdescs_pause: MICRODESCS_PAUSE_MIN,
            missing: 0,
            identities: BTreeMap::new(),
            ring: None,
        }
    }

    /// A new connection: asks everything afresh.
    pub(super) fn connected(&mut self, now: Mono) {
        self.progress = 0;
        self.reading = false;
        // Their answers may have been cut off.
        self.consensus_draft = consensus::Draft::default();
        self.microdescs_draft = microdesc::Draft::default();
        self.announced.clear();
        self.status = Poll::at(now);
        self.microdescs = Poll::at(now);
    }

    /// The next question that is due.
    pub(super) fn take_question(&mut self, now: Mono) -> Option<Asked> {
        let period = if self.ring.is_some() { STATUS_PERIOD } else { STATUS_PERIOD_EAGER };
        if self.status.take(now, period) {
            Some(Asked::Status)
        } else if self.consensus_wanted() {
            self.reading = true;
            Some(Asked::Consensus)
        } else if self.missing > 0 && self.microdescs.take(now, self.microdescs_pause) {
            self.microdescs_pause = (self.microdescs_pause * 2).min(MICRODESCS_PAUSE_MAX);
            Some(Asked::Microdescs)
        } else {
            None
        }
    }

    /// When the next question is due.
    pub(super) fn deadline(&self) -> Option<Mono> {
        let microdescs = self.microdescs.deadline().filter(|_| self.missing > 0);
        self.status.deadline().into_iter().chain(microdescs).min()
    }

    fn consensus_wanted(&self) -> bool {
        !self.reading && !self.announced.is_empty() && self.announced != self.read
    }

    /// `STATUS_CLIENT` news.
    pub(super) fn news(&mut self, now: Mono, action: &str, args: &[(String, String)]) {
        match action {
            "BOOTSTRAP" => self.progress = bootstrap_progress(args).unwrap_or(self.progress),
            "CONSENSUS_ARRIVED" => self.status.hasten(now),
            "ENOUGH_DIR_INFO" => self.microdescs.hasten(now),
            _ => {}
        }
    }

    /// Whether this tor is of a testing network.
    pub(super) fn testing_read(&mut self, reply: &Reply) {
        self.testing = reply.value("TestingTorNetwork") == Some(b"1");
    }

    /// The answer to [`Asked::Status`]; true if another tor process than before gave it.
    pub(super) fn status_read(&mut self, reply: &Reply) -> bool {
        self.status.answered();
        let [phase, valid_after, process] = STATUS_KEYS.map(|key| reply.value(key).unwrap_or_default());
        self.progress = bootstrap_phase(phase).unwrap_or(self.progress);
        self.announced = valid_after.to_vec();
        let process = String::from_utf8_lossy(process).into_owned();
        self.process.replace(process.clone()) != Some(process)
    }

    /// Takes a line of the data block behind `text`, if that is one of the two long answers: they are read as they come,
    /// since their text is several times as long as what is kept of it.
    pub(super) fn take_line(&mut self, text: &[u8], line: &[u8]) -> bool {
        let Some(key) = text.strip_suffix(b"=") else { return false };
        // A lone LF is content to the control protocol, and the end of a line here.
        let lines = line.split(|byte| *byte == b'\n');
        if key == CONSENSUS_KEY.as_bytes() {
            lines.for_each(|line| self.consensus_draft.line(line));
        } else if key == MICRODESCS_KEY.as_bytes() {
            self.identities.extend(lines.filter_map(|line| self.microdescs_draft.line(line)));
        } else {
            return false;
        }
        true
    }

    /// The answer to [`Asked::Consensus`], whose lines were taken before.
    ///
    /// # Errors
    /// It cannot be read; the next consensus may do better, until then the last one stays.
    pub(super) fn consensus_read(&mut self, now: Mono, reply: &Reply) -> Result<(), ConsensusError> {
        self.reading = false;
        let draft = core::mem::take(&mut self.consensus_draft);
        if reply.value(CONSENSUS_KEY).is_none() {
            self.announced.clear(); // not on tor's disk yet: the next status asks again
            return Ok(());
        }
        self.read.clone_from(&self.announced);
        self.consensus = Some(draft.finish()?);
        self.microdescs.hasten(now);
        self.microdescs_pause = MICRODESCS_PAUSE_MIN;
        self.make_ring();
        Ok(())
    }

    /// The answer to [`Asked::Microdescs`], whose lines were taken before.
    pub(super) fn microdescs_read(&mut self, reply: &Reply) {
        self.microdescs.answered();
        let draft = core::mem::take(&mut self.microdescs_draft);
        self.identities.extend(draft.finish());
        if reply.value(MICRODESCS_KEY).is_some() {
            self.forget_unnamed();
            self.make_ring();
        }
    }

    /// Tor keeps microdescriptors for days after the last consensus that named them.
    fn forget_unnamed(&mut self) {
        let Some(consensus) = &self.consensus else { return };
        let mut named: Vec<_> = consensus.hsdirs.iter().map(|(_, digest)| digest).collect();
        named.sort_unstable();
        self.identities.retain(|digest, _| named.binary_search(&digest).is_ok());
    }

    /// Makes the newest consensus' ring, unless too much is missing: then the last one serves on.
    fn make_ring(&mut self) {
        let Some(consensus) = &self.consensus else { return };
        let wanted = consensus.hsdirs.len();
        let known = consensus.hsdirs.iter().filter(|(_, digest)| self.identities.contains_key(digest)).count();
        self.missing = wanted - known;
        if known > 0 && known * 10 >= wanted * KNOWN_TENTHS {
            self.ring = Some(Arc::new(Ring::new(consensus, &self.identities, self.testing)));
        }
    }

    /// Percent bootstrapped.
    pub(super) fn progress(&self) -> u8 {
        self.progress
    }

    /// The ring, if its consensus is live by our wall clock.
    pub(super) fn live_ring(&self, now: Wall) -> Option<Arc<Ring>> {
        let consensus = self.consensus.as_ref()?;
        if is_broken(Rule::PeriodByConsensus) {
            let consensus = Consensus { valid_after: ValidAfter::from_secs(now.as_secs()), ..consensus.clone() };
            return Some(Arc::new(Ring::new(&consensus, &self.identities, self.testing)));
        }
        self.ring.clone().filter(|_| self.validity(now) == Validity::Valid)
    }

    /// The ring, if its consensus is not valid yet by our wall clock.
    pub(super) fn early_ring(&self, now: Wall) -> Option<Arc<Ring>> {
        self.ring.clone().filter(|_| matches!(self.validity(now), Validity::NotYet(_)))
    }

    /// Our wall clock beside the newest consensus.
    pub(super) fn validity(&self, now: Wall) -> Validity {
        let Some(consensus) = &self.consensus else { return Validity::Unknown };
        let (from, now) = (consensus.valid_after.as_secs(), now.as_secs());
        if now < from.saturating_sub(EARLY_SECS) {
            Validity::NotYet(from - now)
        } else if now > consensus.valid_until.saturating_add(LATE_SECS) {
            Validity::Expired
        } else {
            Validity::Valid
        }
    }

    /// Whether our wall clock lies before the shared random value from which tor counts the seconds that its counters stand
    /// for. C tor 0.4.9 then publishes all the same, and its cipher's error, 2^64 - 1, as the counter.
    pub(super) fn miscounts(&self, now: Wall) -> bool {
        self.consensus.as_ref().is_some_and(|consensus| {
            let params = consensus.period_params(self.testing);
            now.as_secs() < params.counter_origin(consensus.valid_after, Slot::Second)
        })
    }

    /// `valid-after` of the newest consensus, unix seconds.
    pub(super) fn valid_after(&self) -> Option<u64> {
        Some(self.consensus.as_ref()?.valid_after.as_secs())
    }

    /// The periods whose descriptors tor may have now: current, next, previous. Empty without a consensus.
    pub(super) fn periods(&self) -> Vec<TimePeriod> {
        let current = self.consensus.as_ref().map(|consensus| {
            let params = consensus.period_params(self.testing);
            params.client_period(consensus.valid_after)
        });
        let around = |period: TimePeriod| {
            let numbers = [Some(period.number), period.number.checked_add(1), period.number.checked_sub(1)];
            numbers.into_iter().flatten().map(move |number| TimePeriod { number, ..period })
        };
        current.into_iter().flat_map(around).collect()
    }
}
