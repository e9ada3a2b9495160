//! What goes wrong between machines.

use super::super::fault::Fault;
use super::super::trouble::Trouble;
use super::super::world::World;

impl World {
    /// Cuts (or mends) every link between the two groups.
    pub fn partition(&mut self, left: &[usize], right: &[usize], cut: bool) {
        self.fault(if cut { "partition" } else { "heal" });
        for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))) {
            self.cut.set(a, b, cut);
            self.cut.set(b, a, cut);
        }
    }

    /// Cuts one direction of one link.
    pub fn mute(&mut self, from: usize, to: usize) {
        self.fault(&format!("{from} no longer reaches {to}"));
        self.cut.set(from, to, true);
    }

    /// It hears nobody.
    pub(super) fn deafen(&mut self, index: usize) {
        self.fault(&format!("{index} is deaf"));
        (0..self.nodes.len()).for_each(|from| self.cut.set(from, index, true));
    }

    /// Nobody hears it.
    pub(super) fn silence(&mut self, index: usize) {
        self.fault(&format!("{index} is dumb"));
        (0..self.nodes.len()).for_each(|to| self.cut.set(index, to, true));
    }

    /// The network gets worse until it is healed, or for `ms`.
    pub(super) fn disturb(&mut self, ms: u64, fault: &Fault, how: impl FnOnce(&mut Trouble)) {
        self.lasting_fault(ms, &format!("{fault:?}"));
        how(&mut self.trouble);
    }

    /// Nothing from or to this machine arrives for `ms`.
    pub(super) fn burst_at(&mut self, index: usize, ms: u64) {
        self.lasting_fault(ms, &format!("nothing reaches or leaves {index} for {ms} ms"));
        let until = &mut self.nodes[index].mesh.burst_until;
        *until = (*until).max(self.now + ms);
    }

    /// The machine is at another address from now on; its sessions live.
    pub(super) fn move_machine(&mut self, index: usize) {
        self.fault(&format!("{index} moves"));
        let place = u32::try_from(self.places.len()).expect("few moves");
        self.places[self.nodes[index].mesh.place as usize] = None;
        self.places.push(Some(index));
        self.nodes[index].mesh.place = place;
    }

    /// Mends everything but dead machines.
    pub fn heal(&mut self) {
        self.fault("everything heals");
        self.cut = super::super::mesh::Cut::new(self.nodes.len());
        self.trouble = Trouble::default();
        self.hsdirs.heal();
        let now = self.now;
        for index in 0..self.nodes.len() {
            if self.nodes[index].disk_fails {
                self.fail_disk(index, false);
            }
            let node = &mut self.nodes[index];
            node.disk_ms = 0;
            node.mesh.burst_until = 0;
            node.tors.iter_mut().for_each(|tor| tor.uploads = None);
            let skew = node.clock.skew_ms(now).unsigned_abs();
            if skew > self.options.skew_ms_max {
                self.correct(index);
            }
        }
    }
}
