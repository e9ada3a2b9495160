//! Uploads and whose they are. `HS_DESC UPLOADED` names the HSDir and nothing else, and tor's own uploads
//! give the same event, so at most one upload of ours is under way per HSDir, and an HSDir that still owes an answer
//! gets no new one. Of an upload that tor breaks off (DECISIONS.md, Uploads that tor drops) no `HS_DESC` tells, only the end
//! of its stream.

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
/// An answer is told when its stream is closed, at once after that.
const ANSWERED: Duration = Duration::from_secs(2);
/// HSDirs followed at once. Two slots have 16; the ring may move under them.
const LANES_MAX: usize = 128;
/// Streams followed at once: one for each upload, and a tor with other services has theirs.
const STREAMS_MAX: usize = 128;

/// Every HSDir that owes an answer.
#[derive(Default)]
pub(super) struct Uploads {
    lanes: BTreeMap<RelayFingerprint, Lane>,
    /// Open streams of uploads, by id: where they lead.
    streams: BTreeMap<String, RelayFingerprint>,
}

/// What is under way to one HSDir. Answers are anonymous: with several owed, all must be good for any to count.
#[derive(Default)]
struct Lane {
    /// Our upload's deadline, while its outcome is wanted.
    ours: Option<Mono>,
    /// Our `+HSPOST` has no reply yet.
    unreplied: bool,
    /// Answers still to come, for ours and for tor's own uploads.
    owed: u8,
    /// One of them is tor's own.
    native: bool,
    /// One of them is, or was, ours.
    shared: bool,
    /// A good answer came.
    taken: bool,
    /// The first bad answer.
    failure: Option<UploadFailure>,
    /// All its streams are closed: what is not answered by then was broken off.
    closed: Option<Mono>,
    /// After this nothing is expected any more.
    forget_at: Mono,
}

impl Lane {
    fn new(now: Mono) -> Self {
        Self { forget_at: now.plus(BLOCKED), ..Self::default() }
    }

    /// When nothing is expected any more, once our `+HSPOST` has its reply.
    fn free_at(&self) -> Mono {
        self.closed.map_or(self.forget_at, |closed| closed.min(self.forget_at))
    }

    /// Its streams are closed for so long that no answer comes any more.
    fn is_dropped(&self, now: Mono) -> bool {
        !self.unreplied && self.closed.is_some_and(|closed| closed <= now)
    }
}

impl Uploads {
    /// Whether an upload of ours may start.
    pub(super) fn can_start(&self, hsdir: RelayFingerprint) -> bool {
        let in_flight = self.lanes.values().filter(|lane| lane.ours.is_some()).count();
        !self.lanes.contains_key(&hsdir) && in_flight < IN_FLIGHT_MAX
    }

    /// Whether no answer is still to come, to ours or tor's own.
    pub(super) fn are_over(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Whether this HSDir owes an answer to an upload of tor's own.
    pub(super) fn is_native(&self, hsdir: RelayFingerprint) -> bool {
        self.lanes.get(&hsdir).is_some_and(|lane| lane.native)
    }

    /// Whether none does.
    pub(super) fn are_natives_over(&self) -> bool {
        !self.lanes.values().any(|lane| lane.native)
    }

    /// Our `+HSPOST` was sent.
    pub(super) fn start(&mut self, now: Mono, hsdir: RelayFingerprint) {
        let lane = Lane { ours: Some(now.plus(TIMEOUT)), unreplied: true, shared: true, ..Lane::new(now) };
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
            Ok(()) => {
                lane.owed = lane.owed.saturating_add(1);
                // A stream that has closed by now was another's.
                lane.closed = None;
            }
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
        lane.taken |= answer.is_ok();
        lane.failure = lane.failure.take().or(answer.err());
        if lane.owed > 0 {
            return;
        }
        let failure = lane.failure.take();
        if core::mem::take(&mut lane.native) {
            match failure {
                None => events.push_back(TorEvent::NativeUploaded(hsdir)),
                Some(UploadFailure::Rejected) if !lane.shared => events.push_back(TorEvent::NativeRefused(hsdir)),
                Some(_) => {}
            }
        }
        if lane.unreplied {
            return;
        }
        if lane.ours.is_some() {
            events.push_back(failure.map_or(TorEvent::Uploaded(hsdir), |why| TorEvent::UploadFailed(hsdir, why)));
        }
        self.lanes.remove(&hsdir);
    }

    /// The stream of an upload to `hsdir`, ours or tor's own, is open.
    pub(super) fn stream_opened(&mut self, id: String, hsdir: RelayFingerprint) {
        if self.streams.len() < STREAMS_MAX {
            self.streams.insert(id, hsdir);
            if let Some(lane) = self.lanes.get_mut(&hsdir) {
                lane.closed = None;
            }
        }
    }

    /// A stream was closed.
    pub(super) fn stream_closed(&mut self, now: Mono, id: &str) {
        let Some(hsdir) = self.streams.remove(id) else { return };
        let is_last = !self.streams.values().any(|other| *other == hsdir);
        if let Some(lane) = self.lanes.get_mut(&hsdir).filter(|_| is_last) {
            lane.closed = Some(now.plus(ANSWERED));
        }
    }

    /// Ends what was broken off, and what took too long.
    pub(super) fn expire(&mut self, now: Mono, events: &mut VecDeque<TorEvent>) {
        for (hsdir, lane) in &mut self.lanes {
            let dropped = lane.is_dropped(now);
            if lane.ours.take_if(|deadline| dropped || *deadline <= now).is_some() {
                let why = if dropped { UploadFailure::Dropped } else { UploadFailure::Timeout };
                events.push_back(TorEvent::UploadFailed(*hsdir, why));
            }
            // Tor breaks its own off for newer ones: what was answered is the last of them.
            if dropped && lane.native && lane.taken && !lane.shared && lane.failure.is_none() {
                events.push_back(TorEvent::NativeUploaded(*hsdir));
            }
        }
        self.lanes.retain(|_, lane| lane.ours.is_some() || lane.unreplied || now < lane.free_at());
    }

    /// The control connection is gone. Tor may be alive and upload on, so the HSDirs stay blocked, but no longer than an
    /// upload takes: most likely the answer came while nobody listened.
    pub(super) fn disconnected(&mut self, events: &mut VecDeque<TorEvent>) {
        self.streams.clear();
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
        let lanes = self.lanes.values();
        lanes.flat_map(|lane| lane.ours.into_iter().chain((!lane.unreplied).then(|| lane.free_at()))).min()
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
    fn so_many_streams_are_followed_and_the_end_of_one_more_says_nothing() {
        let (now, mut uploads, mut events) = (Mono::from_ms(1), Uploads::default(), VecDeque::new());
        (0..=STREAMS_MAX).for_each(|n| uploads.stream_opened(n.to_string(), hsdir(n)));
        assert_eq!(uploads.streams.len(), STREAMS_MAX);
        for n in [0, STREAMS_MAX] {
            uploads.start(now, hsdir(n));
            uploads.replied(hsdir(n), Ok(()), &mut events);
            uploads.stream_closed(now, &n.to_string());
        }
        uploads.expire(now.plus(ANSWERED), &mut events);
        assert_eq!(events, [TorEvent::UploadFailed(hsdir(0), UploadFailure::Dropped)]);
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
