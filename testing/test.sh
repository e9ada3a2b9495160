#!/bin/sh
# Every test, stopping at the first failure. About 25 minutes on 2 cores, half of them for the end-to-end tests.
# Usage: sh testing/test.sh [--full]
#   --full   also the checks of licences and duplicates (cargo-deny) and longer campaigns of the randomised tests
set -eu
cd "$(dirname "$0")/.."

full=
case "${1:-}" in
'') ;;
--full) full=yes ;;
*)
    echo "usage: sh testing/test.sh [--full]" >&2
    exit 2
    ;;
esac

. testing/need_tor.sh

log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0
failed=0

# Runs "$@" as the step called $1, shows how long it took, and adds up what its test runs report.
step() {
    title=$1
    shift
    printf '\n=== %s\n' "$title"
    begun=$(date +%s)
    status=0
    # In a pipe the status of the command itself would be lost.
    { "$@" 2>&1 || echo "exit status $?" >"$log.status"; } | tee "$log"
    if [ -e "$log.status" ]; then
        status=$(cat "$log.status")
        rm -f "$log.status"
    fi
    passed=$((passed + $(sum passed)))
    failed=$((failed + $(sum failed)))
    printf '=== %s: %s s\n' "$title" "$(($(date +%s) - begun))"
    if [ "$status" != 0 ]; then
        [ "$failed" -gt 0 ] || failed=1
        printf '\n%s: %s\n%s passed, %s failed\n' "$title" "$status" "$passed" "$failed"
        exit 1
    fi
}

# The number before the word $1 in all lines "test result: ... N passed; N failed; ..." of the step.
sum() {
    sed -n "s/.*test result: .* \([0-9][0-9]*\) $1;.*/\1/p" "$log" | awk '{ total += $1 } END { print total + 0 }'
}

step "format" cargo fmt --all -- --check
step "lints" cargo clippy --quiet --workspace --all-targets --features rustbalance-testing/sabotage -- -D warnings
step "build" cargo build --quiet --workspace --all-targets
step "unit, property, vector and simulator tests" cargo test --quiet --workspace
step "campaign of the simulator" \
    cargo run --release --quiet --package rustbalance-testing --bin simulate -- --ci --from 1
step "whatever rule of the protocol is broken, the simulator notices" \
    cargo test --quiet --package rustbalance-testing --features sabotage --test sabotage
step "end to end, on a private tor network" cargo test --quiet --package rustbalance-testing --test e2e

if [ -n "$full" ]; then
    command -v cargo-deny >/dev/null || step "installing cargo-deny" cargo install --quiet --locked cargo-deny
    step "licences, duplicates, sources" cargo deny check licenses bans sources
    step "Arti reads our descriptors and we Arti's" \
        cargo test --quiet --release --package rustbalance-testing --features arti --test arti_oracle
    step "campaign of the simulator, on fresh seeds" \
        cargo run --release --quiet --package rustbalance-testing --bin simulate -- --ci
    for suffers in "--loss 1" "--loss 10" "--loss 1 --burst 300"; do
        # shellcheck disable=SC2086 # several words
        step "a simulated week in which nobody loses the lease falsely, $suffers" \
            cargo run --release --quiet --package rustbalance-testing --bin simulate -- \
            --scenario week --minutes 10080 --seeds 1 --from "$(date +%s)" $suffers
    done
    PROPTEST_CASES=5000
    export PROPTEST_CASES
    step "longer campaigns of the property tests" cargo test --quiet --workspace
fi

printf '\n%s passed, %s failed\n' "$passed" "$failed"
