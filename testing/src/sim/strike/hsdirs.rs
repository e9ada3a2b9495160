//! What goes wrong at the HSDirs.

use rustbalance_core::hsdesc::{Content, InnerHeader, IntroPoint, SigningKeys, build};

use super::super::hsdirs::Uploader;
use super::super::world::World;
use crate::sim::machine::SimNode;

impl World {
    /// An HSDir loses what it holds.
    pub(super) fn forget(&mut self, number: usize) {
        let (_, relay) = self.layout().hsdir(number);
        self.fault(&format!("{relay} forgets"));
        self.hsdirs.forget(relay, self.now);
        self.changed.stored = true;
    }

    /// Somebody with the master key has stored what is stored, with a counter of a later time.
    pub(super) fn poison(&mut self, number: usize, ahead_secs: u64) {
        let layout = self.layout();
        let (slot, relay) = layout.hsdir(number);
        let (blind, secs) = (slot.blind, self.wall().as_secs() + ahead_secs);
        let Some(points) = self.hsdirs.get(relay, blind).map(|stored| stored.points.clone()) else { return };
        let offered = self.nodes.iter().flat_map(SimNode::points);
        let points: Vec<_> = offered.filter(|point| points.contains(&point.auth_key)).cloned().collect();
        self.fault(&format!("the counter on {relay} is {ahead_secs} s ahead"));
        self.put(number, secs, &points);
    }

    /// Somebody with the master key has stored points of nobody here.
    pub(super) fn put_foreign(&mut self, number: usize) {
        let (points, secs) = (self.foreign_points(), self.wall().as_secs());
        let (_, relay) = self.layout().hsdir(number);
        self.fault(&format!("{relay} gets a foreign descriptor"));
        self.put(number, secs, &points);
    }

    /// Stores a descriptor of the service's, as if made at that unix time.
    fn put(&mut self, number: usize, secs: u64, points: &[IntroPoint]) {
        let layout = self.layout();
        let (slot, relay) = layout.hsdir(number);
        let Some(revision) = slot.counter(secs).filter(|_| !points.is_empty()) else { return };
        let (blind, wall) = (self.master().blind(slot.period), self.wall());
        let header = InnerHeader(vec!["create2-formats 2".to_owned()]);
        let subcredential = self.service.subcredential(blind.public());
        let content = Content {
            blind: &blind,
            subcredential,
            revision,
            header: &header,
            pow: None,
            points,
            clients: &[],
            now: wall,
        };
        let mut keys = SigningKeys::new(&blind, &mut self.rng, wall);
        let text = build(&mut keys, &content, &mut self.rng).expect("these points are good").into();
        let by = Uploader { who: None, at: self.now };
        let result = self.hsdirs.upload(by, relay, &text, self.service, &layout, wall);
        self.hsdirs.spoil(relay, slot.blind, self.now);
        self.note(|| format!("--- {:?}", result.map(|_| ())));
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
