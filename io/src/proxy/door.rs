//! The door for invited nodes: while there are invites, the first bytes of a connection are looked at, and a request at
//! the path of one goes to the core, unless too many came by the same circuit. Everything else goes to the target as it
//! came, byte for byte.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_io::Async;
use rustbalance_core::invite::InvitePath;
use rustbalance_core::invite::front::{Look, look};
use rustbalance_core::invite::pace::Circuits;
use rustbalance_core::time::Mono;
use rustbalance_core::tor::CircuitId;
use smol::channel::{Receiver, Sender};
use socket2::Socket;
use tracing::debug;

use super::Counters;
use super::opening::{Opening, read_on};
use crate::clock;

/// How long first bytes that might become a request are held back in all. A request's first line comes in one piece.
const FORM_WITHIN: Duration = Duration::from_secs(1);
/// How long the rest of a request may take in all, once its path was right.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// How long the core may take: as long as an admission may wait there.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Requests that may wait for the core.
const KNOCKS: usize = 16;

/// A request that is perhaps an invited node's.
pub(crate) struct Knock {
    /// At which path.
    pub path: InvitePath,
    /// Any content.
    pub body: Vec<u8>,
    /// For the answer, whole; none if it is the target's affair.
    pub answer: Sender<Option<Vec<u8>>>,
}

/// Shared by the driver, who opens and answers it, and the connections.
pub(crate) struct Door {
    paths: Mutex<Arc<[InvitePath]>>,
    knocks: (Sender<Knock>, Receiver<Knock>),
    circuits: Mutex<Circuits>,
    counters: Arc<Counters>,
}

/// For whom a connection is.
pub(super) enum Entrant {
    /// For the target, which is to get these bytes first.
    Client(Vec<u8>),
    /// An invited node, which is to get this answer and nothing else.
    Guest(Vec<u8>),
}

impl Door {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        let knocks = smol::channel::bounded(KNOCKS);
        Self { paths: Mutex::new(Arc::default()), knocks, circuits: Mutex::default(), counters }
    }

    /// From now on there are these.
    pub(crate) fn open(&self, paths: Vec<InvitePath>) {
        *self.paths.lock().unwrap_or_else(PoisonError::into_inner) = paths.into();
    }

    /// Requests, each to be answered.
    pub(crate) fn knocks(&self) -> &Receiver<Knock> {
        &self.knocks.1
    }

    /// Whether nobody is invited: then no connection is looked at.
    pub(super) fn is_shut(&self) -> bool {
        self.paths().is_empty()
    }

    fn paths(&self) -> Arc<[InvitePath]> {
        Arc::clone(&self.paths.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads on from `opening` until it is clear for whom the connection is; `is_known` is set once the path of an invite was
    /// named. Beyond what its circuit may, a request at such a path is treated as one at any other.
    ///
    /// # Errors
    /// Reading failed.
    pub(super) async fn receive(
        &self,
        client: &Async<Socket>,
        opening: Opening,
        is_known: &AtomicBool,
    ) -> io::Result<Entrant> {
        let Opening { circuit, mut held } = opening;
        // Each is set once: who sends byte after byte is held back no longer than who stops.
        let (mut form_by, mut request_by) = (None, None);
        let by =
            |deadline: &mut Option<Mono>, within| Some(*deadline.get_or_insert_with(|| clock::mono().plus(within)));
        loop {
            let look = look(&held, &self.paths());
            if matches!(look, Look::Known | Look::Request { .. }) && !is_known.load(Relaxed) {
                if !self.admits(circuit) {
                    return Ok(Entrant::Client(held));
                }
                is_known.store(true, Relaxed);
            }
            let until = match look {
                // Nothing is held back, so there is no hurry.
                Look::Undecided if held.is_empty() => None,
                Look::Undecided => by(&mut form_by, FORM_WITHIN),
                Look::Known => by(&mut request_by, REQUEST_WITHIN),
                Look::Request { path, body } => {
                    let answer = self.knock(path, body).await;
                    return Ok(answer.map_or(Entrant::Client(held), Entrant::Guest));
                }
                Look::Other => return Ok(Entrant::Client(held)),
            };
            // Else it is too late, or the client's last word.
            if !read_on(client, &mut held, until).await? {
                return Ok(Entrant::Client(held));
            }
        }
    }

    /// Whether one more request at an invite's path by this circuit is looked at.
    fn admits(&self, circuit: Option<CircuitId>) -> bool {
        let is_admitted = self.circuits.lock().unwrap_or_else(PoisonError::into_inner).admit(clock::mono(), circuit);
        if !is_admitted {
            self.counters.guest_over_limit.fetch_add(1, Relaxed);
            debug!("too many requests at an invite's path by one circuit: this one goes to the target");
        }
        is_admitted
    }

    async fn knock(&self, path: InvitePath, body: &[u8]) -> Option<Vec<u8>> {
        let (to_answer, answer) = smol::channel::bounded(1);
        self.knocks.0.try_send(Knock { path, body: body.to_vec(), answer: to_answer }).ok()?;
        clock::within(ANSWER_WITHIN, answer.recv()).await?.ok().flatten()
    }
}

#[cfg(test)]
mod tests;
