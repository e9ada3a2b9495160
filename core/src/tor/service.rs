//! The service as its own tor runs it: the descriptor tor would publish, and which of its introduction points have a
//! circuit behind them.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::poll::Poll;
use super::session::Asked;
use crate::control::event::Circ;
use crate::hsdesc::{self, Descriptor, DescriptorError, InnerHeader, IntroPoint, PowOffer};
use crate::id::RelayFingerprint;
use crate::memo::Memo;
use crate::onion::client::HsClientDescEncKeypair;
use crate::onion::key::HsId;
use crate::onion::period::TimePeriod;
use crate::onion::revision::RevisionCounter;
use crate::time::{Mono, Now};

/// How often to look at the descriptor's revision counter.
const DESCRIPTOR_PERIOD: Duration = Duration::from_secs(1);
/// How soon after an introduction circuit changed.
const AFTER_CIRCUIT: Duration = Duration::from_millis(200);
/// The descriptor follows its circuits about a second later; for so long it is looked at often and decoded every time.
const RESTLESS: Duration = Duration::from_secs(3);
const DESCRIPTOR_PERIOD_RESTLESS: Duration = Duration::from_millis(250);
/// How often to read descriptor and circuits in full although nothing seems to have changed.
const FULL_PERIOD: Duration = Duration::from_secs(30);
/// Introduction circuits kept in mind: 20 points of two descriptors, some twice.
const CIRCUITS_MAX: usize = 128;

/// Descriptor and circuits. Forgotten with the connection.
pub(super) struct Service {
    descriptor_poll: Poll,
    circuits_poll: Poll,
    /// Established introduction circuits: id and last hop.
    circuits: BTreeMap<String, RelayFingerprint>,
    /// Tor has listed them once.
    are_known: bool,
    /// Last decoded, when, with which periods in mind.
    descriptor: Option<Descriptor>,
    /// Only authorised clients can read it; unknown since tor has read anew who these are.
    is_restricted: Option<bool>,
    /// Its lines before the points.
    header: Arc<InnerHeader>,
    decoded_at: Mono,
    text: Vec<u8>,
    periods: Vec<TimePeriod>,
    /// Circuits changed lately.
    restless_until: Mono,
    /// What was last wrong with it, so as to say it once.
    refused: Option<DescriptorError>,
    /// Grows with every change of descriptor or circuits.
    serial: u64,
    alive: Memo<u64, [IntroPoint]>,
    listed: Memo<u64, Listed>,
}

/// All points of tor's descriptor: by key, where they are.
pub(super) type Listed = BTreeMap<[u8; 32], RelayFingerprint>;

impl Service {
    /// As on a new connection: everything is to be asked at once.
    pub(super) fn new(now: Mono) -> Self {
        Self {
            descriptor_poll: Poll::at(now),
            circuits_poll: Poll::at(now),
            circuits: BTreeMap::new(),
            are_known: false,
            descriptor: None,
            is_restricted: None,
            header: Arc::default(),
            decoded_at: now,
            text: Vec::new(),
            periods: Vec::new(),
            restless_until: now,
            refused: None,
            serial: 0,
            alive: Memo::default(),
            listed: Memo::default(),
        }
    }

    /// The next question that is due.
    pub(super) fn take_question(&mut self, now: Mono) -> Option<Asked> {
        let restless = now < self.restless_until;
        let period = if restless { DESCRIPTOR_PERIOD_RESTLESS } else { DESCRIPTOR_PERIOD };
        if self.circuits_poll.take(now, FULL_PERIOD) {
            Some(Asked::Circuits)
        } else if self.descriptor_poll.take(now, period) {
            Some(Asked::Descriptor)
        } else {
            None
        }
    }

