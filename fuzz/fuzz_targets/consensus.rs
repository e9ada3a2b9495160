//! A microdescriptor consensus.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(rustbalance_core::hsdir::consensus::Consensus::parse(bytes)));
