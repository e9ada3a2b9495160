//! Orders for one node, given at any.

use std::path::Path;
use std::time::Duration;

use rustbalance_core::cluster::Order;
use rustbalance_core::status::{MemberStatus, Status};
use rustbalance_io::status::Request;

use super::{effect, member};
use crate::args::{Common, Share};
use crate::failure::{Exit, Failure};
use crate::output;

/// The node that was asked gives up on another after 10 s.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

/// Has a node follow an order, the running one if none is named, and returns its node id once it has obeyed and a restart
/// would not undo that.
///
/// # Errors
/// No node runs there; the name fits none or several members; it refuses, does not answer, or nobody hears it.
pub fn give(dir: &Path, whom: Option<&str>, order: Order) -> Result<String, Failure> {
    let status = rustbalance_io::status::status(dir)?;
    let member = whom.map(|name| member::find(&status, name)).transpose()?;
    let other = member.filter(|member| member.node != status.node);
    let node = other.map(member::id).transpose()?;
    rustbalance_io::status::order(dir, Request::Order { node, order })?;
    let Some(other) = other else {
        effect::wait(dir, effect::AT_ONCE, "the order is obeyed, but on this node's disk", |status| {
            status.unsaved.is_empty().then_some(())
        })?;
        return Ok(status.node);
    };
    let what = format!("{} answers", member::name(other));
    let answer = effect::wait(dir, ANSWERED_WITHIN, &what, |status| {
        let given = status.orders.iter().find(|given| given.node == other.node)?;
        (given.state != "sent").then(|| given.why.clone())
    })?;
    match answer {
        Some(why) => Err(Failure::new(Exit::Runtime, format!("{}: {why}", member::name(other)))),
        None => Ok(other.node.clone()),
    }
}

/// The member's line, once the asked node has heard from it what `is_so` looks for.
///
/// # Errors
/// It does not in time.
pub fn heard(dir: &Path, node: &str, is_so: impl Fn(&MemberStatus) -> bool) -> Result<MemberStatus, Failure> {
    effect::wait(dir, effect::AT_ONCE, "its record is known here", |status| {
        line(status, node).filter(|member| is_so(member)).cloned()
    })
}

/// A member's line.
pub fn line<'a>(status: &'a Status, node: &str) -> Option<&'a MemberStatus> {
    status.members.iter().find(|member| member.node == node)
}

/// `rustbalance weight`.
///
/// # Errors
/// See [`give`].
pub fn weight(common: &Common, args: &Share<u16>) -> Result<(), Failure> {
    share(common, args, Order::Weight(args.value.0), |member| member.weight)
}

/// `rustbalance priority`.
///
/// # Errors
/// See [`give`].
pub fn priority(common: &Common, args: &Share<u8>) -> Result<(), Failure> {
    share(common, args, Order::Priority(args.value.0), |member| member.priority)
}

fn share<T>(common: &Common, args: &Share<T>, order: Order, of: impl Fn(&MemberStatus) -> T) -> Result<(), Failure>
where
    T: Copy + PartialEq + std::fmt::Display + Send + Sync + std::str::FromStr + 'static,
{
    let node = give(&common.dir, Some(&args.node), order)?;
    let member = heard(&common.dir, &node, |member| args.value.0.is_none_or(|wanted| of(member) == wanted))?;
    let known = effect::known(effect::everywhere(&common.dir, args.waiting)?);
    if args.json {
        return output::json(&member);
    }
    let lasts = match args.value.0 {
        Some(_) => "over restarts, until `default` is ordered",
        None => "as its configuration says",
    };
    let (name, weight, priority) = (member::name(&member), member.weight, member.priority);
    output::line(&format!("{name}: weight {weight}, priority {priority}; {lasts}{known}"))
}
