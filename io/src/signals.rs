//! SIGTERM, SIGINT and SIGHUP.

use std::io;

use async_signal::{Signal, Signals};
use smol::stream::StreamExt as _;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// An orderly stop.
    Stop,
    /// The configuration is to be read again.
    Reload,
}

/// From here on these signals do not kill the process.
pub(crate) struct OurSignals(Signals);

impl OurSignals {
    /// Starts listening.
    pub fn new() -> io::Result<Self> {
        Signals::new([Signal::Term, Signal::Int, Signal::Hup]).map(Self)
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> io::Result<Wanted> {
        let signal = self.0.next().await.unwrap_or(Err(io::ErrorKind::UnexpectedEof.into()))?;
        Ok(if signal == Signal::Hup { Wanted::Reload } else { Wanted::Stop })
    }
}
