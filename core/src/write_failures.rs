//! Writes of one file that fail: when the next one is due, and what is said of them. A disk that is full stays so for
//! hours, and a log line for each failure would fill it further.

use core::time::Duration;

use crate::output::{Event, Outbox};
use crate::time::Mono;

/// A failed write is repeated after this,
pub(crate) const WRITE_AGAIN: Duration = Duration::from_secs(1);
/// and while it goes on failing, that is said again after this.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Failures in a row.
#[derive(Debug, Default)]
pub(crate) struct WriteFailures {
    retry_at: Mono,
    said_at: Option<Mono>,
}

impl WriteFailures {
    /// Before this no write is due.
    pub(crate) fn retry_at(&self) -> Mono {
        self.retry_at
    }

    /// There is something else to write: that need not wait.
    pub(crate) fn hurry(&mut self) {
        self.retry_at = Mono::default();
    }

    /// Writing `what` failed.
    pub(crate) fn failed(&mut self, now: Mono, what: &str, why: &str, out: &mut Outbox) {
        self.retry_at = now.plus(WRITE_AGAIN);
        if self.said_at.is_none_or(|at| now >= at.plus(SAY_AGAIN)) {
            self.said_at = Some(now);
            out.event(Event::Warning(format!("cannot write {what}: {why}; trying again every second")));
        }
    }

    /// `what` is written.
    pub(crate) fn succeeded(&mut self, what: &str, out: &mut Outbox) {
        if self.said_at.take().is_some() {
            out.event(Event::Well(format!("{what} can be written again")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Output;

    fn said(out: &mut Outbox) -> Option<Event> {
        let output = out.pop()?;
        let Output::Event(event) = output else { panic!("{output:?}") };
        Some(event)
    }

    #[test]
    fn failures_are_said_at_once_and_once_a_minute_and_so_is_their_end() {
        let (mut failures, mut out) = (WriteFailures::default(), Outbox::default());
        failures.succeeded("x", &mut out);
        assert_eq!(said(&mut out), None, "nothing had failed");
        let minutes = (0..120).filter(|secs| {
            let now = Mono::from_ms(secs * 1000);
            failures.failed(now, "x", "full", &mut out);
            assert_eq!(failures.retry_at(), now.plus(WRITE_AGAIN));
            said(&mut out).is_some_and(|event| event.to_string() == "cannot write x: full; trying again every second")
        });
        assert_eq!(minutes.collect::<Vec<_>>(), [0, 60]);
        failures.succeeded("x", &mut out);
        assert_eq!(said(&mut out), Some(Event::Well("x can be written again".to_owned())));
        failures.hurry();
        assert_eq!(failures.retry_at(), Mono::default());
    }
}
