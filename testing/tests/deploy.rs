//! `testing/deploy.sh`, each time on a machine of its own: this one's, seen through an overlay in a mount namespace, with
//! a network namespace that has nothing but loopback. Needs root, so `testing/test.sh` runs it, and `cargo test` does not.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustbalance_testing::cluster;
use rustbalance_testing::machine::{self, FRESH, ROOT};

/// How a script on a fresh machine ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn on_a_machine(script: &str) -> Ended {
    let output = machine::unshare()
        .args(["sh", "-c"])
        .arg(format!("{FRESH}{script}"))
        .envs([("ROOT", ROOT.as_ref()), ("PROGRAM", program().as_os_str()), ("PACKAGES", packages().as_os_str())])
        .stdin(Stdio::null())
        .output()
        .expect("unshare starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn program() -> PathBuf {
    cluster::binary().expect("a program to deploy")
}

/// Where `node/package/deb.sh` puts what it builds.
fn packages() -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    test.ancestors().nth(3).expect("target/debug/deps").join("debian")
}

#[track_caller]
fn succeeds(script: &str) -> Ended {
    let ended = on_a_machine(script);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    ended
}

#[test]
#[ignore = "needs root"]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let ended = succeeds(
        r#"
        deploy --init --target 127.0.0.1:8080 --binary "$world/rustbalance" --dry-run
        [ ! -e /usr/bin/rustbalance ] && [ ! -e /var/lib/rustbalance ] && ! getent passwd rustbalance >/dev/null
        "#,
    );
    for step in ["install -D -m 755", "useradd --system", "rustbalance --dir /var/lib/rustbalance init --target"] {
        let says = |line: &str| line.starts_with("would run: ") && line.contains(step);
        assert!(ended.stdout.lines().any(says), "{}", ended.stdout);
    }
}

#[test]
#[ignore = "needs root"]
fn a_program_that_is_not_what_its_checksum_says_is_not_installed() {
    let ended = on_a_machine(
        r#"
        echo tampered >>"$world/rustbalance"
        deploy --init --target 127.0.0.1:8080 --binary "$world/rustbalance" || code=$?
        [ ! -e /usr/bin/rustbalance ] && exit "$code"
        "#,
    );
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("its SHA-256 is"), "{}", ended.stderr);
}

#[test]
#[ignore = "needs root"]
fn a_machine_becomes_a_node_once_however_often_it_is_deployed() {
    let ended = succeeds(
        r#"
        deploy --init --target 127.0.0.1:8080 --endpoint 10.0.0.1:7900 --priority 7 --binary "$world/rustbalance"
        before=$(sha256sum "$key")
        deploy --init --target 127.0.0.1:8080 --binary "$world/rustbalance"
        # As with a machine that has joined, whose invite is gone by then.
        deploy --join --invite-file "$world/gone" --target 127.0.0.1:8080 --binary "$world/rustbalance"
        [ "$before" = "$(sha256sum "$key")" ]
        [ "$(stat -c '%U %a' /var/lib/rustbalance "$key" | tr '\n' ' ')" = "rustbalance 700 rustbalance 600 " ]
        grep -q '^priority = 7$' /var/lib/rustbalance/rustbalance.toml
        runuser -u rustbalance -- rustbalance config check
        "#,
    );
    assert!(ended.stdout.contains("this machine is a node already"), "{}", ended.stdout);
    assert!(ended.stdout.contains("deploy.sh --join --invite-file invite"), "{}", ended.stdout);
}

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn a_package_brings_all_that_a_node_needs_and_takes_it_away_again() {
    let ended = succeeds(
        r#"
        # Before the script could make them.
        dpkg --install "$PACKAGES"/rustbalance_*.deb
        [ "$(getent passwd rustbalance | cut -d : -f 6)" = /var/lib/rustbalance ]
        deploy --init --target 127.0.0.1:8080 --package "$PACKAGES"/rustbalance_*.deb
        runuser -u rustbalance -- rustbalance config check
        # Listed, since some systems leave documents out.
        dpkg --listfiles rustbalance >"$world/files"
        for file in lib/systemd/system/rustbalance.service lib/tmpfiles.d/rustbalance.conf \
            share/doc/rustbalance/examples/rustbalance.toml share/man/man1/rustbalance-join.1.gz \
            share/bash-completion/completions/rustbalance share/fish/vendor_completions.d/rustbalance.fish \
            share/zsh/vendor-completions/_rustbalance; do
            grep -qx "/usr/$file" "$world/files"
        done
        deploy --uninstall
        [ ! -e /usr/bin/rustbalance ] && [ ! -e /usr/lib/systemd/system/rustbalance.service ] && [ -e "$key" ]
        "#,
    );
    assert!(ended.stdout.contains("holds the key of the address"), "{}", ended.stdout);
}

