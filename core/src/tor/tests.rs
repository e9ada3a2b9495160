//! Scripted dialogues, one file per subject.

mod access;
mod facts;
mod fake;
mod fetches;
mod session;
mod uploads;

use fake::Dialogue;
