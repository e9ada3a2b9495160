//! Scripted dialogues, one file per subject.

mod access;
mod attached;
mod facts;
pub(crate) mod fake;
mod fetches;
mod harvest;
mod session;
mod uploads;
mod withdrawal;

use fake::Dialogue;
