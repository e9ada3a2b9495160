//! Replies and events of a tor control port.
#![no_main]

use rustbalance_core::control::reply::Reader;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::default();
    reader.push(bytes);
    while let Ok(Some(_)) = reader.next_reply() {}
});
