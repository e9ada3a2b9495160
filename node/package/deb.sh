#!/bin/sh
# Builds the Debian package, writes its checksum beside it, and prints its path. Needs cargo-deb and no root.
set -eu
cd "$(dirname "$0")/../.."

cargo deb --version >/dev/null 2>&1 || {
    echo "deb.sh: cargo-deb is missing; install it with: cargo install --locked cargo-deb" >&2
    exit 1
}

cargo build --quiet --release --package rustbalance
built=${CARGO_TARGET_DIR:-target}/release
program=$built/rustbalance

# What the program says of itself; Cargo.toml names where each file goes.
rm -rf "$built/package"
mkdir -p "$built/package/man"
"$program" man "$built/package/man"
gzip -9n "$built"/package/man/*
for shell in bash fish zsh; do
    "$program" completions "$shell" >"$built/package/$shell"
done

# An older version's would be taken for this one.
rm -f "$built"/../debian/rustbalance_*
package=$(cargo deb --quiet --no-build --package rustbalance)
sha256sum "$package" >"$package.sha256"
echo "$package"
