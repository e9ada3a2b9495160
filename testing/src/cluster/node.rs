//! One node: its state directory, its web application and its process.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::net::SocketAddrV4;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustbalance_core::status::Status;
use rustix::process::Signal;

use super::{Report, output, write_secret};
use crate::control::Control;
use crate::process::{self, Process, RunDir, tail};
use crate::tor_net::TorNet;
use crate::web::Web;

/// Of a node whose keys are encrypted; a secret like any other.
pub const PASSPHRASE: &str = "correct horse battery staple";

/// A node.
pub struct Node {
    /// `node1`, ...; also what its web application answers.
    pub name: String,
    /// Its state directory.
    pub dir: PathBuf,
    /// What `init` or `join` said.
    pub report: Report,
    binary: PathBuf,
    endpoint: SocketAddrV4,
    log: PathBuf,
    /// Behind a lock, so that asking whether it runs can reap it.
    process: Mutex<Option<Process>>,
    web: Web,
    encrypted: Option<Encrypted>,
}

/// What a node with encrypted keys has besides.
struct Encrypted {
    passphrase_file: String,
    /// `tor.runtime_dir`.
    memory: RunDir,
}

impl Encrypted {
    fn new(net: &TorNet, name: &str) -> Result<Self> {
        let file = net.dir_of(&format!("{name}.passphrase"));
        write_secret(&file, &format!("{PASSPHRASE}\n"))?;
        let passphrase_file = file.to_str().context("a path in UTF-8")?.to_owned();
        Ok(Self { passphrase_file, memory: RunDir::in_memory()? })
    }
}

/// What is not the same in every node's configuration.
pub(super) struct Kind<'a> {
    /// What is served; the node's own web application if `None`.
    pub(super) target: Option<&'a str>,
    /// More lines of `[service]`.
    pub(super) service_lines: &'a str,
    /// `proxy.probe`; the default if `None`.
    pub(super) probe: Option<&'a str>,
    /// `tor.instances`.
    pub(super) tors: u8,
    /// Whether its keys are encrypted.
    pub(super) encrypted: bool,
}

impl Node {
    /// Makes the state directory with a configuration for the test network, and starts the web application.
    pub(super) fn prepare(net: &TorNet, binary: &Path, number: usize, port: u16, kind: &Kind<'_>) -> Result<Self> {
        let name = format!("node{}", number + 1);
        let dir = net.dir_of(&name);
        let endpoint = SocketAddrV4::new(net.spare_address(u8::try_from(number)?), port);
        let web = Web::start(&name)?;
        DirBuilder::new().mode(0o700).create(&dir)?;
        let options: Vec<String> = net.client_torrc_lines().iter().map(|line| format!("    {line:?},\n")).collect();
        let encrypted = kind.encrypted.then(|| Encrypted::new(net, &name)).transpose()?;
        let memory = encrypted.as_ref().map(|own| format!("runtime_dir = {:?}\n", own.memory.path().display()));
        let config = format!(
            "name = {name:?}\n\n[mesh]\nlisten = \"{endpoint}\"\nendpoint = \"{endpoint}\"\n\n\
             [service]\ntarget = \"{}\"\n{}\n{}[tor]\ninstances = {}\n{}options = [\n{}]\n",
            kind.target.map_or_else(|| web.target(), str::to_owned),
            kind.service_lines,
            kind.probe.map(|probe| format!("[proxy]\nprobe = {probe:?}\n\n")).unwrap_or_default(),
            kind.tors,
            memory.unwrap_or_default(),
            options.concat()
        );
        fs::write(dir.join("rustbalance.toml"), config)?;
        let log = net.dir_of(&format!("{name}.log"));
        let nothing = Report {
            address: String::new(),
            node: String::new(),
            peer_pubkey: String::new(),
            cluster_token_file: PathBuf::new(),
            master_key_file: PathBuf::new(),
        };
        let process = Mutex::default();
        Ok(Self { name, dir, report: nothing, binary: binary.into(), endpoint, log, process, web, encrypted })
    }

