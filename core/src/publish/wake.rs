//! When publication wants to be called again.

use crate::time::Mono;

/// The earliest of the instants asked for during one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wake(Option<Mono>);

impl Wake {
    /// Asks for `instant`.
    pub(super) fn at(&mut self, instant: Mono) {
        self.0 = Some(self.0.map_or(instant, |earliest| earliest.min(instant)));
    }

    /// The earliest asked for.
    pub(super) fn get(self) -> Option<Mono> {
        self.0
    }
}
