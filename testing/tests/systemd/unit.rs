//! What the unit promises: readiness, watchdog, restarts, a stop in good order, and little that is open.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustbalance_testing::wait;

use crate::{
    SOON, UNIT, WATCHDOG, ask, configure, edit, machine, main_pid, node, processes, started, status, tor_pid,
    wait_active, written,
};

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn the_installed_unit_waits_for_a_configuration_and_then_runs_at_every_boot() -> Result<()> {
    let mut machine = machine()?;
    machine.run("dpkg --install /srv/*.deb")?;
    let state = |property| machine.show(UNIT, property);
    let found = [state("UnitFileState")?, state("ActiveState")?, state("ConditionResult")?, state("Type")?];
    ensure!(found == ["enabled", "inactive", "no", "notify"], "{found:?}");
    ask(&machine, "init --target 127.0.0.1:8080 --endpoint 127.0.0.1:7900")?;
    machine.run("systemctl start rustbalance")?;
    ensure!(machine.show(UNIT, "ActiveState")? == "active" && machine.show(UNIT, "StatusText")? == "alone");
    let address = status(&machine)?.address;
    machine.cut_power()?;
    wait::until_ok("the node at the next boot", SOON, || {
        ensure!(status(&machine)?.address == address, "another address");
        Ok(())
    })
}

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn what_the_node_keeps_is_its_users_alone() -> Result<()> {
    let machine = started()?;
    tor_pid(&machine)?;
    let open = machine
        .run("find /var/lib/rustbalance /run/rustbalance ! -user rustbalance -o ! -group rustbalance -o -perm /077")?;
    ensure!(open.is_empty(), "{open}");
    let modes = machine.run("stat --format '%U %a' /var/lib/rustbalance /run/rustbalance")?;
    ensure!(modes == "rustbalance 700\n".repeat(2), "{modes}");
    Ok(())
}

