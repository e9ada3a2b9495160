//! The configuration file from disk.

use std::io::ErrorKind;
use std::path::Path;

use rustbalance_io::settings::Settings;

use super::parse;
use crate::failure::{Exit, Failure};

/// Reads `file` for the node in `dir`; `None` if there is no such file.
///
/// # Errors
/// Not readable, or any mistake in it: one line each.
pub fn load(file: &Path, dir: &Path) -> Result<Option<Settings>, Failure> {
    let shown = file.display();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let message = format!("{shown}: cannot be read: {error}; make it a text file you may read");
            return Err(Failure::usage(message));
        }
    };
    parse(&text, dir).map(Some).map_err(|problems| {
        Failure::with_lines(Exit::Usage, problems.iter().map(|problem| format!("{shown}: {problem}")).collect())
    })
}
