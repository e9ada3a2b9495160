#!/bin/sh
# Makes this machine a node: installs tor and rustbalance, creates the user and the state directory, founds a cluster or
# joins one, starts the service, and prints how the next machine joins. Safe to run again.
set -eu

usage() {
    cat <<'END'
Usage: deploy.sh --init --target TARGET [--endpoint HOST:PORT] [OPTIONS]
       deploy.sh --join --target TARGET --invite-file FILE [--client-key-file FILE] [--endpoint HOST:PORT] [OPTIONS]
       deploy.sh --join --target TARGET --master-onion ADDRESS --master-key-file FILE --peer-endpoint HOST:PORT
                 --peer-pubkey KEY --cluster-token-file FILE [--endpoint HOST:PORT] [OPTIONS]
       deploy.sh --uninstall [--purge] [--dry-run]

What to do:
  --init                     found a cluster on its first machine
  --join                     join one: with an invite (`rustbalance invite` on any member), or directly
  --uninstall                stop the node, remove program and service; keys and state stay. To leave the cluster for
                             good, run `rustbalance leave` first
  --purge                    with --uninstall: remove keys, state and user, too

The node:
  --target TARGET            your application: HOST:PORT, unix:/path or ADDRESS.onion:PORT
  --endpoint HOST:PORT       where other nodes reach this one's mesh (UDP)
  --priority N               who should publish: lower first (default 100)
  --master-key-file FILE     with --init: keep the address of this key: tor's
                             hs_ed25519_secret_key, PEM or a seed in base64, and
                             restrict it to the clients in authorized_clients
                             beside that file, if there are any;
                             with --join, but without an invite: the same, of the cluster's address

Where the program comes from (default: built from the checkout that this script is in, which needs cargo):
  --package FILE             install this Debian package, as node/package/deb.sh builds it
  --binary FILE              install this program
  --sha256 SUM               what FILE must hash to; else FILE.sha256 must lie beside it

Secrets belong into files that only you can read. These exist for systems that can do no better, and say so:
  --master-key KEY           the content of such a file, put into base64 (once more, if it is base64 already):
                             what `base64 -w 0 FILE` prints
  --cluster-token TOKEN      the content of a member's keys/cluster_token

Other:
  --dry-run                  print what would be done, do nothing
  --help                     this text

Exit status: 0 done, 2 wrong usage, 1 anything else; what failed is named last.
END
}

fail() {
    echo "deploy.sh: $1" >&2
    exit "${2:-1}"
}

wrong() {
    fail "$1; see deploy.sh --help" 2
}

# Does it, or says so.
run() {
    if [ -n "$dry_run" ]; then
        echo "would run: $*"
    else
        "$@"
    fi
}

here=$(cd "$(dirname "$0")/.." && pwd)
dir=/var/lib/rustbalance
user=rustbalance
program=/usr/bin/rustbalance
unit=/lib/systemd/system/rustbalance.service

action='' target='' endpoint='' priority='' purge='' dry_run=''
package='' binary='' sha256=''
invite_file='' client_key_file='' master_onion='' master_key_file='' peer_endpoint='' peer_pubkey='' cluster_token_file=''
scratch=''
trap 'if [ -n "$scratch" ]; then rm -rf "$scratch"; fi' EXIT
# Without these a signal would leave the secrets lying there.
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# A directory in memory that only root sees and that goes with this script.
scratch() {
    if [ -z "$scratch" ]; then
        if [ -w /dev/shm ]; then
            scratch=$(mktemp -d -p /dev/shm)
        else
            scratch=$(mktemp -d)
        fi
    fi
}

