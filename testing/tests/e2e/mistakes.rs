//! Mistakes that need a running peer: each one is refused with one clear line and changes nothing.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustbalance_testing::cluster::write_secret;
use rustbalance_testing::process::Process;

use crate::{RELOAD, Scenario};

/// Exit codes, as `rustbalance --help` lists them.
const RUNTIME: i32 = 1;
pub const STATE: i32 = 3;
pub const NETWORK: i32 = 4;
/// For a refusal.
const REFUSED: Duration = Duration::from_secs(60);
/// A mesh address of the network where nobody listens.
const NOBODY: u8 = 40;

impl Scenario<'_> {
    /// All of them.
    pub fn mistakes(&mut self) -> Result<()> {
        self.report.step("mistakes");
        let good = self.cluster.node(0)?.join_arguments();
        let wrong_token = self.net.dir_of("wrong_token");
        write_secret(&wrong_token, &format!("{}\n", BASE64.encode([7; 32])))?;
        let wrong = with(&good, "--cluster-token-file", &wrong_token.display().to_string());
        self.join_is_refused("a wrong cluster token", &wrong)?;
        let nobody = format!("{}:7900", self.net.spare_address(NOBODY));
        self.join_is_refused("an unreachable peer", &with(&good, "--peer-endpoint", &nobody))?;
        self.port_in_use()?;
        self.two_on_one_directory()?;
        self.invites_are_refused()?;
        self.regular_visitors("during the mistakes", RELOAD)?;
        Ok(())
    }

    fn join_is_refused(&mut self, what: &str, arguments: &[String]) -> Result<()> {
        let dir = self.new_dir(what)?;
        let mut command = Command::new(self.cluster.binary());
        command.args(arguments).args(["--target", "127.0.0.1:1", "--dir"]).arg(&dir);
        self.is_refused(what, command, NETWORK)?;
        let left: Vec<_> = fs::read_dir(&dir)?.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
        // The next attempt is to be the same node.
        let no_node = left.iter().all(|name| name == "lock" || name == ".joining");
        self.report.expect(&format!("{what}: nothing but keys for the next attempt"), no_node, &format!("{left:?}"));
        Ok(())
    }

    fn port_in_use(&mut self) -> Result<()> {
        let dir = self.new_dir("port")?;
        let taken = self.cluster.node(0)?.dir.join("rustbalance.toml");
        fs::copy(taken, dir.join("rustbalance.toml"))?;
        let binary = self.cluster.binary().to_path_buf();
        let founded = Command::new(&binary).arg("init").arg("--dir").arg(&dir).stdout(Stdio::null()).status()?;
        self.report.expect("init does not need the port", founded.success(), &founded.to_string());
        let mut command = Command::new(binary);
        command.args(["run", "--log-level", "error", "--dir"]).arg(&dir);
        self.is_refused("a port in use", command, RUNTIME)
    }

    fn two_on_one_directory(&mut self) -> Result<()> {
        let mut command = self.cluster.node(0)?.command();
        command.args(["run", "--log-level", "error"]);
        self.is_refused("a second node in one directory", command, STATE)?;
        let role = self.cluster.node(0)?.status()?.role;
        self.report.expect("the first one goes on", self.cluster.node(0)?.is_running(), &role);
        Ok(())
    }

    /// Runs `command` to its end and checks its exit code and that it says one line.
    pub fn is_refused(&mut self, what: &str, mut command: Command, code: i32) -> Result<()> {
        let log = self.net.dir_of("mistake.log");
        // A log of an earlier mistake may be there or not.
        let _none = fs::remove_file(&log);
        let status = Process::spawn(what, &mut command, &log)?.wait_exit(REFUSED).context("it should be refused")?;
        let said = fs::read_to_string(&log)?;
        let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("rustbalance: ")).collect();
        let good = status.code() == Some(code) && lines.len() == 1;
        self.report.expect(&format!("{what} is refused"), good, &format!("{status}, {}", said.trim()));
        Ok(())
    }

    pub fn new_dir(&self, what: &str) -> Result<PathBuf> {
        let dir = self.net.dir_of(&what.replace(' ', "-"));
        DirBuilder::new().mode(0o700).create(&dir)?;
        Ok(dir)
    }
}

/// `arguments` with another value for `flag`.
fn with(arguments: &[String], flag: &str, value: &str) -> Vec<String> {
    let mut changed = arguments.to_vec();
    let flag = changed.iter().position(|word| word == flag);
    if let Some(old) = flag.and_then(|position| changed.get_mut(position + 1)) {
        value.clone_into(old);
    }
    changed
}
