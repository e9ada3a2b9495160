//! What a tor may say that ends the connection.

use core::fmt;

use crate::control::reply::ReplyError;

/// The peer broke the control protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TorError {
    /// See [`ReplyError`].
    Protocol(ReplyError),
    /// A reply nobody asked for.
    UnexpectedReply,
}

impl fmt::Display for TorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => error.fmt(f),
            Self::UnexpectedReply => {
                f.write_str("tor answered a question nobody asked: another controller on this connection?")
            }
        }
    }
}

impl std::error::Error for TorError {}

impl From<ReplyError> for TorError {
    fn from(error: ReplyError) -> Self {
        Self::Protocol(error)
    }
}
