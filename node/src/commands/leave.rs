//! `rustbalance leave`.

use std::path::{Path, PathBuf};

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
    let forgotten = if args.forget { forget(&common.dir)? } else { Vec::new() };
    if args.json {
        return output::json(&serde_json::json!({ "left": status.node, "forgotten": forgotten }));
    }
    match args.forget {
        true => output::line("left; keys, state and tor's files are gone; the configuration is still there"),
        false => output::line(&format!("left; the key of the address is still in keys/; {}", by_hand(&common.dir))),
    }
}

/// There is no node any more that could be told to leave.
fn by_hand(dir: &Path) -> String {
    let remains: Vec<String> = Store::new(dir).remains().iter().map(|path| path.display().to_string()).collect();
    format!("to forget what is left, remove by hand: {}", remains.join(" "))
}

/// The node has said its last word, and lets go of its directory a moment later.
fn forget(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let forgotten = effect::poll(effect::AT_ONCE, |look| match Store::new(dir).forget() {
        Err(StoreError::Locked { .. }) if look == Look::Early => Ok(None),
        Ok(forgotten) => Ok(Some(forgotten)),
        Err(error) => Err(Failure::new(error.fault().into(), format!("it has left, but {error}; {}", by_hand(dir)))),
    })?;
    Ok(forgotten.unwrap_or_default())
}

fn confirm_forgetting(address: &str) -> Result<(), Failure> {
    confirm::ask(
        &format!("remove this node's copy of the key of {address}, its other keys and its state?"),
        "--forget removes the keys in this directory for good; confirm that with --yes",
    )
}
