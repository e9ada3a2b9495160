//! A whole node: what its peer, strangers and its tor say.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::node::node(bytes));
