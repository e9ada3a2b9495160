//! `rustbalance pause` and `rustbalance resume`.

use rustbalance_io::status::Request;

use super::effect;
use crate::args::{Change, Common, Pause};
use crate::failure::Failure;
use crate::output;

/// Has the cluster take nobody out for being down or unwell.
///
/// # Errors
/// No node runs there, or it refuses.
pub fn pause(common: &Common, args: &Pause) -> Result<(), Failure> {
    let secs = u32::try_from(args.for_.as_secs()).unwrap_or(u32::MAX);
    rustbalance_io::status::order(&common.dir, Request::Pause { secs })?;
    let left_ms = effect::wait(&common.dir, effect::AT_ONCE, "the pause is in force", |status| {
        status.paused.as_ref().map(|paused| paused.left_ms)
    })?;
    let known = effect::everywhere(&common.dir, args.waiting)?;
    if args.json {
        return output::json(&serde_json::json!({ "paused": true, "left_ms": left_ms }));
    }
    let minutes = left_ms.div_ceil(60_000);
    let known = effect::known(known);
    output::line(&format!("paused for {minutes} min; `rustbalance resume` ends it before{known}"))
}

/// Ends the pause.
///
/// # Errors
/// No node runs there, or it refuses.
pub fn resume(common: &Common, args: &Change) -> Result<(), Failure> {
    rustbalance_io::status::order(&common.dir, Request::Pause { secs: 0 })?;
    effect::wait(&common.dir, effect::AT_ONCE, "the pause is over", |status| status.paused.is_none().then_some(()))?;
    let known = effect::everywhere(&common.dir, args.waiting)?;
    if args.json {
        return output::json(&serde_json::json!({ "paused": false }));
    }
    let known = effect::known(known);
    output::line(&format!("the cluster is not paused: who is down or unwell is taken out of the descriptor{known}"))
}
