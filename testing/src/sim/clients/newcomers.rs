//! Many new clients at one instant: how they fall on the machines.

use super::Clients;
use crate::sim::world::World;

impl Clients {
    /// To how many of `count` new clients, all of whom come now, each machine is the first that they are introduced to.
    /// Those who find no descriptor or no machine are not among them.
    pub fn newcomers(world: &mut World, count: u64) -> Vec<u64> {
        let (layout, at) = (world.layout(), world.now);
        let mut clients = core::mem::replace(&mut world.clients, Self::new(0));
        let mut met = vec![0; world.nodes.len()];
        for _ in 0..count {
            let slot = layout.current();
            let stored = clients.pick(&slot.fetch).and_then(|relay| world.hsdirs.get(relay, slot.blind));
            let text = stored.map(|stored| stored.text.clone());
            let listed = text.and_then(|text| clients.decode(world, at, slot.period, text));
            let point = listed.and_then(|listed| clients.pick(&listed));
            let has = |key: [u8; 32]| world.nodes.iter().position(|node| node.has_point(key));
            if let Some(machine) = point.and_then(|point| has(point.key)) {
                met[machine] += 1;
            }
        }
        world.clients = clients;
        met
    }
}
