//! What the HSDirs hold, under C tor's rule: a revision counter equal to or below the stored one is refused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustbalance_core::hsdesc;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::client::HsClientDescEncKeypair;
use rustbalance_core::onion::key::{HsBlindId, HsId};
use rustbalance_core::onion::period::TimePeriod;
use rustbalance_core::onion::revision::RevisionCounter;
use rustbalance_core::time::Wall;

use super::layout::Layout;

/// Texts whose content is remembered: one descriptor goes to several HSDirs and is decoded once.
const DECODED_MAX: usize = 16;

/// Who was refused for so long takes the stored counter for poisoned (PROTOCOL.md, Counters), milliseconds.
const PATIENCE_MS: u64 = 30_000;
/// A counter no further ahead is an honest rival's, seconds: the next above it will do.
const RIVAL_AHEAD_SECS: u64 = 10;

/// One stored descriptor.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The key that it is stored under.
    pub blind: HsBlindId,
    /// Its revision counter.
    pub revision: RevisionCounter,
    /// The unix time that it stands for.
    pub secs: u64,
    /// Keys of the points in it.
    pub points: Arc<BTreeSet<[u8; 32]>>,
    /// The text.
    pub text: Arc<str>,
}

/// What an upload says, once decoded.
#[derive(Clone)]
struct Decoded {
    blind: HsBlindId,
    revision: RevisionCounter,
    secs: u64,
    points: Arc<BTreeSet<[u8; 32]>>,
    is_restricted: bool,
}

/// Every HSDir's store, and what became of uploads.
#[derive(Default)]
pub struct HsDirs {
    /// As whom descriptors are opened, here and by the clients, if the address is restricted.
    pub reader: Option<HsClientDescEncKeypair>,
    /// Whether the last descriptor was.
    was_restricted: bool,
    stored: BTreeMap<(RelayFingerprint, HsBlindId), Stored>,
    decoded: VecDeque<(Arc<str>, Result<Decoded, String>)>,
    ill_until: BTreeMap<RelayFingerprint, u64>,
    late_until: BTreeMap<RelayFingerprint, u64>,
    /// The furthest time that a counter stood for, by the key it is stored under: publishers go on above it.
    furthest: BTreeMap<HsBlindId, u64>,
    /// The same of one HSDir alone whose counter had to be passed: also once it has forgotten all, for nobody knows that.
    stepped: BTreeMap<(RelayFingerprint, HsBlindId), u64>,
    /// What no publisher of ours put there, or what is gone without its knowledge, and since when (milliseconds of true
    /// time): until it uploads again.
    pub spoiled: BTreeMap<(RelayFingerprint, HsBlindId), u64>,
    /// When each first refused a counter of ours that it still refuses, milliseconds of true time.
    pub refused_since: BTreeMap<(RelayFingerprint, HsBlindId), u64>,
    /// How many seconds the counters that are refused stand behind the stored one.
    refused_behind: BTreeMap<(RelayFingerprint, HsBlindId), u64>,
    /// Since when each machine is refused: what others store in between, it cannot know.
    refused_by: BTreeMap<(usize, RelayFingerprint, HsBlindId), u64>,
    /// Keys of all points of which a descriptor of ours ever told: clients may know them.
    pub told: BTreeSet<[u8; 32]>,
    /// Uploads taken.
    pub accepted: u64,
    /// Uploads refused for their counter.
    pub refused: u64,
}

/// An upload that was stored.
#[derive(Debug)]
pub struct Accepted {
    /// What was there.
    pub before: Option<Stored>,
    /// The furthest time that a counter under this key stood for anywhere before.
    pub furthest_secs: u64,
    /// What is there.
    pub stored: Stored,
}

/// Who uploads, and when.
#[derive(Clone, Copy, Debug)]
pub struct Uploader {
    /// The machine; `None` if it is none of ours.
    pub who: Option<usize>,
    /// True time, milliseconds.
    pub at: u64,
}

