//! `rustbalance step-down`.

use std::time::Duration;

use rustbalance_core::cluster::Order;
use rustbalance_core::status::Status;

use super::{effect, member, order};
use crate::args::{Common, StepDown};
use crate::failure::{Exit, Failure};
use crate::output;

/// Has the publisher hand the lease over, and waits until another node has it.
///
/// # Errors
/// No node runs there, nobody publishes, it refuses, or nobody takes the lease in time.
pub fn step_down(common: &Common, args: &StepDown) -> Result<(), Failure> {
    let status = rustbalance_io::status::status(&common.dir)?;
    let nobody = || Failure::new(Exit::Runtime, "nobody publishes now; see `rustbalance status`");
    let before = status.holder.as_ref().ok_or_else(nobody)?;
    let long = u32::try_from(args.for_.as_secs()).unwrap_or(u32::MAX);
    order::give(&common.dir, Some(before), Order::StepDown(long))?;
    let within = Duration::from_secs(args.waiting.timeout);
    let next = |status: &Status| status.holder.clone().filter(|holder| holder != before);
    let published = |status: &Status| {
        let holder = next(status)?;
        let is_proven = holder != status.node || status.publication.proven;
        let new = order::line(status, &holder).filter(|_| !args.waiting.wait || is_proven)?;
        Some((member::name(new).to_owned(), status.epoch))
    };
    let left = |status: &Status| {
        let what =
            if next(status).is_some() { "what it publishes is not proven yet" } else { "nobody has the lease yet" };
        Some(what.to_owned())
    };
    let (name, epoch) = effect::wait_telling(&common.dir, within, "another node is to publish:", published, left)?;
    if args.json {
        return output::json(&serde_json::json!({ "stepped_down": before, "publisher": name, "epoch": epoch }));
    }
    let secs = args.for_.as_secs();
    output::line(&format!("{name} publishes, epoch {epoch}; who did before comes last for {secs} s"))
}
