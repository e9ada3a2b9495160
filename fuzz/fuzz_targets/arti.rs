//! Arti and we judge the same descriptors.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_testing::arti::difference::exercise(bytes));
