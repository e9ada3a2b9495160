//! Waiting until an order has taken effect.

use std::path::Path;
use std::time::{Duration, Instant};

use rustbalance_core::status::{MemberStatus, Status};

use crate::failure::{Exit, Failure};

/// How often the node is asked.
pub const ASK_EVERY: Duration = Duration::from_millis(200);
/// What takes effect on this node alone does so within this time, if its disk is well.
pub const AT_ONCE: Duration = Duration::from_secs(10);

/// Asks until `look` finds what it looks for.
///
/// # Errors
/// Not `within` that time: the message says that `what` did not come, and what to do.
pub fn wait<T>(dir: &Path, within: Duration, what: &str, look: impl Fn(&Status) -> Option<T>) -> Result<T, Failure> {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = look(&rustbalance_io::status::status(dir)?) {
            return Ok(found);
        }
        if Instant::now() >= end {
            let secs = within.as_secs();
            let text =
                format!("{what} not within {secs} s; it may still come: see `rustbalance status` and the node's log");
            return Err(Failure::new(Exit::Runtime, text));
        }
        std::thread::sleep(ASK_EVERY);
    }
}

/// The asked node's own line among the members.
pub fn own(status: &Status) -> Option<&MemberStatus> {
    status.members.iter().find(|member| member.node == status.node)
}
