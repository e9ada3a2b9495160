//! Invariant 1: in calm there is exactly one publisher; so there is in every part of a network that has fallen into
//! parts, and one that is not heard, or hears nobody, is replaced by those who hear each other. In a hand-over there are
//! two for a moment.

use rustbalance_core::cluster::Role;

use super::{World, is_settled};
use crate::sim::machine::SimNode;

/// The old holder publishes until it sees the claim of the better priority that it offered the lease to, milliseconds.
const HANDOVER_MS: u64 = 2_000;

#[derive(Default)]
pub(super) struct OnePublisher {
    /// When a hand-over under way must be over.
    due: Option<u64>,
}

impl OnePublisher {
    pub(super) fn check(&mut self, world: &World) -> Result<(), String> {
        let changed = world.changed.roles || world.changed.machines || world.changed.points;
        let is_due = self.due.is_some_and(|due| world.now >= due);
        if !changed && !is_due {
            return Ok(());
        }
        if !is_settled(world) || !is_handed_over(world) {
            self.due = None;
        } else if !is_due {
            self.due.get_or_insert(world.now + HANDOVER_MS);
            return Ok(());
        }
        check(world)
    }
}

/// Whether two publish, the one of better priority under a newer epoch.
fn is_handed_over(world: &World) -> bool {
    let epoch = |role: Role| if let Role::Holder { epoch } = role { Some(epoch) } else { None };
    let holds = |node: &SimNode| epoch(node.role).map(|epoch| (epoch, node.priority_now));
    let mut holders: Vec<_> = world.nodes.iter().filter(|node| node.is_live()).filter_map(holds).collect();
    holders.sort_unstable();
    matches!(holders.as_slice(), [(old, worse), (new, better)] if old < new && better < worse)
}

fn check(world: &World) -> Result<(), String> {
    if !is_settled(world) {
        return Ok(());
    }
    let mut rest: Vec<usize> = (0..world.nodes.len()).filter(|node| world.nodes[*node].is_live()).collect();
    while let Some(first) = rest.first().copied() {
        let both = |a: usize, b: usize| !world.cut.contains(a, b) && !world.cut.contains(b, a);
        let (part, others): (Vec<_>, Vec<_>) = rest.iter().partition(|node| both(first, **node));
        rest = others;
        if world.cut.is_empty() || binds(world, &part) {
            one_of(world, &part)?;
        }
    }
    Ok(())
}

/// Whether `part` is one: all in it talk to each other, and either nobody else talks to it, or it is most of us.
fn binds(world: &World, part: &[usize]) -> bool {
    let others: Vec<_> =
        (0..world.nodes.len()).filter(|node| world.nodes[*node].is_live() && !part.contains(node)).collect();
    let whole = part.iter().all(|a| part.iter().all(|b| !world.cut.contains(*a, *b)));
    let talked_to = others.iter().any(|other| part.iter().any(|node| !world.cut.contains(*other, *node)));
    let members = world.nodes.iter().filter(|node| node.is_member).count();
    // Whom others in `part` hear, and who hears none of them, has one-way links to all of it and to nobody else.
    let clean = others.iter().all(|other| {
        part.iter().all(|node| world.cut.contains(*node, *other))
            || part.iter().all(|node| world.cut.contains(*other, *node))
    });
    whole && clean && (!talked_to || part.len() * 2 > members)
}

fn one_of(world: &World, part: &[usize]) -> Result<(), String> {
    let publishes = |role: Role| matches!(role, Role::Holder { .. } | Role::Alone);
    if part.iter().all(|node| world.nodes[*node].is_pointless() || world.nodes[*node].is_draining) {
        return Ok(()); // Nobody could.
    }
    match part.iter().filter(|node| publishes(world.nodes[**node].role)).count() {
        1 => Ok(()),
        publishers => Err(format!("{publishers} publishers among {} live nodes in calm", part.len())),
    }
}
