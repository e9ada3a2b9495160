//! What is first said on a connection, and what comes back, while there are invites.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::invite::exercise::exercise_front(bytes));
