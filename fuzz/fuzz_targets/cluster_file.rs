//! `cluster.json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::configuration::cluster_file(bytes));
