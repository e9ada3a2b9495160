//! Admission requests.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::join::exercise::exercise_request(bytes));
