//! Passphrases: from a file, standard input or the terminal; never from an argument or the environment.

use std::path::Path;

use rustbalance_core::passphrase::Passphrase;
use rustbalance_io::backup::BackupError;
use rustbalance_io::keys::read_secret_file;
use rustbalance_io::terminal::ask_secret;

use super::secret;
use crate::failure::Failure;

/// Whether a passphrase is made up now, and so has to be typed twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It opens what it has closed before.
    Known,
    /// It closes something.
    New,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// As the question names it.
    pub name: &'static str,
    /// The flag that names a file with it.
    pub flag: &'static str,
}

/// From `file`, if one is given; else it is asked for on the terminal.
///
/// # Errors
/// It cannot be read, is none, or was typed differently; no file and no terminal.
pub fn get(file: Option<&Path>, is: Use, wanted: Wanted) -> Result<Passphrase, Failure> {
    if let Some(file) = file {
        let text = secret::read(file, read_secret_file, |bytes, _| Ok(bytes))?;
        return parse(&text, &file.display().to_string());
    }
    let first = ask(wanted.name, wanted.flag)?;
    if is == Use::New && !ask("the same again", wanted.flag)?.is(&first) {
        return Err(Failure::usage("the two passphrases differ; nothing was written; try again"));
    }
    Ok(first)
}

fn ask(question: &str, flag: &str) -> Result<Passphrase, Failure> {
    let text = ask_secret(question).map_err(|error| {
        let way_out = "give the passphrase in a file, with";
        Failure::usage(format!("cannot ask for the passphrase on the terminal: {error}; {way_out} {flag}"))
    })?;
    parse(&text, "the passphrase")
}

fn parse(text: &[u8], from: &str) -> Result<Passphrase, Failure> {
    let from = if from == "-" { "standard input" } else { from }.to_owned();
    Ok(Passphrase::from_text(text).map_err(|why| BackupError::Passphrase { from, why })?)
}
