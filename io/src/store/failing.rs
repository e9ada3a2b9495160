//! A disk that fails at a chosen [step](super::step), for the tests of this thread.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write as _};

use rustix::io::Errno;

/// What a failing step says.
pub(crate) const WHY: &str = "No space left on device";

/// How a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One step does nothing.
    Once,
    /// A write puts half of its bytes there; any other step does nothing.
    Half,
    /// Neither that step nor any after it does anything: a disk that has gone, or a process that was killed.
    Dead,
}

/// The step that fails next, and how; `usize::MAX`: it was there.
type Plan = (usize, Way);

thread_local! {
    static PLAN: Cell<Option<Plan>> = const { Cell::new(None) };
    static STRUCK: Cell<bool> = const { Cell::new(false) };
    static IS_ROUND: Cell<bool> = const { Cell::new(false) };
}

/// One round: a disk that fails at one step.
pub(crate) struct Trouble(Plan);

impl Trouble {
    /// Whether the disk is well again as soon as the step has failed.
    pub(crate) fn is_over(&self) -> bool {
        self.0.1 != Way::Dead
    }

    /// Does `work` on that disk; before and after it is well.
    pub(crate) fn strike<T>(&self, work: impl FnOnce() -> T) -> T {
        PLAN.set(Some(self.0));
        let done = work();
        PLAN.set(None);
        done
    }

    /// The same for work that says whether it was done: if no step failed, it was.
    pub(crate) fn strike_at<T, E: std::fmt::Display>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let done = self.strike(work);
        if let Err(error) = &done {
            assert!(STRUCK.get(), "{error}");
            let text = error.to_string();
            assert!(text.starts_with('/') && text.contains(WHY), "neither path nor cause: {text}");
        }
        done
    }
}

/// Has step 0 of a `round` fail, then step 1 of another, and so on until there are no more; once for each way to fail.
pub(crate) fn at_every_step(mut round: impl FnMut(&Trouble)) {
    for way in [Way::Once, Way::Half, Way::Dead] {
        let mut rounds = 0;
        loop {
            let named = Named(rounds, way);
            STRUCK.set(false);
            IS_ROUND.set(true);
            round(&Trouble((rounds, way)));
            IS_ROUND.set(false);
            core::mem::forget(named);
            if !STRUCK.get() {
                break;
            }
            rounds += 1;
        }
        assert!(rounds > 0, "{way:?}: no step");
    }
}

/// Says which round it was if that fails.
struct Named(usize, Way);

impl Drop for Named {
    fn drop(&mut self) {
        eprintln!("{:?}, step {}", self.1, self.0);
    }
}

/// Whether a round is on: then nothing is really synced, which would take a thousand times as long as all else.
pub(super) fn is_round() -> bool {
    IS_ROUND.get()
}

/// Before each step.
pub(super) fn step() -> io::Result<()> {
    next().map_or(Ok(()), |_| Err(Errno::NOSPC.into()))
}

/// Before each write.
pub(super) fn write_step(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    let Some(way) = next() else { return Ok(()) };
    if way == Way::Half {
        file.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
    }
    Err(Errno::NOSPC.into())
}

/// How the step that comes now fails, if it does.
fn next() -> Option<Way> {
    let (left, way) = PLAN.get()?;
    if left > 0 {
        PLAN.set(Some((left - 1, way)));
        return None;
    }
    STRUCK.set(true);
    PLAN.set((way == Way::Dead).then_some((0, way)));
    Some(way)
}

mod tests;
