//! Standard output: what was asked for and nothing else.

use std::io::{ErrorKind, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::failure::{Exit, Failure};

/// Who reads standard output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Somebody, as far as one can know.
    There,
    /// Nobody any more: whatever comes next is in vain.
    Gone,
}

/// Whether standard output takes colours: a terminal, unless `NO_COLOR` is set.
pub fn is_coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes `text` and a line end.
///
/// # Errors
/// Standard output cannot be written, for another reason than that its reader went away.
pub fn write(text: &str) -> Result<Reader, Failure> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::new(
            Exit::Runtime,
            format!("standard output: {error}; redirect it to where it can be written"),
        )),
    }
}

/// Writes `text` and a line end, as the last thing. A reader that went away is no failure.
///
/// # Errors
/// As for [`write`].
pub fn line(text: &str) -> Result<(), Failure> {
    write(text).map(|_| ())
}

/// Writes bytes as they are, as the last thing.
///
/// # Errors
/// They could not all be written: nobody may take them for whole.
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.map_err(|error| Failure::new(Exit::Runtime, format!("standard output: {error}; what came is not whole")))
}

/// Refuses to write to a terminal what does not belong there.
///
/// # Errors
/// Standard output is one.
pub fn refuse_terminal(flag: &str, why: &str) -> Result<(), Failure> {
    match std::io::stdout().is_terminal() {
        true => Err(Failure::usage(format!("{flag}: not to a terminal: {why}"))),
        false => Ok(()),
    }
}

/// Tells whoever watches something beside what was asked for, on standard error.
pub fn note(text: &str) {
    // Who does not read it misses nothing that was asked for.
    _ = writeln!(std::io::stderr(), "rustbalance: {text}");
}

/// Writes `value` as one JSON object on one line, as the last thing.
///
/// # Errors
/// As for [`write`].
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(&to_json(value)?)
}

/// `value` as one JSON object on one line.
///
/// # Errors
/// None in practice.
pub fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map_err(|error| Failure::new(Exit::Runtime, format!("JSON: {error}; report this as a bug")))
}
