//! `rustbalance leave`.

use std::path::{Path, PathBuf};

use rustbalance_io::settings::AttachSettings;
use rustbalance_io::store::{Store, StoreError};

use super::effect::{self, Look};
use super::{confirm, member};
use crate::args::{Common, Leave};
use crate::failure::{Exit, Failure};
use crate::output;

/// Tells the running node to leave for good, waits until it has stopped, and forgets its secrets if asked to.
///
/// # Errors
/// No node runs there, no other one serves clients, nobody confirms, it does not stop, or a file cannot be removed.
pub fn leave(common: &Common, args: &Leave) -> Result<(), Failure> {
    let status = rustbalance_io::status::status(&common.dir)?;
    if status.role != "alone" && !args.force && !member::another_serves(&status, &status.node) {
        let text = "no other node serves clients now; start another one first, or leave all the same with --force";
        return Err(Failure::new(Exit::Runtime, text));
    }
    if args.forget && !args.yes {
        confirm_forgetting(&status.address)?;
    }
    rustbalance_io::status::leave(&common.dir)?;
    // A configuration that cannot be read any more names no other tor.
    let attach = super::settings(common).map(|settings| settings.tor.attach).unwrap_or_default();
    let forgotten = if args.forget { forget(&common.dir, &attach)? } else { Vec::new() };
    if args.json {
        let by_hand = attach.control.as_ref().map(|_| &attach.service_dir);
        let by_hand: Vec<&PathBuf> = by_hand.into_iter().filter(|_| args.forget).collect();
        return output::json(&serde_json::json!({ "left": status.node, "forgotten": forgotten, "by_hand": by_hand }));
    }
    let text = match args.forget {
        true => format!(
            "left; keys, state and tor's files are gone; the configuration is still there{}",
            in_other_tor(&attach)
        ),
        false => format!("left; the key of the address is still in keys/; {}", by_hand(&common.dir, &attach)),
    };
    output::line(&text)
}

/// There is no node any more that could be told to leave.
fn by_hand(dir: &Path, attach: &AttachSettings) -> String {
    let remains: Vec<String> = Store::new(dir).remains().iter().map(|path| path.display().to_string()).collect();
    format!("to forget what is left, remove by hand: {}{}", remains.join(" "), in_other_tor(attach))
}

/// The copy of the key that somebody else's tor has, which only its owner can remove; nothing if there is no such tor.
fn in_other_tor(AttachSettings { control, service_dir, .. }: &AttachSettings) -> String {
    let Some(control) = control else { return String::new() };
    format!(
        "; the tor at {control} still has the key of the address: take the lines of {dir} out of its torrc, reload it, and \
         remove {dir}",
        dir = service_dir.display()
    )
}

/// The node has said its last word, and lets go of its directory a moment later.
fn forget(dir: &Path, attach: &AttachSettings) -> Result<Vec<PathBuf>, Failure> {
    let forgotten = effect::poll(effect::AT_ONCE, |look| match Store::new(dir).forget() {
        Err(StoreError::Locked { .. }) if look == Look::Early => Ok(None),
        Ok(forgotten) => Ok(Some(forgotten)),
        Err(error) => {
            Err(Failure::new(error.fault().into(), format!("it has left, but {error}; {}", by_hand(dir, attach))))
        }
    })?;
    Ok(forgotten.unwrap_or_default())
}

fn confirm_forgetting(address: &str) -> Result<(), Failure> {
    confirm::ask(
        &format!("remove this node's copy of the key of {address}, its other keys and its state?"),
        "--forget removes the keys in this directory for good; confirm that with --yes",
    )
}

#[cfg(test)]
mod tests {
    use rustbalance_io::settings::ControlAddress;

    use super::*;

    #[test]
    fn the_copy_of_the_key_that_another_tor_has_is_named() {
        let mut attach = AttachSettings { service_dir: "/var/lib/tor/shop".into(), ..AttachSettings::default() };
        assert_eq!(in_other_tor(&attach), "");
        attach.control = Some(ControlAddress::Unix("/run/tor/control".into()));
        let words = by_hand(Path::new("/nonexistent"), &attach);
        assert!(words.contains("unix:/run/tor/control") && words.ends_with("remove /var/lib/tor/shop"), "{words}");
    }
}
