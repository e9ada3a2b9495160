//! What a status must say for the tests to go on. Each fact answers `Err` with the reason why it does not hold.

use std::collections::BTreeSet;

use rustbalance_core::status::{PlannedPoint, Status};

/// A fact about a status: `Err` says why it does not hold yet.
pub type Fact = Result<(), String>;

/// Says of itself that it publishes a merged descriptor.
pub fn is_publisher(status: &Status) -> bool {
    status.role == "holder"
}

/// A node by itself, whose tor publishes.
pub fn alone_and_native(status: &Status) -> Fact {
    expect(status.role == "alone" && status.mode == "native", || format!("{} and {}", status.role, status.mode))
}

/// Every member in `nodes` is live, has introduction points, and all of them are in the plan or named as left out; nobody
/// else has any there.
pub fn has_points_of(status: &Status, nodes: &[&str]) -> Fact {
    expect(status.mode == "merged", || format!("mode is {}", status.mode))?;
    let publication = &status.publication;
    for name in nodes {
        let member = status.members.iter().find(|member| member.name == *name);
        let member = member.ok_or_else(|| format!("{name} is no member"))?;
        expect(member.liveness == "live", || format!("{name} is {}", member.liveness))?;
        expect(member.introduction_points >= 3, || format!("{name} has {} points", member.introduction_points))?;
        expect(member.planned_points > 0, || format!("no point of {name} is in the plan"))?;
    }
    let (have, planned) = status.members.iter().fold((0, 0), |(have, planned), member| {
        let named = nodes.contains(&member.name.as_str());
        (have + if named { member.introduction_points } else { 0 }, planned + member.planned_points)
    });
    let missing = have.saturating_sub(publication.left_out.len());
    expect(planned >= missing, || format!("{planned} of {have} points planned, left out: {:?}", publication.left_out))?;
    let known: BTreeSet<_> = status
        .members
        .iter()
        .filter(|member| nodes.contains(&member.name.as_str()))
        .map(|member| &member.node)
        .collect();
    let strange = publication.points.iter().find(|point| !known.contains(&point.node));
    expect(strange.is_none(), || format!("a point of another node is in the plan: {strange:?}"))
}

/// Every HSDir of both slots has confirmed the plan, the last one within `since_ms`.
pub fn is_confirmed(status: &Status, since_ms: u64) -> Fact {
    let publication = &status.publication;
    let waiting = || format!("nothing is uploaded: {}", publication.waiting.as_deref().unwrap_or_default());
    expect(publication.waiting.is_none(), waiting)?;
    expect(publication.slots.len() == 2, || format!("{} slots", publication.slots.len()))?;
    for slot in &publication.slots {
        expect(!slot.hsdirs.is_empty(), || format!("no HSDirs in the {} slot", slot.slot))?;
        for hsdir in &slot.hsdirs {
            let fresh = hsdir.confirmed_ms.is_some_and(|age| age <= since_ms);
            expect(["confirmed", "verified"].contains(&hsdir.state.as_str()) && fresh, || {
                format!(
                    "{} slot, {}: {} {:?} {:?}",
                    slot.slot, hsdir.relay, hsdir.state, hsdir.confirmed_ms, hsdir.failure
                )
            })?;
        }
    }
    expect(publication.confirmed, || "the plan is not confirmed".into())
}

/// The plan's points of the node with the id `node`, as auth keys in hex.
pub fn points_of(points: &[PlannedPoint], node: &str) -> BTreeSet<String> {
    points.iter().filter(|point| point.node == node).map(|point| point.auth_key.clone()).collect()
}

fn expect(holds: bool, why_not: impl FnOnce() -> String) -> Fact {
    if holds { Ok(()) } else { Err(why_not()) }
}
