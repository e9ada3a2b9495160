//! A node of the test's own, alone, with a real tor that may not use the network.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Run, mortal, rustbalance, text};

/// Far longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Nobody listens there.
const NO_TARGET: &str = "127.0.0.1:9";

/// A node that was set up and not yet started.
pub struct Node {
    pub root: TempDir,
    /// What others join with: the command that `init` printed.
    join: Vec<String>,
}

impl Node {
    pub fn new() -> Self {
        let mut node = Self::unfounded();
        let run = node.run(&["init", "--json"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
        let words = report["join"].as_array().expect("a command").iter();
        node.join = words.map(|word| word.as_str().expect("text").to_owned()).collect();
        node
    }

    /// Only its configuration is there.
    pub fn unfounded() -> Self {
        let node = Self { root: tempfile::tempdir().expect("a directory for the test"), join: Vec::new() };
        node.configure("[tor]\noptions = ['DisableNetwork 1']\n");
        node
    }

    /// How another node joins through this one, without the endpoint, which its configuration names.
    pub fn join_command(&self) -> Vec<&str> {
        let words: Vec<_> = self.join.iter().map(String::as_str).collect();
        let endpoint = words.iter().position(|word| *word == "--endpoint").expect("a flag");
        [&words[1..endpoint], &words[endpoint + 2..]].concat()
    }

    pub fn dir(&self) -> PathBuf {
        self.root.path().join("node")
    }

    /// Writes the configuration: a mesh port of the system's choice, a target that is not there, and `more`.
    pub fn configure(&self, more: &str) {
        let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        self.configure_port(port, more);
    }

    pub fn configure_port(&self, port: u16, more: &str) {
        let mesh = format!("mesh.listen = '127.0.0.1:{port}'\nmesh.endpoint = '127.0.0.1:{port}'\n");
        let config = format!("{mesh}service.target = '{NO_TARGET}'\n{more}");
        let file = self.dir().join("rustbalance.toml");
        fs::create_dir_all(self.dir()).expect("room for a directory");
        fs::set_permissions(self.dir(), fs::Permissions::from_mode(0o700)).expect("our own directory");
        fs::write(file, config).expect("room for a file");
    }

    /// Puts an application in the place of the one that is not there.
    pub fn set_target(&self, target: SocketAddr) {
        let file = self.dir().join("rustbalance.toml");
        let config = fs::read_to_string(&file).expect("our own file");
        fs::write(file, config.replace(NO_TARGET, &target.to_string())).expect("room for a file");
    }

    pub fn run(&self, args: &[&str]) -> Run {
        rustbalance(args.iter().copied().chain(["--dir", text(&self.dir())]))
    }

    /// What it says of itself.
    pub fn status(&self) -> serde_json::Value {
        let run = self.run(&["status", "--json"]);
        serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("no status: {}\n{}", run.stderr, self.log_text()))
    }

    /// Starts the node, all its logs going to a file, and waits until it answers.
    pub fn start(&self) -> Running<'_> {
        self.start_logging_to(fs::File::create(self.log()).expect("room for a log"))
    }

    pub fn start_logging_to(&self, log: impl Into<Stdio>) -> Running<'_> {
        self.start_in(log, &[])
    }

    /// The same, with these variables in the environment.
    pub fn start_in(&self, log: impl Into<Stdio>, environment: &[(&str, &str)]) -> Running<'_> {
        let mut running = self.spawn(&["run", "--log-level", "trace,boringtun=trace"], log, environment);
        self.wait("a status", |node| {
            assert!(running.child.try_wait().expect("our child").is_none(), "it ended:\n{}", node.log_text());
            node.run(&["status"]).code == 0
        });
        running
    }

    /// Starts the program on this node's directory and waits for nothing.
    pub fn spawn(&self, args: &[&str], log: impl Into<Stdio>, environment: &[(&str, &str)]) -> Running<'_> {
        let dir = self.dir();
        let mut command = mortal(args.iter().copied().chain(["--dir", text(&dir)]));
        command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(log);
        Running { node: self, child: command.spawn().expect("the binary starts") }
    }

    pub fn wait(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let started = Instant::now();
        while !done(self) {
            assert!(started.elapsed() < PATIENCE, "{what}: not in time:\n{}", self.log_text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> PathBuf {
        self.root.path().join("log")
    }

    pub fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_else(|error| format!("no log: {error}"))
    }
}

/// A node that runs; killed when dropped.
pub struct Running<'a> {
    pub node: &'a Node,
    pub child: Child,
}

impl Running<'_> {
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("our child");
    }

    /// Waits for its end; the exit code, and what it printed.
    pub fn end(mut self) -> (Option<i32>, String) {
        self.node.wait("its end", |_| self.child.try_wait().expect("our child").is_some());
        let mut printed = String::new();
        let mut stdout = self.child.stdout.take().expect("piped");
        std::io::Read::read_to_string(&mut stdout, &mut printed).expect("text");
        (self.child.wait().expect("our child").code(), printed)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Processes whose command line contains `path`.
pub fn pids_naming(path: &Path) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("proc").flatten();
    let names_it = |process: &fs::DirEntry| {
        fs::read(process.path().join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(text(path)))
    };
    processes.filter(names_it).filter_map(|process| process.file_name().to_str()?.parse().ok()).collect()
}
