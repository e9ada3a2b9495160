//! Backups of an address.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::backup::exercise::exercise(bytes));
