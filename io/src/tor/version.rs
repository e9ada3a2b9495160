//! Which tor is installed, and what it can.

use std::process::{Command, Stdio};

use rustbalance_core::tor::TorVersion;

use super::TorError;
use crate::settings::TorSettings;

/// Asks the binary for its version. Blocks for some milliseconds.
///
/// # Errors
/// It is missing, no tor, or older than 0.4.8.
pub fn check_binary(settings: &TorSettings) -> Result<TorVersion, TorError> {
    let version = said_version(&ask(settings, "--version")?);
    let version = version.ok_or_else(|| TorError::NotTor(settings.binary.clone()))?;
    if version < TorVersion::OLDEST { Err(TorError::TooOld(version)) } else { Ok(version) }
}

/// Reads the output of `tor --version`.
fn said_version(output: &str) -> Option<TorVersion> {
    TorVersion::parse(output.strip_prefix("Tor version ")?)
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
    fn only_tor_says_its_version() {
        let version = said_version("Tor version 0.4.9.11.\nThis build of Tor").unwrap();
        assert_eq!(version.to_string(), "0.4.9.11");
        for text in ["", "Tor version ", "tor 0.4.8.1", "0.4.8.1"] {
            assert_eq!(said_version(text), None, "{text}");
        }
    }

    #[test]
    fn a_tor_without_the_module_is_told_apart() {
        assert!(has_pow("relay: yes\ndirauth: yes\ndircache: yes\npow: yes\n"));
        for modules in ["", "relay: yes\npow: no\n", "relay: yes\nxpow: yes\n"] {
            assert!(!has_pow(modules), "{modules}");
        }
    }
}
