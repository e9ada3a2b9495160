//! Time periods and the two publication slots (rend-spec `[TIME-PERIODS]`, `[PUBLISH-DESC]`).

use crate::time::ValidAfter;

/// A time period: its number and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimePeriod {
    /// Periods since the epoch (after the rotation offset).
    pub number: u64,
    /// Length in minutes: 1440, `hsdir_interval`, or 24 voting intervals on a testing network.
    pub length_minutes: u32,
}

/// How long periods and SRV runs last here, from consensus and `TestingTorNetwork`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeriodParams {
    /// Length of a time period, minutes.
    pub length_minutes: u32,
    /// Rotation offset, seconds: 12 voting intervals.
    pub offset_secs: u64,
    /// Voting interval, seconds (`fresh-until` minus `valid-after`); an SRV run is 24 of them.
    pub voting_interval_secs: u64,
}

/// Which of the two descriptors that are always published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Slot {
    /// Previous SRV; the period before (TP..SRV half) or the current one (SRV..TP half).
    First,
    /// Current SRV; the current period (TP..SRV half) or the next one (SRV..TP half).
    Second,
}

/// Which half of the day `valid-after` lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// From a new SRV to the next time period.
    SrvToTp,
    /// From a new time period to the next SRV.
    TpToSrv,
}

/// Voting rounds in one SRV run: 12 commit and 12 reveal rounds (srv-spec).
const ROUNDS_PER_RUN: u64 = 24;

impl PeriodParams {
    /// The period a client uses at `at`.
    pub fn client_period(&self, at: ValidAfter) -> TimePeriod {
        self.period(self.period_number(at.as_secs()))
    }

    /// The half of the day.
    pub fn half(&self, at: ValidAfter) -> Half {
        let run_start = self.run_start(at);
        let next_period = self.period_number(run_start).saturating_add(1);
        let next_period_start = next_period.saturating_mul(self.length_secs()).saturating_add(self.offset_secs);
        if at.as_secs() < next_period_start { Half::SrvToTp } else { Half::TpToSrv }
    }

    /// The period of `slot`.
    pub fn slot_period(&self, at: ValidAfter, slot: Slot) -> TimePeriod {
        let current = self.client_period(at).number;
        self.period(match (self.half(at), slot) {
            (Half::SrvToTp, Slot::First) | (Half::TpToSrv, Slot::Second) => current,
            (Half::SrvToTp, Slot::Second) => current.saturating_add(1),
            (Half::TpToSrv, Slot::First) => current.saturating_sub(1),
        })
    }

    /// The slot that holds the client's (current) period: the only one that can be fetched back.
    pub fn current_slot(&self, at: ValidAfter) -> Slot {
        match self.half(at) {
            Half::SrvToTp => Slot::First,
            Half::TpToSrv => Slot::Second,
        }
    }

    /// Start of the SRV run that revision counters of `slot` count from, unix seconds.
    pub fn counter_origin(&self, at: ValidAfter, slot: Slot) -> u64 {
        let run_start = self.run_start(at);
        match slot {
            Slot::First => run_start.saturating_sub(self.run_secs()),
            Slot::Second => run_start,
        }
    }

    fn period(&self, number: u64) -> TimePeriod {
        TimePeriod { number, length_minutes: self.length_minutes }
    }

    fn period_number(&self, secs: u64) -> u64 {
        secs.saturating_sub(self.offset_secs) / self.length_secs()
    }

    /// Never zero, whatever a consensus says.
    fn length_secs(&self) -> u64 {
        u64::from(self.length_minutes).saturating_mul(60).max(1)
    }

    fn run_secs(&self) -> u64 {
        self.voting_interval_secs.saturating_mul(ROUNDS_PER_RUN)
    }

    /// Start of the SRV run that `at` lies in: as tor has it, so many voting intervals before `at`, also where `at` is not
    /// at the beginning of one (as in the first consensus of a test network, which is voted for more often).
    fn run_start(&self, at: ValidAfter) -> u64 {
        let interval = self.voting_interval_secs.max(1);
        at.as_secs() - at.as_secs() / interval % ROUNDS_PER_RUN * interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const HOUR: u64 = 3_600;
    const PUBLIC: PeriodParams =
        PeriodParams { length_minutes: 1440, offset_secs: 12 * HOUR, voting_interval_secs: HOUR };

    fn at(secs: u64) -> ValidAfter {
        ValidAfter::from_secs(secs)
    }

    #[test]
    fn a_run_begins_whole_voting_intervals_before_a_consensus() {
        let test_network = PeriodParams { length_minutes: 8, offset_secs: 240, voting_interval_secs: 20 };
        for (valid_after, run_start) in [(960, 960), (980, 960), (970, 970), (990, 970), (1430, 970), (1440, 1440)] {
            assert_eq!(test_network.counter_origin(at(valid_after), Slot::Second), run_start, "{valid_after}");
        }
    }

    #[test]
    fn the_specs_example_holds() {
        // rend-spec [TIME-PERIODS]: 2016-04-13 11:15 UTC lies in period 16903, which ends at 12:00.
        assert_eq!(PUBLIC.client_period(at(1_460_546_101)).number, 16_903);
        assert_eq!(PUBLIC.client_period(at(1_460_548_799)).number, 16_903);
        assert_eq!(PUBLIC.client_period(at(1_460_548_800)).number, 16_904);
    }

    #[test]
    fn halves_change_at_midnight_and_noon() {
        let midnight = 20_000 * DAY;
        assert_eq!(PUBLIC.half(at(midnight)), Half::SrvToTp);
        assert_eq!(PUBLIC.half(at(midnight + 11 * HOUR)), Half::SrvToTp);
        assert_eq!(PUBLIC.half(at(midnight + 12 * HOUR)), Half::TpToSrv);
        assert_eq!(PUBLIC.half(at(midnight + 23 * HOUR)), Half::TpToSrv);
    }

    #[test]
    fn slots_keep_their_period_over_noon_and_shift_at_midnight() {
        let midnight = 20_000 * DAY;
        let slots = |secs| [Slot::First, Slot::Second].map(|slot| PUBLIC.slot_period(at(secs), slot).number);
        let morning = slots(midnight + HOUR);
        assert_eq!(slots(midnight + 13 * HOUR), morning);
        assert_eq!(slots(midnight + DAY), morning.map(|number| number + 1));
        for secs in [midnight + HOUR, midnight + 13 * HOUR] {
            let current = PUBLIC.slot_period(at(secs), PUBLIC.current_slot(at(secs)));
            assert_eq!(current, PUBLIC.client_period(at(secs)));
        }
    }

    #[test]
    fn counters_of_a_slot_start_at_its_own_run() {
        let midnight = 20_000 * DAY;
        for secs in [midnight, midnight + 12 * HOUR, midnight + 23 * HOUR] {
            assert_eq!(PUBLIC.counter_origin(at(secs), Slot::First), midnight - DAY);
            assert_eq!(PUBLIC.counter_origin(at(secs), Slot::Second), midnight);
        }
    }

    #[test]
    fn absurd_parameters_do_no_harm() {
        for params in [
            PeriodParams { length_minutes: 0, offset_secs: u64::MAX, voting_interval_secs: 0 },
            PeriodParams { length_minutes: u32::MAX, offset_secs: 0, voting_interval_secs: u64::MAX },
        ] {
            for secs in [0, 1, u64::MAX] {
                params.slot_period(at(secs), Slot::First);
                params.counter_origin(at(secs), Slot::First);
            }
        }
    }
}
