//! Standard output: what was asked for and nothing else.

use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use crate::failure::{Exit, Failure};

/// Writes `text` and a line end. A reader that went away is no failure.
///
/// # Errors
/// Standard output cannot be written.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Runtime,
            format!("standard output: {error}; redirect it to where it can be written"),
        )),
        _ => Ok(()),
    }
}

/// Writes `value` as one JSON object on one line.
///
/// # Errors
/// Standard output cannot be written.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::new(Exit::Runtime, format!("JSON: {error}; report this as a bug")))?;
    line(&text)
}
