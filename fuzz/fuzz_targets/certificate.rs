//! Tor's ed25519 certificates.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::descriptor::certificate(bytes));
