//! Which tor is installed, and what it can.

use std::fmt;
use std::process::{Command, Stdio};

use super::TorError;
use crate::settings::TorSettings;

/// `MAJOR.MINOR.MICRO.PATCHLEVEL`, without the status tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TorVersion([u32; 4]);

/// The oldest that this program was made for.
const OLDEST: TorVersion = TorVersion([0, 4, 8, 0]);

impl TorVersion {
    /// Reads the output of `tor --version`.
    fn parse(output: &str) -> Option<Self> {
        let text = output.strip_prefix("Tor version ")?;
        let end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
        let mut parts = text.get(..end)?.trim_end_matches('.').split('.').map(str::parse);
        let mut version = [0; 4];
        for (index, part) in version.iter_mut().enumerate() {
            match parts.next() {
                Some(number) => *part = number.ok()?,
                None if index == 3 => {}
                None => return None,
            }
        }
        parts.next().is_none().then_some(Self(version))
    }
}

impl fmt::Display for TorVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, micro, patch] = self.0;
        write!(f, "{major}.{minor}.{micro}.{patch}")
    }
}

/// Asks the binary for its version. Blocks for some milliseconds.
///
/// # Errors
/// It is missing, no tor, or older than 0.4.8.
pub fn check_binary(settings: &TorSettings) -> Result<TorVersion, TorError> {
    let version = TorVersion::parse(&ask(settings, "--version")?);
    let version = version.ok_or_else(|| TorError::NotTor(settings.binary.clone()))?;
    if version < OLDEST { Err(TorError::TooOld(version)) } else { Ok(version) }
}

/// Asks the binary for its modules. Blocks for some milliseconds.
///
/// # Errors
/// It is missing, or knows no proof of work.
pub(super) fn check_pow(settings: &TorSettings) -> Result<(), TorError> {
    let modules = ask(settings, "--list-modules")?;
    if has_pow(&modules) { Ok(()) } else { Err(TorError::NoPow(settings.binary.clone())) }
}

/// What the binary says to `question`.
fn ask(settings: &TorSettings, question: &str) -> Result<String, TorError> {
    let binary = &settings.binary;
    let output = Command::new(binary)
        .arg(question)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| TorError::start(binary, source))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether `tor --list-modules` names the one for proof of work. Distributions leave it out where its licence does not fit.
fn has_pow(modules: &str) -> bool {
    modules.lines().any(|line| line.trim() == "pow: yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_tor_prints_them() {
        let parse = |text: &str| TorVersion::parse(text).map(|version| version.0);
        assert_eq!(parse("Tor version 0.4.9.11.\nThis build of Tor"), Some([0, 4, 9, 11]));
        assert_eq!(parse("Tor version 0.4.8.1-alpha (git-7f7c6dd).\n"), Some([0, 4, 8, 1]));
        assert_eq!(parse("Tor version 1.2.3.\n"), Some([1, 2, 3, 0]));
        for text in ["", "Tor version ", "Tor version 0.4.", "Tor version 0.4.8.1.2", "tor 0.4.8.1"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(TorVersion([0, 4, 7, 16]) < OLDEST);
    }

    #[test]
    fn a_tor_without_the_module_is_told_apart() {
        assert!(has_pow("relay: yes\ndirauth: yes\ndircache: yes\npow: yes\n"));
        for modules in ["", "relay: yes\npow: no\n", "relay: yes\nxpow: yes\n"] {
            assert!(!has_pow(modules), "{modules}");
        }
    }
}
