//! How a node that was told to stop comes to its end: it says goodbye, and then its sessions have their time.
//!
//! Meanwhile the core goes on. It has released the lease, its record says that the node is leaving, and as soon as what is
//! published has followed it closes the introduction circuits: clients go to other nodes, if there are any that serve.

use core::time::Duration;

use rustbalance_core::time::Mono;

/// Time the core has to say goodbye; it takes 14 s at most.
const GOODBYE: Duration = Duration::from_secs(16);
/// How often open sessions are counted.
pub(super) const COUNT_EVERY: Duration = Duration::from_millis(200);

/// How a node is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// After its sessions, or when their time is over.
    Patient,
    /// When it has said goodbye; sessions are cut.
    Prompt,
}

/// What is left to do before the end.
pub(super) struct Drain {
    limit: Duration,
    told: Option<(Mono, Ending)>,
    is_said: bool,
}

impl Drain {
    /// Sessions may go on for `limit` after the node was told to stop.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, told: None, is_said: false }
    }

    /// The node is to stop. Told again, it can only be prompter, and has time for another goodbye then: it may be told to
    /// leave while its sessions go on.
    pub(super) fn stop(&mut self, now: Mono, ending: Ending) {
        let is_prompter = self.told.is_none_or(|(_, before)| before == Ending::Patient && ending == Ending::Prompt);
        if is_prompter {
            self.told = Some((now, ending));
        }
    }

    /// Whether the core has had its time to say goodbye.
    pub(super) fn is_late(&self, now: Mono) -> bool {
        self.told.is_some_and(|(at, _)| now >= at.plus(GOODBYE))
    }

    /// Whether sessions are being waited for.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_said
    }

    /// Whether the node, which has said goodbye, may end while so many `sessions` are open. Says so in the log.
    pub(super) fn is_over(&mut self, now: Mono, sessions: usize) -> bool {
        let (at, ending) = self.told.unwrap_or((now, Ending::Prompt));
        let is_cut = ending == Ending::Prompt || now >= at.plus(self.limit);
        match (sessions, is_cut) {
            (0, _) if self.is_said => tracing::info!("all sessions have ended"),
            (0, _) => {}
            (_, true) => tracing::info!(sessions, "open sessions are cut"),
            (_, false) if !self.is_said => {
                let secs = self.limit.as_secs();
                tracing::info!(
                    sessions,
                    "open sessions may go on for {secs} s (proxy.drain_limit); a second signal cuts them"
                );
                self.is_said = true;
            }
            (_, false) => {}
        }
        sessions == 0 || is_cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn told(ending: Ending) -> Drain {
        let mut drain = Drain::new(LIMIT);
        drain.stop(Mono::from_ms(0), ending);
        drain
    }

    #[test]
    fn sessions_have_until_the_limit_after_the_first_signal() {
        let mut drain = told(Ending::Patient);
        assert!(!drain.is_over(Mono::from_ms(29_999), 1) && drain.is_waiting());
        assert!(drain.is_over(Mono::from_ms(30_000), 1));
        assert!(drain.is_over(Mono::from_ms(1), 0), "the last one has ended");
    }

    #[test]
    fn a_second_signal_cuts_them_and_a_third_changes_nothing() {
        let mut drain = told(Ending::Patient);
        drain.stop(Mono::from_ms(1000), Ending::Prompt);
        drain.stop(Mono::from_ms(2000), Ending::Patient);
        assert!(drain.is_over(Mono::from_ms(2001), 9));
    }

    #[test]
    fn a_core_that_does_not_come_to_an_end_has_had_its_time() {
        assert!(!Drain::new(LIMIT).is_late(Mono::from_ms(60_000)), "nobody told it");
        let mut drain = told(Ending::Prompt);
        assert!(!drain.is_late(Mono::from_ms(15_999)));
        drain.stop(Mono::from_ms(15_999), Ending::Prompt);
        assert!(drain.is_late(Mono::from_ms(16_000)));
    }
}
