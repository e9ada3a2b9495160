//! `rustbalance drain` and `rustbalance undrain`.

use std::time::Duration;

use rustbalance_core::cluster::Order;
use rustbalance_core::status::{MemberStatus, Status};
use serde::Serialize;

use super::{effect, member, order};
use crate::args::{Common, Effect};
use crate::failure::Failure;
use crate::output;

/// Has a node serve no new clients.
///
/// # Errors
/// No node runs there, the order is refused, or the plan does not follow in time.
pub fn drain(common: &Common, args: &Effect) -> Result<(), Failure> {
    let is_out = |status: &Status, of: &MemberStatus| {
        // What its circuits do is known at the node itself alone.
        of.planned_points == 0 && (of.node != status.node || status.presence == "out")
    };
    let (of, sessions) = follow(common, args, Order::Drain, "draining", is_out, "its points are to leave the plan:")?;
    let name = member::name(&of);
    let text = match (of.planned_points, sessions) {
        (0, None) => format!("{name}: drained: no new clients come, open sessions go on; `undrain` ends it"),
        (0, Some(open)) => format!("{name}: drained: no new clients come, {open} sessions go on; `undrain` ends it"),
        (points, _) => {
            format!("{name}: draining: {points} of its points are still in the plan; `--wait` waits until none is")
        }
    };
    print(&of, sessions, &text, args)
}

/// Has a node serve again.
///
/// # Errors
/// No node runs there, the order is refused, or the plan does not follow in time.
pub fn undrain(common: &Common, args: &Effect) -> Result<(), Failure> {
    let is_in = |_: &Status, of: &MemberStatus| of.planned_points > 0;
    let what = "its points are to come back into the plan:";
    let (of, sessions) = follow(common, args, Order::Undrain, "active", is_in, what)?;
    let name = member::name(&of);
    let text = match of.planned_points {
        0 => format!("{name}: active: its points come back as soon as it can serve; `--wait` waits for that"),
        points => format!("{name}: active: {points} of its points are in the plan"),
    };
    print(&of, sessions, &text, args)
}

/// The node's line when the order has taken effect, and how many sessions are open there if that is known here.
fn follow(
    common: &Common,
    args: &Effect,
    order: Order,
    state: &str,
    is_done: impl Fn(&Status, &MemberStatus) -> bool,
    what: &str,
) -> Result<(MemberStatus, Option<usize>), Failure> {
    let node = order::give(&common.dir, args.node.as_deref(), order)?;
    let within = if args.waiting.wait { Duration::from_secs(args.waiting.timeout) } else { effect::AT_ONCE };
    let look = |status: &Status| {
        let of = order::line(status, &node).filter(|of| of.state == state)?;
        (!args.waiting.wait || is_done(status, of) && is_published(status)).then(|| (of.clone(), sessions(status, of)))
    };
    effect::wait_telling(&common.dir, within, what, look, |status| left(status, &node))
}

/// Whether the plan is what clients find: the publisher counts the points of the one that it is about to publish, others
/// those of the last one that was proven.
fn is_published(status: &Status) -> bool {
    status.role != "holder" || status.publication.proven
}

/// How many are open there: each node knows its own alone.
fn sessions(status: &Status, of: &MemberStatus) -> Option<usize> {
    (of.node == status.node).then_some(status.sessions)
}

/// How far a node is, as far as that is known here.
fn left(status: &Status, node: &str) -> Option<String> {
    let of = order::line(status, node)?;
    let (name, points) = (member::name(of), of.planned_points);
    let there = sessions(status, of).map(|open| format!(", {}, {open} sessions open", status.presence));
    Some(format!("{name}: {}, {points} of its points in the plan{}", of.state, there.unwrap_or_default()))
}

/// `--json`.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    member: &'a MemberStatus,
    /// Open ones; none if the node is another one, which alone knows.
    sessions: Option<usize>,
}

fn print(member: &MemberStatus, sessions: Option<usize>, text: &str, args: &Effect) -> Result<(), Failure> {
    if args.json { output::json(&Shown { member, sessions }) } else { output::line(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_node_is_names_what_is_known_of_it_where_it_is_asked() {
        let member = serde_json::json!({
            "node": "0c".repeat(32), "name": "web1", "liveness": "live", "since_ms": 0, "state": "draining",
            "priority": 0, "weight": 0, "introduction_points": 3, "planned_points": 2, "tor_ready": true, "target_up": true,
        });
        let member: MemberStatus = serde_json::from_value(member).expect("a member");
        let node = member.node.clone();
        let presence = "going out".to_owned();
        let mut status = Status { members: vec![member.clone()], sessions: 5, presence, ..Status::default() };
        assert_eq!(left(&status, &node).as_deref(), Some("web1: draining, 2 of its points in the plan"));
        assert_eq!(sessions(&status, &member), None);
        assert!(is_published(&status));
        status.role = "holder".to_owned();
        assert!(!is_published(&status));
        status.publication.proven = true;
        assert!(is_published(&status));
        status.node.clone_from(&node);
        let here = "web1: draining, 2 of its points in the plan, going out, 5 sessions open";
        assert_eq!(left(&status, &node).as_deref(), Some(here));
        let shown = Shown { member: &member, sessions: sessions(&status, &member) };
        let shown = serde_json::to_value(&shown).expect("JSON");
        assert_eq!((&shown["name"], &shown["sessions"]), (&"web1".into(), &5.into()));
    }
}