    /// When the next question is due.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.circuits_poll.deadline().into_iter().chain(self.descriptor_poll.deadline()).min()
    }

    /// A new consensus: the descriptor may be of another period now.
    pub(super) fn consensus_changed(&mut self, now: Mono) {
        self.descriptor_poll.hasten(now);
    }

    /// Tor has read anew who may connect: what it has to say of that is looked for at once.
    pub(super) fn files_read(&mut self, now: Mono) {
        self.is_restricted = None;
        self.restless_until = now.plus(RESTLESS);
        self.text.clear();
        self.descriptor_poll.hasten(now);
    }

    /// `CIRC` or `CIRC_MINOR`, of any circuit.
    pub(super) fn circuit_event(&mut self, now: Mono, host: &str, circuit: Circ) {
        let established = circuit.is_established_intro(host);
        let changed = match circuit.path.last() {
            // Of one more than there is room for nothing is known; those that are known stay so.
            Some(&relay) if established => {
                let has_room = self.circuits.len() < CIRCUITS_MAX || self.circuits.contains_key(&circuit.id);
                has_room && self.circuits.insert(circuit.id, relay) != Some(relay)
            }
            _ => self.circuits.remove(&circuit.id).is_some(),
        };
        if changed {
            self.serial += 1;
            self.restless_until = now.plus(RESTLESS);
            self.descriptor_poll.hasten(now.plus(AFTER_CIRCUIT));
        }
    }

    /// The answer to [`Asked::Circuits`].
    pub(super) fn circuits_read(&mut self, now: Mono, host: &str, text: &[u8]) {
        self.circuits_poll.answered();
        self.are_known = true;
        let circuits: BTreeMap<_, _> = String::from_utf8_lossy(text)
            .lines()
            .filter_map(Circ::parse)
            .filter(|circuit| circuit.is_established_intro(host))
            .filter_map(|circuit| Some((circuit.id, *circuit.path.last()?)))
            .take(CIRCUITS_MAX)
            .collect();
        if circuits != self.circuits {
            self.circuits = circuits;
            self.serial += 1;
            self.restless_until = now.plus(RESTLESS);
        }
    }

    /// The answer to [`Asked::Descriptor`], `None` if tor has none. Decodes it only if something may have changed.
    ///
    /// # Errors
    /// It cannot be decoded, for a reason not given before; the service counts as having no points.
    pub(super) fn descriptor_read(
        &mut self,
        now: Now,
        id: HsId,
        own_client: &HsClientDescEncKeypair,
        text: Option<&[u8]>,
        periods: Vec<TimePeriod>,
    ) -> Result<(), DescriptorError> {
        self.descriptor_poll.answered();
        // Revision 0: tor is still choosing its points. No periods: no consensus yet, nor can tor have points.
        let revision = text.and_then(hsdesc::peek_revision).filter(|revision| *revision != RevisionCounter(0));
        let (Some(text), Some(revision), false) = (text, revision, periods.is_empty()) else {
            (self.descriptor, self.is_restricted) = (None, None);
            self.serial += 1;
            return Ok(());
        };
        let same = self.descriptor.as_ref().is_some_and(|descriptor| descriptor.revision == revision);
        let recent = now.mono.since(self.decoded_at) < FULL_PERIOD;
        // The very same bytes say the same. Tor encrypts anew at every question, but its models do not.
        let settled = now.mono >= self.restless_until || text == self.text;
        if same && recent && settled && periods == self.periods {
            return Ok(());
        }
        let opened = hsdesc::open(text, id, &periods, Some(own_client), now.wall);
        self.decoded_at = now.mono;
        self.text = text.to_vec();
        self.periods = periods;
        self.descriptor = opened.as_ref().ok().cloned();
        self.is_restricted = self.descriptor.as_ref().map(|descriptor| descriptor.restricted);
        self.serial += 1;
        if let Some(descriptor) = &mut self.descriptor {
            descriptor.points.sort(); // tor's order may change where nothing else does
            self.header = Arc::new(core::mem::take(&mut descriptor.header));
        }
        let news = opened.as_ref().err() != self.refused.as_ref();
        self.refused = opened.err();
        self.refused.filter(|_| news).map_or(Ok(()), Err)
    }

    /// The points that have a circuit behind them, in an order of their own.
    pub(super) fn points(&self) -> Arc<[IntroPoint]> {
        self.alive.get(self.serial, || self.described().filter(|point| self.has_circuit(point)).cloned().collect())
    }

    /// Whether a circuit leads to the point's relay.
    pub(super) fn has_circuit(&self, point: &IntroPoint) -> bool {
        point.relay().is_some_and(|relay| self.circuits.values().any(|last_hop| *last_hop == relay))
    }

    /// All points of the descriptor; none, too, while tor has not been asked for it.
    pub(super) fn listed(&self) -> Arc<Listed> {
        let place = |point: &IntroPoint| Some((point.auth_key, point.relay()?));
        self.listed.get(self.serial, || Arc::new(self.described().filter_map(place).collect()))
    }

    fn described(&self) -> impl Iterator<Item = &IntroPoint> {
        self.descriptor.iter().flat_map(|descriptor| &descriptor.points)
    }

    /// Established introduction circuits, by id, with their last hop.
    pub(super) fn circuits(&self) -> &BTreeMap<String, RelayFingerprint> {
        &self.circuits
    }

    /// Whether tor has said which there are.
    pub(super) fn are_circuits_known(&self) -> bool {
        self.are_known
    }

    /// The lines before the points; `None` while there is no descriptor.
    pub(super) fn header(&self) -> Option<&Arc<InnerHeader>> {
        self.descriptor.as_ref().map(|_| &self.header)
    }

    /// Whether only authorised clients can read it, if that is known.
    pub(super) fn is_restricted(&self) -> Option<bool> {
        self.is_restricted
    }

    /// Proof of work, if it is on.
    pub(super) fn pow(&self) -> Option<PowOffer> {
        let descriptor = self.descriptor.as_ref()?;
        Some(PowOffer { period: descriptor.period.number, params: descriptor.pow? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onion::key::HsIdKeypair;
    use crate::time::Wall;

    fn vector(case: &str, name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/testdata/ctor/cases/{case}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    /// What tor offers in that case.
    fn pow(case: &str) -> Option<PowOffer> {
        let expected: serde_json::Value = serde_json::from_slice(&vector(case, "expected.json")).unwrap();
        let key = HsIdKeypair::from_tor_file(&vector(case, "hs_ed25519_secret_key")).unwrap();
        let period = TimePeriod { number: expected["time_period"]["number"].as_u64().unwrap(), length_minutes: 8 };
        let wall = Wall::from_secs(expected["captured_at"].as_u64().unwrap());
        let now = Now { mono: Mono::from_ms(1), wall };
        let (mut service, text) = (Service::new(now.mono), vector(case, "descriptor.txt"));
        service.descriptor_read(now, key.public(), &key.own_client(), Some(&text), vec![period]).unwrap();
        assert!(service.pow().is_none_or(|pow| pow.period == period.number));
        service.pow()
    }

    #[test]
    fn beyond_the_bound_of_circuits_those_that_are_known_stay() {
        let (now, host) = (Mono::from_ms(1), "a".repeat(56));
        let mut service = Service::new(now);
        let mut event = |id: usize| {
            let relay = RelayFingerprint([u8::try_from(id % 200).unwrap(); 20]);
            let line =
                format!("{id} BUILT ${relay}~a PURPOSE=HS_SERVICE_INTRO HS_STATE=HSSI_ESTABLISHED REND_QUERY={host}");
            let circuit = Circ::parse(&line).unwrap();
            assert!(circuit.is_established_intro(&host));
            service.circuit_event(now, &host, circuit);
            service.circuits.keys().cloned().collect::<Vec<_>>()
        };
        let known = (0..CIRCUITS_MAX).map(&mut event).last().unwrap();
        assert_eq!(known.len(), CIRCUITS_MAX);
        assert_eq!(event(CIRCUITS_MAX), known, "no room for one more");
        assert_eq!(event(5), known, "one that is there is told of again");
    }

    #[test]
    fn proof_of_work_is_offered_where_tor_offers_it() {
        assert!(pow("pow-on").is_some_and(|pow| pow.params.effort == 0 && pow.params.expires > 1_795_000_000));
        assert_eq!(pow("plain-3ip"), None);
    }
}
