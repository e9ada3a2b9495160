//! A lost control connection says little about tor itself: its introduction points are kept for a moment, so that a
//! short loss neither removes the node from the descriptor nor causes an upload.

use core::time::Duration;
use std::sync::Arc;

use crate::hsdesc::IntroPoint;
use crate::time::Mono;

/// Long enough to reconnect, authenticate and read the descriptor; short against the seconds within which the points
/// of a node that is gone must leave the descriptor.
const LINGER: Duration = Duration::from_secs(3);

/// The last points, while a new connection has not yet shown what is true.
#[derive(Default)]
pub(super) struct Linger {
    last: Option<(Arc<[IntroPoint]>, Mono)>,
}

impl Linger {
    /// The connection is lost. Losing a second one before the first was made good gives no more time.
    pub(super) fn begin(&mut self, now: Mono, points: Arc<[IntroPoint]>) {
        if !points.is_empty() {
            self.last = Some((points, now.plus(LINGER)));
        }
    }

    /// The process has ended, or another one answers: the points died with the old one.
    pub(super) fn end(&mut self) {
        self.last = None;
    }

    /// `fresh` if there are any, else those that linger.
    pub(super) fn or_fresh(&mut self, now: Mono, fresh: Arc<[IntroPoint]>) -> Arc<[IntroPoint]> {
        self.last = self.last.take().filter(|(_, until)| fresh.is_empty() && now < *until);
        self.last.as_ref().map_or(fresh, |(points, _)| points.clone())
    }

    /// When they are forgotten.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.last.as_ref().map(|(_, until)| *until)
    }
}
