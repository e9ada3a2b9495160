//! The inner layer of a descriptor.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::descriptor::inner(bytes));
