//! Datagrams between nodes, admission requests and their answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_core::cluster::exercise_datagrams(bytes));
