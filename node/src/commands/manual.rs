//! `rustbalance completions` and `rustbalance man`: what the command line says of itself, for shells and for `man`.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::{Exit, Failure};
use crate::output;

/// Prints the completions for `shell`.
///
/// # Errors
/// Standard output cannot be written.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rustbalance", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())
}

/// Writes the pages into `out`.
///
/// # Errors
/// The directory is missing or cannot be written.
pub fn pages(out: &Path) -> Result<(), Failure> {
    clap_mangen::generate_to(Cli::command(), out).map_err(|error| {
        let text = format!("{}: {error}; name a directory that exists and that you can write", out.display());
        Failure::new(Exit::Runtime, text)
    })
}
