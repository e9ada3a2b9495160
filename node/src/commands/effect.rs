//! Waiting until an order has taken effect.

use std::path::Path;
use std::time::{Duration, Instant};

use rustbalance_core::status::Status;

use crate::args::Waiting;
use crate::failure::{Exit, Failure};

/// How often.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// What takes effect on this node alone does so within this time, if its disk is well.
pub const AT_ONCE: Duration = Duration::from_secs(10);

/// Which look it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// There will be others.
    Early,
    /// There is no time for another one.
    Last,
}

/// Looks until there is something, or a failure, or nothing `within` that time. There is always a last look.
///
/// # Errors
/// As `look` says.
pub fn poll<T>(
    within: Duration,
    mut look: impl FnMut(Look) -> Result<Option<T>, Failure>,
) -> Result<Option<T>, Failure> {
    // None if that is for ever.
    let end = Instant::now().checked_add(within);
    loop {
        let which = if end.is_none_or(|end| Instant::now() < end) { Look::Early } else { Look::Last };
        let found = look(which)?;
        if found.is_some() || which == Look::Last {
            return Ok(found);
        }
        std::thread::sleep(ASK_EVERY);
    }
}

/// Asks the node until `look` finds what it looks for.
///
/// # Errors
/// Not `within` that time: the message says that `what` did not come, and what to do.
pub fn wait<T>(dir: &Path, within: Duration, what: &str, look: impl Fn(&Status) -> Option<T>) -> Result<T, Failure> {
    let found = poll(within, |_| Ok(look(&rustbalance_io::status::status(dir)?)))?;
    found.ok_or_else(|| {
        let secs = within.as_secs();
        let text =
            format!("{what} not within {secs} s; it may still come: see `rustbalance status` and the node's log");
        Failure::new(Exit::Runtime, text)
    })
}

/// Waits, if so asked, until every live node knows what the asked one knows: an order that is in force there is in force
/// everywhere. Returns how many nodes that is, itself among them.
///
/// # Errors
/// Not in time.
pub fn everywhere(dir: &Path, waiting: Waiting) -> Result<Option<usize>, Failure> {
    if !waiting.wait {
        return Ok(None);
    }
    let within = Duration::from_secs(waiting.timeout);
    let live = wait(dir, within, "it is in force here, but not known to all live nodes", |status| {
        let live = || status.members.iter().filter(|member| member.liveness == "live").count();
        status.unheard.is_empty().then(live)
    })?;
    Ok(Some(live))
}

/// The end of a sentence that says to how many nodes it is known.
pub fn known(by: Option<usize>) -> String {
    by.map_or_else(String::new, |nodes| format!("; known to all live nodes: {nodes}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_last_look_and_none_after_something_was_found() {
        let mut looks = Vec::new();
        let mut look = |which| {
            looks.push(which);
            Ok((looks.len() == 2).then_some(()))
        };
        assert!(matches!(poll(Duration::ZERO, &mut look), Ok(None)));
        assert!(matches!(poll(AT_ONCE, &mut look), Ok(Some(()))));
        assert_eq!(looks, [Look::Last, Look::Early]);
        assert!(poll(AT_ONCE, |_| Err::<Option<()>, _>(Failure::usage("no"))).is_err());
    }
}
