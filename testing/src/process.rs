//! Child processes and run directories that do not outlive this program.
//!
//! Every child is stopped by its pid when its [`Process`] is dropped, and all of them when this program gets SIGINT,
//! SIGTERM or SIGHUP ([`stop_children_on_signals`]). If the program itself is killed, the tors notice
//! (`__OwningControllerProcess`), and the kernel kills the nodes ([`dying_with_us`]).

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use async_signal::{Signal as AsyncSignal, Signals};
use rustix::process::{Pid, Signal, kill_process};
use smol::stream::StreamExt;

use crate::wait::{self, Answer};

/// What to stop and remove when a signal ends this program.
static LEFT_BEHIND: Mutex<LeftBehind> = Mutex::new(LeftBehind { children: BTreeSet::new(), dirs: BTreeSet::new() });

struct LeftBehind {
    children: BTreeSet<u32>,
    dirs: BTreeSet<PathBuf>,
}

fn left_behind() -> MutexGuard<'static, LeftBehind> {
    LEFT_BEHIND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on SIGINT, SIGTERM and SIGHUP stop all children, remove all run directories and end this program with
/// status 130.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn stop_children_on_signals() -> Result<()> {
    let mut signals = Signals::new([AsyncSignal::Int, AsyncSignal::Term, AsyncSignal::Hup])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        if smol::block_on(signals.next()).is_some() {
            end(130, true);
        }
    })?;
    Ok(())
}

/// If this program still runs after `limit`, stops all children, and ends it with status 1. The run directories stay, for
/// whoever asks why.
///
/// # Errors
/// If no thread can be had.
pub fn end_after(limit: Duration) -> Result<()> {
    thread::Builder::new().name("limit".into()).spawn(move || {
        thread::sleep(limit);
        #[expect(clippy::print_stderr, reason = "whoever waits must learn why it ended")]
        {
            eprintln!("FAILED: not done after {} s", limit.as_secs());
        }
        end(1, false);
    })?;
    Ok(())
}

/// Stops all children and ends this program.
fn end(status: i32, remove_dirs: bool) -> ! {
    let left = left_behind();
    for pid in left.children.iter().copied().chain(left.dirs.iter().flat_map(|dir| processes_in(dir))) {
        signal(pid, Signal::KILL);
    }
    for dir in left.dirs.iter().filter(|_| remove_dirs) {
        remove_dir(dir);
    }
    std::process::exit(status)
}

/// Sends `signal` to `pid`; a process that is gone already is no error.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _gone_already = kill_process(pid, signal);
    }
}

/// Processes whose command line names `dir`: ours, and the children of ours.
pub fn processes_in(dir: &Path) -> Vec<u32> {
    let wanted = dir.as_os_str().as_encoded_bytes();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            *pid != std::process::id() && command_line.windows(wanted.len()).any(|window| window == wanted)
        })
        .collect()
}

/// When a process began, clock ticks since the machine did.
pub fn began(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').context("no name in its stat")?.1;
    Ok(after_name.split_ascii_whitespace().nth(19).context("no time in its stat")?.parse()?)
}

/// `command`, killed by the kernel when the thread that starts it ends: so only for what a thread starts that lives for as long.
/// `setpriv` becomes the program itself.
pub fn dying_with_us(command: &Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    wrapped
}

/// A child process with its output in a log file.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with standard output and error appended to `log` and no standard input.
    ///
    /// # Errors
    /// If the log cannot be opened or the program not started.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut left = left_behind();
        let child = command.spawn().with_context(|| format!("cannot start {name} ({command:?})"))?;
        left.children.insert(child.id());
        Ok(Self { name: name.into(), child, log: log.into() })
    }

    /// Its name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last `lines` lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    /// Sends it `signal`.
    pub fn signal(&self, which: Signal) {
        signal(self.pid(), which);
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let mut left = left_behind();
        let status = self.child.try_wait().ok().flatten()?;
        left.children.remove(&self.child.id());
        Some(status)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// If it has not within `limit`, with the end of its log.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait::until(&what, limit, || {
            Ok(Answer::from_option(self.exited(), || format!("its log ends:\n{}", self.log_tail(15))))
        })
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.signal(Signal::CONT);
        if self.child.wait().is_ok() {
            left_behind().children.remove(&self.child.id());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exited().is_none() {
            self.kill();
        }
    }
}

/// The last `lines` lines of a file.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// A directory for one run, in which whoever has secrets closes a directory of its own, with a path short enough for unix sockets (107 bytes). When dropped, every process that
/// still runs in it is stopped; its files stay, for whoever asks why, unless the run was [`good`](Self::good).
pub struct RunDir {
    path: PathBuf,
    good: bool,
}

impl RunDir {
    /// Makes `/tmp/rb-XXXXXX`, which the users of [machines](crate::machine) can enter.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new() -> Result<Self> {
        Self::new_in("/tmp", 0o755, false)
    }

    /// Makes `/dev/shm/rb-XXXXXX`, in memory, for secrets: nobody else can enter it, and its files never stay.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn in_memory() -> Result<Self> {
        Self::new_in("/dev/shm", 0o700, true)
    }

    fn new_in(parent: &str, mode: u32, good: bool) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("rb-").permissions(Permissions::from_mode(mode));
        let path = builder.tempdir_in(parent).context(parent.to_owned())?.keep();
        left_behind().dirs.insert(path.clone());
        Ok(Self { path, good })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run ended well: nobody will want the files.
    pub fn good(&mut self) {
        self.good = true;
    }
}

impl Drop for RunDir {
    #[expect(clippy::print_stderr, reason = "whoever runs a failed test must learn where its logs are")]
    fn drop(&mut self) {
        processes_in(&self.path).into_iter().for_each(|pid| signal(pid, Signal::KILL));
        left_behind().dirs.remove(&self.path);
        if self.good {
            remove_dir(&self.path);
        } else {
            eprintln!("logs are kept in {}", self.path.display());
        }
    }
}

/// Removes `dir`, in which a process may still write for an instant after its SIGKILL.
fn remove_dir(dir: &Path) {
    for _ in 0..20 {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => thread::sleep(Duration::from_millis(50)),
            _ => return,
        }
    }
}