# A secret on the command line can be read by every user of this machine, for as long as the program runs. So this one
# starts itself anew at once, with the secrets on a file descriptor.
hide_secrets() {
    master_key='' cluster_token='' found=''
    count=$#
    while [ "$count" -gt 0 ]; do
        word=$1
        shift
        count=$((count - 1))
        case "$word" in
        --master-key | --cluster-token)
            [ "$count" -gt 0 ] || wrong "$word: a value is missing"
            found="$found $word"
            if [ "$word" = --master-key ]; then master_key=$1; else cluster_token=$1; fi
            shift
            count=$((count - 1))
            ;;
        --master-key=*) found="$found --master-key" master_key=${word#*=} ;;
        --cluster-token=*) found="$found --cluster-token" cluster_token=${word#*=} ;;
        *) set -- "$@" "$word" ;;
        esac
    done
    [ -n "$found" ] || return 0
    for flag in $found; do
        echo "deploy.sh: warning: until now every user of this machine could read the value of $flag; use $flag-file FILE instead, and consider the value known if somebody else uses this machine" >&2
    done
    exec sh "$0" --secrets-on-fd-8 "$@" 8<<END
$master_key
$cluster_token
END
}

take_secrets() {
    scratch
    { IFS= read -r master_key && IFS= read -r cluster_token; } <&8 || fail "the secrets got lost; run deploy.sh again"
    exec 8<&-
    if [ -n "$master_key" ]; then
        master_key_file=$scratch/master_key
        (umask 077 && printf '%s' "$master_key" | base64 -d >"$master_key_file" 2>/dev/null) ||
            wrong "--master-key: not base64"
    fi
    if [ -n "$cluster_token" ]; then
        cluster_token_file=$scratch/cluster_token
        (umask 077 && printf '%s\n' "$cluster_token" >"$cluster_token_file") || fail "$cluster_token_file: cannot be written"
    fi
    master_key='' cluster_token=''
}

parse() {
    while [ $# -gt 0 ]; do
        case "$1" in
        --init | --join | --uninstall)
            [ -z "$action" ] || wrong "$1 and --$action: choose one"
            action=${1#--}
            shift
            continue
            ;;
        --purge)
            purge=yes
            shift
            continue
            ;;
        --dry-run)
            dry_run=yes
            shift
            continue
            ;;
        --secrets-on-fd-8)
            take_secrets
            shift
            continue
            ;;
        --help)
            usage
            exit 0
            ;;
        --*=*)
            name=${1%%=*} value=${1#*=}
            shift
            ;;
        --*)
            [ $# -ge 2 ] || wrong "$1: unknown, or its value is missing"
            name=$1 value=$2
            shift 2
            ;;
        *) wrong "$1: not an option" ;;
        esac
        case "$name" in
        --target) target=$value ;;
        --endpoint) endpoint=$value ;;
        --priority) priority=$value ;;
        --package) package=$value ;;
        --binary) binary=$value ;;
        --sha256) sha256=$value ;;
        --invite-file) invite_file=$value ;;
        --client-key-file) client_key_file=$value ;;
        --master-onion) master_onion=$value ;;
        --master-key-file) master_key_file=$value ;;
        --peer-endpoint) peer_endpoint=$value ;;
        --peer-pubkey) peer_pubkey=$value ;;
        --cluster-token-file) cluster_token_file=$value ;;
        *) wrong "$name: not an option" ;;
        esac
    done
}

