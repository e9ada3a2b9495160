//! What happened in a run, kept cheaply, to be drawn.

use rustbalance_core::TargetHealth;
use rustbalance_core::cluster::Role;

use super::machine::SimNode;
use super::witness::Sight;
use super::world::World;

/// Uploads of one node this close together are one publication, milliseconds.
const PUBLICATION_MS: u64 = 1_000;
/// Clients' visits are counted over this long, milliseconds.
const VISITS_MS: u64 = 1_000;
/// Nothing more is kept of a run so long that nobody could look at it.
const KEPT_MAX: usize = 20_000;

/// How a machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Not running.
    Off,
    /// Running without an introduction point.
    Starting,
    /// It has introduction points and can serve.
    Serving,
    /// It has introduction points, and the operator's application does not answer.
    TargetDown,
    /// It could serve, and its operator has taken it out of service.
    Drained,
    /// Its tor stands still, and it does not.
    TorFrozen,
    /// It stands still.
    Frozen,
}

/// Successive states of one machine, each with its beginning, milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    /// How it did.
    pub health: Vec<(u64, Health)>,
    /// Its role.
    pub roles: Vec<(u64, Role)>,
}

/// Uploads of one node in one go.
#[derive(Clone, Copy, Debug)]
pub struct Publication {
    /// Who.
    pub node: usize,
    /// First upload, milliseconds.
    pub from: u64,
    /// Last one.
    pub until: u64,
    /// Uploads taken.
    pub taken: u32,
    /// Uploads refused.
    pub refused: u32,
}

/// The run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// One per machine.
    pub lanes: Vec<Lane>,
    /// What befell the world, in words.
    pub notes: Vec<(u64, String)>,
    /// Uploads.
    pub publications: Vec<Publication>,
    /// Spans in which clients failed: their end, milliseconds, and how many.
    pub failures: Vec<(u64, u64)>,
    failures_until: (u64, u64),
    /// Something befell the world then, and what it made of the machines is still to be looked at.
    befell: Option<u64>,
}

impl Health {
    fn of(node: &SimNode) -> Self {
        match node.core {
            None => Self::Off,
            Some(_) if node.is_frozen => Self::Frozen,
            Some(_) if node.is_tor_frozen => Self::TorFrozen,
            Some(_) if node.is_pointless() => Self::Starting,
            Some(_) if node.target == TargetHealth::Down => Self::TargetDown,
            Some(_) if node.is_draining => Self::Drained,
            Some(_) => Self::Serving,
        }
    }
}

impl History {
    pub(super) fn see(&mut self, world: &World, index: usize, sight: &Sight<'_>) {
        self.count_failures(world);
        if let Some(at) = self.befell.take() {
            (0..world.nodes.len()).for_each(|node| self.look_at(world, node, at));
        }
        match sight {
            Sight::Befell(what) => {
                keep(&mut self.notes, (world.now, (*what).to_owned()));
                self.befell = Some(world.now);
            }
            Sight::Uploads(upload) => self.publish(world.now, index, upload.points.is_some()),
            Sight::Says(_) => self.look_at(world, index, world.now),
            Sight::Stops(_)
            | Sight::Strikes(_)
            | Sight::Rejects(_)
            | Sight::Sends { .. }
            | Sight::Posts { .. }
            | Sight::Fetches
            | Sight::IsTooLong
            | Sight::BreaksOff
            | Sight::HsDirLeaves => {}
        }
    }

    fn count_failures(&mut self, world: &World) {
        let (at, before) = self.failures_until;
        if world.now >= at {
            let failures = world.clients.statistics.client_failures;
            if failures > before {
                keep(&mut self.failures, (world.now, failures - before));
            }
            self.failures_until = (world.now + VISITS_MS, failures);
        }
    }

    fn look_at(&mut self, world: &World, index: usize, at: u64) {
        self.lanes.resize(world.nodes.len().max(self.lanes.len()), Lane::default());
        let (lane, node) = (&mut self.lanes[index], &world.nodes[index]);
        change(&mut lane.health, at, Health::of(node));
        change(&mut lane.roles, at, if node.core.is_some() { node.role } else { Role::Follower });
    }

    fn publish(&mut self, now: u64, node: usize, is_taken: bool) {
        let last = self.publications.iter_mut().rev().take(8).find(|last| last.node == node);
        let (taken, refused) = (u32::from(is_taken), u32::from(!is_taken));
        match last.filter(|last| now < last.until + PUBLICATION_MS) {
            Some(last) => (last.until, last.taken, last.refused) = (now, last.taken + taken, last.refused + refused),
            None => keep(&mut self.publications, Publication { node, from: now, until: now, taken, refused }),
        }
    }
}

fn keep<T>(list: &mut Vec<T>, item: T) {
    if list.len() < KEPT_MAX {
        list.push(item);
    }
}

/// What lasted no time at all is forgotten.
fn change<T: PartialEq>(list: &mut Vec<(u64, T)>, now: u64, state: T) {
    if list.last().is_some_and(|(at, _)| *at == now) {
        list.pop();
    }
    if list.last().is_none_or(|(_, last)| *last != state) {
        keep(list, (now, state));
    }
}
