//! The tor process: checked, started, logged, stopped, never orphaned.
//!
//! Tor's standard input is one end of a socket pair that tor takes for the control connection of its owner
//! (`__OwningControllerFD`). We hold the other end, idle. When it closes, which the kernel does for us if we die,
//! tor exits at once; and there is no moment in which a started tor has no owner.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_io::Timer;
use rustbalance_core::TorId;
use rustix::fs::FlockOperation;
use smol::Task;
use smol::future;
use smol::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use smol::process::{Child, Command};
use smol::stream::StreamExt as _;
use tracing::{debug, error, info, warn};

use super::paths::TorPaths;
use super::{TorError, check_binary, check_options};
use crate::clock;
use crate::settings::TorSettings;
use crate::store::{StoreError, atomic};
use crate::systemd;

/// How long tor may take to exit once its owner is gone; it takes some 20 ms.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// How long tor's log may stay open after tor.
const LOG_LIMIT: Duration = Duration::from_millis(200);

/// How often tor is asked for its verdict on a configuration, if it is killed each time.
const VERDICT_TRIES: u32 = 3;

/// How long we wait for another tor to leave the data directory.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// How often we look whether it has.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// A running tor. Dropping it kills tor.
pub(super) struct Process {
    child: Child,
    owner: UnixStream,
    log: Task<Option<String>>,
}

impl Process {
    /// Starts tor on the torrc in `paths`, once no other one uses its data directory.
    pub(super) async fn start(binary: &Path, paths: &TorPaths) -> Result<Self, TorError> {
        wait_for_data_directory(paths).await?;
        paths.remove_stale_sockets()?;
        let cannot_start = |source| TorError::start(binary, source);
        let (owner, tors_end) = UnixStream::pair().map_err(cannot_start)?;
        let mut child = command(binary, paths)
            .stdin(OwnedFd::from(tors_end))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot_start)?;
        let log = smol::spawn(log(paths.id, child.stdout.take(), child.stderr.take()));
        info!(tor = paths.id.0, pid = child.id(), "tor started");
        Ok(Self { child, owner, log })
    }

    /// Waits until tor exits by itself; says how. [`Process::stop`] is still to be called.
    pub(super) async fn exited(&mut self) -> String {
        self.child.status().await.map_or_else(|error| error.to_string(), describe)
    }

    /// Stops tor: at once by closing the owner's connection, by force if that does not do. Returns the last
    /// problem that its log named.
    pub(super) async fn stop(self) -> Option<String> {
        let Self { mut child, owner, log } = self;
        drop(owner);
        if clock::within(STOP_LIMIT, child.status()).await.is_none() {
            warn!(pid = child.id(), "tor does not stop, killing it");
            // Fails only if it has exited.
            let _ = child.kill();
            let _ = child.status().await;
        }
        // A program that tor started may hold the log open: no long wait.
        clock::within(LOG_LIMIT, log).await.flatten()
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Checks the operator's settings and makes the directories that tor wants.
///
/// # Errors
/// No such tor, or too old; an option that is ours; the disk refused.
pub(super) fn check(settings: &TorSettings, paths: &TorPaths) -> Result<(), TorError> {
    check_binary(settings)?;
    check_options(&settings.options)?;
    paths.create_directories()
}

/// Puts the torrc in its place and has tor judge it.
///
/// # Errors
/// The disk refused; `TorError::Config` with tor's own words.
pub(super) async fn configure(binary: &Path, paths: &TorPaths, torrc: &str) -> Result<(), TorError> {
    atomic::replace(&paths.torrc, torrc.as_bytes())?;
    verify_config(binary, paths).await
}

async fn verify_config(binary: &Path, paths: &TorPaths) -> Result<(), TorError> {
    let mut tries = 0;
    loop {
        let output = command(binary, paths)
            .arg("--verify-config")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|source| TorError::start(binary, source))?;
        tries += 1;
        match output.status.code() {
            Some(0) => return Ok(()),
            Some(_) => return Err(TorError::Config(verdict(&output.stdout))),
            // Killed, by whomever: that says nothing of the configuration.
            None if tries == VERDICT_TRIES => return Err(TorError::Ended(describe(output.status))),
            None => debug!("tor was killed while it read its configuration; asking again"),
        }
    }
}

/// What `--verify-config` complains of.
fn verdict(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let mut problems = said.lines().filter_map(|line| match Entry::parse(line) {
        Entry { severity: Severity::Warn | Severity::Err, text } => Some(text),
        Entry { severity: Severity::Notice | Severity::Detail, .. } => None,
    });
    let words = problems.find(|text| text.starts_with("Failed to parse/validate config")).or_else(|| problems.next());
    words.unwrap_or("tor gave no reason").to_owned()
}

/// Tor with our torrc and nobody else's, in a process group of its own: a Ctrl-C is for us, who stop tor last.
fn command(binary: &Path, paths: &TorPaths) -> Command {
    let mut command = std::process::Command::new(binary);
    command.args(["--defaults-torrc", "/dev/null", "-f"]).arg(&paths.torrc).process_group(0);
    // It would say that the service is ready.
    for variable in systemd::VARIABLES {
        command.env_remove(variable);
    }
    command.into()
}

