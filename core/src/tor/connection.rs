//! The control connection: what is asked as it comes up, and while it lasts. Whatever tor said on another is forgotten.

use super::publishing;
use super::service::Service;
use super::session::{Asked, Session};
use super::{Tor, directory};
use crate::control::command;
use crate::output::{Outbox, Output};

/// `GETINFO` key of [`Asked::Circuits`].
pub(super) const CIRCUITS_KEY: &str = "circuit-status";
/// What we subscribe to.
const EVENTS: [&str; 7] =
    ["CIRC", "CIRC_MINOR", "CONF_CHANGED", "HS_DESC", "HS_DESC_CONTENT", "STATUS_CLIENT", "STREAM"];

impl Tor {
    pub(super) fn connect(&mut self, out: &mut Outbox) {
        self.session = Some(Session::default());
        self.connections += 1;
        self.directory.connected(self.clock);
        self.withdrawal.new_connection();
        self.send(Asked::Events, command::set_events(&EVENTS), out);
        self.send(Asked::Testing, command::get_conf(&["TestingTorNetwork"]), out);
    }

    pub(super) fn disconnect(&mut self) {
        self.session = None;
        self.service = Service::new(self.clock);
        self.publishing.reset();
        self.uploads.disconnected(&mut self.events);
        self.fetches.disconnected(&mut self.events);
        self.harvesting.close(self.clock); // a new connection begins by turning tor's publishing off
    }

    pub(super) fn reconnect(&mut self, out: &mut Outbox) {
        self.disconnect();
        out.push(Output::Reconnect(self.id));
    }

    /// Sends every command whose time has come. Idempotent.
    pub(super) fn ask_what_is_due(&mut self, out: &mut Outbox) {
        if self.session.is_none() {
            return;
        }
        if let Some(on) = self.publishing.take_step(self.clock) {
            let value = if on { "1" } else { "0" };
            self.send(Asked::Native(on), command::set_conf(&[(publishing::OPTION, value)]), out);
        }
        while let Some(asked) =
            self.directory.take_question(self.clock).or_else(|| self.service.take_question(self.clock))
        {
            let command = match asked {
                Asked::Status => command::get_info(&directory::STATUS_KEYS),
                Asked::Consensus => command::get_info(&[directory::CONSENSUS_KEY]),
                Asked::Microdescs => command::get_info(&[directory::MICRODESCS_KEY]),
                Asked::Circuits => command::get_info(&[CIRCUITS_KEY]),
                Asked::Descriptor => command::get_info(&[&self.descriptor_key()]),
                Asked::Events
                | Asked::Testing
                | Asked::Native(_)
                | Asked::Close
                | Asked::Upload(_)
                | Asked::Fetch(_) => continue,
            };
            self.send(asked, command, out);
        }
        self.close_circuits(out);
    }

    /// One at a time, the next once tor has answered: of several `DESTROY` cells for one channel that come at once it
    /// sends the first, and the others with the next traffic (`circuitmux_append_destroy_cell` of C tor). Their relays
    /// would take clients for a point that is gone, and those would wait.
    pub(super) fn close_circuits(&mut self, out: &mut Outbox) {
        if !self.session.as_ref().is_some_and(|session| session.has_room() && !session.awaits(Asked::Close)) {
            return;
        }
        if let Some(circuit) = self.withdrawal.next_circuit(self.service.circuits()) {
            self.send(Asked::Close, command::close_circuit(&circuit), out);
        }
    }

    pub(super) fn send(&mut self, asked: Asked, command: Vec<u8>, out: &mut Outbox) {
        if let Some(session) = &mut self.session {
            session.ask(self.clock, asked);
            out.push(Output::Control(self.id, command));
        }
    }

    pub(super) fn descriptor_key(&self) -> String {
        format!("hs/service/desc/id/{}", self.host)
    }
}
