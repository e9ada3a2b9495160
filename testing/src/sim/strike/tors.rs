//! What goes wrong with a tor.

use super::super::fault::UploadFault;
use super::super::queue::TorHappening;
use super::super::world::World;

impl World {
    /// Only the tor dies; it is restarted as `io` does.
    pub fn kill_tor(&mut self, index: usize) {
        self.keep_tor_dead(index, 0);
    }

    /// The tor dies, and its restart takes `ms` longer.
    pub(super) fn keep_tor_dead(&mut self, index: usize, ms: u64) {
        self.lasting_fault(ms, &format!("tor of {index} killed"));
        self.nodes[index].tor_still_until = self.now.max(self.nodes[index].still_until);
        self.disconnect(index);
        self.start_tor(index, ms);
    }

    /// Only the control connection is lost, for `ms`.
    pub fn lose_control(&mut self, index: usize, ms: u64) {
        self.lasting_fault(ms, &format!("control connection of {index} lost for {ms} ms"));
        self.disconnect(index);
        self.reconnect(index, ms);
    }

    /// Tor chooses other introduction points, as it does at a new shared random value.
    pub fn replace_points(&mut self, index: usize) {
        self.fault(&format!("{index} has new points"));
        while !self.nodes[index].tor.points.is_empty() {
            self.close_point(index, 0);
        }
        self.tor_after(index, 1, TorHappening::Point);
    }

    /// One introduction point dies, another comes.
    pub(super) fn replace_point(&mut self, index: usize, point: usize) {
        let count = self.nodes[index].tor.points.len();
        if count > 0 {
            self.fault(&format!("{index} loses a point"));
            self.close_point(index, point % count);
            self.tor_after(index, 1 + point as u64 % 2_000, TorHappening::Point);
        }
    }

    /// The circuits behind all points die; tor lists the points for `ms` more, and then looks for others.
    pub(super) fn hollow(&mut self, index: usize, ms: u64) {
        self.lasting_fault(ms, &format!("no circuits behind the points of {index} for {ms} ms"));
        while !self.nodes[index].tor.points.is_empty() {
            self.close_point(index, 0);
        }
        self.tor_after(index, ms, TorHappening::Point);
    }

    /// What was set at run time is as the torrc says.
    pub(super) fn lose_settings(&mut self, index: usize) {
        self.fault(&format!("the tor of {index} forgets its settings"));
        self.nodes[index].tor.publishes = false;
        self.changed.native = true;
    }

    /// Uploads go wrong for `ms`.
    pub(super) fn spoil_uploads(&mut self, index: usize, how: UploadFault, ms: u64) {
        self.lasting_fault(ms, &format!("uploads of {index}: {how:?} for {ms} ms"));
        self.nodes[index].tor.uploads = Some((how, self.now + ms));
    }
}
