#!/bin/sh
# Every test, stopping at the first failure. About 40 minutes on 2 cores, a third of them for the end-to-end tests.
# Usage: sh testing/test.sh [--full]
#   --full   also the checks of licences and duplicates (cargo-deny), Arti as oracle, fuzzing, systemd and three deployed
#            machines (as root), the demo, on private tor networks twelve nodes, moves in and out, proof of work, an attached
#            tor, strangers with the key, wrong clocks and SIGKILL at any moment, and longer campaigns of the randomised tests
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

# Whether a process can be given another clock.
have_faketime() {
    dpkg-query --show libfaketime >/dev/null 2>&1
}

# A run fails for a change and not by chance: the property tests, too, try other cases only with --full.
[ -n "$full" ] || export PROPTEST_RNG_SEED=1

step "format" cargo fmt --all -- --check
step "no half of a merge" sh -c '! grep -rnE "^(<<<<<<<|>>>>>>>)( |$)" --include="*.*" -- .ci README.md core docs fuzz/targets io node testing'
if ! command -v shellcheck >/dev/null && [ "$(id -u)" -eq 0 ]; then
    step "installing shellcheck" apt-get install -qq --yes --no-install-recommends shellcheck
fi
if command -v shellcheck >/dev/null; then
    step "shell scripts" shellcheck --external-sources .ci/run fuzz/*.sh node/package/*.sh testing/*.sh
else
    printf '\n=== shell scripts: left out, as shellcheck is not installed\n'
fi
step "lints" cargo clippy --quiet --workspace --all-targets --features rustbalance-testing/sabotage -- -D warnings
# Those that only run when asked for are no targets of "all".
step "lints of the tests that take minutes" \
    cargo clippy --quiet --workspace --test attach --test clock --test e2e --test machines \
    --test migration --test pow --test sigkill --test spread --test strangers -- -D warnings
step "build" cargo build --quiet --workspace --all-targets
step "unit, property, vector and simulator tests" cargo test --quiet --workspace
# Fresh seeds for each state of the sources, and the same ones for the same state: again, for a change and not by chance.
tree=$(git rev-parse --short=7 'HEAD^{tree}' 2>/dev/null || echo 1)
step "campaign of the simulator" \
    cargo run --release --quiet --package rustbalance-testing --bin simulate -- --ci --from "$((0x$tree))"
step "whatever rule of the protocol is broken, the simulator notices" \
    cargo test --quiet --workspace --features rustbalance-testing/sabotage --test sabotage
if [ "$(id -u)" -eq 0 ]; then
    # What is mounted there is gone with the namespace, however the test ends.
    step "a real disk without room" \
        unshare --mount cargo test --quiet --workspace --test full_disk -- --ignored
    command -v systemd-analyze >/dev/null ||
        step "installing systemd-analyze" apt-get install -qq --yes --no-install-recommends systemd
    cargo deb --version >/dev/null 2>&1 || step "installing cargo-deb" cargo install --quiet --locked --debug cargo-deb
    step "package" sh node/package/deb.sh
    step "deploying, on machines of their own" \
        cargo test --quiet --workspace --test deploy -- --ignored
else
    printf '\n=== a disk without room, deploying: left out, as they need root\n'
fi
step "end to end, on a private tor network" cargo test --quiet --workspace --test e2e

if [ -n "$full" ]; then
    command -v cargo-deny >/dev/null || step "installing cargo-deny" cargo install --quiet --locked cargo-deny
    step "licences, duplicates, sources" cargo deny check licenses bans sources
    step "Arti reads our descriptors and we Arti's, and both judge damaged ones alike" \
        cargo test --quiet --release --package rustbalance-testing --features arti --test arti_oracle \
        --test arti_difference
    step "the demo" sh testing/demo.sh
    step "a minute of fuzzing of whatever reads foreign bytes" sh fuzz/run.sh all 60
    if [ "$(id -u)" -eq 0 ]; then
        step "the package under systemd: boot, watchdog, restarts, credentials, Debian's tor" \
            cargo test --quiet --workspace --test systemd -- --ignored
        step "three machines, deployed, joined by invite, drained, removed, left and restored" \
            cargo test --quiet --workspace --test machines
    else
        printf '\n=== systemd, three machines: left out, as they need root\n'
    fi
    step "fresh clients fall on three nodes and on twelve by chance alone" \
        cargo test --quiet --workspace --test spread -- --nocapture
    step "an address moves in from a plain tor and from Onionbalance, and out again" \
        cargo test --quiet --workspace --test migration -- --nocapture
    step "clients that solve get through a crowd, on one node and on three" \
        cargo test --quiet --workspace --test pow -- --nocapture
    step "a node attached to a tor that somebody else runs serves beside another" \
        cargo test --quiet --workspace --test attach
    step "copies that an HSDir lost, or that somebody else with the key put there, are found and replaced" \
        cargo test --quiet --workspace --test strangers -- --nocapture
    if ! have_faketime && [ "$(id -u)" -eq 0 ]; then
        step "installing libfaketime" apt-get install -qq --yes --no-install-recommends libfaketime
    fi
    if have_faketime; then
        step "nodes that are started with clocks an hour ahead and an hour behind harm nobody" \
            cargo test --quiet --workspace --test clock -- --nocapture
    else
        printf '\n=== wrong clocks: left out, as libfaketime is not installed\n'
    fi
    step "nodes that serve, and their tors, are killed 20 times, at any moment" \
        cargo test --quiet --workspace --test sigkill -- --nocapture
    step "campaign of the simulator, on fresh seeds" \
        cargo run --release --quiet --package rustbalance-testing --bin simulate -- --ci
    for suffers in "--loss 1" "--loss 10" "--loss 1 --burst 300" "--nodes 2 --loss 1" "--nodes 2 --loss 10"; do
        # shellcheck disable=SC2086 # several words
        step "a simulated week in which nobody loses the lease falsely, $suffers" \
            cargo run --release --quiet --package rustbalance-testing --bin simulate -- \
            --scenario week --minutes 10080 --seeds 1 --from "$(date +%s)" $suffers
    done
    # A week of sixty nodes takes a core 100 minutes, a day of them a quarter of an hour.
    for suffers in "--loss 1" "--loss 10" "--loss 1 --burst 300"; do
        # shellcheck disable=SC2086 # several words
        step "a simulated day in which none of sixty nodes loses the lease falsely, $suffers" \
            cargo run --release --quiet --package rustbalance-testing --bin simulate -- \
            --scenario week --nodes 60 --minutes 1440 --seeds 1 --from "$(date +%s)" $suffers
    done
    for story in hour sixty-nodes; do
        step "the long story $story" \
            cargo run --release --quiet --package rustbalance-testing --bin simulate -- \
            --scenario "$story" --seeds 2 --from "$(date +%s)"
    done
    step "a hundred nodes send no more each than five, and find each other within 15 s" \
        cargo run --release --quiet --package rustbalance-testing --bin scale -- --nodes 5,50,100 --check
    step "nodes and tors are killed 200 times, at any moment" \
        env RUSTBALANCE_KILLS=38 cargo test --quiet --package rustbalance --test kill -- --nocapture
    PROPTEST_CASES=5000
    export PROPTEST_CASES
    step "longer campaigns of the property tests" cargo test --quiet --workspace
fi

printf '\n%s passed, %s failed\n' "$passed" "$failed"
