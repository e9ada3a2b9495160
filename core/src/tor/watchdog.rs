//! A tor that runs and answers, and yet is of no use: it gets no further into the network, or it has lost its introduction
//! points and opens no others. It is started anew, after some patience, and not again and again: what a new process does
//! not cure, such as a network that is down, is left alone.
//!
//! A process that ends, and a control connection that is lost or mute, are replaced within seconds and at any time; here
//! they are only counted, for the operator.

use core::fmt::Write as _;
use core::time::Duration;
use std::collections::VecDeque;

use super::facts::TorState;
use crate::time::Mono;

/// How long a tor may bootstrap no further. Guards that do not answer are given up within minutes.
const BOOTSTRAP_WITHIN: Duration = Duration::from_secs(600);
/// How long a tor in the network may have no introduction point. By itself it opens no more circuits for up to five
/// minutes after too many have failed.
const POINTS_WITHIN: Duration = Duration::from_secs(600);
/// Ready for so long, it is well again; for less, it only looks so.
const WELL_AFTER: Duration = Duration::from_secs(60);
/// Most restarts within [`WINDOW`].
const RESTARTS_MAX: usize = 3;
/// See [`RESTARTS_MAX`].
const WINDOW: Duration = Duration::from_secs(6 * 3600);
/// Ends of tor's process are counted for so long, and up to [`ENDS_MAX`].
const ENDS_WINDOW: Duration = Duration::from_secs(3600);
/// More than there can be: half a minute lies between two, but for the first few.
const ENDS_MAX: usize = 128;

/// What is wrong with a tor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ailment {
    /// It is bootstrapped so far, in percent, and gets no further.
    Bootstrap(u8),
    /// It has no introduction points.
    Points,
}

impl core::fmt::Display for Ailment {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Bootstrap(percent) => {
                let minutes = BOOTSTRAP_WITHIN.as_secs() / 60;
                write!(f, "has been bootstrapped to {percent} % and no further for {minutes} min")
            }
            Self::Points => write!(f, "has had no introduction points for {} min", POINTS_WITHIN.as_secs() / 60),
        }
    }
}

impl Ailment {
    const fn patience(self) -> Duration {
        match self {
            Self::Bootstrap(_) => BOOTSTRAP_WITHIN,
            Self::Points => POINTS_WITHIN,
        }
    }
}

/// What a tor looks like now.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Its state.
    pub state: TorState,
    /// How many processes of it there have been.
    pub processes: u64,
    /// It is to have introduction points: clients may still come by them.
    pub is_wanted: bool,
    /// It may be started anew now: the node is neither stopping nor paused.
    pub may_restart: bool,
}

/// Watches one tor.
#[derive(Debug, Default)]
pub struct Watchdog {
    processes: u64,
    ill: Option<(Ailment, Mono)>,
    ready_since: Option<Mono>,
    restarts: VecDeque<Mono>,
    ends: VecDeque<Mono>,
    /// When the next process starts, after the last one's end.
    again_at: Mono,
    /// When time alone makes a difference.
    next: Option<Mono>,
}

impl Watchdog {
    /// Whether tor is to be started anew now, and why.
    pub fn tick(&mut self, now: Mono, look: Look) -> Option<Ailment> {
        self.restarts.retain(|at| now < at.plus(WINDOW));
        self.ends.retain(|at| now < at.plus(ENDS_WINDOW));
        self.examine(now, look);
        let (ailment, since) = self.ill?;
        let due = since.plus(ailment.patience());
        // A tor without a connection takes no order; one that is ready has its time to show that it stays so.
        let is_ill_now = matches!(
            (ailment, look.state),
            (Ailment::Points, TorState::WaitingForPoints) | (Ailment::Bootstrap(_), TorState::Bootstrapping(_))
        );
        if !is_ill_now || !look.may_restart || self.is_left_alone() {
            return None;
        }
        if now < due {
            self.next = Some(due);
            return None;
        }
        self.restarts.push_back(now);
        // The order may be lost: it is repeated as if to another one.
        self.ill = Some((ailment, now));
        self.next = (!self.is_left_alone()).then(|| now.plus(ailment.patience()));
        Some(ailment)
    }

