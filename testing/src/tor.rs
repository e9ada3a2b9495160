//! One C tor of the test network: authority, relay, client or plain service.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::control::Control;
use crate::process::Process;
use crate::wait::{self, Answer};

/// A running tor with its files in one directory.
pub struct Tor {
    binary: PathBuf,
    name: String,
    dir: PathBuf,
    /// Behind a lock, so that one of a network can be restarted while others use that.
    process: Mutex<Process>,
}

impl Tor {
    /// Starts a tor with `torrc` lines; data directory, log and control socket are added.
    ///
    /// # Errors
    /// If its files cannot be written or the program not started.
    pub fn start(binary: &Path, name: &str, dir: &Path, torrc: &[String]) -> Result<Self> {
        fs::create_dir_all(dir)?;
        restrict(dir)?;
        fs::write(dir.join("torrc"), [torrc.join("\n"), own_lines(dir)].join("\n"))?;
        let process = Mutex::new(spawn(binary, name, dir)?);
        Ok(Self { binary: binary.into(), name: name.into(), dir: dir.into(), process })
    }

    /// SIGKILL, and a new start with the same files: gone is what it had in memory alone.
    ///
    /// # Errors
    /// If it is not bootstrapped again within a minute.
    pub fn restart(&self) -> Result<()> {
        let mut process = self.running();
        process.kill();
        *process = spawn(&self.binary, &self.name, &self.dir)?;
        drop(process);
        self.wait_bootstrapped(Duration::from_secs(60))
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        self.process.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new control connection, as soon as tor listens.
    ///
    /// # Errors
    /// If it does not answer within a minute, with the end of its log.
    pub fn control(&self) -> Result<Control> {
        wait::until(&format!("control socket of {}", self.name), Duration::from_secs(60), || {
            Ok(match Control::connect(&self.dir.join("control")) {
                Ok(control) => Answer::Ready(control),
                Err(error) => Answer::NotYet(format!("{error:#}; its log ends:\n{}", self.running().log_tail(10))),
            })
        })
    }

    /// Waits until tor says it is bootstrapped.
    ///
    /// # Errors
    /// If it is not within `limit`, with its last phase and the end of its log.
    pub fn wait_bootstrapped(&self, limit: Duration) -> Result<()> {
        let mut control = self.control()?;
        let what = format!("bootstrap of {}", self.name);
        wait::until(&what, limit, || {
            let phase = control.get_info_text("status/bootstrap-phase")?;
            let done = phase.contains("PROGRESS=100").then_some(());
            Ok(Answer::from_option(done, || format!("{phase}; its log ends:\n{}", self.running().log_tail(10))))
        })
        .with_context(|| format!("in {}", self.dir.display()))
    }
}

fn spawn(binary: &Path, name: &str, dir: &Path) -> Result<Process> {
    let mut command = Command::new(binary);
    command.args(["--defaults-torrc", "/dev/null", "--ignore-missing-torrc", "-f"]).arg(dir.join("torrc"));
    Process::spawn(name, &mut command, &dir.join("log"))
}

/// What every tor gets: files under `dir`, a control socket, and an end when this program is gone.
fn own_lines(dir: &Path) -> String {
    let (dir, pid) = (dir.display(), std::process::id());
    format!(
        "DataDirectory {dir}/data\nLog notice stdout\nControlPort unix:{dir}/control\n\
         GeoIPFile /dev/null\nGeoIPv6File /dev/null\n__OwningControllerProcess {pid}\n"
    )
}

/// Makes `dir` 0700, as tor wants it around its sockets.
fn restrict(dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?)
}
