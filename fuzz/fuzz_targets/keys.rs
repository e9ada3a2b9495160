//! Keys, names and addresses as people and tor write them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::keys::keys(bytes));
