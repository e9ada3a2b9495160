//! `rustbalance drain` and `rustbalance undrain`.

use std::time::Duration;

use rustbalance_core::status::MemberStatus;
use rustbalance_io::status::Request;

use super::effect;
use crate::args::{Common, Effect};
use crate::failure::Failure;
use crate::output;

/// Has the node serve no new clients.
///
/// # Errors
/// No node runs there, no other one serves, or the plan does not follow in time.
pub fn drain(common: &Common, args: &Effect) -> Result<(), Failure> {
    rustbalance_io::status::order(&common.dir, Request::Drain)?;
    let is_out = |own: &MemberStatus| own.planned_points == 0;
    let own = follow(common, args, "draining", is_out, "its points are to leave the plan:")?;
    let text = match own.planned_points {
        0 => "drained: no new clients come, open sessions go on; `rustbalance undrain` ends it".to_owned(),
        points => format!("draining: {points} of its points are still in the plan; `--wait` waits until none is"),
    };
    print(&own, &text, args)
}

/// Has the node serve again.
///
/// # Errors
/// No node runs there, or the plan does not follow in time.
pub fn undrain(common: &Common, args: &Effect) -> Result<(), Failure> {
    rustbalance_io::status::order(&common.dir, Request::Undrain)?;
    let is_in = |own: &MemberStatus| own.planned_points > 0;
    let own = follow(common, args, "active", is_in, "its points are to come back into the plan:")?;
    let text = match own.planned_points {
        0 => "active: its points come back into the plan as soon as it can serve; `--wait` waits for that".to_owned(),
        points => format!("active: {points} of its points are in the plan"),
    };
    print(&own, &text, args)
}

fn follow(
    common: &Common,
    args: &Effect,
    state: &str,
    is_done: impl Fn(&MemberStatus) -> bool,
    what: &str,
) -> Result<MemberStatus, Failure> {
    let within = if args.wait { Duration::from_secs(args.timeout) } else { effect::AT_ONCE };
    effect::wait(&common.dir, within, what, |status| {
        let own = effect::own(status).filter(|own| own.state == state)?;
        (!args.wait || is_done(own)).then(|| own.clone())
    })
}

fn print(own: &MemberStatus, text: &str, args: &Effect) -> Result<(), Failure> {
    if args.json { output::json(own) } else { output::line(text) }
}
