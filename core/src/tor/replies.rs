//! What tor says: replies, each to the command that it answers, and events.

use super::connection::CIRCUITS_KEY;
use super::error::TorError;
use super::news::UploadFailure;
use super::session::Asked;
use super::{Tor, publishing};
use crate::control::event::{self, HsDesc, HsDescAction};
use crate::control::reply::{Reply, ReplyError};
use crate::output::Outbox;
use crate::time::Now;

impl Tor {
    /// Takes in bytes from tor.
    ///
    /// # Errors
    /// Tor broke the protocol.
    pub(super) fn read(&mut self, now: Now, bytes: &[u8], out: &mut Outbox) -> Result<(), TorError> {
        if let Some(session) = &mut self.session {
            session.push(bytes);
        }
        while let Some(reply) = self.next_reply()? {
            if reply.is_event() {
                self.event(now, &reply, out);
            } else {
                let asked = self.session.as_mut().and_then(|session| session.answered(now.mono));
                self.answer(now, asked.ok_or(TorError::UnexpectedReply)?, &reply, out);
            }
        }
        Ok(())
    }

    fn next_reply(&mut self) -> Result<Option<Reply>, ReplyError> {
        let Self { session, directory, .. } = self;
        session.as_mut().map_or(Ok(None), |session| session.next_reply(|text, line| directory.take_line(text, line)))
    }

    /// A reply and the command it answers.
    fn answer(&mut self, now: Now, asked: Asked, reply: &Reply, out: &mut Outbox) {
        match asked {
            Asked::Events if !reply.is_ok() => self.warn(out, format_args!("tor refuses to report events: {reply}")),
            Asked::Events => {}
            Asked::Testing => self.directory.testing_read(reply),
            Asked::Native(on) => {
                if self.publishing.replied(now.mono, on, reply.is_ok()) {
                    self.service.files_read(now.mono);
                }
                if !reply.is_ok() {
                    let value = u8::from(on);
                    self.warn(out, format_args!("tor refuses {} {value}, trying again: {reply}", publishing::OPTION));
                }
            }
            Asked::Status => {
                if self.directory.status_read(reply) {
                    self.processes += 1;
                    self.uploads.new_process();
                    self.linger.end();
                    self.withdrawal.new_process();
                    self.harvesting.new_process();
                }
            }
            Asked::Consensus => {
                self.service.consensus_changed(now.mono);
                if let Err(error) = self.directory.consensus_read(now.mono, reply) {
                    self.warn(out, format_args!("{error}"));
                }
            }
            Asked::Microdescs => self.directory.microdescs_read(reply),
            // One that is gone by now is as good as closed.
            Asked::Close => {}
            Asked::Circuits => {
                self.service.circuits_read(now.mono, &self.host, reply.value(CIRCUITS_KEY).unwrap_or_default());
            }
            Asked::Descriptor => {
                let (text, periods) =
                    (reply.value(&self.descriptor_key()).map(<[u8]>::to_vec), self.directory.periods());
                if let Err(error) =
                    self.service.descriptor_read(now, self.service_id, &self.own_client, text.as_deref(), periods)
                {
                    self.warn(out, format_args!("tor's own descriptor cannot be read: {error}"));
                }
            }
            Asked::Upload(hsdir) => {
                let outcome = if reply.is_ok() { Ok(()) } else { Err(reply.to_string()) };
                self.uploads.replied(hsdir, outcome, &mut self.events);
            }
            Asked::Fetch(hsdir) if !reply.is_ok() => self.fetches.ended(hsdir, None, &mut self.events),
            Asked::Fetch(_) => {}
        }
    }

    /// An event. A malformed one is no reason to part.
    fn event(&mut self, now: Now, reply: &Reply, out: &mut Outbox) {
        match event::parse(reply) {
            Some(event::Event::ConfChanged(options)) => self.options_set(&options, out),
            Some(event::Event::Circ(circuit)) => self.service.circuit_event(self.clock, &self.host, circuit),
            Some(event::Event::StatusClient { action, args }) => self.directory.news(self.clock, &action, &args),
            Some(event::Event::Stream(stream)) => match stream.uploads_to() {
                Some(hsdir) => self.uploads.stream_opened(stream.id, hsdir),
                None if stream.is_gone() => self.uploads.stream_closed(self.clock, &stream.id),
                None => {}
            },
            Some(event::Event::HsDesc(event)) if event.address == self.host => self.descriptor_event(event, out),
            Some(event::Event::HsDescContent { address, hsdir: Some(hsdir), content }) if address == self.host => {
                let content = Some(content).filter(|content| !content.is_empty());
                self.harvested(now, content.as_deref());
                self.fetches.ended(hsdir, content, &mut self.events);
            }
            Some(event::Event::HsDesc(_) | event::Event::HsDescContent { .. } | event::Event::Other(_)) | None => {}
        }
    }

    /// `CONF_CHANGED`, also by what we set ourselves.
    fn options_set(&mut self, options: &[(String, String)], out: &mut Outbox) {
        let Some((_, value)) = options.iter().find(|(option, _)| option == publishing::OPTION) else { return };
        if self.publishing.was_set(self.clock, value != "0") {
            let text = "by another than this node, or as tor read its configuration again: setting it back";
            self.warn(out, format_args!("tor's {} was set to {value} {text}", publishing::OPTION));
        }
    }

    /// `HS_DESC` of our service.
    fn descriptor_event(&mut self, event: HsDesc, out: &mut Outbox) {
        let Some(hsdir) = event.hsdir else { return };
        self.harvest_from(hsdir, event.action, out);
        match event.action {
            HsDescAction::Upload => self.uploads.native_started(self.clock, hsdir),
            HsDescAction::Uploaded => self.uploads.answered(hsdir, Ok(()), &mut self.events),
            HsDescAction::Requested => self.fetches.requested(hsdir),
            HsDescAction::Received => {
                self.fetches.request_ended(hsdir);
            }
            HsDescAction::Failed => match event.reason.as_deref().unwrap_or_default() {
                "UPLOAD_REJECTED" => self.uploads.answered(hsdir, Err(UploadFailure::Rejected), &mut self.events),
                // The other reasons are common to uploads and fetches. A fetch's end is told by its content.
                reason if !self.fetches.request_ended(hsdir) => {
                    let failure = UploadFailure::Failed(reason.to_owned());
                    self.uploads.answered(hsdir, Err(failure), &mut self.events);
                }
                _ => {}
            },
            HsDescAction::Created | HsDescAction::Ignore | HsDescAction::Other => {}
        }
        self.disown_harvest();
    }
}