    /// `init` or `join`.
    pub(super) fn set_up(&mut self, arguments: &[String]) -> Result<()> {
        let report = output(&mut self.setting_up(arguments))
            .with_context(|| format!("{} of {}", arguments.first().map_or("", String::as_str), self.name))?;
        self.take_report(&report)
    }

    /// What `init` or `join` printed.
    pub(super) fn take_report(&mut self, report: &str) -> Result<()> {
        self.report = serde_json::from_str(report).with_context(|| format!("unexpected report: {report}"))?;
        Ok(())
    }

    /// `init` or `join` with its flags, to be started.
    pub(super) fn setting_up(&self, arguments: &[String]) -> Command {
        let mut command = self.command();
        command.args(arguments).arg("--json");
        if let Some(Encrypted { passphrase_file, .. }) = &self.encrypted {
            command.args(["--encrypt-keys", "--keys-passphrase-file", passphrase_file]);
        }
        command
    }

    /// What another node passes to `rustbalance` to join through this one.
    pub fn join_arguments(&self) -> Vec<String> {
        self.report.join_arguments(&self.endpoint.to_string())
    }

    /// `rustbalance run`, with these environment variables besides.
    pub(super) fn start(&mut self, log_level: &str, variables: &[(&str, &str)]) -> Result<()> {
        let mut run = self.command();
        run.args(["run", "--log-level", log_level]).args(self.passphrase());
        let mut run = process::dying_with_us(&run);
        let process = Process::spawn(&self.name, run.envs(variables.iter().copied()), &self.log)?;
        *self.process() = Some(process);
        Ok(())
    }