/// Both on one loopback; no tor may use the network, which there is none of.
#[test]
#[ignore = "needs root"]
fn a_second_machine_joins_the_first_with_what_that_printed() {
    succeeds(
        r#"
        offline() { printf '\n[tor]\noptions = ["DisableNetwork 1"]\n' >>/var/lib/rustbalance/rustbalance.toml; }
        start() {
            sed -n 's/^ExecStart=//p' /lib/systemd/system/rustbalance.service >"$world/start"
            runuser -u rustbalance -- sh "$world/start" 2>"$world/log" &
        }
        await() {
            tries=0
            until "$@" >/dev/null 2>&1; do
                tries=$((tries + 1))
                [ "$tries" -lt 300 ] || { cat "$world/log" >&2; exit 9; }
                sleep 0.2
            done
        }
        deploy --init --target 127.0.0.1:8080 --endpoint 127.0.0.1:7901 --binary "$world/rustbalance" >"$world/said"
        offline
        start
        await runuser -u rustbalance -- rustbalance status
        cp -r /var/lib/rustbalance/keys "$world/from-first"
        address=$(grep -o -m 1 '[a-z2-7]\{56\}\.onion' "$world/said" | head -n 1)
        pubkey=$(sed -n 's/.*--peer-pubkey \([^ ]*\) .*/\1/p' "$world/said")
        unshare --mount sh -eu -c '
            umount /var && mount -t tmpfs empty /var/lib && mkdir -p /var/tmp
            world=$1 root=$2 address=$3 pubkey=$4
            sh "$root/testing/deploy.sh" --join --target 127.0.0.1:8080 --endpoint 127.0.0.1:7902 \
                --binary "$world/rustbalance" --master-onion "$address" --peer-endpoint 127.0.0.1:7901 \
                --peer-pubkey "$pubkey" --master-key-file "$world/from-first/hs_ed25519_secret_key" \
                --cluster-token-file "$world/from-first/cluster_token"
            [ "$(stat -c %a /var/lib/rustbalance/keys/hs_ed25519_secret_key)" = 600 ]
        ' sh "$world" "$ROOT" "$address" "$pubkey"
        await grep 'was admitted' "$world/log"
        "#,
    );
}

/// The program that is installed here writes down what any user could see while it runs.
#[test]
#[ignore = "needs root"]
fn secrets_given_as_flags_are_warned_of_and_hidden_at_once() {
    let ended = succeeds(
        r#"
        cat >"$world/rustbalance" <<'END'
#!/bin/sh
cat /proc/[0-9]*/cmdline | tr '\0' ' ' >/var/lib/rustbalance/seen
while [ $# -gt 0 ]; do
    case "$1" in
    --cluster-token-file) stat -c '%a %U' "$2" && cat "$2" ;;
    --master-key-file) stat -c '%a %U' "$2" && cat "$2" ;;
    esac
    shift
done >/var/lib/rustbalance/given
END
        sha256sum "$world/rustbalance" >"$world/rustbalance.sha256"
        deploy --join --target 127.0.0.1:8080 --binary "$world/rustbalance" --master-onion x.onion --peer-endpoint a:1 \
            --peer-pubkey KEY --master-key "$(printf SECRETKEY | base64)" --cluster-token=SECRETTOKEN
        ! grep -q SECRETTOKEN /var/lib/rustbalance/seen && ! grep -q "$(printf SECRETKEY | base64)" /var/lib/rustbalance/seen
        grep -q 'rustbalance --dir /var/lib/rustbalance join' /var/lib/rustbalance/seen
        cat /var/lib/rustbalance/given
        [ -z "$(ls /dev/shm)" ]
        "#,
    );
    for given in ["SECRETKEY", "SECRETTOKEN", "600 rustbalance"] {
        assert!(ended.stdout.contains(given), "{given}: {}", ended.stdout);
    }
    for flag in ["--master-key-file FILE", "--cluster-token-file FILE"] {
        assert!(ended.stderr.contains(flag) && ended.stderr.contains("every user of this machine"), "{}", ended.stderr);
    }
}

