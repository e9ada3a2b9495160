//! What is said of publication.

use core::fmt;

use crate::id::RelayFingerprint;
use crate::onion::period::Slot;
use crate::tor::UploadFailure;

/// For logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicationEvent {
    /// A new plan: points, nodes.
    Planned {
        /// Introduction points.
        points: usize,
        /// Nodes with at least one.
        nodes: usize,
        /// Different descriptors that list them.
        descriptors: usize,
    },
    /// Every HSDir of both slots confirmed the plan.
    Confirmed {
        /// Uploads.
        hsdirs: usize,
        /// Milliseconds from plan to last confirmation.
        took_ms: u64,
    },
    /// Proof of work is in what clients read, or no longer, and why.
    Pow(String),
    /// An upload failed; it will be retried.
    Failed {
        /// Slot.
        slot: Slot,
        /// HSDir.
        hsdir: RelayFingerprint,
        /// Why.
        failure: UploadFailure,
    },
}

impl fmt::Display for PublicationEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Planned { points, nodes, descriptors } => {
                write!(f, "plan: {points} introduction points of {nodes} nodes")?;
                if *descriptors > 1 { write!(f, " in {descriptors} different descriptors") } else { Ok(()) }
            }
            Self::Confirmed { hsdirs, took_ms } => {
                write!(f, "plan confirmed by all {hsdirs} HSDirs, {took_ms} ms after it was made")
            }
            Self::Pow(words) => write!(f, "proof of work: {words}"),
            Self::Failed { slot, hsdir, failure } => {
                write!(f, "upload to {hsdir} for the {slot:?} slot failed, trying again: {failure}")
            }
        }
    }
}