/// Why an upload was not stored.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// Counter not above the stored one: `UPLOAD_REJECTED`.
    Stale,
    /// This HSDir takes nothing now.
    Ill,
    /// A client would refuse it. A violation: we never upload such a thing.
    Bad(String),
}

impl HsDirs {
    /// Nothing is stored yet.
    pub fn new(reader: HsClientDescEncKeypair) -> Self {
        Self { reader: Some(reader), ..Self::default() }
    }

    /// Takes an upload of `text` for `service` at one HSDir.
    pub fn upload(
        &mut self,
        by: Uploader,
        relay: RelayFingerprint,
        text: &Arc<str>,
        service: HsId,
        layout: &Layout,
        wall: Wall,
    ) -> Result<Accepted, Refused> {
        if self.is_ill(relay, by.at) {
            return Err(Refused::Ill);
        }
        let Decoded { blind, revision, secs, points, .. } =
            self.decode(text, service, layout, wall).map_err(Refused::Bad)?;
        let before = self.stored.get(&(relay, blind));
        if before.is_some_and(|stored| stored.revision >= revision) {
            self.refused += 1;
            // A stranger's refusal is no concern of ours.
            if let Some(who) = by.who {
                self.refused_since.entry((relay, blind)).or_insert(by.at);
                let behind = before.map_or(0, |stored| stored.secs.saturating_sub(secs));
                self.refused_behind.insert((relay, blind), behind);
                self.refused_by.entry((who, relay, blind)).or_insert(by.at);
            }
            return Err(Refused::Stale);
        }
        self.accepted += 1;
        let is_far_ahead = before.is_some_and(|stored| stored.secs > wall.as_secs() + RIVAL_AHEAD_SECS);
        let was_poisoned = self.spoiled.remove(&(relay, blind)).is_some() && is_far_ahead;
        self.refused_since.remove(&(relay, blind));
        self.refused_behind.remove(&(relay, blind));
        let refused_since = by.who.and_then(|who| self.refused_by.remove(&(who, relay, blind)));
        let stored = Stored { blind, revision, secs, points, text: text.clone() };
        let before = self.stored.insert((relay, blind), stored.clone());
        let furthest = self.furthest.entry(blind).or_default();
        // What it takes to pass a counter that is poisoned, or taken for it, is for this HSDir alone.
        let may_step = was_poisoned || refused_since.is_some_and(|since| by.at >= since + PATIENCE_MS);
        let furthest_secs = if may_step { u64::MAX } else { core::mem::replace(furthest, secs.max(*furthest)) };
        let here = before.as_ref().map_or(0, |before| before.secs).max(self.stepped(relay, blind));
        if may_step {
            self.stepped.insert((relay, blind), secs);
        }
        let furthest_secs = here.max(furthest_secs);
        Ok(Accepted { before, furthest_secs, stored })
    }

    fn decode(&mut self, text: &Arc<str>, service: HsId, layout: &Layout, wall: Wall) -> Result<Decoded, String> {
        if let Some((_, decoded)) = self.decoded.iter().find(|(known, _)| known == text) {
            return decoded.clone();
        }
        // Who has a key tries it at some cost, and mostly the last one was like this one.
        let reader = self.reader.as_ref();
        let as_before = decode(text, service, reader.filter(|_| self.was_restricted), layout, wall);
        let decoded = as_before.or_else(|_| decode(text, service, reader, layout, wall));
        if let Ok(decoded) = &decoded {
            self.was_restricted = decoded.is_restricted;
        }
        self.told.extend(decoded.iter().flat_map(|decoded| decoded.points.iter()));
        if self.decoded.len() >= DECODED_MAX {
            self.decoded.pop_front();
        }
        self.decoded.push_back((text.clone(), decoded.clone()));
        decoded
    }

    /// The counter that `relay` holds for the period that `text` is of.
    pub fn revision(&self, relay: RelayFingerprint, text: &str) -> Option<u64> {
        self.get(relay, blinded_key(text)?).map(|stored| stored.revision.0)
    }

