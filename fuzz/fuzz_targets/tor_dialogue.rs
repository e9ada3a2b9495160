//! A node's talk with its tor.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::control::dialogue(bytes));
