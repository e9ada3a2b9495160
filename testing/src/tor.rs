//! One C tor of the test network: authority, relay, client or plain service.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::control::Control;
use crate::process::Process;
use crate::wait::{self, Answer};

/// A running tor with its files in one directory.
pub struct Tor {
    dir: PathBuf,
    process: Process,
}

impl Tor {
    /// Starts a tor with `torrc` lines; data directory, log and control socket are added.
    ///
    /// # Errors
    /// If its files cannot be written or the program not started.
    pub fn start(binary: &Path, name: &str, dir: &Path, torrc: &[String]) -> Result<Self> {
        fs::create_dir_all(dir)?;
        restrict(dir)?;
        let file = dir.join("torrc");
        fs::write(&file, [torrc.join("\n"), own_lines(dir)].join("\n"))?;
        let mut command = Command::new(binary);
        command.args(["--defaults-torrc", "/dev/null", "--ignore-missing-torrc", "-f"]).arg(&file);
        let process = Process::spawn(name, &mut command, &dir.join("log"))?;
        Ok(Self { dir: dir.to_path_buf(), process })
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A new control connection, as soon as tor listens.
    ///
    /// # Errors
    /// If it does not answer within a minute, with the end of its log.
    pub fn control(&self) -> Result<Control> {
        wait::until(&format!("control socket of {}", self.process.name()), Duration::from_secs(60), || {
            Ok(match Control::connect(&self.dir.join("control")) {
                Ok(control) => Answer::Ready(control),
                Err(error) => Answer::NotYet(format!("{error:#}; its log ends:\n{}", self.process.log_tail(10))),
            })
        })
    }

    /// Waits until tor says it is bootstrapped.
    ///
    /// # Errors
    /// If it is not within `limit`, with its last phase and the end of its log.
    pub fn wait_bootstrapped(&self, limit: Duration) -> Result<()> {
        let mut control = self.control()?;
        let what = format!("bootstrap of {}", self.process.name());
        wait::until(&what, limit, || {
            let phase = control.get_info_text("status/bootstrap-phase")?;
            let done = phase.contains("PROGRESS=100").then_some(());
            Ok(Answer::from_option(done, || format!("{phase}; its log ends:\n{}", self.process.log_tail(10))))
        })
        .with_context(|| format!("in {}", self.dir.display()))
    }
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