# Everything that can be wrong is said before anything is done.
check() {
    [ -n "$action" ] || wrong "say --init, --join or --uninstall"
    [ -z "$purge" ] || [ "$action" = uninstall ] || wrong "--purge goes with --uninstall"
    [ -z "$package" ] || [ -z "$binary" ] || wrong "--package and --binary: choose one"
    direct="$master_onion$peer_endpoint$peer_pubkey$cluster_token_file"
    case "$action" in
    init)
        [ -z "$direct$invite_file" ] || wrong "--init founds a cluster: flags of --join do not go with it"
        # Who may connect is not beside a node's key.
        for key in "$master_key_file" "$(readlink -f "$master_key_file")"; do
            [ -z "$master_key_file" ] || [ ! -e "$(dirname "$key")/node_key" ] ||
                wrong "$master_key_file: this is a node's key, without its clients; take rustbalance key backup and restore"
        done
        ;;
    join)
        if is_set_up; then
            : # What it joined with may be gone.
        elif [ -n "$invite_file" ]; then
            [ -z "$direct$master_key_file" ] || wrong "--invite-file: an invite says all; leave the other flags of --join out"
        else
            for flag in master_onion master_key_file peer_endpoint peer_pubkey cluster_token_file; do
                eval "value=\$$flag"
                # shellcheck disable=SC2154 # by eval
                [ -n "$value" ] || wrong "--join: --$(echo "$flag" | tr _ -) is missing; or use --invite-file"
            done
        fi
        ;;
    esac
    [ "$action" = uninstall ] || [ -n "$target" ] || is_set_up || wrong "--target is missing: where does your application listen?"
    [ -z "$client_key_file" ] || [ -n "$invite_file" ] || wrong "--client-key-file goes with --invite-file"
    for file in "$package" "$binary"; do
        check_file "$file"
    done
    if [ "$action" != uninstall ] && ! is_set_up; then
        for file in "$invite_file" "$client_key_file" "$master_key_file" "$cluster_token_file"; do
            check_file "$file"
        done
    fi
    [ "$action" = uninstall ] || check_program
    [ -n "$dry_run" ] || [ "$(id -u)" -eq 0 ] || fail "installing needs root: run it with sudo, or --dry-run to see what it does"
}

check_file() {
    [ -z "$1" ] || [ -r "$1" ] || fail "$1: cannot be read; name a file that exists"
    [ ! -d "$1" ] || wrong "$1: a directory; name the file in it"
}

check_program() {
    if [ -n "$package" ]; then
        verify "$package"
        return
    fi
    [ -r "$here/node/package/rustbalance.service" ] ||
        fail "$here: not a checkout of RustBalance, which has the service; run this script where it is in one, or give --package FILE"
    if [ -n "$binary" ]; then
        verify "$binary"
    else
        command -v cargo >/dev/null || fail "nothing to install: no cargo to build with; give --package FILE or --binary FILE"
    fi
}

# The keys come last when a node is made.
is_set_up() {
    [ -e "$dir/keys" ]
}

has_systemd() {
    [ -d /run/systemd/system ]
}

# The process that runs as the service; 0: none does.
running() {
    systemctl show --property=MainPID --value rustbalance
}

# $1 must hash to --sha256, or to what lies beside it.
verify() {
    sum=$sha256
    if [ -z "$sum" ]; then
        [ -r "$1.sha256" ] || fail "$1: no checksum; give --sha256 SUM, or put $1.sha256 beside it"
        sum=$(cut -d ' ' -f 1 "$1.sha256")
    fi
    real=$(sha256sum "$1" | cut -d ' ' -f 1)
    [ "$sum" = "$real" ] || fail "$1: its SHA-256 is $real, not $sum; get it anew from where you trust it"
}

install_tor() {
    if command -v tor >/dev/null || [ -x /usr/sbin/tor ]; then
        return
    fi
    run apt-get update -qq
    run env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends tor
    # The package starts a tor of its own, which nobody here asked for: a node runs its tor itself.
    if has_systemd; then
        run systemctl disable --quiet --now tor
    fi
}

install_program() {
    if has_systemd; then
        before=$(running)
    fi
    if [ -n "$package" ]; then
        run dpkg --install "$package"
        return
    fi
    if [ -z "$binary" ]; then
        run cargo build --quiet --release --manifest-path "$here/Cargo.toml" --package rustbalance
        binary=${CARGO_TARGET_DIR:-$here/target}/release/rustbalance
    fi
    # Beside it and into its place: a running program's file cannot be written.
    run install -D -m 755 "$binary" "$program.new"
    run mv -f "$program.new" "$program"
    run install -D -m 644 "$here/node/package/rustbalance.service" "$unit"
}

create_user() {
    if ! getent passwd "$user" >/dev/null; then
        run useradd --system --user-group --home-dir "$dir" --no-create-home --shell /usr/sbin/nologin "$user"
    fi
    run install -d -m 700 -o "$user" -g "$user" "$dir"
}

# As the node's user, who is to own what it makes.
as_user() {
    run runuser -u "$user" -- "$program" --dir "$dir" "$@"
}

