//! What publication hears of its uploads and fetches.

use core::fmt;

use crate::id::RelayFingerprint;

/// News from a tor that publication must hear, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TorEvent {
    /// `UPLOADED` to this HSDir answered our upload.
    Uploaded(RelayFingerprint),
    /// Our upload failed: `UPLOAD_REJECTED`, `554 ...`, timeout, connection lost.
    UploadFailed(RelayFingerprint, UploadFailure),
    /// A fetch ended with the descriptor's text, or without.
    Fetched(RelayFingerprint, Option<Vec<u8>>),
    /// Tor itself uploaded (native publishing): seen by `HS_DESC UPLOAD`, confirmed by `UPLOADED`.
    NativeUploaded(RelayFingerprint),
    /// This HSDir refused (`UPLOAD_REJECTED`) what tor uploaded by itself.
    NativeRefused(RelayFingerprint),
}

/// Why an upload failed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub enum UploadFailure {
    /// The HSDir refused (equal or lower counter, mostly).
    Rejected,
    /// Tor refused locally (554, 552, ...): its words.
    Refused(String),
    /// No answer in time.
    Timeout,
    /// Tor gave it up without an answer.
    Dropped,
    /// The HSDir could not be reached, or other reason: tor's word.
    Failed(String),
    /// The control connection went away.
    Disconnected,
}

impl fmt::Display for UploadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected => f.write_str("the HSDir refused it (its revision counter is not above the stored one?)"),
            Self::Refused(words) => write!(f, "tor refused it: {words}"),
            Self::Timeout => f.write_str("the HSDir did not answer in time"),
            Self::Dropped => f.write_str("tor broke it off (its own descriptor changed, or the circuit failed)"),
            Self::Failed(reason) => write!(f, "tor could not upload it: {reason}"),
            Self::Disconnected => f.write_str("the control connection was lost meanwhile"),
        }
    }
}
