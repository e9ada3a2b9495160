//! Datagrams of another member.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::cluster::exercise::exercise_datagrams(bytes));
