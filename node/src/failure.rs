//! How a command fails: an exit code, and lines that say what, why and the way out.

use std::process::ExitCode;

use rustbalance_io::backup::BackupError;
use rustbalance_io::clients::import::ImportError;
use rustbalance_io::entropy::EntropyError;
use rustbalance_io::fault::Fault;
use rustbalance_io::init::InitError;
use rustbalance_io::join::JoinError;
use rustbalance_io::keys::KeyError;
use rustbalance_io::run::RunError;
use rustbalance_io::status::StatusError;
use rustbalance_io::store::StoreError;
use rustbalance_io::tor::TorError;
use rustbalance_io::tor::fetch::FetchError;

/// Exit codes, as `rustbalance --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Failure at run time.
    Runtime = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// State directory or keys.
    State = 3,
    /// Network or peer.
    Network = 4,
    /// Tor missing or too old.
    Tor = 5,
    /// The answer is no.
    No = 6,
    /// A bad descriptor.
    Descriptor = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Fault> for Exit {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Runtime => Self::Runtime,
            Fault::Usage => Self::Usage,
            Fault::State => Self::State,
            Fault::Network => Self::Network,
            Fault::Tor => Self::Tor,
        }
    }
}

/// Why a command stopped.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// For standard error, each `<what>: <cause>; <way out>`. Never a secret.
    pub lines: Vec<String>,
}

impl Failure {
    /// One line.
    pub fn new(exit: Exit, line: impl Into<String>) -> Self {
        Self { exit, lines: vec![line.into()] }
    }

    /// A usage mistake, in one line.
    pub fn usage(line: impl Into<String>) -> Self {
        Self::new(Exit::Usage, line)
    }

    /// Several mistakes at once.
    pub fn with_lines(exit: Exit, lines: Vec<String>) -> Self {
        Self { exit, lines }
    }
}

/// The shell's errors say what, why and the way out themselves, and whose fault it is.
macro_rules! from_shell {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new(error.fault().into(), error.to_string())
            }
        })*
    };
}

from_shell!(
    BackupError,
    EntropyError,
    FetchError,
    ImportError,
    InitError,
    JoinError,
    KeyError,
    RunError,
    StatusError,
    StoreError,
    TorError
);