    /// `rustbalance --dir DIR`, to be completed.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--dir").arg(&self.dir);
        command
    }

    /// `rustbalance` with these arguments, to its end: exit code, standard output, standard error.
    ///
    /// # Errors
    /// If it does not start or says no text.
    pub fn run(&self, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
        let output = self.command().args(arguments).output()?;
        Ok((output.status.code(), String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
    }

    /// `rustbalance status --json`.
    ///
    /// # Errors
    /// What the command says if it fails.
    pub fn status(&self) -> Result<Status> {
        let text = output(self.command().args(["status", "--json"]))?;
        serde_json::from_str(&text).with_context(|| format!("unexpected status: {text}"))
    }

    /// How a command that reads this node's keys is told their passphrase, if they have one.
    fn passphrase(&self) -> Vec<&str> {
        let flags = self.encrypted.as_ref().map(|own| vec!["--passphrase-file", own.passphrase_file.as_str()]);
        flags.unwrap_or_default()
    }

    /// `key decrypt` of another state directory that has its passphrase.
    ///
    /// # Errors
    /// What the command says if it fails.
    pub fn decrypt(&self, dir: &Path) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command.arg("--dir").arg(dir).args(["key", "decrypt"]).args(self.passphrase());
        output(&mut command).map(|_| ())
    }

    /// Where the copies of its key that its tors read lie in memory, if its keys are encrypted.
    pub fn memory(&self) -> Option<&Path> {
        self.encrypted.as_ref().map(|own| own.memory.path())
    }

    /// What another command prints, for instance `drain`.
    ///
    /// # Errors
    /// What the command says if it fails.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        output(self.command().args(arguments)).with_context(|| format!("{arguments:?} of {}", self.name))
    }

    /// The cluster token that it gives to joiners.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn token(&self) -> Result<String> {
        if self.encrypted.is_some() {
            return self.ask(&[&["token", "export", "--out", "-"], &self.passphrase()[..]].concat());
        }
        let file = self.dir.join("keys/cluster_token");
        std::fs::read_to_string(&file).with_context(|| file.display().to_string())
    }

    /// `rustbalance leave`, and waits until the node has stopped.
    ///
    /// # Errors
    /// If the command fails or the node goes on for `limit`.
    pub fn leave(&self, limit: Duration) -> Result<ExitStatus> {
        output(self.command().arg("leave")).with_context(|| format!("leave of {}", self.name))?;
        self.wait_exit(limit)
    }

    /// SIGKILL, and nothing else: its tor is its own affair.
    pub fn kill(&self) {
        if let Some(mut process) = self.process().take() {
            process.kill();
        }
    }

    /// SIGTERM, and waits until it has stopped.
    ///
    /// # Errors
    /// If it goes on for `limit`.
    pub fn terminate(&self, limit: Duration) -> Result<ExitStatus> {
        if let Some(process) = self.process().as_ref() {
            process.signal(Signal::TERM);
        }
        self.wait_exit(limit)
    }

    /// Whether it was started and neither stopped by us nor ended.
    pub fn is_running(&self) -> bool {
        self.process().as_mut().is_some_and(|process| process.exited().is_none())
    }

    /// Whether it ended without being stopped by us.
    pub fn has_ended(&self) -> bool {
        self.process().as_mut().is_some_and(|process| process.exited().is_some())
    }

    /// Its process id, if it was started.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Process::pid)
    }

    /// The pid of its (first) tor, from that tor itself.
    ///
    /// # Errors
    /// If the tor does not answer.
    pub fn tor_pid(&self) -> Result<u32> {
        self.tor_pid_of(0)
    }

    /// The pid of one of its tors, counted from 0.
    ///
    /// # Errors
    /// If the tor does not answer.
    pub fn tor_pid_of(&self, tor: u8) -> Result<u32> {
        Ok(self.tor_control_of(tor)?.get_info_text("process/pid")?.parse()?)
    }

    /// A control connection of our own to its (first) tor.
    ///
    /// # Errors
    /// If the tor does not answer.
    pub fn tor_control(&self) -> Result<Control> {
        self.tor_control_of(0)
    }

    /// A control connection of our own to one of its tors, counted from 0.
    ///
    /// # Errors
    /// If the tor does not answer.
    pub fn tor_control_of(&self, tor: u8) -> Result<Control> {
        let run = self.dir.join("run");
        let run = if tor == 0 { run } else { run.join(tor.to_string()) };
        Control::connect_with_cookie(&run.join("control.sock"), &run.join("cookie"))
    }

    /// The circuits of one of its tors for this purpose that have come to this state, in the words of `circuit-status`: their
    /// numbers, and the last relay of each.
    ///
    /// # Errors
    /// If the tor does not answer.
    pub fn circuits(&self, tor: u8, purpose: &str, state: &str) -> Result<BTreeSet<(String, String)>> {
        let (purpose, state) = (format!("PURPOSE={purpose}"), format!("HS_STATE={state}"));
        let lines = self.tor_control_of(tor)?.get_info_text("circuit-status")?;
        let circuits = lines.lines().filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let path = words.get(2)?;
            let wanted = words.contains(&purpose.as_str()) && words.contains(&state.as_str());
            let last = path.rsplit(',').next()?.split(['~', '=']).next()?;
            wanted.then(|| Some((words.first()?.to_string(), last.trim_start_matches('$').to_owned())))?
        });
        Ok(circuits.collect())
    }

    /// What its tor says of `PublishHidServDescriptors`: `250 PublishHidServDescriptors=0` or `=1`.
    ///
    /// # Errors
    /// If the tor does not answer.
    pub fn publishing(&self) -> Result<String> {
        Ok(self.tor_control()?.command(b"GETCONF PublishHidServDescriptors\r\n")?.to_string())
    }

    /// Its web application.
    pub fn web(&self) -> &Web {
        &self.web
    }

    /// Everything it has logged, over all its lives.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last `lines` lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    fn wait_exit(&self, limit: Duration) -> Result<ExitStatus> {
        let mut process = self.process().take().with_context(|| format!("{} does not run", self.name))?;
        process.wait_exit(limit)
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
