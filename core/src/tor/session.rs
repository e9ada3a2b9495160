//! One authenticated control connection: bytes to replies, and each reply to the command it answers.

use core::time::Duration;
use std::collections::VecDeque;

use crate::control::reply::{Reader, Reply, ReplyError};
use crate::id::RelayFingerprint;
use crate::time::Mono;

/// A tor that answers nothing for so long is frozen.
pub(super) const REPLY_TIMEOUT: Duration = Duration::from_secs(20);
/// Commands that may wait for their reply: each poll once, uploads and fetches.
pub(super) const ASKED_MAX: usize = 64;

/// What a command was for. Tor answers in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `SETEVENTS`.
    Events,
    /// `GETCONF TestingTorNetwork`.
    Testing,
    /// `SETCONF PublishHidServDescriptors`, to this.
    Native(bool),
    /// `GETINFO` of bootstrap phase, consensus time and process id.
    Status,
    /// `GETINFO` of the consensus.
    Consensus,
    /// `GETINFO md/all`.
    Microdescs,
    /// `GETINFO` of the service's descriptor.
    Descriptor,
    /// `GETINFO circuit-status`.
    Circuits,
    /// `CLOSECIRCUIT`.
    Close,
    /// `+HSPOST` to this HSDir.
    Upload(RelayFingerprint),
    /// `HSFETCH` from this HSDir.
    Fetch(RelayFingerprint),
}

/// The connection.
#[derive(Default)]
pub(super) struct Session {
    reader: Reader,
    asked: VecDeque<Asked>,
    /// Since when the oldest command waits with none before it.
    waiting_since: Mono,
}

impl Session {
    /// A command was sent.
    pub(super) fn ask(&mut self, now: Mono, asked: Asked) {
        if self.asked.is_empty() {
            self.waiting_since = now;
        }
        self.asked.push_back(asked);
    }

    /// Whether an answer to this is still to come.
    pub(super) fn awaits(&self, asked: Asked) -> bool {
        self.asked.contains(&asked)
    }

    /// Whether another command may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.asked.len() < ASKED_MAX
    }

    /// Bytes from tor.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
    }

    /// The next reply or event, `take` as for [`Reader::next_reply_with`].
    pub(super) fn next_reply(&mut self, take: impl FnMut(&[u8], &[u8]) -> bool) -> Result<Option<Reply>, ReplyError> {
        self.reader.next_reply_with(take)
    }

    /// The command that a reply answers; `None` if tor was not asked anything.
    pub(super) fn answered(&mut self, now: Mono) -> Option<Asked> {
        self.waiting_since = now;
        self.asked.pop_front()
    }

    /// When tor counts as frozen.
    pub(super) fn deadline(&self) -> Option<Mono> {
        (!self.asked.is_empty()).then(|| self.waiting_since.plus(REPLY_TIMEOUT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_commands_that_wait() {
        let mut session = Session::default();
        (1..ASKED_MAX).for_each(|_| session.ask(Mono::from_ms(1), Asked::Status));
        assert!(session.has_room());
        session.ask(Mono::from_ms(1), Asked::Close);
        assert!(!session.has_room());
        assert_eq!(session.answered(Mono::from_ms(2)), Some(Asked::Status));
        assert!(session.has_room());
    }
}
