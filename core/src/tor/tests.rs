//! Scripted dialogues, one file per subject.

mod facts;
mod fake;
mod fetches;
mod session;
mod uploads;

use fake::Dialogue;