#[test]
#[ignore = "needs root"]
fn a_restricted_service_of_tors_stays_restricted() {
    let ended = succeeds(
        r#"
        mkdir -p "$world/service/authorized_clients"
        echo 1O5y2/kTWErVttjx92n4rTr+fCjL8dT74Jeoj0R1WEI= >"$world/service/hs_ed25519_secret_key"
        echo descriptor:x25519:OM7TGIVRYMY6PFX6GAC6ATRTA5U6WW6U7A4ZNHQDI6OVL52XVV2Q \
            >"$world/service/authorized_clients/my phone.auth"
        chmod -R go= "$world/service"
        ln -s "$world/service/hs_ed25519_secret_key" "$world/link"
        try() { deploy --init --target a:1 --binary "$world/rustbalance" --master-key-file "$1"; }
        ! try "$world/link"
        [ ! -e "$key" ] && [ -z "$(ls /dev/shm)" ]
        : >"$world/service/node_key"
        ! try "$world/link"
        rm "$world/service/node_key"
        mv "$world/service/authorized_clients/my phone.auth" "$world/service/authorized_clients/phone.auth"
        try "$world/link"
        [ -z "$(ls /dev/shm)" ]
        "#,
    );
    assert!(ended.stderr.contains("/my phone.auth: a client's name has"), "{}", ended.stderr);
    assert!(ended.stderr.contains("/link: this is a node's key, without its clients"), "{}", ended.stderr);
    assert!(ended.stdout.contains("The address is restricted to 1 authorised client"), "{}", ended.stdout);
}

/// The program that is installed here goes on until the test has sent the signal.
#[test]
#[ignore = "needs root"]
fn a_signal_leaves_no_secret_behind() {
    succeeds(
        r#"
        cat >"$world/rustbalance" <<'END'
#!/bin/sh
ls /dev/shm/*/key >/var/lib/rustbalance/begun
until [ -e /var/lib/rustbalance/go ]; do sleep 0.05; done
END
        sha256sum "$world/rustbalance" >"$world/rustbalance.sha256"
        printf SECRET >"$world/key"
        sh "$ROOT/testing/deploy.sh" --init --target 127.0.0.1:8080 --binary "$world/rustbalance" \
            --master-key-file "$world/key" &
        until [ -s /var/lib/rustbalance/begun ]; do sleep 0.05; done
        kill -TERM $!
        touch /var/lib/rustbalance/go
        code=0
        wait $! || code=$?
        [ "$code" = 143 ] && [ -z "$(ls /dev/shm)" ]
        "#,
    );
}

#[test]
#[ignore = "needs root"]
fn a_node_that_runs_is_not_taken_away_from_under_itself() {
    let ended = on_a_machine(
        r#"
        deploy --init --target 127.0.0.1:8080 --binary "$world/rustbalance"
        flock /var/lib/rustbalance/lock sleep 60 &
        until ! flock --nonblock /var/lib/rustbalance/lock true; do sleep 0.05; done
        deploy --uninstall --purge || code=$?
        [ -e "$key" ] && [ -e /usr/bin/rustbalance ] && exit "$code"
        "#,
    );
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("a node runs in /var/lib/rustbalance"), "{}", ended.stderr);
}

#[test]
#[ignore = "needs root"]
fn uninstalling_keeps_the_keys_unless_told_to_purge_them() {
    succeeds(
        r#"
        deploy --init --target 127.0.0.1:8080 --binary "$world/rustbalance"
        deploy --uninstall
        [ ! -e /usr/bin/rustbalance ] && [ ! -e /lib/systemd/system/rustbalance.service ] && [ -e "$key" ]
        deploy --uninstall --purge
        [ ! -e /var/lib/rustbalance ] && ! getent passwd rustbalance >/dev/null
        "#,
    );
}

#[test]
#[ignore = "needs root"]
fn wrong_usage_is_named_before_anything_is_done() {
    for (args, said) in [
        ("", "say --init, --join or --uninstall"),
        ("--init --join", "choose one"),
        ("--init", "--target is missing"),
        ("--join --target a:1 --master-onion x", "--master-key-file is missing; or use --invite-file"),
        ("--join --target a:1 --invite-file i --peer-pubkey k", "leave the other flags of --join out"),
        ("--init --target a:1 --pakage x", "--pakage: not an option"),
        ("--init --target", "--target: unknown, or its value is missing"),
        ("--init --target a:1 --master-key-file /", "/: a directory; name the file in it"),
        ("--init --target a:1 --purge", "--purge goes with --uninstall"),
    ] {
        let ended = on_a_machine(&format!("deploy {args} || exit $?"));
        assert_eq!(ended.code, Some(2), "{args}: {}", ended.stderr);
        assert!(ended.stderr.contains(said) && ended.stderr.contains("--help"), "{args}: {}", ended.stderr);
    }
}

#[test]
#[ignore = "needs systemd-analyze"]
fn the_unit_leaves_little_open() {
    let unit = format!("{ROOT}/node/package/rustbalance.service");
    let judge = Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=15", &unit]).output();
    let judge = judge.expect("systemd-analyze starts");
    assert!(judge.status.success(), "{}", String::from_utf8_lossy(&judge.stdout));
}
