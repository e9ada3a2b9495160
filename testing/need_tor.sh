# shellcheck shell=sh
# Sourced by the other scripts: makes sure that Debian's tor is installed and found.

# Debian keeps tor where only root looks by default.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH

if ! command -v tor >/dev/null || ! command -v tor-gencert >/dev/null; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "tor is not installed, and installing it needs root: run 'apt-get install tor', then this again" >&2
        exit 1
    fi
    echo "installing tor" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends tor </dev/null >&2
    # The package also starts a tor service and enables it. Nobody here asked for that: the tests run tors of their own.
    if [ -d /run/systemd/system ]; then
        systemctl disable --quiet --now tor >&2
    fi
fi
