//! What the HSDirs hold, under C tor's rule: a revision counter equal to or below the stored one is refused.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustbalance_core::hsdesc;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::key::{HsBlindId, HsId};
use rustbalance_core::onion::period::TimePeriod;
use rustbalance_core::onion::revision::RevisionCounter;
use rustbalance_core::time::Wall;

/// One stored descriptor.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its revision counter.
    pub revision: RevisionCounter,
    /// Keys of the points in it.
    pub points: BTreeSet<[u8; 32]>,
    /// The text.
    pub text: String,
}

/// Every HSDir's store, and the counters of what they were asked to take.
#[derive(Default)]
pub struct HsDirs {
    stored: BTreeMap<(RelayFingerprint, HsBlindId), Stored>,
    /// Contents already decoded, by text: 16 uploads of one descriptor are decoded once.
    decoded: BTreeMap<String, Result<BTreeSet<[u8; 32]>, String>>,
    /// Uploads taken.
    pub accepted: u64,
    /// Uploads refused for their counter.
    pub refused: u64,
}

/// Why an upload was not stored.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// Counter not above the stored one: `UPLOAD_REJECTED`.
    Stale,
    /// A client would refuse it. A violation: we never upload such a thing.
    Bad(String),
}

impl HsDirs {
    /// Takes an upload of `text` for `service` at one HSDir.
    pub fn upload(
        &mut self,
        relay: RelayFingerprint,
        text: &str,
        service: HsId,
        periods: &[TimePeriod],
        wall: Wall,
    ) -> Result<(), Refused> {
        let bad = |what: &str| Refused::Bad(what.to_owned());
        let blind = blinded_key(text).ok_or_else(|| bad("no blinded key in its certificate"))?;
        let revision = hsdesc::peek_revision(text.as_bytes()).ok_or_else(|| bad("no revision counter"))?;
        let points = match self.decoded.get(text) {
            Some(decoded) => decoded.clone(),
            None => {
                let decoded = hsdesc::open(text.as_bytes(), service, periods, None, wall)
                    .map(|descriptor| descriptor.points.iter().map(|point| point.auth_key).collect())
                    .map_err(|error| format!("{error:?}"));
                self.decoded.insert(text.to_owned(), decoded.clone());
                decoded
            }
        };
        let points = points.map_err(|what| bad(&what))?;
        if self.stored.get(&(relay, blind)).is_some_and(|stored| stored.revision >= revision) {
            self.refused += 1;
            return Err(Refused::Stale);
        }
        self.accepted += 1;
        self.stored.insert((relay, blind), Stored { revision, points, text: text.to_owned() });
        Ok(())
    }

    /// Keys of the points that `relay` holds for the period that `text` is of.
    pub fn points(&self, relay: RelayFingerprint, text: &str) -> BTreeSet<[u8; 32]> {
        let stored = blinded_key(text).and_then(|blind| self.get(relay, blind));
        stored.map(|stored| stored.points.clone()).unwrap_or_default()
    }

    /// What `relay` holds under `blind`.
    pub fn get(&self, relay: RelayFingerprint, blind: HsBlindId) -> Option<&Stored> {
        self.stored.get(&(relay, blind))
    }
}

/// The blinded key in the extension of `descriptor-signing-key-cert`: 32 bytes before the 64 of the signature.
fn blinded_key(text: &str) -> Option<HsBlindId> {
    let (_, rest) = text.split_once("-----BEGIN ED25519 CERT-----\n")?;
    let (body, _) = rest.split_once("-----END")?;
    let certificate = BASE64.decode(body.replace('\n', "")).ok()?;
    let end = certificate.len().checked_sub(64)?;
    certificate.get(end.checked_sub(32)?..end)?.try_into().ok().map(HsBlindId)
}
