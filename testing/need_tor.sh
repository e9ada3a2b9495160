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
    # The tests run tors of their own; the system's service is not wanted.
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends tor </dev/null >&2
fi
