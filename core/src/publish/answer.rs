//! Tor's answers: what became of uploads and fetches.

use super::build::Digest;
use super::fetch::Fetching;
use super::foreign::Suspect;
use super::majority::Published;
use super::target::{Confirmed, Lapse};
use super::upload::{SlotUploads, Stored};
use super::{PublicationEvent, Publisher};
use crate::hsdesc::{self, Descriptor};
use crate::id::RelayFingerprint;
use crate::output::{Event, Outbox};
use crate::time::Now;
use crate::tor::{TorEvent, UploadFailure};

impl Publisher {
    /// News from the tor that publishes for us. Call [`Self::tick`] afterwards.
    pub fn handle(&mut self, now: Now, event: TorEvent, out: &mut Outbox) {
        match event {
            TorEvent::Uploaded(hsdir) => self.uploaded(now, hsdir),
            TorEvent::UploadFailed(hsdir, failure) => self.upload_failed(now, hsdir, failure, out),
            TorEvent::Fetched(hsdir, text) => self.fetched(now, hsdir, text.as_deref()),
            TorEvent::NativeUploaded(hsdir) => self.mode.native_uploaded(hsdir),
            TorEvent::NativeRefused(hsdir) => self.native_refused(now, hsdir, out),
        }
    }

    fn native_refused(&mut self, now: Now, hsdir: RelayFingerprint, out: &mut Outbox) {
        if self.mode.publish_instead(now.mono) {
            out.event(Event::Warning(format!(
                "HSDir {hsdir} refuses what tor publishes by itself: it holds a newer descriptor of this address, from \
                 before or from somebody else with the key. Tor would try again in an hour or two; this node publishes \
                 itself instead, and leaves it to tor again later"
            )));
        }
    }

    fn uploaded(&mut self, now: Now, hsdir: RelayFingerprint) {
        let Some(flight) = self.flights.remove(&hsdir) else { return };
        if let Some(uploads) = self.slots.values_mut().find(|uploads| uploads.period == flight.period) {
            uploads.confirm(hsdir, Confirmed { at: now.mono, ..flight.confirmed }, flight.ahead);
        }
    }

    fn upload_failed(&mut self, now: Now, hsdir: RelayFingerprint, failure: UploadFailure, out: &mut Outbox) {
        let Some(flight) = self.flights.remove(&hsdir) else { return };
        let Some((slot, uploads)) = self.slots.iter_mut().find(|(_, uploads)| uploads.period == flight.period) else {
            return;
        };
        let current = uploads.current;
        if let Some(target) = uploads.targets.get_mut(&hsdir) {
            let was_mysterious = target.is_mysterious();
            target.fail(now.mono, failure.clone(), current, flight.ahead, &mut self.rng);
            if !current && target.is_mysterious() && !was_mysterious {
                self.unread_stranger.unread(now.mono, hsdir, out);
            }
        }
        out.event(Event::Publication(PublicationEvent::Failed { slot: *slot, hsdir, failure }));
    }

    fn fetched(&mut self, now: Now, hsdir: RelayFingerprint, text: Option<&[u8]>) {
        let fetching = self.fetching.take_if(|fetching| fetching.hsdir == hsdir);
        let Some(Fetching { period, since, .. }) = fetching else { return };
        let is_through = !self.slots.values().any(|uploads| uploads.is_unfinished(self.schedule.round()));
        let current = |uploads: &&mut SlotUploads| uploads.current && uploads.period == period;
        let Some(uploads) = self.slots.values_mut().find(current) else { return };
        let stored = text.and_then(|text| {
            let revision = hsdesc::peek_revision(text)?;
            Some(Stored { revision, n: self.builder.n_at_most(period, revision), digest: Digest::of(text) })
        });
        let clock = self.clock.counter_clock(now);
        let asked = self.majority.asks(hsdir, &uploads.fetch);
        // What it gives may be what it held before, and says nothing of what it has confirmed since.
        let is_late = uploads.confirmed_after(hsdir, since);
        let not_ours = text.filter(|_| !is_late && stored.is_some_and(|stored| !uploads.is_ours(hsdir, &stored)));
        let lapse = if is_late { None } else { uploads.read(now.mono, hsdir, stored, &clock, &mut self.rng) };
        let (id, own) = (self.builder.id(), Some(self.builder.own_client()));
        let opened = not_ours.or(text.filter(|_| asked));
        let opened = opened.and_then(|text| hsdesc::open(text, id, &[period], own, now.wall).ok());
        if let Some(descriptor) = &opened {
            self.suspect.get_or_insert_with(|| Suspect::new(now.mono, hsdir, descriptor));
        }
        if asked {
            let published = opened.zip(stored);
            let published =
                published.map(|(Descriptor { points, restricted, .. }, it)| Published::new(it.n, points, restricted));
            self.majority.answered(now.mono, published, uploads.fetch.len());
        }
        // While the round lasts, HSDirs that it has not reached are expected to hold something else.
        if lapse == Some(Lapse::Foreign) && is_through {
            self.majority.doubt();
        }
        if lapse == Some(Lapse::Gone) {
            // It was restarted, most likely, and HSDirs keep descriptors in memory alone.
            let others = self.slots.values_mut().filter(|uploads| !uploads.current);
            others.for_each(|uploads| uploads.lost_all(now.mono, hsdir, &mut self.rng));
        }
    }
}
