//! Uploads of the machines' tors, each on a stream of its own. A tor breaks them off when its own descriptor changes, as
//! C tor does (DECISIONS.md, Uploads that tor drops).

use std::sync::Arc;

use rustbalance_core::id::RelayFingerprint;

use super::fault::UploadFault;
use super::hsdirs::{Accepted, Refused, Uploader};
use super::queue::TorHappening;
use super::witness::{Sight, Upload};
use super::world::{Taken, World};

/// A late answer takes up to so long, milliseconds.
const LATE_MS: u64 = 20_000;
/// Tor comes to upload a changed descriptor, though it does not, up to so much later, milliseconds.
const BREAKS_OFF_MS: u64 = 1_000;

impl World {
    /// A descriptor was handed to tor.
    pub(super) fn begin_upload(&mut self, index: usize, tor: usize, relay: RelayFingerprint, text: Arc<str>) {
        self.see(index, &Sight::Posts { text: &text });
        let (stream, event) = self.nodes[index].tors[tor].open_stream(relay);
        self.say(index, tor, event.into());
        let delay = 100 + self.draw(200);
        self.tor_after(index, tor, delay, TorHappening::Upload { stream, text });
    }

    /// It arrives, if its stream is still open.
    pub(super) fn upload(&mut self, index: usize, tor: usize, stream: u64, text: &Arc<str>) {
        let Some(relay) = self.nodes[index].tors[tor].stream_leads_to(stream) else { return };
        let (now, fault) = (self.now, self.nodes[index].tors[tor].uploads);
        let fault = fault.filter(|(_, until)| now < *until).map(|(fault, _)| fault);
        let arrives = !matches!(fault, Some(UploadFault::Lost | UploadFault::Failed));
        let reason = if arrives { self.store(index, relay, text) } else { Some("UNEXPECTED") };
        let delay = 50 + self.draw(200);
        let late = self.hsdirs.answers_late(relay, now) || fault == Some(UploadFault::Late);
        let delay = if late { delay + self.draw(LATE_MS) } else { delay };
        if !matches!(fault, Some(UploadFault::Silent | UploadFault::Lost)) {
            self.tor_after(index, tor, delay, TorHappening::Answered { stream, reason });
        }
    }

    /// Tor says what the HSDir answered, right after the end of the stream.
    pub(super) fn upload_answered(&mut self, index: usize, tor: usize, stream: u64, reason: Option<&str>) {
        let model = &mut self.nodes[index].tors[tor];
        let Some(relay) = model.stream_leads_to(stream) else { return };
        let (closed, answer) = (model.close_stream(stream), model.upload_event(relay, reason));
        self.hear_tor(index, tor, &closed);
        self.hear_tor(index, tor, &answer);
    }

    /// Its descriptor follows the circuits. If that changes it, tor comes to upload it.
    pub(super) fn relist(&mut self, index: usize, tor: usize) {
        if self.nodes[index].tors[tor].relist() {
            let delay = self.draw(BREAKS_OFF_MS);
            self.tor_after(index, tor, delay, TorHappening::BreakOff);
        }
    }

    /// Uploads under way end. Whether they have been stored nobody says.
    pub(super) fn break_off(&mut self, index: usize, tor: usize) {
        let streams = self.nodes[index].tors[tor].streams();
        if !streams.is_empty() {
            self.fault(&format!("the {} breaks {} uploads off", self.name_of_tor(index, tor), streams.len()));
            self.see(index, &Sight::BreaksOff);
        }
        for stream in streams {
            let closed = self.nodes[index].tors[tor].close_stream(stream);
            self.hear_tor(index, tor, &closed);
        }
    }

    /// An upload has reached its HSDir: why it is refused, if it is.
    fn store(&mut self, index: usize, relay: RelayFingerprint, text: &Arc<str>) -> Option<&'static str> {
        let (service, wall) = (self.service, self.wall());
        let layout = self.layout();
        let stored = self.hsdirs.revision(relay, text);
        let by = Uploader { who: Some(index), at: self.now };
        let result = self.hsdirs.upload(by, relay, text, service, &layout, wall);
        let ahead = |accepted: &Accepted| accepted.stored.secs.cast_signed() - wall.as_secs().cast_signed();
        self.note(|| format!("{index} uploads to {relay}, seconds ahead: {:?}", result.as_ref().map(ahead)));
        let points = result.as_ref().ok().map(|accepted| &*accepted.stored.points);
        let revision = rustbalance_core::hsdesc::peek_revision(text.as_bytes()).map_or(0, |revision| revision.0);
        self.see(index, &Sight::Uploads(Upload { points, revision, stored }));
        match result {
            Ok(accepted) => {
                self.taken = Some(Taken::new(index, relay, &accepted));
                self.changed.stored = true;
                None
            }
            Err(Refused::Stale) => Some("UPLOAD_REJECTED"),
            Err(Refused::Ill) => Some("UNEXPECTED"),
            Err(Refused::Bad(what)) => {
                self.fail(format!("{index} uploaded a bad descriptor: {what}"));
                Some("UPLOAD_REJECTED")
            }
        }
    }
}
