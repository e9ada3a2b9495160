//! Where the service's descriptors belong at one hour: both slots, their blinded keys and their HSDirs.

use std::collections::BTreeSet;
use std::rc::Rc;

use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::key::{HsBlindId, HsIdKeypair};
use rustbalance_core::onion::period::{Slot, TimePeriod};
use rustbalance_core::onion::revision::{RevisionCipher, RevisionCounter};

use super::network::TorNetwork;
use super::witness::Sight;
use super::world::World;

/// One slot.
pub struct SlotLayout {
    /// Which.
    pub slot: Slot,
    /// Its period.
    pub period: TimePeriod,
    /// The key its descriptors are stored under.
    pub blind: HsBlindId,
    /// The HSDirs that should hold one.
    pub store: Vec<RelayFingerprint>,
    /// Those that clients ask.
    pub fetch: Vec<RelayFingerprint>,
    /// What counters count from, unix seconds.
    origin: u64,
    cipher: RevisionCipher,
}

impl SlotLayout {
    /// The counter of a publisher whose clock shows unix time `secs`.
    pub fn counter(&self, secs: u64) -> Option<RevisionCounter> {
        self.cipher.counter(u32::try_from((secs + 1).checked_sub(self.origin)?).ok()?)
    }

    /// The unix time that a publisher's clock showed for this counter.
    fn secs(&self, counter: RevisionCounter) -> u64 {
        self.origin + u64::from(self.cipher.n_at_most(counter)) - 1
    }
}

/// One hour.
pub struct Layout {
    /// Of its consensus, unix seconds.
    pub valid_after: u64,
    /// The first and the second.
    pub slots: [SlotLayout; 2],
    current: usize,
}

impl Layout {
    fn new(network: &mut TorNetwork, master: &HsIdKeypair, valid_after: u64) -> Self {
        let ring = network.ring(valid_after);
        let at = ring.valid_after();
        let slots = [Slot::First, Slot::Second].map(|slot| {
            let period = ring.slot_period(slot);
            let blind = master.blind(period);
            let responsible = ring.responsible(slot, blind.public());
            SlotLayout {
                slot,
                period,
                blind: blind.public(),
                store: responsible.store,
                fetch: responsible.fetch,
                origin: ring.params().counter_origin(at, slot),
                cipher: RevisionCipher::new(&blind),
            }
        });
        let current = usize::from(ring.params().current_slot(at) == Slot::Second);
        Self { valid_after, slots, current }
    }

    /// The slot that clients fetch.
    pub fn current(&self) -> &SlotLayout {
        &self.slots[self.current]
    }

    /// The unix time that a publisher's clock showed for a counter stored under `blind`; 0 if that is of another hour.
    pub fn secs(&self, blind: HsBlindId, counter: RevisionCounter) -> u64 {
        self.slots.iter().find(|slot| slot.blind == blind).map_or(0, |slot| slot.secs(counter))
    }

    /// The periods of both.
    pub fn periods(&self) -> [TimePeriod; 2] {
        [self.slots[0].period, self.slots[1].period]
    }

    /// All HSDirs of both slots, each with its slot.
    pub fn hsdirs(&self) -> impl Iterator<Item = (&SlotLayout, RelayFingerprint)> {
        self.slots.iter().flat_map(|slot| slot.store.iter().map(move |relay| (slot, *relay)))
    }

    /// Whether the same HSDirs hold the same keys.
    fn is_served_by_the_same(&self, other: &Self) -> bool {
        let all = |layout: &Self| layout.hsdirs().map(|(slot, relay)| (slot.blind, relay)).collect::<BTreeSet<_>>();
        all(self) == all(other)
    }

    /// The `number`th of them, beginning anew after the last.
    pub(super) fn hsdir(&self, number: usize) -> (&SlotLayout, RelayFingerprint) {
        let count = self.hsdirs().count();
        self.hsdirs().nth(number % count).expect("the network has HSDirs")
    }
}

impl World {
    /// The layout at this hour.
    pub fn layout(&mut self) -> Rc<Layout> {
        let valid_after = TorNetwork::valid_after(self.wall().as_secs());
        match &self.layout {
            Some(layout) if layout.valid_after == valid_after => layout.clone(),
            _ => {
                let master = self.master();
                let layout = Rc::new(Layout::new(&mut self.network, &master, valid_after));
                let before = self.layout.replace(layout.clone());
                self.changed.stored = true;
                if let Some(before) = before.filter(|before| !before.is_served_by_the_same(&layout)) {
                    self.turn(&before, valid_after);
                }
                layout
            }
        }
    }

    /// Other HSDirs are responsible; publishers learn of it when their tors do.
    fn turn(&mut self, before: &Layout, valid_after: u64) {
        let lag_secs = self.nodes.iter().flat_map(|node| &node.tors).map(|tor| tor.lag_secs).max();
        self.lasting_fault(lag_secs.unwrap_or_default() * 1000, "other HSDirs are responsible");
        let has_left =
            |relay| self.network.relays.iter().any(|it| it.fingerprint == relay && !it.is_there(valid_after));
        if before.hsdirs().any(|(_, relay)| has_left(relay)) {
            self.see(0, &Sight::HsDirLeaves);
        }
    }
}
