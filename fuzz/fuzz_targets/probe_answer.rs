//! What an application answers to a probe.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::probe::exercise::answer(bytes));
