//! Secrets stay in their files: not in logs at the most talkative level, not in command lines or environments, and not in
//! files that others can read. Of the node whose keys are encrypted nothing is in its directory at all.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustbalance_testing::cluster::{Node, PASSPHRASE};
use rustbalance_testing::process::{RunDir, processes_in};

use crate::Scenario;

/// Tor's key file: 32 bytes of header, then the secret.
const TOR_HEADER: usize = 32;
/// A needle shorter than this could turn up by chance.
const NEEDLE_MIN: usize = 16;

impl Scenario<'_> {
    /// Looks for the test's own keys wherever they must not be.
    pub fn secrets_stay_secret(&mut self) -> Result<()> {
        self.report.step("secrets");
        let dirs: Vec<PathBuf> = self.cluster.nodes.iter().map(|node| node.dir.clone()).collect();
        let mut needles = BTreeSet::new();
        for node in &self.cluster.nodes {
            needles.extend(secrets_of(node)?.iter().flat_map(|secret| forms(secret)));
        }

        let mut places = Vec::new();
        for node in &self.cluster.nodes {
            places.push(node.log().to_path_buf());
            let holds_keys = |file: &PathBuf| node.memory().is_none() && is_key_file(&node.dir, file);
            places.extend(files_below(&node.dir)?.into_iter().filter(|file| !holds_keys(file)));
            for pid in processes_in(&node.dir) {
                places.extend(["cmdline", "environ"].map(|file| PathBuf::from(format!("/proc/{pid}/{file}"))));
            }
        }
        let logs: u64 = self.cluster.nodes.iter().filter_map(|node| Some(fs::metadata(node.log()).ok()?.len())).sum();
        let leaks: Vec<_> = places.iter().filter(|place| contains_any(place, &needles)).collect();
        let detail = format!(
            "{} forms of keys sought in {} files and processes, {} kB of trace logs: {leaks:?}",
            needles.len(),
            places.len(),
            logs / 1000
        );
        self.report.expect("no secret outside of its file", leaks.is_empty() && logs > 0, &detail);

        // The state directory itself is closed, so nothing in it can be reached; secrets are closed by themselves as well.
        let open_dirs: Vec<_> = dirs.iter().filter(|dir| is_open(dir)).collect();
        self.report.expect("state directories are closed to others", open_dirs.is_empty(), &format!("{open_dirs:?}"));
        let mut keys = Vec::new();
        for node in &self.cluster.nodes {
            let files = files_below(node.memory().unwrap_or(&node.dir))?;
            let is_key = |file: &PathBuf| is_key_file(&node.dir, file) || file.ends_with("hs/hs_ed25519_secret_key");
            keys.extend(files.into_iter().filter(is_key));
        }
        let missed: Vec<_> = keys.iter().filter(|file| !contains_any(file, &needles)).collect();
        self.report.expect(
            "the search finds keys where they belong",
            missed.is_empty(),
            &format!("missed: {missed:?}"),
        );
        let open_keys: Vec<_> = keys.iter().filter(|file| is_open(file)).collect();
        let detail = format!("{} files, open: {open_keys:?}", keys.len());
        self.report.expect("key files are closed to others", open_keys.is_empty(), &detail);
        Ok(())
    }
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
    let master = fs::read(keys.join("hs_ed25519_secret_key"))?;
    let (scalar, prefix) = master.get(TOR_HEADER..).context("a short key file")?.split_at(32);
    let mut secrets = vec![scalar.to_vec(), prefix.to_vec()];
    for name in ["node_key", "wireguard_key", "cluster_token"] {
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

fn contains_any(file: &Path, needles: &BTreeSet<Vec<u8>>) -> bool {
    // A process may have ended and a file gone since they were listed.
    let content = fs::read(file).unwrap_or_default();
    let beginnings: BTreeSet<&[u8]> = needles.iter().filter_map(|needle| needle.get(..NEEDLE_MIN)).collect();
    content.windows(NEEDLE_MIN).enumerate().any(|(at, window)| {
        beginnings.contains(window)
            && needles.iter().any(|needle| content.get(at..).is_some_and(|rest| rest.starts_with(needle)))
    })
}

/// The files that hold secrets by design: ours, and those that tor needs for itself.
fn is_key_file(dir: &Path, file: &Path) -> bool {
    let inside = file.strip_prefix(dir).unwrap_or(file);
    inside.starts_with("keys") || inside == Path::new("tor/hs/hs_ed25519_secret_key")
}

/// Whether group or others may do anything.
fn is_open(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

/// All ordinary files below `dir`.
fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}
