//! Invites as text, and what is encoded in them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::invite::exercise::exercise_text(bytes));
