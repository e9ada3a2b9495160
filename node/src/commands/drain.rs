//! `rustbalance drain` and `rustbalance undrain`.

use std::time::Duration;

use rustbalance_core::cluster::Order;
use rustbalance_core::status::{MemberStatus, Status};

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
    print(&of, &text, args)
}

/// Has a node serve again.
///
/// # Errors
/// No node runs there, the order is refused, or the plan does not follow in time.
pub fn undrain(common: &Common, args: &Effect) -> Result<(), Failure> {
    let is_in = |_: &Status, of: &MemberStatus| of.planned_points > 0;
    let what = "its points are to come back into the plan:";
    let (of, _) = follow(common, args, Order::Undrain, "active", is_in, what)?;
    let name = member::name(&of);
    let text = match of.planned_points {
        0 => format!("{name}: active: its points come back as soon as it can serve; `--wait` waits for that"),
        points => format!("{name}: active: {points} of its points are in the plan"),
    };
    print(&of, &text, args)
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
    effect::wait(&common.dir, within, what, |status| {
        let of = order::line(status, &node).filter(|of| of.state == state)?;
        let sessions = (of.node == status.node).then_some(status.sessions);
        (!args.waiting.wait || is_done(status, of)).then(|| (of.clone(), sessions))
    })
}

fn print(of: &MemberStatus, text: &str, args: &Effect) -> Result<(), Failure> {
    if args.json { output::json(of) } else { output::line(text) }
}
