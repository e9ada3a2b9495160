//! SIGTERM and SIGINT.

use std::io;

use async_signal::{Signal, Signals};
use smol::stream::StreamExt as _;

/// The signals that ask for an orderly stop. From here on they do not kill the process.
pub(crate) struct StopSignals(Signals);

impl StopSignals {
    /// Starts listening.
    pub fn new() -> io::Result<Self> {
        Signals::new([Signal::Term, Signal::Int]).map(Self)
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> io::Result<Signal> {
        self.0.next().await.unwrap_or(Err(io::ErrorKind::UnexpectedEof.into()))
    }
}
