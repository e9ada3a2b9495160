//! HSDirs that keep tor's revision rule.

use super::secs;
use crate::hsdesc::Descriptor;
use crate::id::RelayFingerprint;
use crate::onion::period::TimePeriod;
use crate::onion::revision::RevisionCounter;
use crate::time::{Mono, Now};
use crate::tor::{TorEvent, UploadFailure};
use core::time::Duration;
use std::collections::BTreeMap;

/// What tor and HSDirs take to answer.
pub(in crate::publish) const ANSWER: Duration = Duration::from_millis(100);

/// How an HSDir answers uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::publish) enum Behaviour {
    /// Refuses everything.
    Rejects,
    /// Cannot be reached.
    Fails,
    /// Never answers; tor times out after 20 s.
    Silent,
    /// Confirms and forgets.
    Forgets,
}

/// One upload that reached an HSDir.
#[derive(Clone, Debug)]
pub(in crate::publish) struct Seen {
    pub(in crate::publish) at: Mono,
    pub(in crate::publish) hsdir: RelayFingerprint,
    pub(in crate::publish) descriptor: Descriptor,
    pub(in crate::publish) accepted: bool,
}

/// The HSDirs of one network: accept a descriptor only above the stored counter.
#[derive(Default)]
pub(in crate::publish) struct HsDirs {
    pub(in crate::publish) stored: BTreeMap<(RelayFingerprint, TimePeriod), (RevisionCounter, Vec<u8>)>,
    pub(in crate::publish) behaviour: BTreeMap<RelayFingerprint, Behaviour>,
    pub(in crate::publish) seen: Vec<Seen>,
}

impl HsDirs {
    /// The answer to an upload, and when it comes.
    pub(in crate::publish) fn upload(
        &mut self,
        now: Now,

        hsdir: RelayFingerprint,
        text: &str,
        opened: Descriptor,
    ) -> (Duration, TorEvent) {
        let failed = |failure| TorEvent::UploadFailed(hsdir, failure);
        let behaviour = self.behaviour.get(&hsdir).copied();
        match behaviour {
            Some(Behaviour::Fails) => return (ANSWER, failed(UploadFailure::Failed("UNEXPECTED".to_owned()))),
            Some(Behaviour::Silent) => return (secs(20), failed(UploadFailure::Timeout)),
            Some(Behaviour::Rejects | Behaviour::Forgets) | None => {}
        }
        let key = (hsdir, opened.period);
        let stale = self.stored.get(&key).is_some_and(|(stored, _)| *stored >= opened.revision);
        let accepted = !stale && behaviour != Some(Behaviour::Rejects);
        if accepted && behaviour != Some(Behaviour::Forgets) {
            self.stored.insert(key, (opened.revision, text.as_bytes().to_vec()));
        }
        self.seen.push(Seen { at: now.mono, hsdir, descriptor: opened, accepted });
        (ANSWER, if accepted { TorEvent::Uploaded(hsdir) } else { failed(UploadFailure::Rejected) })
    }
}
