//! Onionbalance 0.2.4, the peer everybody runs: from the Python package registry into a virtual environment that is
//! thrown away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::process::Process;
use crate::tor::Tor;
use crate::tor_net::TorNet;

/// The version everybody runs.
const PACKAGE: &str = "onionbalance==0.2.4";

/// Installs it below `directory`; returns where its programs are, and Python.
///
/// # Errors
/// No Python, or no registry.
pub fn install(directory: &Path) -> Result<PathBuf> {
    let environment = directory.join("python");
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    let programs = environment.join("bin");
    run(Command::new(programs.join("python")).args(["-m", "pip", "install", "--quiet", PACKAGE]))?;
    Ok(programs)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}

/// One that runs, with a tor of its own; both are killed on drop.
pub struct Onionbalance {
    _process: Process,
    _tor: Tor,
}

impl Onionbalance {
    /// Starts it for the address whose key is in the file `key`, in front of `backends`, addresses of services that know it.
    ///
    /// # Errors
    /// It does not start, or its tor does not bootstrap.
    pub fn start(net: &TorNet, name: &str, programs: &Path, key: &Path, backends: &[String]) -> Result<Self> {
        let dir = net.dir_of(name);
        let mut torrc = net.client_torrc_lines();
        torrc.push("SocksPort 0".into());
        let tor = Tor::start(net.binary(), name, &dir, &torrc)?;
        tor.wait_bootstrapped(crate::client::BOOTSTRAP_LIMIT)?;
        let instances: String = backends.iter().map(|backend| format!("  - address: {backend}\n")).collect();
        let config = dir.join("config.yaml");
        fs::write(&config, format!("services:\n- key: {}\n  instances:\n{instances}", key.display()))?;
        let mut command = Command::new(programs.join("onionbalance"));
        command.arg("--is-testnet").arg("--config").arg(&config).arg("--socket").arg(dir.join("control"));
        let process = Process::spawn(name, &mut command, &net.dir_of(&format!("{name}.log")))?;
        Ok(Self { _process: process, _tor: tor })
    }
}
