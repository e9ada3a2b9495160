//! Datagrams on the mesh's socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustbalance_fuzz_targets::mesh::datagrams(bytes));
