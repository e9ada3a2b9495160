//! Uploads and whose they are. `HS_DESC UPLOADED` names the HSDir and nothing else (DESIGN 2.8), and tor's own uploads
//! give the same event, so at most one upload of ours is under way per HSDir, and an HSDir that still owes an answer
//! gets no new one.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use super::{TorEvent, UploadFailure};
use crate::id::RelayFingerprint;
use crate::time::Mono;

/// Uploads of ours under way at once.
pub(super) const IN_FLIGHT_MAX: usize = 16;
/// How long an upload may take; measured: 0.1 to 0.5 s on loopback, some seconds over the network.
pub(super) const TIMEOUT: Duration = Duration::from_secs(15);
/// How long an HSDir that owes an answer gets no new upload.
pub(super) const BLOCKED: Duration = Duration::from_secs(60);
/// HSDirs followed at once. Two slots have 16; the ring may move under them.
const LANES_MAX: usize = 128;

/// Every HSDir that owes an answer.
#[derive(Default)]
pub(super) struct Uploads {
    lanes: BTreeMap<RelayFingerprint, Lane>,
}

/// What is under way to one HSDir. Answers are anonymous: with several owed, all must be good for any to count.
struct Lane {
    /// Our upload's deadline, while its outcome is wanted.
    ours: Option<Mono>,
    /// Our `+HSPOST` has no reply yet.
    unreplied: bool,
    /// Answers still to come, for ours and for tor's own uploads.
    owed: u8,
    /// One of them is tor's own.
    native: bool,
    /// The first bad answer.
    failure: Option<UploadFailure>,
    /// After this nothing is expected any more.
    forget_at: Mono,
}

impl Lane {
    fn new(now: Mono) -> Self {
        let forget_at = now.plus(BLOCKED);
        Self { ours: None, unreplied: false, owed: 0, native: false, failure: None, forget_at }
    }
}

impl Uploads {
    /// Whether an upload of ours may start.
    pub(super) fn can_start(&self, hsdir: RelayFingerprint) -> bool {
        let in_flight = self.lanes.values().filter(|lane| lane.ours.is_some()).count();
        !self.lanes.contains_key(&hsdir) && in_flight < IN_FLIGHT_MAX
    }

    /// Our `+HSPOST` was sent.
    pub(super) fn start(&mut self, now: Mono, hsdir: RelayFingerprint) {
        let lane = Lane { ours: Some(now.plus(TIMEOUT)), unreplied: true, ..Lane::new(now) };
        self.lanes.insert(hsdir, lane);
    }

    /// The reply to our `+HSPOST`: `Ok` means that the HSDir's answer will follow.
    pub(super) fn replied(
        &mut self,
        hsdir: RelayFingerprint,
        reply: Result<(), String>,
        events: &mut VecDeque<TorEvent>,
    ) {
        let Some(lane) = self.lanes.get_mut(&hsdir) else { return };
        lane.unreplied = false;
        match reply {
            Ok(()) => lane.owed = lane.owed.saturating_add(1),
            Err(words) => {
                if lane.ours.take().is_some() {
                    events.push_back(TorEvent::UploadFailed(hsdir, UploadFailure::Refused(words)));
                }
                if lane.owed == 0 {
                    self.lanes.remove(&hsdir);
                }
            }
        }
    }

    /// Tor uploads by itself (`HS_DESC UPLOAD`; ours fire none).
    pub(super) fn native_started(&mut self, now: Mono, hsdir: RelayFingerprint) {
        if self.lanes.len() < LANES_MAX || self.lanes.contains_key(&hsdir) {
            let lane = self.lanes.entry(hsdir).or_insert_with(|| Lane::new(now));
            lane.owed = lane.owed.saturating_add(1);
            lane.native = true;
            lane.forget_at = now.plus(BLOCKED);
        }
    }

    /// The HSDir answered one of the uploads.
    pub(super) fn answered(
        &mut self,
        hsdir: RelayFingerprint,
        answer: Result<(), UploadFailure>,
        events: &mut VecDeque<TorEvent>,
    ) {
        let Some(lane) = self.lanes.get_mut(&hsdir).filter(|lane| lane.owed > 0) else { return };
        lane.owed -= 1;
        lane.failure = lane.failure.take().or(answer.err());
        if lane.owed > 0 {
            return;
        }
        let failure = lane.failure.take();
        if core::mem::take(&mut lane.native) && failure.is_none() {
            events.push_back(TorEvent::NativeUploaded(hsdir));
        }
        if lane.unreplied {
            return;
        }
        if lane.ours.is_some() {
            events.push_back(failure.map_or(TorEvent::Uploaded(hsdir), |why| TorEvent::UploadFailed(hsdir, why)));
        }
        self.lanes.remove(&hsdir);
    }

    /// Ends what took too long.
    pub(super) fn expire(&mut self, now: Mono, events: &mut VecDeque<TorEvent>) {
        for (hsdir, lane) in &mut self.lanes {
            if lane.ours.take_if(|deadline| *deadline <= now).is_some() {
                events.push_back(TorEvent::UploadFailed(*hsdir, UploadFailure::Timeout));
            }
        }
        self.lanes.retain(|_, lane| lane.ours.is_some() || lane.unreplied || now < lane.forget_at);
    }

    /// The control connection is gone. Tor may be alive and upload on, so the HSDirs stay blocked, but no longer than an
    /// upload takes: most likely the answer came while nobody listened.
    pub(super) fn disconnected(&mut self, events: &mut VecDeque<TorEvent>) {
        for (hsdir, lane) in &mut self.lanes {
            if let Some(deadline) = lane.ours.take() {
                lane.forget_at = deadline;
                events.push_back(TorEvent::UploadFailed(*hsdir, UploadFailure::Disconnected));
            }
            if core::mem::take(&mut lane.unreplied) {
                lane.owed = lane.owed.saturating_add(1);
            }
        }
    }

    /// Another tor process answers now: nothing is owed from before.
    pub(super) fn new_process(&mut self) {
        self.lanes.retain(|_, lane| lane.ours.is_some() || lane.unreplied);
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.lanes.values().filter_map(|lane| lane.ours.or((!lane.unreplied).then_some(lane.forget_at))).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hsdir(n: usize) -> RelayFingerprint {
        let mut id = [0; 20];
        id[..8].copy_from_slice(&n.to_le_bytes());
        RelayFingerprint(id)
    }

    #[test]
    fn so_many_hsdirs_are_followed_and_what_tor_does_at_one_more_says_nothing() {
        let (now, mut uploads, mut events) = (Mono::from_ms(1), Uploads::default(), VecDeque::new());
        (0..=LANES_MAX).for_each(|n| uploads.native_started(now, hsdir(n)));
        assert_eq!(uploads.lanes.len(), LANES_MAX);
        assert!(!uploads.can_start(hsdir(LANES_MAX - 1)) && uploads.can_start(hsdir(LANES_MAX)));
        uploads.native_started(now, hsdir(0));
        assert_eq!(uploads.lanes.get(&hsdir(0)).map(|lane| lane.owed), Some(2), "one that is followed goes on");
        uploads.answered(hsdir(LANES_MAX), Ok(()), &mut events);
        assert_eq!(events, []);
        uploads.answered(hsdir(1), Ok(()), &mut events);
        assert_eq!(events, [TorEvent::NativeUploaded(hsdir(1))]);
    }
}
