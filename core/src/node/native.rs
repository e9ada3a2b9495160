//! Tor's own publishing: when it is to be on, and that it lets in nobody who may not connect.

use core::time::Duration;

use super::Node;
use crate::cluster::View;
use crate::output::Event;
use crate::time::{Mono, Now};
use crate::tor::{Files, Tor};

/// Between two writes of files that tor does not keep to.
const WRITE_AGAIN: Duration = Duration::from_secs(60);
const EXPOSED: &str = "tor lets in everybody, though the address is for authorised clients alone: its authorized_clients \
                       were removed, or it cannot read them. They are written again, and tor does not publish meanwhile. If \
                       this stays, look who else writes to that directory, and whether tor's user can read it";

impl Node {
    /// Keeps the files in which tors read who may connect, and watches whether they keep to them.
    pub(super) fn keep_files(&mut self, now: Now, view: &View) {
        if self.is_attached {
            return;
        }
        // Most likely another process, which has read what there was.
        let connections = self.tors.iter().map(Tor::connections).sum();
        if core::mem::replace(&mut self.connections, connections) != connections {
            self.authorized_clients.write_again();
        }
        self.authorized_clients.tick(now.mono, &view.access, &mut self.out);
        if let Files::Written(serial) = self.authorized_clients.files() {
            self.tors.iter_mut().for_each(|tor| tor.files_written(serial, &mut self.out));
            self.watch_exposure(now.mono, view.access.is_restricted());
        }
    }

    /// A tor that has read the files and lets in everybody all the same must not publish, and what it has published is to be
    /// replaced at once: by this node itself.
    fn watch_exposure(&mut self, now: Mono, is_restricted: bool) {
        let mut said = self.tors.iter().filter_map(Tor::is_restricted);
        if is_restricted && said.any(|is_restricted| !is_restricted) {
            self.publisher.publish_instead(now);
            if self.exposed.is_none() {
                self.out.event(Event::Warning(EXPOSED.to_owned()));
            }
            if self.exposed.is_none_or(|at| now >= at.plus(WRITE_AGAIN)) {
                self.exposed = Some(now);
                self.authorized_clients.write_again();
            }
        } else if self.exposed.is_some() && (!is_restricted || self.are_restricted()) {
            self.exposed = None;
            self.out.event(Event::Well("tor keeps again to who may connect".to_owned()));
        }
    }

    /// Whether by their own descriptors all tors let in authorised clients alone.
    pub(super) fn are_restricted(&self) -> bool {
        self.tors.iter().all(|tor| tor.is_restricted() == Some(true))
    }

    /// For operators.
    pub(super) fn exposure(&self) -> Vec<String> {
        self.exposed.iter().map(|_| EXPOSED.to_owned()).collect()
    }

    /// Has tor publish by itself where that is wanted. Where it may not, the node does: tor would believe to have done it, and
    /// do nothing for one to two hours when it may.
    pub(super) fn publish_natively(&mut self, now: Mono, view: &View) {
        if self.is_attached {
            return;
        }
        let is_wanted = self.publisher.wants_native(view) && !self.cluster.admission_waiting();
        let on = match self.authorized_clients.files() {
            // Whatever they say, it lets in nobody who may not.
            _ if !is_wanted || !view.access.is_restricted() => is_wanted,
            Files::Written(_) => true,
            Files::Failed => {
                self.publisher.publish_instead(now);
                false
            }
            // Who may connect changes while tor publishes: it goes on until it has read the new files. Off and on again, it
            // might upload nothing for hours. And one that has just connected waits for them.
            Files::Writing => return,
        };
        self.tors.iter_mut().for_each(|tor| tor.want_native(on, &mut self.out));
    }
}

#[cfg(test)]
mod tests;
