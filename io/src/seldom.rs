//! For log lines that others can cause as often as they like.

use core::time::Duration;

use rustbalance_core::time::Mono;

/// At most one of them in this time.
const EVERY: Duration = Duration::from_secs(60);

/// When such a line was last written.
#[derive(Default)]
pub(crate) struct Seldom(Option<Mono>);

impl Seldom {
    /// Whether it may be written again; if so, it counts as written.
    pub fn is_due(&mut self, now: Mono) -> bool {
        let is_due = self.0.is_none_or(|last| now.since(last) >= EVERY);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_at_once_and_then_once_a_minute() {
        let mut line = Seldom::default();
        let due = [0, 1, 59, 60, 61, 119, 120].map(|secs| line.is_due(Mono::from_ms(secs * 1000)));
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }
}
