#!/bin/sh
# Several nodes, one onion address, the publisher killed: on a private tor network on this machine.
# Usage: sh testing/demo.sh [--nodes N] [--json]
set -eu
cd "$(dirname "$0")/.."
. testing/need_tor.sh

# The development profile: its dependencies are optimised, and it builds in half the time of a release build.
cargo build --quiet --package rustbalance --package rustbalance-testing --bin rustbalance --bin demo

# From here on the signals of this terminal reach the demo itself, which stops everything it started.
exec "${CARGO_TARGET_DIR:-target}/debug/demo" "$@"
