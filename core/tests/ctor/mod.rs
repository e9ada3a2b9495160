//! Reads the C tor vectors of `testdata/ctor` (its README says where they come from).
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::PathBuf;

use rustbalance_core::onion::key::HsIdKeypair;
use serde_json::Value;

pub fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/ctor").join(relative)
}

pub fn bytes(relative: &str) -> Vec<u8> {
    std::fs::read(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

pub fn json(relative: &str) -> Value {
    serde_json::from_slice(&bytes(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

/// The names of the folders in `relative`, sorted.
pub fn folders(relative: &str) -> Vec<String> {
    let entries = std::fs::read_dir(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"));
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("entry").file_name().into_string().expect("ASCII name")).collect();
    names.sort();
    names
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a string instead of {value}"))
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a number instead of {value}"))
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("a list instead of {value}"))
}

pub fn hex(value: &Value) -> Vec<u8> {
    let digits = text(value).as_bytes();
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

pub fn hex32(value: &Value) -> [u8; 32] {
    hex(value).try_into().expect("32 bytes")
}

/// From tor's 64-byte expanded form.
pub fn identity(expanded: &Value) -> HsIdKeypair {
    let file = [b"== ed25519v1-secret: type0 ==\0\0\0".as_slice(), &hex(expanded)].concat();
    HsIdKeypair::from_tor_file(&file).expect("a vector's identity")
}
