//! The secrets of nodes, and a search for them wherever they must not be: in logs, in command lines and environments, and
//! in any file but those that are there to hold them. Of a node whose keys are encrypted that is none of its directory.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::cluster::{Node, PASSPHRASE};
use crate::process::{RunDir, processes_in};

/// Tor's key file: 32 bytes of header, then the secret.
const TOR_HEADER: usize = 32;
/// The same in a node's `keys/`, and where its tor reads it.
const MASTER_KEY: &str = "hs_ed25519_secret_key";
/// The other secrets in `keys/`, in base64.
const NODE_KEYS: [&str; 3] = ["node_key", "wireguard_key", "cluster_token"];
/// A needle shorter than this could turn up by chance.
const NEEDLE_MIN: usize = 16;

/// Secrets, in all forms in which they may be written.
pub struct Secrets {
    needles: BTreeSet<Vec<u8>>,
}

impl Secrets {
    /// Those of all nodes.
    ///
    /// # Errors
    /// If a node lacks one.
    pub fn of(nodes: &[Node]) -> Result<Self> {
        let mut needles = BTreeSet::new();
        for node in nodes {
            needles.extend(secrets_of(node)?.iter().flat_map(|secret| forms(secret)));
        }
        Ok(Self { needles })
    }

    /// How many forms of them are sought.
    pub fn forms(&self) -> usize {
        self.needles.len()
    }

    /// Whether one of them is in `file`; not if that is gone, as a process or a file may be since it was listed.
    pub fn are_in(&self, file: &Path) -> bool {
        let content = fs::read(file).unwrap_or_default();
        let beginnings: BTreeSet<&[u8]> = self.needles.iter().filter_map(|needle| needle.get(..NEEDLE_MIN)).collect();
        content.windows(NEEDLE_MIN).enumerate().any(|(at, window)| {
            beginnings.contains(window)
                && self.needles.iter().any(|needle| content.get(at..).is_some_and(|rest| rest.starts_with(needle)))
        })
    }
}

/// Where none may be: logs, command lines and environments, and all files but [those that hold them](key_files).
///
/// # Errors
/// If a directory cannot be read.
pub fn forbidden_places(nodes: &[Node]) -> Result<Vec<PathBuf>> {
    let mut places = Vec::new();
    for node in nodes {
        places.push(node.log().to_path_buf());
        places.extend(files_of(node)?.into_iter().filter(|file| !is_key_file(node, file)));
        for pid in processes_in(&node.dir) {
            places.extend(["cmdline", "environ"].map(|file| PathBuf::from(format!("/proc/{pid}/{file}"))));
        }
    }
    Ok(places)
}

/// The files that hold secrets by design: ours, and those that tor needs for itself.
///
/// # Errors
/// If a directory cannot be read.
pub fn key_files(nodes: &[Node]) -> Result<Vec<PathBuf>> {
    let mut keys = Vec::new();
    for node in nodes {
        keys.extend(files_of(node)?.into_iter().filter(|file| is_key_file(node, file)));
    }
    Ok(keys)
}

/// What of a node group or others may do anything to: there is nothing but its configuration, which is not our doing.
///
/// # Errors
/// If a directory cannot be read.
pub fn open_to_others(node: &Node) -> Result<Vec<PathBuf>> {
    let mut open = Vec::new();
    for top in [Some(&*node.dir), node.memory()].into_iter().flatten() {
        let all = std::iter::once(top.to_owned()).chain(all_below(top)?);
        open.extend(all.filter(|path| is_open(path) && *path != node.dir.join("rustbalance.toml")));
    }
    Ok(open)
}

/// Whether group or others may do anything.
pub fn is_open(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

fn is_key_file(node: &Node, file: &Path) -> bool {
    match node.memory() {
        Some(memory) => file.starts_with(memory) && file.ends_with(Path::new("hs").join(MASTER_KEY)),
        None => {
            let keys = node.dir.join("keys");
            let ours = NODE_KEYS.iter().chain([&MASTER_KEY]).any(|name| file == keys.join(name));
            ours || file == node.dir.join("tor/hs").join(MASTER_KEY)
        }
    }
}

/// All that a node keeps, on disk and in memory.
fn files_of(node: &Node) -> Result<Vec<PathBuf>> {
    let mut files = files_below(&node.dir)?;
    files.extend(node.memory().map(files_below).transpose()?.into_iter().flatten());
    Ok(files)
}

/// The secrets of one node, raw.
fn secrets_of(node: &Node) -> Result<Vec<Vec<u8>>> {
    if node.memory().is_none() {
        return secrets_in(&node.dir);
    }
    // A running node's keys are not to be decrypted, but a copy of them is.
    let copy = RunDir::in_memory()?;
    let keys = copy.path().join("keys");
    for dir in [&keys, &copy.path().join("state")] {
        DirBuilder::new().mode(0o700).create(dir)?;
    }
    for file in files_below(&node.dir.join("keys"))? {
        fs::copy(&file, keys.join(file.file_name().context("a name")?))?;
    }
    fs::copy(node.dir.join("rustbalance.toml"), copy.path().join("rustbalance.toml"))?;
    node.decrypt(copy.path())?;
    let mut secrets = secrets_in(copy.path())?;
    secrets.push(PASSPHRASE.into());
    Ok(secrets)
}

fn secrets_in(dir: &Path) -> Result<Vec<Vec<u8>>> {
    let keys = dir.join("keys");
    let master = fs::read(keys.join(MASTER_KEY))?;
    let (scalar, prefix) = master.get(TOR_HEADER..).context("a short key file")?.split_at(32);
    let mut secrets = vec![scalar.to_vec(), prefix.to_vec()];
    for name in NODE_KEYS {
        let text = fs::read_to_string(keys.join(name)).with_context(|| format!("{name} of {}", dir.display()))?;
        secrets.push(BASE64.decode(text.trim()).with_context(|| format!("{name} is no base64"))?);
    }
    ensure!(secrets.iter().all(|secret| secret.len() >= NEEDLE_MIN), "a short secret");
    Ok(secrets)
}

/// How a secret may be written: raw, hex, base64, and as Rust prints bytes.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    // Base64 of a longer text that contains the secret has one of three alignments; its middle does not depend on the rest.
    let aligned = (0..3usize).filter_map(|skip| {
        let whole = secret.get(skip..)?;
        let text = BASE64.encode(whole.get(..whole.len() / 3 * 3)?);
        Some(text.into_bytes())
    });
    let decimal: Vec<String> = secret.iter().take(NEEDLE_MIN).map(ToString::to_string).collect();
    let texts = [hex.clone(), hex.to_uppercase(), decimal.join(", "), decimal.join(",")];
    texts.into_iter().map(String::into_bytes).chain(aligned).chain([secret.to_vec()]).collect()
}

/// All ordinary files below `dir`.
fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    Ok(all_below(dir)?.into_iter().filter(|path| path.is_file()).collect())
}

/// Everything below `dir`. What goes while one looks is left out.
fn all_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            all.extend(all_below(&entry.path())?);
        }
        all.push(entry.path());
    }
    Ok(all)
}
