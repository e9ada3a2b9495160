//! Medians of things that are done in turns, by processor time: other programs on the machine count less.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Times of one thing.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Does it once.
    pub fn measure<R>(&mut self, what: impl FnOnce() -> R) -> R {
        let start = processor_time();
        let result = black_box(what());
        self.0.push(processor_time() - start);
        result
    }

    /// Adds a time measured elsewhere.
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The median, microseconds; 0 if nothing was measured.
    pub fn median_us(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }

    /// How many times as fast as `peer` this is, by the medians.
    pub fn faster_than(&self, peer: &Self) -> f64 {
        peer.median_us() / self.median_us()
    }
}

/// What this thread has had of a processor.
pub fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Two decimals are more than a shared machine warrants.
pub fn round(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_ignore_outliers_and_ratios_say_how_many_times_faster() {
        let (mut quick, mut slow) = (Times::default(), Times::default());
        for millis in [2, 1, 900, 2, 2] {
            quick.push(Duration::from_millis(millis));
            slow.push(Duration::from_millis(millis * 3));
        }
        assert!((quick.median_us() - 2000.0).abs() < 1e-6);
        assert!((quick.faster_than(&slow) - 3.0).abs() < 1e-6);
        assert!(Times::default().median_us().abs() < 1e-6);
    }
}
