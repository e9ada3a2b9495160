//! The configuration of a node being set up: from flags into a new file, or from a file the flags agree with.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustbalance_io::settings::Settings;
use rustbalance_io::store::create_private_dir;
use toml::Value;

use super::report;
use crate::args::{Common, NodeFlags};
use crate::config_file::{self, KEYS, Key, MESH_PORT};
use crate::failure::{Exit, Failure};

/// A node's settings, and the file they are still to be written to.
pub struct Setup {
    /// What the node will run with.
    pub settings: Settings,
    file: PathBuf,
    new_text: Option<String>,
}

impl Setup {
    /// Reads the existing file, or prepares a new one; writes nothing yet. `peer` is the endpoint that must be reachable.
    ///
    /// # Errors
    /// A mistake in the file or in a flag, a flag that contradicts the file, no target.
    pub fn prepare(common: &Common, flags: &NodeFlags, peer: Option<&str>) -> Result<Self, Failure> {
        if let Some(endpoint) = &flags.endpoint {
            report::refuse_placeholder("--endpoint", endpoint)?;
        }
        let file = common.config_file();
        let given = given(flags);
        if let Some(settings) = config_file::load(&file, &common.dir)? {
            for (flag, key, value) in &given {
                agree(&settings, flag, key, value, &file.display().to_string())?;
            }
            return Ok(Self { settings, file, new_text: None });
        }
        if flags.target.is_none() {
            let way_out = "say where your application listens, for example 127.0.0.1:8080";
            return Err(Failure::usage(format!("--target: missing; {way_out}")));
        }
        let mut settings = config_file::defaults(&common.dir);
        for (flag, key, value) in &given {
            set(&mut settings, flag, key, value)?;
        }
        let mut values: Vec<_> = given.into_iter().map(|(_, key, value)| (key, value)).collect();
        if flags.listen.is_none() {
            let (key, value) = (key("mesh.listen"), listen_for(settings.mesh.endpoint.as_deref(), peer));
            set(&mut settings, "--endpoint", key, &value)?;
            values.push((key, value));
        }
        Ok(Self { settings, file, new_text: Some(config_file::render(&values)) })
    }

    /// Makes the file if it is new, before anything that cannot be taken back.
    ///
    /// # Errors
    /// The file cannot be made; an existing one is never overwritten.
    pub fn create(&self) -> Result<NewFile<'_>, Failure> {
        let Some(text) = &self.new_text else { return Ok(NewFile(None)) };
        if self.file.parent() == Some(&self.settings.dir) {
            create_private_dir(&self.settings.dir)?;
        }
        // Half of it would be taken for the operator's own by the next attempt.
        let mut whole = self.file.clone().into_os_string();
        whole.push(".new");
        let whole = PathBuf::from(whole);
        let write = || {
            if whole.symlink_metadata().is_ok() {
                std::fs::remove_file(&whole)?;
            }
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&whole)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            // Unlike a renaming this fails if somebody else has made one meanwhile.
            std::fs::hard_link(&whole, &self.file)?;
            Ok(NewFile(Some(&self.file)))
        };
        let written = write();
        // One that stays hinders nobody: it goes when a file is made anew.
        _ = std::fs::remove_file(&whole);
        written.map_err(|error: std::io::Error| {
            let way_out = "nothing was set up; name a --config that this user can create";
            Failure::new(Exit::State, format!("{}: cannot be created: {error}; {way_out}", self.file.display()))
        })
    }
}

/// A configuration file that was just made: removed again unless the node it is for comes to be.
#[must_use]
pub struct NewFile<'a>(Option<&'a Path>);

impl NewFile<'_> {
    /// The node is set up.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            // What cannot be removed is an ordinary configuration file, which the next attempt takes as it is.
            _ = std::fs::remove_file(path);
        }
    }
}

/// The flags that were given, with the key each one sets.
fn given(flags: &NodeFlags) -> Vec<(&'static str, &'static Key, Value)> {
    let text = |text: &Option<String>| text.clone().map(Value::String);
    let all = [
        ("--name", "name", text(&flags.name)),
        ("--priority", "priority", flags.priority.map(|priority| Value::Integer(priority.into()))),
        ("--listen", "mesh.listen", text(&flags.listen)),
        ("--endpoint", "mesh.endpoint", text(&flags.endpoint)),
        ("--port", "service.port", flags.port.map(|port| Value::Integer(port.into()))),
        ("--target", "service.target", text(&flags.target)),
    ];
    all.into_iter().filter_map(|(flag, name, value)| Some((flag, key(name), value?))).collect()
}

fn key(name: &str) -> &'static Key {
    KEYS.iter().find(|key| key.name == name).expect("every flag's key is in KEYS")
}

fn set(settings: &mut Settings, flag: &str, key: &Key, value: &Value) -> Result<(), Failure> {
    config_file::set(settings, key, value).map_err(|why| Failure::usage(format!("{flag}: {why}")))
}

/// Refuses a flag whose value the file does not give.
fn agree(settings: &Settings, flag: &str, key: &Key, value: &Value, file: &str) -> Result<(), Failure> {
    let mut wanted = settings.clone();
    set(&mut wanted, flag, key, value)?;
    let (in_file, wanted) = ((key.get)(settings), (key.get)(&wanted));
    if in_file == wanted {
        return Ok(());
    }
    let in_file = in_file.map_or_else(|| "nothing".into(), |value| value.to_string());
    let way_out = "an existing file is used as it is: edit it or leave the flag out";
    Err(Failure::usage(format!("{flag} {value} contradicts {} = {in_file} in {file}; {way_out}", key.name)))
}

/// Where to listen when nobody says: on the endpoint's port, and on IPv6 too where that is spoken.
fn listen_for(endpoint: Option<&str>, peer: Option<&str>) -> Value {
    let port = endpoint.and_then(|endpoint| endpoint.rsplit_once(':')).and_then(|(_, port)| port.parse().ok());
    let is_ipv6 = [endpoint, peer].into_iter().flatten().any(|endpoint| endpoint.starts_with('['));
    let any = if is_ipv6 { "[::]" } else { "0.0.0.0" };
    Value::String(format!("{any}:{}", port.unwrap_or(MESH_PORT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listens_on_the_endpoints_port_and_family() {
        for (endpoint, peer, expected) in [
            (None, None, "0.0.0.0:7900"),
            (Some("a.example:1"), None, "0.0.0.0:1"),
            (Some("[2001:db8::1]:1"), None, "[::]:1"),
            (None, Some("[2001:db8::1]:1"), "[::]:7900"),
        ] {
            assert_eq!(listen_for(endpoint, peer), Value::String(expected.into()), "{endpoint:?} {peer:?}");
        }
    }
}
