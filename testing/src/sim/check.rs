//! The promises of `docs/RELIABILITY.md`, one file each. After every step each looks at what has changed, and when calm
//! begins, which is when most of them begin to bind, at everything.

mod better_priority;
mod bounds;
mod clients;
mod counters;
mod dead_points;
mod epochs;
mod kept_out;
mod lost_copies;
mod membership;
mod native;
mod never_poorer;
mod one_publisher;
pub mod plan_complete;
mod poisoned;
mod spread;
mod stale_build;
mod steady;
mod takeovers;

pub(super) use self::never_poorer::is_minority;
use super::layout::Layout;
use super::world::{Changes, World};

/// "Calm" means no fault for this long, milliseconds: everything must have converged.
/// A takeover takes 6 s at most, a restarted node listens for 4.25 s first, and uploads take their time.
pub const CONVERGE_MS: u64 = 12_000;

/// Who is out is looked at so often at least, milliseconds.
const KEPT_OUT_EVERY_MS: u64 = 1_000;

/// All checkers with their memory.
#[derive(Default)]
pub struct Checks {
    calm: bool,
    calm_at: u64,
    settled: bool,
    published: bool,
    kept_out_due: u64,
    better_priority: better_priority::BetterPriority,
    bounds: bounds::Bounds,
    one_publisher: one_publisher::OnePublisher,
    dead_points: dead_points::DeadPoints,
    lost_copies: lost_copies::LostCopies,
    never_poorer: never_poorer::NeverPoorer,
    stale_build: stale_build::StaleBuild,
    takeovers: takeovers::Takeovers,
}

impl Checks {
    /// The first violation found.
    pub fn after_step(&mut self, world: &mut World) -> Result<(), String> {
        let layout = world.layout();
        let (calm, settled) = (is_calm(world), is_settled(world));
        let published = calm && world.now >= world.rivals_until;
        if (calm && !self.calm) || (settled && !self.settled) || (published && !self.published) {
            world.changed = Changes { sender: world.changed.sender, ..Changes::ALL };
        }
        if settled && !self.settled {
            world.nodes.iter_mut().for_each(|node| node.was_ahead_ms = 0);
        }
        if calm && !self.calm {
            self.calm_at = world.now;
        }
        (self.calm, self.settled, self.published) = (calm, settled, published);
        self.never(world)?;
        self.in_time(world, &layout).inspect_err(|_| world.is_late = true)
    }

    /// What must never happen.
    fn never(&mut self, world: &mut World) -> Result<(), String> {
        let changed = world.changed;
        self.bounds.check(world)?;
        self.takeovers.check(world)?;
        if changed.roles {
            epochs::check(world)?;
        }
        if changed.native || changed.machines {
            native::check(world)?;
        }
        if let Some(taken) = world.taken.take() {
            counters::check(world, &taken)?;
            self.never_poorer.check(world, &taken)?;
        }
        self.never_poorer.look_again(world)?;
        self.stale_build.check(world)
    }

    /// What must have come about in calm.
    fn in_time(&mut self, world: &mut World, layout: &Layout) -> Result<(), String> {
        let changed = world.changed;
        self.one_publisher.check(world)?;
        self.better_priority.check(world)?;
        self.dead_points.check(world, layout)?;
        if self.calm {
            poisoned::check(world, layout, self.calm_at)?;
            self.lost_copies.check(world, layout, self.calm_at)?;
        }
        if self.calm && (changed.everything || changed.machines) {
            membership::check(world)?;
        }
        clients::check(world)?;
        if self.calm && (changed.points || changed.everything || world.now >= self.kept_out_due) {
            self.kept_out_due = world.now + KEPT_OUT_EVERY_MS;
            kept_out::check(world)?;
        }
        if self.published && (changed.stored || changed.machines || changed.points) {
            plan_complete::missing(world).map_or(Ok(()), Err)?;
        }
        Ok(())
    }
}

/// True if the living are at least half of the members: fewer keep what a majority they cannot see may have published.
fn is_majority_live(world: &World) -> bool {
    let members = world.nodes.iter().filter(|node| node.is_member);
    let live = world.nodes.iter().filter(|node| node.is_member && node.is_live()).count();
    live * 2 >= members.count()
}

/// True if nothing has happened to the world for [`CONVERGE_MS`].
fn is_settled(world: &World) -> bool {
    !world.turmoil && world.now >= world.calm_since + CONVERGE_MS
}

/// True if besides all live nodes can talk to each other, no publisher has a rival, and that has been so since `at`.
pub(super) fn is_calm_since(world: &World, at: u64) -> bool {
    is_calm(world) && at >= (world.calm_since + CONVERGE_MS).max(world.rivals_until)
}

/// True if besides all live nodes can talk to each other.
pub(super) fn is_calm(world: &World) -> bool {
    is_settled(world) && world.cut.is_empty()
}
