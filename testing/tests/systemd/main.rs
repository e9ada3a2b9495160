//! The package's unit under a real systemd, and what docs/OPERATIONS.md has an operator do there, word for word. Each
//! test boots a machine of its own, off every network (`testing/boot.sh`). Needs root and the package, so
//! `testing/test.sh` runs it, and `cargo test` does not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustbalance_core::status::Status;
use rustbalance_testing::booted::Booted;
use rustbalance_testing::machine::ROOT;
use rustbalance_testing::wait;

mod attached;
mod package;
mod secrets;
mod unit;

const UNIT: &str = "rustbalance";
/// Whatever is not a wait that the unit asks for takes an instant, but this machine may be busy.
const SOON: Duration = Duration::from_secs(60);
/// `WatchdogSec`, `RestartSec`, and the same for a busy machine.
const WATCHDOG: Duration = Duration::from_secs(30 + 2 + 60);
/// What an operator's `systemctl edit rustbalance` leaves.
const DROP_IN: &str = "/etc/systemd/system/rustbalance.service.d/override.conf";

/// Systemd, with the package and `deploy.sh` in `/srv`.
fn machine() -> Result<Booted> {
    let package = package()?;
    let machine = Booted::start(&[sum_of(&package), package, PathBuf::from(format!("{ROOT}/testing/deploy.sh"))])?;
    // Or each installation would index all manuals anew, for seconds.
    machine.run("rm -f /var/lib/man-db/auto-update")?;
    Ok(machine)
}

/// What `node/package/deb.sh` has built.
fn package() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let dir = own.ancestors().nth(3).context("target/debug/deps")?.join("debian");
    let files = std::fs::read_dir(&dir).with_context(|| format!("{}: run node/package/deb.sh first", dir.display()))?;
    let mut paths = files.filter_map(|file| Some(file.ok()?.path()));
    let found = paths.find(|path| path.extension().is_some_and(|end| end == "deb"));
    found.with_context(|| format!("no package in {}: run node/package/deb.sh first", dir.display()))
}

/// The checksum beside it.
fn sum_of(package: &Path) -> PathBuf {
    let mut path = package.as_os_str().to_owned();
    path.push(".sha256");
    path.into()
}

/// A machine that the package has made a node, whose tor is not to use the network that it has not. What `deploy.sh`
/// said is in the file `said`.
fn node() -> Result<Booted> {
    let machine = machine()?;
    let init = "sh /srv/deploy.sh --init --target 127.0.0.1:8080 --endpoint 127.0.0.1:7900 --package /srv/*.deb";
    machine.run(&format!("{init} >said\nsystemctl stop rustbalance"))?;
    configure(&machine, "[tor]\noptions = [\"DisableNetwork 1\"]\n")?;
    Ok(machine)
}

/// The same, with the unit started: that returns when it has said that it is ready.
fn started() -> Result<Booted> {
    let machine = node()?;
    machine.run("systemctl start rustbalance")?;
    Ok(machine)
}

/// Waits until a node runs and is ready.
fn wait_active(machine: &Booted) -> Result<()> {
    wait::until_ok("a node that is ready", SOON, || {
        ensure!(machine.show(UNIT, "ActiveState")? == "active", "{}", machine.journal(UNIT)?);
        Ok(())
    })
}

/// Adds this to the node's configuration.
fn configure(machine: &Booted, lines: &str) -> Result<()> {
    machine.run(&format!("cat >>/var/lib/rustbalance/rustbalance.toml <<'END'\n{lines}END\n"))?;
    Ok(())
}

/// What `systemctl edit rustbalance` does with this text.
fn edit(machine: &Booted, drop_in: &str) -> Result<()> {
    machine.run(&format!(
        "install -D /dev/null {DROP_IN}\ncat >{DROP_IN} <<'END'\n{drop_in}END\nsystemctl daemon-reload"
    ))?;
    Ok(())
}

fn main_pid(machine: &Booted) -> Result<String> {
    machine.show(UNIT, "MainPID")
}

/// The pid of the tor that the node has started, once it runs for good: before that one that is asked things does.
fn tor_pid(machine: &Booted) -> Result<String> {
    wait::until_ok("the node's tor", SOON, || {
        let found = machine.run(
            "for pid in $(cat /sys/fs/cgroup/system.slice/rustbalance.service/cgroup.procs); do
                 tr '\\0' ' ' </proc/$pid/cmdline | grep -q '^tor .*-f /var/lib/rustbalance/tor/torrc $' && echo $pid
             done || :",
        )?;
        let pid = found.trim().to_owned();
        ensure!(!pid.is_empty() && !pid.contains('\n'), "{pid}");
        Ok(pid)
    })
}

/// The processes of the node's user, with what they are.
fn processes(machine: &Booted) -> Result<String> {
    machine.run(
        "user=$(id --user rustbalance)
         grep -ls \"^Uid:.*\\b$user\\b\" /proc/[0-9]*/status | xargs --no-run-if-empty head -n 1",
    )
}

/// What `rustbalance` prints for the node's user.
fn ask(machine: &Booted, command: &str) -> Result<String> {
    machine.run(&format!("runuser -u rustbalance -- rustbalance {command}"))
}

fn status(machine: &Booted) -> Result<Status> {
    Ok(serde_json::from_str(&ask(machine, "status --json")?)?)
}

/// The block of this kind that follows these words in docs/OPERATIONS.md.
fn written(words: &str, kind: &str) -> Result<String> {
    let manual = std::fs::read_to_string(format!("{ROOT}/docs/OPERATIONS.md"))?;
    let (_, after) = manual.split_once(words).with_context(|| format!("OPERATIONS does not say {words:?}"))?;
    let fence = format!("```{kind}\n");
    let (before, block) = after.split_once(&fence).with_context(|| format!("no block of {kind} after {words:?}"))?;
    let (block, _) = block.split_once("```").context("an end")?;
    let indent = before.rsplit('\n').next().unwrap_or_default().len();
    Ok(block.lines().map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect())
}
