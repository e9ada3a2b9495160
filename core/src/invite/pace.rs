//! How often requests of invited nodes are looked at: in all, and of one circuit.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::time::Mono;
use crate::tor::CircuitId;

/// Requests of one circuit that are looked at at once. An invited node asks once by each circuit; should tor nevertheless
/// give it the same one again and again, its first retries come within half a minute.
pub const CIRCUIT_BURST: u32 = 5;
/// Such requests, one after so long: no less often than an invited node that goes on trying, and so rarely that it takes
/// fifty circuits at a time to use up what a node looks at in all.
pub const CIRCUIT_REQUEST_EVERY: Duration = Duration::from_secs(10);
/// Circuits that are remembered. One is forgotten by itself after a minute at most, and whoever has more circuits than
/// this gains nothing by having one of them forgotten.
pub const CIRCUITS_KEPT: usize = 256;

/// Lets so many through at once, then one after so long.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    /// When it will be full again.
    full_at: Mono,
}

impl Bucket {
    /// Whether one more may pass, `burst` at once, then one `every` so often.
    pub(crate) fn take(&mut self, now: Mono, burst: u32, every: Duration) -> bool {
        let full_at = self.full_at.max(now).plus(every);
        let has_room = full_at.since(now) <= every * burst;
        if has_room {
            self.full_at = full_at;
        }
        has_room
    }
}

/// The circuits by which requests at the paths of invites came lately, at one node.
///
/// Two tors of a node may count two circuits by one number: those share what one may, and an invited node's next request
/// comes by another.
#[derive(Debug, Default)]
pub struct Circuits(BTreeMap<Option<CircuitId>, Bucket>);

impl Circuits {
    /// Whether a request by `circuit` is to be looked at: [`CIRCUIT_BURST`] at once, then one every [`CIRCUIT_REQUEST_EVERY`].
    /// All whose circuit tor does not say count as one.
    pub fn admit(&mut self, now: Mono, circuit: Option<CircuitId>) -> bool {
        // One whose bucket is full is as good as one that never came.
        self.0.retain(|_, bucket| bucket.full_at > now);
        let is_admitted = self.0.entry(circuit).or_default().take(now, CIRCUIT_BURST, CIRCUIT_REQUEST_EVERY);
        if self.0.len() > CIRCUITS_KEPT {
            let others = self.0.iter().filter(|(other, _)| **other != circuit);
            if let Some(first) = others.min_by_key(|(_, bucket)| bucket.full_at).map(|(other, _)| *other) {
                self.0.remove(&first);
            }
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Option<CircuitId> = Some(CircuitId(1));

    fn at(secs: u64) -> Mono {
        Mono::from_ms(1_000_000 + secs * 1000)
    }

    /// How many of `count` requests at once are looked at.
    fn admitted(circuits: &mut Circuits, now: Mono, circuit: Option<CircuitId>, count: u32) -> u32 {
        (0..count).map(|_| u32::from(circuits.admit(now, circuit))).sum()
    }

    #[test]
    fn a_circuit_has_a_few_at_once_and_then_one_now_and_then() {
        let mut circuits = Circuits::default();
        assert_eq!(admitted(&mut circuits, at(0), ONE, 100), CIRCUIT_BURST);
        let in_a_minute: u32 = (1..=60).map(|secs| admitted(&mut circuits, at(secs), ONE, 100)).sum();
        assert_eq!(in_a_minute, 6);
        assert_eq!(admitted(&mut circuits, at(10_000), ONE, 100), CIRCUIT_BURST, "all is forgotten");
    }

    #[test]
    fn circuits_have_a_limit_each_and_those_that_are_not_named_one_for_all() {
        let mut circuits = Circuits::default();
        for circuit in [ONE, Some(CircuitId(2)), Some(CircuitId(u32::MAX)), None] {
            assert_eq!(admitted(&mut circuits, at(0), circuit, 100), CIRCUIT_BURST, "{circuit:?}");
        }
        assert_eq!(admitted(&mut circuits, at(1), None, 100), 0);
    }

    #[test]
    fn the_circuit_that_asked_longest_ago_is_forgotten_first() {
        let mut circuits = Circuits::default();
        let ids: Vec<_> = (0..).map(|id| Some(CircuitId(id))).take(CIRCUITS_KEPT).collect();
        for (id, ms) in ids.iter().zip(0..) {
            assert_eq!(admitted(&mut circuits, Mono::from_ms(1_000_000 + ms), *id, 100), CIRCUIT_BURST);
        }
        let is_known = |circuits: &mut Circuits, id| !circuits.admit(at(1), id);
        assert!(is_known(&mut circuits, ids[0]), "there is room for all");
        assert!(circuits.admit(at(1), None), "one too many");
        assert_eq!(circuits.0.len(), CIRCUITS_KEPT);
        assert!(!circuits.0.contains_key(&ids[0]) && ids[1..].iter().all(|id| is_known(&mut circuits, *id)));
    }

    #[test]
    fn circuits_that_were_quiet_are_not_kept() {
        let mut circuits = Circuits::default();
        for id in 0..10 {
            admitted(&mut circuits, at(0), Some(CircuitId(id)), 100);
        }
        assert!(circuits.admit(at(60), ONE));
        assert_eq!(circuits.0.len(), 1);
    }
}
