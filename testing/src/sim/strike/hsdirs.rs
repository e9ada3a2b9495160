//! What goes wrong at the HSDirs.

use super::super::world::World;

impl World {
    /// An HSDir loses what it holds.
    pub(super) fn forget(&mut self, number: usize) {
        let (_, relay) = self.layout().hsdir(number);
        self.fault(&format!("{relay} forgets"));
        self.hsdirs.forget(relay);
        self.changed.stored = true;
    }

    /// An HSDir refuses everything for `ms`.
    pub(super) fn make_ill(&mut self, number: usize, ms: u64) {
        let (_, relay) = self.layout().hsdir(number);
        self.lasting_fault(ms, &format!("{relay} refuses for {ms} ms"));
        self.hsdirs.fall_ill(relay, self.now + ms);
    }

    /// An HSDir answers late for `ms`.
    pub(super) fn make_late(&mut self, number: usize, ms: u64) {
        let (_, relay) = self.layout().hsdir(number);
        self.lasting_fault(ms, &format!("{relay} is slow for {ms} ms"));
        self.hsdirs.slow_down(relay, self.now + ms);
    }

    /// An HSDir is not in the next consensus.
    pub(super) fn relay_leaves(&mut self, number: usize) {
        let (_, relay) = self.layout().hsdir(number);
        self.note(|| format!("--- {relay} will leave"));
        let secs = self.wall().as_secs();
        self.network.leave(relay, secs);
    }

    /// A relay more is in the next consensus.
    pub(super) fn relay_enters(&mut self) {
        self.note(|| "--- a relay will enter".to_owned());
        let secs = self.wall().as_secs();
        self.network.enter(secs);
    }
}
