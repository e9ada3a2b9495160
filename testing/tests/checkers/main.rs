//! No checker is blind: in a calm, good world each one sees what only it should see.

#![allow(clippy::indexing_slicing, reason = "tests: a wrong index is a failed test")]

mod lease;
mod publication;
mod worlds;
