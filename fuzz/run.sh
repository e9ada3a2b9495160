#!/bin/sh
# Fuzzes, with the stable toolchain: coverage is a matter of code generation flags (`rustc.sh`), and no sanitizer is needed
# where there is no unsafe code. What is found is minimised and kept in fuzz/corpus/.
# Usage: sh fuzz/run.sh [TARGET] [SECONDS]
#   TARGET    one of fuzz/fuzz_targets/, or "all" (default); "arti" is built with Arti and is not among all
#   SECONDS   of fuzzing, each target (default 60)
# A crash ends it with status 1. Its input is in fuzz/artifacts/TARGET/; the same program with that file as its only
# argument replays it, and so does `cargo test -p rustbalance-fuzz-targets` once the file is in fuzz/corpus/TARGET/.
set -eu
cd "$(dirname "$0")"

target=${1:-all}
seconds=${2:-60}
programs=${CARGO_TARGET_DIR:-target}/release

# The largest input, bytes: as large as the largest that a reader takes where that is little, else enough to be deep.
longest() {
    case "$1" in
    backup | certificate | cluster_file | configuration | invite_front | invite_request | join_request | keys | \
        mesh_packet) echo 2048 ;;
    circuit_line | invite) echo 256 ;;
    arti | consensus | descriptor* | probe_answer) echo 24000 ;;
    node | tor_dialogue) echo 64000 ;;
    *) echo 16000 ;;
    esac
}

build() {
    RUSTC_WRAPPER=$PWD/rustc.sh cargo build --quiet --release "$@"
}

# Keeps of the corpus in $2 as little as reaches every place that all of it reaches; names are hashes of the content.
minimise() {
    rm -rf "$2.new"
    mkdir "$2.new"
    "$programs/$1" -set_cover_merge=1 -use_counters=0 -max_len="$(longest "$1")" "$2.new" "$2" 2>/dev/null
    # These are damaged by `testing/tests/arti_difference.rs`, by name.
    [ "$1" != arti ] || cp "$2"/*-[123] "$2.new/"
    rm -rf "$2"
    mv "$2.new" "$2"
}

fuzz() {
    mkdir -p "artifacts/$1" "corpus/$1" "working/$1"
    echo "=== $1: $seconds s"
    if ! "$programs/$1" -max_total_time="$seconds" -max_len="$(longest "$1")" -timeout=10 -rss_limit_mb=1024 \
        -malloc_limit_mb=256 -print_final_stats=1 -artifact_prefix="artifacts/$1/" "working/$1" "corpus/$1"; then
        echo "$1 failed: in fuzz/, replay it with $programs/$1 artifacts/$1/FILE" >&2
        exit 1
    fi
    cp -n "working/$1"/* "corpus/$1/" 2>/dev/null || true
    minimise "$1" "corpus/$1"
}

case "$target" in
all)
    build --bins
    for source in fuzz_targets/*.rs; do
        name=$(basename "$source" .rs)
        [ "$name" = arti ] || fuzz "$name"
    done
    ;;
arti)
    build --bin arti --features arti
    fuzz arti
    ;;
*)
    [ -e "fuzz_targets/$target.rs" ] || { echo "no such target: $target; see fuzz/fuzz_targets/" >&2; exit 2; }
    build --bin "$target"
    fuzz "$target"
    ;;
esac
