//! What tor says of the circuit of a connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::control::circuit_line(bytes));
