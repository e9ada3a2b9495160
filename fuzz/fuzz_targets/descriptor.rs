//! All layers of an onion service descriptor.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_core::hsdesc::exercise_parsers(bytes));
