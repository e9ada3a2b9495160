//! What can go wrong with a machine or between machines.

use rustbalance_core::cluster::Role;
use rustbalance_core::{Command, DurableKind, Input};

use super::world::World;

impl World {
    /// The machine dies at once: daemon and tor, writes not yet on disk lost.
    pub fn kill(&mut self, index: usize) {
        self.fault(&format!("{index} killed"));
        self.lose_points(index);
        let node = &mut self.nodes[index];
        node.life += 1;
        node.core = None;
        node.is_frozen = false;
        node.role = Role::Follower;
        node.since = self.now;
        node.tor.publishes = false;
    }

    /// Only the tor dies; it is restarted as `io` does.
    pub fn kill_tor(&mut self, index: usize) {
        self.fault(&format!("tor of {index} killed"));
        self.disconnect(index);
        self.start_tor(index);
    }

    /// Only the control connection is lost, for `ms`.
    pub fn lose_control(&mut self, index: usize, ms: u64) {
        self.fault(&format!("control connection of {index} lost for {ms} ms"));
        self.disconnect(index);
        self.reconnect(index, ms);
    }

    /// Tor chooses other introduction points, as it does at a new shared random value.
    pub fn replace_points(&mut self, index: usize) {
        self.fault(&format!("{index} has new points"));
        let mut closed = self.nodes[index].tor.closing();
        self.lose_points(index);
        closed.extend(self.nodes[index].tor.bootstrap(&self.network, super::world::POINTS));
        self.hear_tor(index, &closed);
    }

    /// The whole machine freezes for `ms`: no input is processed, then all at once.
    pub fn freeze(&mut self, index: usize, ms: u64) {
        self.fault(&format!("{index} frozen for {ms} ms"));
        self.nodes[index].since = self.now;
        self.stand_still(index, ms);
        self.thaw_after(index, ms);
    }

    /// The wall clock jumps.
    pub fn jump_clock(&mut self, index: usize, by_ms: i64) {
        self.fault(&format!("clock of {index} jumps by {by_ms} ms"));
        self.nodes[index].skew_ms += by_ms;
    }

    /// The disk refuses writes from now on, or takes them again.
    pub fn fail_disk(&mut self, index: usize, fails: bool) {
        self.fault(&format!("disk of {index} {}", if fails { "fails" } else { "works" }));
        self.nodes[index].disk_fails = fails;
    }

    /// What the daemon learnt is gone from its disk; who it is and the roster stay.
    pub fn lose_disk(&mut self, index: usize) {
        self.fault(&format!("{index} loses its lease and plan files"));
        self.nodes[index].disk.retain(|kind, _| *kind == DurableKind::Roster);
        self.nodes[index].epoch_seen = 0;
    }

    /// An orderly stop or leave.
    pub fn command(&mut self, index: usize, command: Command) {
        self.fault(&format!("{index} {command:?}"));
        self.nodes[index].is_leaving = command == Command::Leave;
        self.step_input(index, Input::Command(command));
    }

    /// Cuts (or mends) every link between the two groups.
    pub fn partition(&mut self, left: &[usize], right: &[usize], cut: bool) {
        self.fault(if cut { "partition" } else { "heal" });
        for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))) {
            for link in [(a, b), (b, a)] {
                if cut {
                    self.cut.insert(link)
                } else {
                    self.cut.remove(&link)
                };
            }
        }
    }

    /// Cuts one direction of one link.
    pub fn mute(&mut self, from: usize, to: usize) {
        self.fault(&format!("{from} no longer reaches {to}"));
        self.cut.insert((from, to));
    }

    /// Mends everything but dead machines.
    pub fn heal(&mut self) {
        self.fault("everything heals");
        self.cut.clear();
        for node in &mut self.nodes {
            node.disk_fails = false;
        }
    }
}
