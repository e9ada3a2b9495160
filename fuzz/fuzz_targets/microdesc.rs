//! Microdescriptors.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::directory::microdescs(bytes));
