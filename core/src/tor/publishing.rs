//! Tor's own publishing, `PublishHidServDescriptors`: what it should be and what tor acknowledged. Setting it, to what it
//! is already too, has tor read the files of authorised clients again: the two go together.

use core::time::Duration;

use super::{FilesSerial, Native, Tor};
use crate::output::Outbox;
use crate::time::Mono;

/// The option.
pub(super) const OPTION: &str = "PublishHidServDescriptors";
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The switch.
pub(super) struct Publishing {
    /// `None` until somebody says; then tor's own setting is left alone.
    wanted: Option<bool>,
    acknowledged: Native,
    /// The files of authorised clients as they are, as they were when tor was last asked, and as it has read them.
    files: FilesSerial,
    files_asked: FilesSerial,
    files_read: FilesSerial,
    asked: bool,
    retry_at: Mono,
    pause: Duration,
}

impl Publishing {
    pub(super) fn new() -> Self {
        Self {
            wanted: None,
            acknowledged: Native::Unknown,
            files: 0,
            files_asked: 0,
            files_read: 0,
            asked: false,
            retry_at: Mono::default(),
            pause: PAUSE_MIN,
        }
    }

    /// What it should be. A new wish does not wait for an old one's pause.
    pub(super) fn want(&mut self, on: bool) {
        if self.wanted.replace(on) != Some(on) {
            self.retry_at = Mono::default();
            self.pause = PAUSE_MIN;
        }
    }

    /// It is no longer ours to set.
    pub(super) fn leave_alone(&mut self) {
        self.wanted = None;
    }

    /// The files of authorised clients have changed.
    pub(super) fn want_read(&mut self, files: FilesSerial) {
        self.files = files;
    }

    /// Whether tor has read them since.
    pub(super) fn has_read_files(&self) -> bool {
        self.files_read == self.files
    }

    /// As tor last acknowledged; unknown while it is being changed.
    pub(super) fn native(&self) -> Native {
        self.acknowledged
    }

    /// The value to set now, if it is time to; remembers that it was asked for.
    pub(super) fn take_step(&mut self, now: Mono) -> Option<bool> {
        let wanted = self.wanted.filter(|_| self.deadline().is_some_and(|deadline| deadline <= now))?;
        self.asked = true;
        self.files_asked = self.files;
        self.acknowledged = Native::Unknown;
        Some(wanted)
    }

    /// Tor's reply to setting it to `on`. Whether it has read files that it had not read before.
    pub(super) fn replied(&mut self, now: Mono, on: bool, ok: bool) -> bool {
        self.asked = false;
        if ok {
            self.acknowledged = state(on);
            self.retry_at = now;
            self.pause = PAUSE_MIN;
            core::mem::replace(&mut self.files_read, self.files_asked) != self.files_asked
        } else {
            self.retry_at = now.plus(self.pause);
            self.pause = (self.pause * 2).min(PAUSE_MAX);
            false
        }
    }

    /// It was set to `on`, perhaps by another than us: a tor that reads its configuration again, as SIGHUP has it do, forgets
    /// what we set. Whether we are to set it again, which is after a second: there may be one more that means it.
    pub(super) fn was_set(&mut self, now: Mono, on: bool) -> bool {
        let is_news = self.acknowledged != Native::Unknown && self.acknowledged != state(on);
        if is_news {
            self.acknowledged = state(on);
            self.retry_at = now.plus(PAUSE_MIN);
        }
        is_news && self.wanted.is_some_and(|wanted| wanted != on)
    }

    /// A new or lost connection: nothing is known. That it should be off is to be asserted again at once; that it should be
    /// on somebody has to say again: it may be another process, which reads files that may not be there any more.
    pub(super) fn reset(&mut self) {
        *self = Self { wanted: self.wanted.filter(|on| !on), files: self.files, ..Self::new() };
    }

    /// When the next step is due; `None` if there is nothing to do.
    pub(super) fn deadline(&self) -> Option<Mono> {
        let as_wanted = |wanted| self.acknowledged == state(wanted) && self.files_read == self.files;
        let settled = self.wanted.is_none_or(as_wanted);
        (!settled && !self.asked).then_some(self.retry_at)
    }
}

impl Tor {
    /// What native publishing should be. With each connection it is off until this is said again. The switch is for all
    /// services of a tor, and so is left alone where there are others.
    pub fn want_native(&mut self, on: bool, out: &mut Outbox) {
        if !self.has_company() {
            if on {
                self.harvesting.give_way();
            }
            self.publishing.want(on || self.harvesting.is_open());
            self.ask_what_is_due(out);
        }
    }

    /// Native publishing as tor last acknowledged.
    pub fn native(&self) -> Native {
        self.publishing.native()
    }

    /// The files of authorised clients have this content now; tor is told to read them again.
    pub fn files_written(&mut self, files: FilesSerial, out: &mut Outbox) {
        self.publishing.want_read(files);
        self.ask_what_is_due(out);
    }

    /// Whether what it publishes by itself only authorised clients can read, by its own descriptor; `None` while it has
    /// none, or has had none since it was told to read the files.
    pub fn is_restricted(&self) -> Option<bool> {
        self.service.is_restricted().filter(|_| self.publishing.has_read_files())
    }
}

fn state(on: bool) -> Native {
    if on { Native::On } else { Native::Off }
}
