#!/bin/sh
# Cargo's RUSTC_WRAPPER for `run.sh`: coverage is counted, and overflows are looked for, in our own crates alone. What
# happens in others (elliptic curves above all) tells the fuzzer little, and counting it takes most of the time.
set -eu
case "${CARGO_PKG_NAME:-}" in
rustbalance*)
    # What cargo-fuzz passes without a sanitizer.
    exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions=on -Coverflow-checks=on
    ;;
esac
exec "$@"