    /// Brings `ill` up to date.
    fn examine(&mut self, now: Mono, look: Look) {
        self.next = None;
        if core::mem::replace(&mut self.processes, look.processes) != look.processes {
            self.ill = None;
        }
        if look.state != TorState::Ready {
            self.ready_since = None;
        }
        let found = match look.state {
            TorState::Disconnected => return,
            TorState::Ready => {
                let well_at = self.ready_since.get_or_insert(now).plus(WELL_AFTER);
                if now >= well_at {
                    self.ill = None;
                }
                self.next = self.ill.map(|_| well_at);
                return;
            }
            TorState::WaitingForPoints if !look.is_wanted => {
                self.ill = None;
                return;
            }
            TorState::WaitingForPoints => Ailment::Points,
            TorState::Bootstrapping(percent) => Ailment::Bootstrap(percent),
        };
        let is_known = match (self.ill, found) {
            (Some((Ailment::Bootstrap(before), _)), Ailment::Bootstrap(percent)) => percent <= before,
            // On a new connection nothing is known of the process at first.
            (Some((Ailment::Points, _)), Ailment::Bootstrap(_)) => true,
            (before, found) => before.is_some_and(|(before, _)| before == found),
        };
        if !is_known {
            self.ill = Some((found, now));
        }
    }

    /// Its process has ended; the next one starts after `again_in`, and has all its time.
    pub fn ended(&mut self, now: Mono, again_in: Duration) {
        self.ill = None;
        self.again_at = now.plus(again_in);
        self.ends.push_back(now);
        if self.ends.len() > ENDS_MAX {
            self.ends.pop_front();
        }
    }

    fn is_left_alone(&self) -> bool {
        self.restarts.len() >= RESTARTS_MAX
    }

    /// When to look again.
    pub fn next_timeout(&self) -> Option<Mono> {
        self.next.or_else(|| self.restarts.front().filter(|_| self.is_left_alone()).map(|at| at.plus(WINDOW)))
    }