    /// How many seconds the last counter that `relay` refused stands behind the one that it holds under `blind`.
    pub fn refused_behind(&self, relay: RelayFingerprint, blind: HsBlindId) -> u64 {
        self.refused_behind.get(&(relay, blind)).copied().unwrap_or_default()
    }

    /// What `relay` holds under `blind`.
    pub fn get(&self, relay: RelayFingerprint, blind: HsBlindId) -> Option<&Stored> {
        self.stored.get(&(relay, blind))
    }

    fn stepped(&self, relay: RelayFingerprint, blind: HsBlindId) -> u64 {
        self.stepped.get(&(relay, blind)).copied().unwrap_or_default()
    }

    /// What it holds, or not, is not the publisher's doing.
    pub(super) fn spoil(&mut self, relay: RelayFingerprint, blind: HsBlindId, now: u64) {
        self.spoiled.entry((relay, blind)).or_insert(now);
    }

    /// See [`Self::spoiled`].
    pub fn is_spoiled(&self, relay: RelayFingerprint, blind: HsBlindId) -> bool {
        self.spoiled.contains_key(&(relay, blind))
    }

    /// It loses all it holds.
    pub(super) fn forget(&mut self, relay: RelayFingerprint, now: u64) {
        let gone: Vec<_> = self.stored.keys().copied().filter(|(holder, _)| *holder == relay).collect();
        gone.into_iter().for_each(|(_, blind)| self.spoil(relay, blind, now));
        self.stored.retain(|(holder, _), _| *holder != relay);
    }

    /// It takes and gives nothing until then.
    pub(super) fn fall_ill(&mut self, relay: RelayFingerprint, until: u64) {
        self.ill_until.insert(relay, until);
    }

    /// Whether it takes and gives nothing.
    pub fn is_ill(&self, relay: RelayFingerprint, now: u64) -> bool {
        self.ill_until.get(&relay).is_some_and(|until| now < *until)
    }

    /// It answers late until then.
    pub(super) fn slow_down(&mut self, relay: RelayFingerprint, until: u64) {
        self.late_until.insert(relay, until);
    }

    /// Whether it answers late.
    pub(super) fn answers_late(&self, relay: RelayFingerprint, now: u64) -> bool {
        self.late_until.get(&relay).is_some_and(|until| now < *until)
    }

    /// All are well again.
    pub(super) fn heal(&mut self) {
        self.ill_until.clear();
        self.late_until.clear();
    }
}

fn decode(
    text: &str,
    service: HsId,
    reader: Option<&HsClientDescEncKeypair>,
    layout: &Layout,
    wall: Wall,
) -> Result<Decoded, String> {
    // An uploader whose consensus is older may be a period behind.
    let before = |period: TimePeriod| TimePeriod { number: period.number - 1, ..period };
    let periods: Vec<_> = layout.periods().into_iter().flat_map(|period| [period, before(period)]).collect();
    let blind = blinded_key(text).ok_or("no blinded key in its certificate")?;
    let revision = hsdesc::peek_revision(text.as_bytes()).ok_or("no revision counter")?;
    let descriptor =
        hsdesc::open(text.as_bytes(), service, &periods, reader, wall).map_err(|error| format!("{error:?}"))?;
    let points = descriptor.points.iter().map(|point| point.auth_key).collect();
    let (secs, is_restricted) = (layout.secs(blind, revision), descriptor.restricted);
    Ok(Decoded { blind, revision, secs, points: Arc::new(points), is_restricted })
}

/// The blinded key in the extension of `descriptor-signing-key-cert`: 32 bytes before the 64 of the signature.
fn blinded_key(text: &str) -> Option<HsBlindId> {
    let (_, rest) = text.split_once("-----BEGIN ED25519 CERT-----\n")?;
    let (body, _) = rest.split_once("-----END")?;
    let certificate = BASE64.decode(body.replace('\n', "")).ok()?;
    let end = certificate.len().checked_sub(64)?;
    certificate.get(end.checked_sub(32)?..end)?.try_into().ok().map(HsBlindId)
}
