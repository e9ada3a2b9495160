//! Times of a run. But for two, [`Measured::healed_ms`] and [`Measured::released_ms`], each is ended by what the HSDirs
//! hold and not by what a node believes.

use serde::Serialize;

use super::world::World;

/// Times in milliseconds, and counts.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measured {
    /// From the end of a publisher until every HSDir of both slots held the survivors' plan.
    pub takeovers_ms: Vec<u64>,
    /// From the end of any node until no HSDir of either slot listed its points.
    pub excluded_ms: Vec<u64>,
    /// From healing until there was one publisher: one node that takes itself for it. What the HSDirs hold changes with
    /// its first upload after that, which may wait for half a minute, as rivals upload so seldom.
    pub healed_ms: Vec<u64>,
    /// From an orderly stop of the publisher until another one took itself for the publisher.
    pub released_ms: Vec<u64>,
    /// From an orderly stop of the publisher until no HSDir of either slot listed its points: the others' plan is
    /// there.
    pub graceful_ms: Vec<u64>,
    /// From a start of all nodes at once until all were published.
    pub started_ms: Vec<u64>,
    /// Leases lost by a publisher that lived and was within reach.
    pub false_takeovers: u64,
}

impl Measured {
    /// Takes over what another run measured.
    pub fn add(&mut self, other: &Self) {
        let Self { takeovers_ms, excluded_ms, healed_ms, released_ms, graceful_ms, started_ms, false_takeovers } = self;
        takeovers_ms.extend(&other.takeovers_ms);
        excluded_ms.extend(&other.excluded_ms);
        healed_ms.extend(&other.healed_ms);
        released_ms.extend(&other.released_ms);
        graceful_ms.extend(&other.graceful_ms);
        started_ms.extend(&other.started_ms);
        *false_takeovers += other.false_takeovers;
    }
}

/// Keys of the points that a machine's tors have.
pub fn points_of(world: &World, node: usize) -> Vec<[u8; 32]> {
    world.nodes[node].points().map(|point| point.auth_key).collect()
}

/// Whether an HSDir of either slot, of those that can be reached, lists one of `points`.
pub fn is_listed(world: &mut World, points: &[[u8; 32]]) -> bool {
    let (layout, now) = (world.layout(), world.now);
    let reached = layout.hsdirs().filter(|(_, relay)| !world.hsdirs.is_ill(*relay, now));
    let mut stored = reached.filter_map(|(slot, relay)| world.hsdirs.get(relay, slot.blind));
    stored.any(|stored| points.iter().any(|point| stored.points.contains(point)))
}