/// Waits until no other tor (one that a crashed daemon left) uses the data directory.
///
/// # Errors
/// `TorError::Busy` when it does not go.
async fn wait_for_data_directory(paths: &TorPaths) -> Result<(), TorError> {
    let path = paths.data.join("lock");
    let deadline = clock::mono().plus(LOCK_LIMIT);
    while locked(&path).map_err(StoreError::io("lock", &path))? {
        if clock::mono() >= deadline {
            return Err(TorError::Busy(paths.data.clone()));
        }
        Timer::after(LOCK_POLL).await;
    }
    Ok(())
}

/// Whether a tor holds the lock file.
fn locked(path: &Path) -> io::Result<bool> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        // Closing the file unlocks it again.
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Hands tor's output to our log until it ends; returns the last problems it named.
async fn log(
    TorId(id): TorId,
    stdout: Option<impl AsyncRead + Unpin>,
    stderr: Option<impl AsyncRead + Unpin>,
) -> Option<String> {
    let (stdout, stderr) = future::zip(log_stream(id, stdout), log_stream(id, stderr)).await;
    stderr.or(stdout)
}

async fn log_stream(id: u8, stream: Option<impl AsyncRead + Unpin>) -> Option<String> {
    let mut lines = BufReader::new(stream?).split(b'\n');
    let mut problems = LastProblems::default();
    while let Some(Ok(line)) = lines.next().await {
        let line = String::from_utf8_lossy(&line);
        let Entry { severity, text } = Entry::parse(&line);
        match severity {
            Severity::Err => error!(target: "tor", tor = id, "{text}"),
            Severity::Warn => warn!(target: "tor", tor = id, "{text}"),
            Severity::Notice => debug!(target: "tor", tor = id, "{text}"),
            Severity::Detail => tracing::trace!(target: "tor", tor = id, "{text}"),
        }
        if matches!(severity, Severity::Err | Severity::Warn) {
            problems.note(text);
        }
    }
    problems.in_words()
}

/// What tor last complained of: the cause comes before what it was the cause of, and the last line often says only that.
#[derive(Default)]
struct LastProblems(VecDeque<String>);

impl LastProblems {
    const MAX: usize = 3;

    fn note(&mut self, text: &str) {
        if text.ends_with("see warnings above.") || text.starts_with("set_options(): Bug") {
            return;
        }
        if self.0.len() == Self::MAX {
            self.0.pop_front();
        }
        self.0.push_back(text.to_owned());
    }

    fn in_words(self) -> Option<String> {
        (!self.0.is_empty()).then(|| Vec::from(self.0).join(" | "))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Err,
    Warn,
    Notice,
    Detail,
}

/// A line of tor's log.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    severity: Severity,
    text: &'a str,
}

impl<'a> Entry<'a> {
    /// Reads `Mon DD hh:mm:ss.mmm [severity] text`; anything else is a notice.
    fn parse(line: &'a str) -> Self {
        let entry = line.split_once('[').and_then(|(_time, rest)| rest.split_once("] ")).and_then(|(word, text)| {
            let severity = match word {
                "err" => Severity::Err,
                "warn" => Severity::Warn,
                "notice" => Severity::Notice,
                "info" | "debug" => Severity::Detail,
                _ => return None,
            };
            Some(Self { severity, text })
        });
        entry.unwrap_or(Self { severity: Severity::Notice, text: line })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_problems_name_the_cause_and_not_that_there_was_one() {
        let mut problems = LastProblems::default();
        assert_eq!(LastProblems::default().in_words(), None);
        for text in ["old", "Error writing to \"x\": No space left on device", "Error writing cookie", "No cookie."] {
            problems.note(text);
        }
        problems.note("set_options(): Bug: Acting on config options left us in a broken state. Dying.");
        problems.note("Reading config failed--see warnings above.");
        let words = "Error writing to \"x\": No space left on device | Error writing cookie | No cookie.";
        assert_eq!(problems.in_words().as_deref(), Some(words));
    }

    #[test]
    fn a_tor_that_is_killed_while_it_reads_its_configuration_is_asked_again_a_few_times() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (tor, count) = (dir.path().join("tor"), dir.path().join("count"));
        let verdict_after = |kills: usize| {
            let script =
                format!("#!/bin/sh\necho x >>{0}\n[ $(wc -l <{0}) -gt {kills} ] || kill -9 $$\n", count.display());
            _ = std::fs::remove_file(&count);
            std::fs::write(&tor, script).unwrap();
            std::fs::set_permissions(&tor, std::fs::Permissions::from_mode(0o700)).unwrap();
            smol::block_on(verify_config(&tor, &TorPaths::new(dir.path()).unwrap()))
        };
        verdict_after(2).unwrap();
        let error = verdict_after(3).unwrap_err();
        assert!(matches!(&error, TorError::Ended(why) if why == "killed by signal 9"), "{error}");
    }

    #[test]
    fn log_lines_lose_their_time_and_keep_their_severity() {
        let warning = Entry::parse("Nov 23 22:27:59.290 [warn] Unknown option 'Foo'. [x] y");
        assert_eq!(warning, Entry { severity: Severity::Warn, text: "Unknown option 'Foo'. [x] y" });
        for line in ["Configuration was valid", "", "[", "a [b] c"] {
            assert_eq!(Entry::parse(line), Entry { severity: Severity::Notice, text: line });
        }
    }
}
