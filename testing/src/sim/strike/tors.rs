//! What goes wrong with a tor.

use super::super::fault::UploadFault;
use super::super::queue::TorHappening;
use super::super::world::World;

impl World {
    /// Of a machine's tors the one whose turn it is.
    pub(super) fn tor_in_turn(&self, index: usize) -> usize {
        usize::try_from(self.faults).unwrap_or(0) % self.nodes[index].tors.len()
    }

    /// Only the tor dies; it is restarted as `io` does.
    pub fn kill_tor(&mut self, index: usize) {
        self.keep_tor_dead(index, self.tor_in_turn(index), 0);
    }

    /// The tor dies, and its restart takes `ms` longer.
    pub(in super::super) fn keep_tor_dead(&mut self, index: usize, tor: usize, ms: u64) {
        self.lasting_fault(ms, &format!("{} killed", self.name_of_tor(index, tor)));
        self.nodes[index].tor_still_until = self.now.max(self.nodes[index].still_until);
        self.disconnect(index, tor);
        self.start_tor(index, tor, ms);
    }

    /// Only the control connection is lost, for `ms`.
    pub fn lose_control(&mut self, index: usize, ms: u64) {
        let tor = self.tor_in_turn(index);
        self.lasting_fault(ms, &format!("control connection of {index} lost for {ms} ms"));
        self.disconnect(index, tor);
        self.reconnect(index, tor, ms);
    }

    /// Tor chooses other introduction points, as it does at a new shared random value.
    pub fn replace_points(&mut self, index: usize) {
        self.fault(&format!("{index} has new points"));
        for tor in 0..self.nodes[index].tors.len() {
            self.close_points(index, tor);
            self.tor_after(index, tor, 1, TorHappening::Point);
        }
    }

    /// One introduction point dies, another comes.
    pub(super) fn replace_point(&mut self, index: usize, point: usize) {
        let tor = self.tor_in_turn(index);
        let count = self.nodes[index].tors[tor].points.len();
        if count > 0 {
            self.fault(&format!("{index} loses a point"));
            self.close_point(index, tor, point % count);
            self.tor_after(index, tor, 1 + point as u64 % 2_000, TorHappening::Point);
        }
    }

    /// The circuits behind all points die; tor lists the points for `ms` more, and then looks for others.
    pub(super) fn hollow(&mut self, index: usize, ms: u64) {
        self.lasting_fault(ms, &format!("no circuits behind the points of {index} for {ms} ms"));
        for tor in 0..self.nodes[index].tors.len() {
            self.close_points(index, tor);
            self.tor_after(index, tor, ms, TorHappening::Point);
        }
    }

    fn close_points(&mut self, index: usize, tor: usize) {
        while !self.nodes[index].tors[tor].points.is_empty() {
            self.close_point(index, tor, 0);
        }
    }

    /// What was set at run time is as the torrc says. The daemon looks at a tor of somebody else's, and begins anew with it.
    pub(super) fn lose_settings(&mut self, index: usize) {
        self.fault(&format!("the tor of {index} forgets its settings"));
        let is_attached = self.nodes[index].is_attached;
        for tor in 0..self.nodes[index].tors.len() {
            if let Some(event) = self.nodes[index].tors[tor].set_publishing(is_attached) {
                self.say(index, tor, event.into());
            }
        }
        self.changed.native = true;
        for tor in (0..self.nodes[index].tors.len()).filter(|_| is_attached) {
            self.disconnect(index, tor);
            self.reconnect(index, tor, 100);
        }
    }

    /// Uploads go wrong for `ms`.
    pub(super) fn spoil_uploads(&mut self, index: usize, how: UploadFault, ms: u64) {
        self.lasting_fault(ms, &format!("uploads of {index}: {how:?} for {ms} ms"));
        let until = self.now + ms;
        self.nodes[index].tors.iter_mut().for_each(|tor| tor.uploads = Some((how, until)));
    }
}
