//! Invariant 1: in calm there is exactly one publisher; so there is in every part of a network that has fallen into
//! parts, and one that is not heard, or hears nobody, is replaced by those who hear each other.

use rustbalance_core::cluster::Role;

use super::{World, is_settled};

pub(super) fn check(world: &World) -> Result<(), String> {
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
    if part.iter().all(|node| world.nodes[*node].tor.points.is_empty()) {
        return Ok(()); // Nobody could.
    }
    match part.iter().filter(|node| publishes(world.nodes[**node].role)).count() {
        1 => Ok(()),
        publishers => Err(format!("{publishers} publishers among {} live nodes in calm", part.len())),
    }
}
