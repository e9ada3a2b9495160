//! Replies and events of a tor control port.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::control::reply(bytes));
