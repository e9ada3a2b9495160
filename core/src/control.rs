//! Tor's control protocol (control-spec): an incremental reader, a command writer, typed events. No I/O.

pub mod auth;
pub mod command;
pub mod event;
pub mod quote;
pub mod reply;

#[cfg(test)]
pub(crate) mod transcript;
