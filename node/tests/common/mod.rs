//! Runs the binary.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod node;
pub mod terminal;

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// How a run ended.
pub struct Run {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("not killed by a signal"),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

const BINARY: &str = env!("CARGO_BIN_EXE_rustbalance");

/// `rustbalance` with `args`, no standard input and no log filter from the environment.
pub fn command<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    complete(Command::new(BINARY), args)
}

/// The same for what runs until it is told to stop: killed when the thread that started it ends, however it ends.
pub fn mortal<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    mortal_program(BINARY, args)
}

/// The same for another program.
pub fn mortal_program<'a>(program: &str, args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    complete(command, args)
}

fn complete<'a>(mut command: Command, args: impl IntoIterator<Item = &'a str>) -> Command {
    command.args(args).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn rustbalance<'a>(args: impl IntoIterator<Item = &'a str>) -> Run {
    command(args).output().expect("the binary starts").into()
}

/// A path of the test, as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Checks that a run failed with one line that says `expected`, and printed nothing else.
pub fn assert_refused(run: &Run, code: i32, expected: &str) {
    assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{}", run.stderr);
    assert!(run.stderr.starts_with("rustbalance: ") && run.stderr.contains(expected), "{expected}\n{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}
