//! The invariants of DESIGN section 4, one file each; every checker looks at the world after every step.

mod bounds;
mod counters;
mod dead_points;
mod epochs;
mod native;
mod never_poorer;
mod one_publisher;
pub mod plan_complete;

use super::world::World;

/// "Calm" means no fault for this long, milliseconds: everything must have converged.
/// A takeover takes 6 s at most, a restarted node listens for 4.25 s first, and uploads take their time.
pub const CONVERGE_MS: u64 = 12_000;

/// All checkers with their memory.
#[derive(Default)]
pub struct Checks {
    bounds: bounds::Bounds,
    counters: counters::Counters,
    plan_complete: plan_complete::PlanComplete,
}

impl Checks {
    /// The first violation found.
    pub fn after_step(&mut self, world: &mut World) -> Result<(), String> {
        one_publisher::check(world)?;
        native::check(world)?;
        epochs::check(world)?;
        never_poorer::check(world)?;
        self.bounds.check(world)?;
        self.counters.check(world)?;
        dead_points::check(world)?;
        self.plan_complete.check(world)
    }
}

/// True if the living are at least half of the members: fewer keep what a majority they cannot see may have published.
fn is_majority_live(world: &World) -> bool {
    let members = world.nodes.iter().filter(|node| node.is_member);
    let live = world.nodes.iter().filter(|node| node.is_member && node.is_live()).count();
    live * 2 >= members.count()
}

/// True if all live nodes can talk to each other and nothing has happened to the world for [`CONVERGE_MS`].
fn is_calm(world: &World) -> bool {
    !world.turmoil && world.cut.is_empty() && world.now >= world.calm_since + CONVERGE_MS
}