/// Each line is a command that the node's user can run when nothing holds it back.
const FORBIDDEN: &str = "\
cat /proc/meminfo
cat /proc/1/status
cat /home/file
cat /tmp/file
ls /dev/disk
touch /run/lock/file
unshare --user true
setarch --addr-no-randomize true
touch sticky && chmod u+s sticky
perl -MSocket -e 'socket(S, 16, SOCK_RAW, 0) or die'
";

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn what_the_unit_forbids_neither_node_nor_tor_can_do() -> Result<()> {
    let machine = node()?;
    machine.run("touch /home/file /tmp/file && mknod -m 666 /dev/disk b 254 0")?;
    machine.run(&format!("cat >/var/lib/rustbalance/forbidden <<'END'\n{FORBIDDEN}END\n"))?;
    machine.run(
        "cat >/var/lib/rustbalance/try <<'END'\n\
         cd /var/lib/rustbalance\n\
         while read -r line; do sh -c \"$line\" >/dev/null 2>&1 && echo \"can: $line\"; done <forbidden\n\
         exit 0\nEND\n\
         chown rustbalance /var/lib/rustbalance/forbidden /var/lib/rustbalance/try",
    )?;
    let able = |said: &str| said.lines().filter_map(|line| line.strip_prefix("can: ").map(str::to_owned)).collect();
    let free: Vec<String> = able(&machine.run("runuser -u rustbalance sh /var/lib/rustbalance/try")?);
    ensure!(free.iter().eq(FORBIDDEN.lines()), "without the unit it can do no more than {free:?}");
    machine.run("rm /var/lib/rustbalance/sticky")?;
    edit(&machine, "[Service]\nExecStartPre=sh /var/lib/rustbalance/try\n")?;
    machine.run("systemctl start rustbalance")?;
    let bound: Vec<String> = able(&machine.journal(UNIT)?);
    ensure!(bound.is_empty(), "{bound:?}");

    for pid in [main_pid(&machine)?, tor_pid(&machine)?] {
        let facts = machine.run(&format!("cat /proc/{pid}/status"))?;
        let fact =
            |name| facts.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t")).unwrap_or_default();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            ensure!(fact(set) == "0000000000000000", "{set} of {pid}: {facts}");
        }
        // 2: by a filter.
        ensure!(fact("NoNewPrivs") == "1" && fact("Seccomp") == "2", "{pid}: {facts}");
        let user = machine.run("id --user rustbalance")?;
        ensure!(fact("Uid").split('\t').all(|id| id == user.trim()), "{pid}: {facts}");
        let limits = machine.run(&format!("cat /proc/{pid}/limits"))?;
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).context("a limit")?;
        ensure!(core.split_whitespace().filter(|word| *word == "0").count() == 2, "{core}");
    }
    Ok(())
}

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn a_reload_has_the_node_read_its_configuration_and_ends_nothing() -> Result<()> {
    let machine = started()?;
    let pids = || Ok::<_, anyhow::Error>([main_pid(&machine)?, tor_pid(&machine)?]);
    let before = pids()?;
    machine.run("sed -i '1i weight = 42' /var/lib/rustbalance/rustbalance.toml && systemctl reload rustbalance")?;
    wait::until_ok("the new weight", SOON, || {
        let members = status(&machine)?.members;
        ensure!(members.iter().any(|member| member.weight == 42), "{members:?}\n{}", machine.journal(UNIT)?);
        Ok(())
    })?;
    ensure!(pids()? == before && machine.show(UNIT, "NRestarts")? == "0");
    Ok(())
}

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn a_killed_node_takes_its_tor_along_and_is_started_again() -> Result<()> {
    let machine = started()?;
    let (node, tor) = (main_pid(&machine)?, tor_pid(&machine)?);
    machine.run(&format!("kill -KILL {node}"))?;
    machine.wait_other(UNIT, "NRestarts", "0", SOON)?;
    wait_active(&machine)?;
    ensure!(main_pid(&machine)? != node && tor_pid(&machine)? != tor);
    ensure!(machine.run(&format!("[ ! -e /proc/{tor} ]")).is_ok(), "the old tor runs on");
    Ok(())
}

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn a_node_goes_on_telling_the_watchdog_and_one_that_stops_is_replaced() -> Result<()> {
    let machine = started()?;
    let (node, tor) = (main_pid(&machine)?, tor_pid(&machine)?);
    let told = machine.show(UNIT, "WatchdogTimestampMonotonic")?;
    machine.wait_other(UNIT, "WatchdogTimestampMonotonic", &told, SOON)?;
    let begun = Instant::now();
    machine.run(&format!("kill -STOP {node}"))?;
    machine.wait_other(UNIT, "NRestarts", "0", WATCHDOG)?;
    ensure!(begun.elapsed() > Duration::from_secs(10), "that was no watchdog");
    wait_active(&machine)?;
    ensure!(machine.journal(UNIT)?.contains("Watchdog timeout"), "{}", machine.journal(UNIT)?);
    ensure!(main_pid(&machine)? != node && tor_pid(&machine)? != tor);
    Ok(())
}

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn a_stop_is_in_good_order_and_leaves_nothing_running() -> Result<()> {
    let machine = started()?;
    tor_pid(&machine)?;
    machine.run("systemctl stop rustbalance")?;
    let state = |property| machine.show(UNIT, property);
    let found = [state("ActiveState")?, state("Result")?, state("ExecMainCode")?, state("ExecMainStatus")?];
    // 1: it has exited.
    ensure!(found == ["inactive", "success", "1", "0"], "{found:?}: {}", machine.journal(UNIT)?);
    ensure!(processes(&machine)?.is_empty(), "{}", processes(&machine)?);
    ensure!(!machine.journal(UNIT)?.contains("SIGKILL"), "{}", machine.journal(UNIT)?);
    machine.run("[ ! -e /run/rustbalance ] && [ -e /var/lib/rustbalance/keys ]")?;
    Ok(())
}

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn a_wrong_configuration_is_not_tried_again_until_it_is_mended() -> Result<()> {
    let machine = node()?;
    configure(&machine, "unknown = 1\n")?;
    ensure!(machine.run("systemctl start rustbalance").is_err(), "it starts");
    let state = |property| machine.show(UNIT, property);
    let found = [state("ActiveState")?, state("ExecMainStatus")?, state("NRestarts")?];
    ensure!(found == ["failed", "2", "0"], "{found:?}: {}", machine.journal(UNIT)?);
    machine.run("sed -i '/^unknown/d' /var/lib/rustbalance/rustbalance.toml && systemctl start rustbalance")?;
    Ok(())
}

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn a_node_that_has_left_is_tried_once_more_and_then_no_more() -> Result<()> {
    let machine = started()?;
    machine.run(
        "install -d -m 700 -o rustbalance /var/lib/other
         there='s|HOST:7900|127.0.0.1:7901|; s|/var/lib/rustbalance/|&keys/|g'
         join=$(sed -n \"$there; s|^  rustbalance join ||p\" said)
         runuser -u rustbalance -- rustbalance --dir /var/lib/other join $join
         systemd-run --quiet --unit=other --uid=rustbalance rustbalance --dir /var/lib/other run",
    )?;
    wait::until_ok("the other member", SOON, || {
        let members = status(&machine)?.members;
        ensure!(members.iter().filter(|member| member.liveness == "live").count() == 2, "{members:?}");
        Ok(())
    })?;
    ask(&machine, "leave --force --yes")?;
    wait::until_ok("the end", SOON, || {
        let state = |property| machine.show(UNIT, property);
        let found = [state("ActiveState")?, state("ExecMainStatus")?, state("NRestarts")?];
        ensure!(found == ["failed", "3", "1"], "{found:?}: {}", machine.journal(UNIT)?);
        Ok(())
    })
}

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn an_application_behind_a_unix_socket_is_reached_with_its_group() -> Result<()> {
    let machine = node()?;
    machine.run(
        "cat >/srv/web.pl <<'END'
use IO::Socket::UNIX;
my $socket = IO::Socket::UNIX->new(Local => '/run/web/socket', Listen => 9) or die $!;
while (my $client = $socket->accept) { close $client }
END
        systemd-run --quiet --unit=web --uid=www-data --gid=www-data --property=RuntimeDirectory=web \
            --property=RuntimeDirectoryMode=0750 --property=UMask=0007 perl /srv/web.pl
        sed -i 's|^target = .*|target = \"unix:/run/web/socket\"|' /var/lib/rustbalance/rustbalance.toml",
    )?;
    let finds = |state: &str| {
        machine.run("systemctl restart rustbalance")?;
        wait::until_ok(&format!("the target {state}"), SOON, || {
            let found = status(&machine)?.target;
            ensure!(found == state, "{found}: {}", machine.journal(UNIT)?);
            Ok(())
        })
    };
    finds("down")?;
    edit(&machine, &written("With a unix socket as target", "ini")?)?;
    finds("up")
}
