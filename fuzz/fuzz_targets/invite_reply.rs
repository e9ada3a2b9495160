//! What an invited node is told.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::invite::exercise::exercise_reply(bytes));
