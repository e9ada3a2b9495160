//! A directory authority's keys: its voting identity (`tor-gencert`) and its relay identity (`tor --list-fingerprint`).

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{DIR_PORT, OR_PORT};

/// What the other tors must know about an authority.
pub struct Authority {
    /// `auth0`, ...
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    v3_identity: String,
    fingerprint: String,
}

impl Authority {
    /// Makes its keys in `dir/data/keys`.
    ///
    /// # Errors
    /// If a tool is missing or fails.
    pub fn make(tor: &Path, name: &str, dir: &Path, address: Ipv4Addr) -> Result<Self> {
        let keys = dir.join("data/keys");
        fs::create_dir_all(&keys)?;
        let v3_identity = make_voting_keys(&keys, address)?;
        let fingerprint = relay_fingerprint(tor, &dir.join("data"), name)?;
        Ok(Self { name: name.into(), address, v3_identity, fingerprint })
    }

    /// Its `DirAuthority` line.
    pub fn torrc_line(&self) -> String {
        let Self { name, address, v3_identity, fingerprint } = self;
        format!("DirAuthority {name} orport={OR_PORT} no-v2 v3ident={v3_identity} {address}:{DIR_PORT} {fingerprint}")
    }
}

/// Makes the voting keys and returns the identity's fingerprint from the certificate.
fn make_voting_keys(keys: &Path, address: Ipv4Addr) -> Result<String> {
    let mut command = Command::new("tor-gencert");
    command.args(["--create-identity-key", "--passphrase-fd", "0", "-m", "12", "-a", &format!("{address}:{DIR_PORT}")]);
    command.current_dir(keys).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start tor-gencert (Debian package tor)")?;
    child.stdin.take().context("no standard input")?.write_all(b"test network\n")?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "tor-gencert: {}", String::from_utf8_lossy(&output.stderr));
    let certificate = fs::read_to_string(keys.join("authority_certificate"))?;
    let fingerprint = certificate.lines().find_map(|line| line.strip_prefix("fingerprint "));
    Ok(fingerprint.context("no fingerprint in the authority certificate")?.to_owned())
}

/// Makes a relay's keys and returns its fingerprint.
fn relay_fingerprint(tor: &Path, data: &Path, name: &str) -> Result<String> {
    // An authority list is wanted before there is one: any will do to make keys.
    let nobody = format!("DirAuthority nobody 127.0.0.1:{DIR_PORT} {}", "F".repeat(40));
    let (nobody_option, nobody_value) = nobody.split_once(' ').unwrap_or_default();
    let output = Command::new(tor)
        .args(["--defaults-torrc", "/dev/null", "--ignore-missing-torrc", "-f", "/dev/null", "--list-fingerprint"])
        .args([&format!("--{nobody_option}"), nobody_value, "--ORPort", &OR_PORT.to_string(), "--Nickname", name])
        .args(["--Log", "warn stderr", "--DataDirectory"])
        .arg(data)
        .output()
        .with_context(|| format!("cannot start {}", tor.display()))?;
    ensure!(output.status.success(), "{}: {}", tor.display(), String::from_utf8_lossy(&output.stdout));
    let file = fs::read_to_string(data.join("fingerprint"))?;
    Ok(file.split_whitespace().nth(1).context("no fingerprint")?.to_owned())
}
