//! A node's own files, read at its start.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::cluster::exercise::exercise_saved(bytes));
