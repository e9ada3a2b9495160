//! Descriptors: keys of the periods in use, and text bound to its counter when it is built.

use super::plan::Plan;
use crate::hsdesc::{self, BuildError, Content, SigningKeys};
use crate::onion::client::HsClientDescEncKeypair;
use crate::onion::key::{HsBlindId, HsBlindIdKeypair, HsId, HsIdKeypair, PointOrder};
use crate::onion::period::TimePeriod;
use crate::onion::revision::{RevisionCipher, RevisionCounter};
use crate::rng::Rng;
use crate::time::{Mono, Wall};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The master key's keeper. All it derives is a blinded key per period, so custody can change later.
pub(super) struct Builder {
    master: HsIdKeypair,
    /// Reads what is closed to others, here and wherever else the master key is.
    own: HsClientDescEncKeypair,
    order: PointOrder,
    periods: BTreeMap<TimePeriod, PeriodKeys>,
}

/// What one period's descriptors are made with; kept while the period is published.
struct PeriodKeys {
    blind: HsBlindIdKeypair,
    cipher: RevisionCipher,
    /// Made with the first descriptor.
    signing: Option<SigningKeys>,
}

/// Descriptors under one counter: an HSDir compares counters only with what it holds itself.
#[derive(Debug)]
pub(super) struct Built {
    /// By content, what stands for all copies where nodes share what they work out; see `SlotUploads::keep`.
    pub(super) texts: BTreeMap<usize, Encoded>,
    pub(super) revision: RevisionCounter,
    /// The seconds behind `revision`.
    pub(super) n: u32,
    pub(super) at: Mono,
    /// [`View::build_era`](crate::cluster::View) it was built in.
    pub(super) era: u64,
    /// The round of uploads it was built for.
    pub(super) round: u64,
}

/// What one HSDir is to hold.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    pub(super) text: Arc<str>,
    pub(super) digest: Digest,
}

/// By which a text that was read is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    /// Of `text`, whose last newline does not count: what carries it may leave that out.
    pub(super) fn of(text: &[u8]) -> Self {
        Self(Sha256::digest(text.trim_ascii_end()).into())
    }
}

impl Builder {
    pub(super) fn new(master: HsIdKeypair) -> Self {
        Self { own: master.own_client(), order: master.point_order(), master, periods: BTreeMap::new() }
    }

    /// The service.
    pub(super) fn id(&self) -> HsId {
        self.master.public()
    }

    /// The key itself, for whom it is to be given to.
    pub(super) fn master(&self) -> &HsIdKeypair {
        &self.master
    }

    /// The service as a client of its own.
    pub(super) fn own_client(&self) -> &HsClientDescEncKeypair {
        &self.own
    }

    /// Forgets the keys of all other periods.
    pub(super) fn retain(&mut self, periods: &[TimePeriod]) {
        self.periods.retain(|period, _| periods.contains(period));
    }

    /// The period's blinded key.
    pub(super) fn blind_id(&mut self, period: TimePeriod) -> HsBlindId {
        self.keys(period).blind.public()
    }

    /// The counter of `n` in `period`.
    pub(super) fn counter(&mut self, period: TimePeriod, n: u32) -> Option<RevisionCounter> {
        self.keys(period).cipher.counter(n)
    }

    /// The seconds behind a stored counter.
    pub(super) fn n_at_most(&mut self, period: TimePeriod, revision: RevisionCounter) -> u32 {
        self.keys(period).cipher.n_at_most(revision)
    }

    /// The text of one content of `plan` under this counter.
    pub(super) fn build(
        &mut self,
        period: TimePeriod,
        revision: RevisionCounter,
        (plan, content): (&Plan, usize),
        now: Wall,
        rng: &mut Rng,
    ) -> Result<Encoded, BuildError> {
        let id = self.id();
        // As in tor's own descriptors the order says nothing: a plan lists node after node.
        let mut points = plan.intro_points(period.number, content);
        points.sort_by_cached_key(|point| self.order.rank(&point.auth_key));
        // A restricted address without clients is closed to everybody but us: no client at all would open it.
        let own = plan.access.is_restricted().then(|| self.own.public());
        let mut clients: Vec<_> = own.into_iter().chain(plan.access.clients().map(|(_, key)| key)).collect();
        // Whatever they are called: it is to be the same list wherever it is made.
        clients.sort();
        let PeriodKeys { blind, signing, .. } = self.keys(period);
        let signing = signing.get_or_insert_with(|| SigningKeys::of_period(blind, now));
        let content = Content {
            blind,
            subcredential: id.subcredential(blind.public()),
            revision,
            header: &plan.header,
            pow: plan.pow_params(period.number, content),
            points: &points,
            clients: &clients,
            now,
        };
        let text = hsdesc::build(signing, &content, rng)?;
        Ok(Encoded { digest: Digest::of(text.as_bytes()), text: text.into() })
    }

    /// How many periods have keys here.
    #[cfg(test)]
    pub(super) fn periods(&self) -> usize {
        self.periods.len()
    }

    fn keys(&mut self, period: TimePeriod) -> &mut PeriodKeys {
        let master = &self.master;
        self.periods.entry(period).or_insert_with(|| {
            let blind = master.blind(period);
            PeriodKeys { cipher: RevisionCipher::new(&blind), blind, signing: None }
        })
    }
}
