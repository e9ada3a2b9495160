//! `rustbalance run`.

use rustbalance_core::passphrase::Passphrase;
use rustbalance_io::memory::{self, Locked};
use rustbalance_io::run::{Reloaded, Shares};
use rustbalance_io::settings::Settings;
use rustbalance_io::store::Store;

use super::encrypted;
use crate::args::{Common, Unlock};
use crate::config_file::{self, Key};
use crate::failure::Failure;

/// Settings that a running node takes over.
const LIVE: [&str; 2] = ["priority", "weight"];
/// Settings whose values may hold somebody's password.
const UNSHOWN: [&str; 1] = ["tor.options"];

/// Serves until told to stop.
///
/// # Errors
/// What kept the node from starting, or ended it.
pub fn run(common: &Common, args: &Unlock) -> Result<(), Failure> {
    // Before there is anything in memory to be kept there.
    let locked = memory::protect();
    let settings = super::settings(common)?;
    let passphrase = passphrase(common, args, locked)?;
    if let Some(words) = encrypted::uncovered(&settings, &Store::new(&common.dir)) {
        tracing::warn!("{words}");
    }
    let (file, dir, mut running) = (common.config_file(), common.dir.clone(), settings.clone());
    let reload = move || match config_file::load(&file, &dir) {
        Ok(Some(new)) => {
            let changes = take_over(&mut running, &new);
            Reloaded::Changed(Shares { weight: running.weight, priority: running.priority }, changes)
        }
        Ok(None) => Reloaded::Refused(vec![format!("{}: no such file", file.display())]),
        Err(failure) => Reloaded::Refused(failure.lines),
    };
    Ok(rustbalance_io::run::run(settings, passphrase, Box::new(reload))?)
}

fn passphrase(common: &Common, args: &Unlock, locked: Locked) -> Result<Option<Passphrase>, Failure> {
    let is_encrypted = Store::new(&common.dir).is_encrypted();
    if is_encrypted && locked == Locked::StateKey {
        tracing::warn!(
            "the limit for locked memory lets the system swap what is not the state key; set LimitMEMLOCK=infinity, or \
             `ulimit -l unlimited`, or turn swap off"
        );
    }
    if !is_encrypted && args.passphrase_file.is_some() {
        tracing::warn!("--passphrase-file is not needed: the keys are not encrypted; see `rustbalance key encrypt`");
    }
    is_encrypted.then(|| encrypted::known(args)).transpose()
}

/// Takes over what a running node can, and says what has changed, a line each.
fn take_over(running: &mut Settings, new: &Settings) -> Vec<String> {
    let changed: Vec<&Key> = config_file::KEYS.iter().filter(|key| (key.get)(running) != (key.get)(new)).collect();
    let value = |key: &Key, of: &Settings| match (key.get)(of) {
        _ if UNSHOWN.contains(&key.name) => "(not shown)".to_owned(),
        Some(value) => value.to_string(),
        None => "nothing".to_owned(),
    };
    let line = |key: &&Key| {
        let when = if LIVE.contains(&key.name) { "from now on" } else { "after a restart" };
        format!("{} was {}, and is {} {when}", key.name, value(key, running), value(key, new))
    };
    let mut lines: Vec<String> = changed.iter().map(line).collect();
    if lines.is_empty() {
        lines.push("nothing has changed".to_owned());
    }
    (running.weight, running.priority) = (new.weight, new.priority);
    lines
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn settings(text: &str) -> Settings {
        config_file::parse(text, Path::new("/dir")).expect("valid")
    }

    #[test]
    fn what_changed_is_said_until_it_is_in_force() {
        let mut running = settings("weight = 100\n[service]\nport = 80\n");
        let new = settings("weight = 50\n[service]\nport = 81\n[tor]\noptions = [\"Socks5ProxyPassword x\"]\n");
        let port = "service.port was 80, and is 81 after a restart";
        let options = "tor.options was (not shown), and is (not shown) after a restart";
        let weight = "weight was 100, and is 50 from now on";
        assert_eq!(take_over(&mut running, &new), [weight, port, options]);
        assert_eq!((running.weight, running.service.port), (50, 80));
        assert_eq!(take_over(&mut running, &new), [port, options]);
        assert_eq!(take_over(&mut running, &settings("weight = 50")), ["nothing has changed"]);
    }
}
