//! Invariant 5: counters on an HSDir grow (the model refuses others) and never run ahead of true time by over 5 s.

use std::collections::BTreeMap;

use rustbalance_core::onion::period::{Slot, TimePeriod};
use rustbalance_core::onion::revision::RevisionCipher;
use rustbalance_core::time::ValidAfter;

use super::World;
use crate::sim::network::TorNetwork;

/// How far ahead an honest publisher's clock may be, seconds.
const AHEAD_SECS_MAX: u64 = 5;

#[derive(Default)]
pub(super) struct Counters {
    seen: u64,
    ciphers: BTreeMap<TimePeriod, RevisionCipher>,
}

impl Counters {
    pub(super) fn check(&mut self, world: &mut World) -> Result<(), String> {
        if self.seen == world.hsdirs.accepted {
            return Ok(());
        }
        self.seen = world.hsdirs.accepted;
        let now = world.wall().as_secs();
        let ring = world.network.ring(now);
        let at = ValidAfter::from_secs(TorNetwork::valid_after(now));
        for slot in [Slot::First, Slot::Second] {
            let period = ring.slot_period(slot);
            let blind = world.master().blind(period);
            let cipher = self.ciphers.entry(period).or_insert_with(|| RevisionCipher::new(&blind));
            let limit = now + AHEAD_SECS_MAX - ring.params().counter_origin(at, slot) + 1;
            let limit = cipher.counter(u32::try_from(limit).expect("within two days")).expect("in range");
            for relay in ring.responsible(slot, blind.public()).store {
                if let Some(stored) = world.hsdirs.get(relay, blind.public())
                    && stored.revision > limit
                {
                    return Err(format!("a counter on {relay} is more than {AHEAD_SECS_MAX} s ahead of true time"));
                }
            }
        }
        Ok(())
    }
}