    /// What there is to say of a tor in that state, besides it.
    pub fn words(&self, now: Mono, state: TorState) -> String {
        let mut words = state.to_string();
        if state == TorState::Ready {
            return words;
        }
        // Writing to a string cannot fail.
        if state == TorState::Disconnected && now < self.again_at {
            _ = write!(words, ", started again in {} s", self.again_at.since(now).as_secs().max(1));
        }
        if !self.ends.is_empty() {
            _ = write!(words, "; ends within an hour: {}", self.ends.len());
        }
        if !self.restarts.is_empty() {
            let hours = WINDOW.as_secs() / 3600;
            _ = write!(words, "; restarts for being of no use within {hours} h: {}", self.restarts.len());
        }
        if self.is_left_alone() {
            words.push_str(", left alone now");
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> Mono {
        Mono::from_ms(60_000 * minutes)
    }

    fn look(state: TorState) -> Look {
        Look { state, processes: 1, is_wanted: true, may_restart: true }
    }

    /// The minutes in which a tor that looks like this is started anew.
    fn restarts(minutes: u64, state: impl Fn(u64) -> Look) -> Vec<u64> {
        let mut watchdog = Watchdog::default();
        (0..minutes).filter(|minute| watchdog.tick(at(*minute), state(*minute)).is_some()).collect()
    }

    #[test]
    fn a_tor_that_gets_no_further_is_started_anew_three_times_in_six_hours() {
        for state in [TorState::Bootstrapping(5), TorState::WaitingForPoints] {
            assert_eq!(restarts(400, |_| look(state)), [10, 20, 30, 370, 380, 390], "{state}");
        }
    }

    #[test]
    fn a_tor_that_gets_on_slowly_is_left_to_itself() {
        let slow = |minute: u64| look(TorState::Bootstrapping(u8::try_from(minute / 9).unwrap()));
        assert!(restarts(500, slow).is_empty());
    }

    #[test]
    fn neither_a_node_that_is_out_of_service_nor_a_stopping_one_nor_one_without_a_connection_starts_its_tor_anew() {
        let waits = look(TorState::WaitingForPoints);
        assert!(restarts(100, |_| Look { is_wanted: false, ..waits }).is_empty());
        assert!(restarts(100, |_| Look { may_restart: false, ..waits }).is_empty());
        assert!(restarts(100, |_| look(TorState::Disconnected)).is_empty());
    }

    #[test]
    fn a_tor_that_is_ready_for_a_moment_now_and_then_is_ill_all_the_same() {
        let flickers = |minute| look(if minute % 4 == 3 { TorState::Ready } else { TorState::WaitingForPoints });
        assert_eq!(restarts(13, flickers), [10]);
        let recovers = |minute| look(if minute % 8 > 5 { TorState::Ready } else { TorState::WaitingForPoints });
        assert!(restarts(100, recovers).is_empty(), "a whole minute");
    }

    #[test]
    fn a_new_process_has_all_its_time_and_a_lost_connection_gives_none() {
        let renewed = |minute| Look { processes: minute / 9, ..look(TorState::WaitingForPoints) };
        assert!(restarts(100, renewed).is_empty());
        let lost = |minute| look(if minute % 2 == 1 { TorState::Disconnected } else { TorState::WaitingForPoints });
        assert_eq!(restarts(12, lost), [10]);
        let states = [TorState::WaitingForPoints, TorState::Disconnected, TorState::Bootstrapping(0)];
        assert_eq!(restarts(13, |minute| look(states[minute as usize % 3])), [12], "before a new connection has told");
        let mut watchdog = Watchdog::default();
        (0..10).for_each(|minute| assert_eq!(watchdog.tick(at(minute), look(TorState::Bootstrapping(80))), None));
        watchdog.ended(at(9), Duration::ZERO);
        let tick = |minute: &u64| watchdog.tick(at(*minute), look(TorState::Bootstrapping(5))).is_some();
        assert_eq!(
            (10..21).filter(tick).collect::<Vec<_>>(),
            [20],
            "it does not inherit what the last one was bootstrapped to"
        );
    }

    #[test]
    fn it_asks_to_be_called_when_time_makes_a_difference_and_never_in_the_past() {
        let mut watchdog = Watchdog::default();
        let mut now = at(0);
        let mut restarts = Vec::new();
        for _ in 0..20 {
            if watchdog.tick(now, look(TorState::Bootstrapping(0))).is_some() {
                restarts.push(now);
            }
            let next = watchdog.next_timeout().expect("a tor that is ill");
            assert!(next > now, "{next:?} at {now:?}");
            now = next;
        }
        assert_eq!(restarts.get(..4), Some(&[at(10), at(20), at(30), at(370)][..]));
    }

    #[test]
    fn the_operator_hears_of_restarts_and_ends_until_tor_is_ready() {
        let mut watchdog = Watchdog::default();
        let stuck = TorState::Bootstrapping(5);
        assert_eq!(watchdog.words(at(0), stuck), "bootstrapping 5");
        for minute in 0..60 {
            watchdog.tick(at(minute), look(stuck));
        }
        (0..200).for_each(|_| watchdog.ended(at(60), Duration::from_secs(300)));
        assert_eq!(
            watchdog.words(at(60), stuck),
            "bootstrapping 5; ends within an hour: 128; restarts for being of no use within 6 h: 3, left alone now"
        );
        assert_eq!(
            watchdog.words(at(61), TorState::Disconnected).split(';').next(),
            Some("disconnected, started again in 240 s")
        );
        assert_eq!(watchdog.words(at(61), TorState::Ready), "ready");
        watchdog.tick(at(500), look(TorState::Ready));
        assert_eq!(watchdog.words(at(500), stuck), "bootstrapping 5");
    }
}
