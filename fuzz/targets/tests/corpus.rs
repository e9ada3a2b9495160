//! Whatever the fuzzer has found worth keeping is read without a fault by ordinary builds, too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustbalance_fuzz_targets::{TARGETS, Target, descriptor};

/// Only the fuzzer and `testing/tests/arti_difference.rs` ask Arti, too.
const ARTI: Target = ("arti", descriptor::any_layer);

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn names(dir: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(fuzz_dir().join(dir)).unwrap_or_else(|error| panic!("{dir}: {error}"));
    let names = entries.filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned));
    names.collect()
}

#[test]
fn every_target_has_a_program_and_a_corpus_and_nothing_else_has() {
    let targets: BTreeSet<String> = TARGETS.iter().chain([&ARTI]).map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets, names("fuzz_targets"));
    assert_eq!(targets, names("corpus"));
}

#[test]
fn every_corpus_is_read_without_a_fault() {
    for (name, call) in TARGETS.iter().chain([&ARTI]) {
        let mut files = 0;
        for entry in fs::read_dir(fuzz_dir().join("corpus").join(name)).expect("a corpus") {
            let path = entry.expect("readable").path();
            let bytes = fs::read(&path).expect("readable");
            let read = std::panic::catch_unwind(|| call(&bytes));
            assert!(read.is_ok(), "{}", path.display());
            files += 1;
        }
        assert!(files > 0, "{name} has an empty corpus");
    }
}
