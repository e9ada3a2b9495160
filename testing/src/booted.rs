//! Machines whose first process is this one's systemd, as `testing/boot.sh` makes them. Needs root.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::machine::ROOT;
use crate::wait::{self, Answer};

/// Half a second on two idle cores.
const BOOT_LIMIT: Duration = Duration::from_secs(60);
/// In seconds, for one script: a stop may take one, as the unit says.
const SCRIPT_LIMIT: &str = "120";

/// A machine that runs, off every network. Ends when dropped, and whenever this program does.
pub struct Booted {
    boot: Child,
    /// Its end is the machine's.
    power: Option<ChildStdin>,
    says: BufReader<ChildStdout>,
    /// What it says besides, in a file without a name.
    log: File,
    /// Its first process, as this program sees it.
    first: u32,
}

impl Booted {
    /// Boots one with these files in `/srv`.
    ///
    /// # Errors
    /// If systemd cannot be booted here, with what stood in its way.
    pub fn start(files: &[PathBuf]) -> Result<Self> {
        let log = tempfile::tempfile()?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh"]).arg(format!("{ROOT}/testing/boot.sh")).args(files);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log.try_clone()?);
        let mut boot = command.spawn().context("unshare, of util-linux")?;
        let power = boot.stdin.take();
        let says = BufReader::new(boot.stdout.take().context("its output")?);
        let mut machine = Self { boot, power, says, log, first: 0 };
        machine.wait_booted()?;
        Ok(machine)
    }

    /// Cuts its power, and boots it again. Its disk stays, what was in memory does not.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn cut_power(&mut self) -> Result<()> {
        self.power.as_mut().context("it has ended")?.write_all(b"again\n")?;
        self.wait_booted()
    }

    fn wait_booted(&mut self) -> Result<()> {
        let mut pid = String::new();
        self.says.read_line(&mut pid)?;
        self.first = pid.trim().parse().map_err(|_| self.no_systemd(&pid))?;
        wait::until("systemd to boot", BOOT_LIMIT, || {
            ensure!(Path::new(&format!("/proc/{}", self.first)).exists(), self.no_systemd("it has ended"));
            let output = self.command("systemctl is-system-running").output()?;
            let state = String::from_utf8_lossy(&output.stdout);
            let said = String::from_utf8_lossy(&output.stderr);
            // Some unit of this machine's own may not work there.
            let is_up = matches!(state.trim(), "running" | "degraded");
            Ok(Answer::from_option(is_up.then_some(()), || self.no_systemd(&format!("{state}{said}")).to_string()))
        })
    }

    fn no_systemd(&self, state: &str) -> anyhow::Error {
        let log = fs::read_to_string(format!("/proc/self/fd/{}", self.log.as_raw_fd())).unwrap_or_default();
        anyhow!("no systemd runs in namespaces of its own: {}\n{}", state.trim(), log.trim())
    }

    /// Runs a script as its root, to its end. Returns what it printed.
    ///
    /// # Errors
    /// With what it said, if it fails.
    pub fn run(&self, script: &str) -> Result<String> {
        let output = self.command(script).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8(output.stdout)?;
        ensure!(output.status.success(), "{script}: {}: {}\n{}", output.status, said.trim(), printed.trim());
        Ok(printed)
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args([SCRIPT_LIMIT, "nsenter", "--target", &self.first.to_string()]);
        command.args(["--cgroup", "--ipc", "--mount", "--net", "--pid", "--uts", "sh", "-euc"]);
        command.arg(format!("cd /root\n{script}")).stdin(Stdio::null());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        command
    }

    /// What `systemctl show` says of a unit.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn show(&self, unit: &str, property: &str) -> Result<String> {
        Ok(self.run(&format!("systemctl show --value --property={property} {unit}"))?.trim().to_owned())
    }

    /// Waits until it says something else of it, and returns that.
    ///
    /// # Errors
    /// After `limit`, with the end of the unit's log.
    pub fn wait_other(&self, unit: &str, property: &str, than: &str, limit: Duration) -> Result<String> {
        wait::until_ok(&format!("another {property} of {unit}"), limit, || {
            let value = self.show(unit, property)?;
            ensure!(value != than, "{value}\n{}", self.journal(unit)?);
            Ok(value)
        })
    }

    /// What a unit has logged since the machine was booted.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn journal(&self, unit: &str) -> Result<String> {
        self.run(&format!("journalctl --sync && journalctl --quiet --output=cat --unit={unit}"))
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        self.power = None;
        let _gone = self.boot.wait();
    }
}
