//! Packets that come out of a tunnel.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::mesh::packet(bytes));