# A copy of the secret file $1 that the node's user can read, and nobody else.
lend() {
    scratch
    run install -m 600 -o "$user" -g "$user" "$1" "$scratch/$2"
    run chown "$user" "$scratch"
    lent=$scratch/$2
}

# The clients of the service that the key $1 is of: they are beside it, or beside what it is a link to.
lend_clients() {
    for key in "$1" "$(readlink -f "$1")"; do
        clients=$(dirname "$key")/authorized_clients
        if [ -L "$clients" ] || [ -n "$(ls -A "$clients" 2>/dev/null)" ]; then
            # Links as links: what they lead to may be nothing for the node's user, and then `init` says so.
            run cp -RP "$clients" "$scratch/authorized_clients"
            run chown -Rh "$user" "$scratch/authorized_clients"
            return
        fi
    done
}

set_up() {
    if is_set_up; then
        echo "$dir: this machine is a node already; program and service are up to date now"
        return
    fi
    set -- --target "$target"
    [ -z "$endpoint" ] || set -- "$@" --endpoint "$endpoint"
    [ -z "$priority" ] || set -- "$@" --priority "$priority"
    if [ "$action" = init ]; then
        if [ -n "$master_key_file" ]; then
            lend "$master_key_file" key
            lend_clients "$master_key_file"
            set -- "$@" --import-key "$lent"
        fi
    elif [ -n "$invite_file" ]; then
        lend "$invite_file" invite
        set -- "$@" --invite-file "$lent"
        if [ -n "$client_key_file" ]; then
            lend "$client_key_file" client_key
            set -- "$@" --client-key-file "$lent"
        fi
    else
        lend "$master_key_file" key
        set -- "$@" --master-key-file "$lent"
        lend "$cluster_token_file" token
        set -- "$@" --cluster-token-file "$lent"
        set -- "$@" --master-onion "$master_onion" --peer-endpoint "$peer_endpoint" --peer-pubkey "$peer_pubkey"
    fi
    as_user "$action" "$@"
}

start() {
    if has_systemd; then
        run systemctl daemon-reload
        # Debian masks the unit of a package that was removed.
        run systemctl unmask --quiet rustbalance
        run systemctl enable --quiet rustbalance
        # A package that takes the place of another has restarted what ran.
        if [ "$(running)" = 0 ] || [ "$(running)" = "$before" ]; then
            run systemctl restart rustbalance
        fi
    else
        echo "no systemd runs here; start the node yourself: runuser -u $user -- $program run"
    fi
}

say_how_to_join() {
    from=
    [ -z "$package" ] || from=' --package FILE'
    [ -z "$given_binary" ] || from=' --binary FILE'
    cat <<END

The next machine joins with an invite, which any running node makes:

  runuser -u $user -- $program invite > invite      # a secret: umask 077 first

Take it there over a channel that you trust. Run this script there, which is in the checkout and in no package:

  sudo sh $0 --join --invite-file invite --target TARGET --endpoint HOST:PORT$from
END
}

uninstall() {
    if has_systemd && [ -e "$unit" ]; then
        run systemctl disable --quiet --now rustbalance
    fi
    # A node holds the lock for as long as it runs, whoever started it.
    [ -n "$dry_run" ] || [ ! -e "$dir/lock" ] || flock --nonblock "$dir/lock" true ||
        fail "a node runs in $dir, and not as the service: stop it first"
    if dpkg-query --status rustbalance >/dev/null 2>&1; then
        run dpkg --remove rustbalance
    else
        run rm -f "$program" "$unit"
    fi
    if has_systemd; then
        run systemctl daemon-reload
    fi
    if [ -n "$purge" ]; then
        run rm -rf "$dir"
        ! getent passwd "$user" >/dev/null || run userdel "$user"
    elif [ -e "$dir" ]; then
        echo "$dir stays: it holds the key of the address. --uninstall --purge removes it"
    fi
}

hide_secrets "$@"
parse "$@"
given_binary=$binary
check
if [ "$action" = uninstall ]; then
    uninstall
    exit 0
fi
install_tor
install_program
create_user
set_up
start
say_how_to_join
