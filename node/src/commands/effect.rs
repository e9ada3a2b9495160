//! Waiting until an order has taken effect.

use std::path::Path;
use std::time::{Duration, Instant};

use rustbalance_core::status::Status;

use crate::args::Waiting;
use crate::failure::{Exit, Failure};
use crate::output;

/// How often.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How soon something is said of what is left, and at most how often.
const TELL_EVERY: Duration = Duration::from_secs(2);
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
    wait_telling(dir, within, what, look, |_| None)
}

/// The same, telling whoever watches what `left` says is left.
///
/// # Errors
/// As for [`wait`].
pub fn wait_telling<T>(
    dir: &Path,
    within: Duration,
    what: &str,
    look: impl Fn(&Status) -> Option<T>,
    left: impl Fn(&Status) -> Option<String>,
) -> Result<T, Failure> {
    let (begun, mut progress) = (Instant::now(), Progress::default());
    let found = poll(within, |_| {
        let status = rustbalance_io::status::status(dir)?;
        let found = look(&status);
        let line = left(&status).filter(|_| found.is_none()).and_then(|left| progress.line(begun.elapsed(), left));
        if let Some(line) = line {
            output::note(&line);
        }
        Ok(found)
    })?;
    found.ok_or_else(|| {
        let secs = within.as_secs();
        let text =
            format!("{what} not within {secs} s; it may still come: see `rustbalance status` and the node's log");
        Failure::new(Exit::Runtime, text)
    })
}

/// What was told of something that takes its time.
#[derive(Default)]
struct Progress {
    told_at: Duration,
    told: String,
}

impl Progress {
    /// The line to be told now, so long after the beginning, if what is left is not what was told last.
    fn line(&mut self, after: Duration, left: String) -> Option<String> {
        if left == self.told || after.saturating_sub(self.told_at) < TELL_EVERY {
            return None;
        }
        let line = format!("{left} (after {} s)", after.as_secs());
        (self.told_at, self.told) = (after, left);
        Some(line)
    }
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
    let all = |status: &Status| {
        let live = || status.members.iter().filter(|member| member.liveness == "live").count();
        status.unheard.is_empty().then(live)
    };
    let left =
        |status: &Status| Some(format!("{} live nodes have not said yet that they know it", status.unheard.len()));
    wait_telling(dir, within, "it is in force here, but not known to all live nodes", all, left).map(Some)
}

/// The end of a sentence that says to how many nodes it is known.
pub fn known(by: Option<usize>) -> String {
    by.map_or_else(String::new, |nodes| format!("; known to all live nodes: {nodes}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_when_it_changes_and_no_more_often_than_every_two_seconds() {
        let mut progress = Progress::default();
        let told = [(0, "3"), (1, "3"), (2, "3"), (3, "2"), (4, "1"), (9, "1"), (10, "0")]
            .map(|(secs, left)| progress.line(Duration::from_secs(secs), left.to_owned()));
        let line = |text: &str| Some(text.to_owned());
        let (first, second, last) = (line("3 (after 2 s)"), line("1 (after 4 s)"), line("0 (after 10 s)"));
        assert_eq!(told, [None, None, first, None, second, None, last]);
    }

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
