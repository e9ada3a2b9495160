//! `rustbalance clients`.

use std::collections::BTreeMap;
use std::path::Path;

use rustbalance_core::cluster::{Access, AccessChange};
use rustbalance_core::onion::client::{ClientName, HsClientDescEncKey};
use rustbalance_io::clients;
use serde::Serialize;
use serde_json::json;

use super::status::table::{columns, heading, plain};
use super::{effect, served};
use crate::args::{Change, Clients, Common};
use crate::failure::Failure;
use crate::output;

/// What an address without authorised clients is.
const OPEN: &str = "everybody may connect who knows the address";

/// `clients list --json`.
#[derive(Serialize)]
struct List {
    /// Whether authorised clients alone may connect.
    restricted: bool,
    /// Public keys by name, in base32.
    clients: BTreeMap<String, String>,
    /// What is wrong in `authorized_clients`, and the way out.
    problems: Vec<String>,
}

/// Shows or changes who may connect to the address.
///
/// # Errors
/// A bad name or key; no node runs there; it refuses, and says why.
pub fn clients(common: &Common, args: &Clients) -> Result<(), Failure> {
    match args {
        Clients::Add { name, public_key: Some(key), change } => {
            add(&common.dir, &parse_name(name)?, parse_key(key)?, *change)
        }
        Clients::Add { name, public_key: None, change } => add_with_new_key(&common.dir, &parse_name(name)?, *change),
        Clients::Remove { name, change } => remove(&common.dir, &parse_name(name)?, *change),
        Clients::List { json } => list(&common.dir, *json),
        Clients::Open(change) => open(&common.dir, *change),
    }
}

fn add(dir: &Path, name: &ClientName, key: HsClientDescEncKey, args: Change) -> Result<(), Failure> {
    clients::change(dir, &AccessChange::Add(name.clone(), key))?;
    let result = json!({ "added": name.to_string(), "public_key": key.to_base32() });
    done(dir, args, &result, &format!("{name} may connect, and nobody else but the clients in `clients list`"))
}

/// The secret is printed when the change is in force, and not before: what is printed works.
fn add_with_new_key(dir: &Path, name: &ClientName, args: Change) -> Result<(), Failure> {
    let address = served(&rustbalance_io::status::status(dir)?)?;
    let pair = clients::generate()?;
    let key = pair.public();
    clients::change(dir, &AccessChange::Add(name.clone(), key))?;
    // It is printed also if not all nodes get to know it in time: it is kept nowhere.
    let known = effect::everywhere(dir, args.waiting).map(drop);
    let line = pair.expose_auth_private_line(address);
    if args.json {
        let (name, key) = (name.to_string(), key.to_base32());
        output::json(&json!({ "added": name, "public_key": key, "auth_private": *line }))?;
    } else {
        output::line(&line)?;
    }
    known
}

fn remove(dir: &Path, name: &ClientName, args: Change) -> Result<(), Failure> {
    clients::change(dir, &AccessChange::Remove(name.clone()))?;
    let is_last = clients::access(dir)?.clients().next().is_none();
    let others = if is_last { "; nor may anybody else: no client is left" } else { "" };
    done(dir, args, &json!({ "removed": name.to_string() }), &format!("{name} may not connect any more{others}"))
}

fn open(dir: &Path, args: Change) -> Result<(), Failure> {
    clients::change(dir, &AccessChange::Open)?;
    done(dir, args, &json!({ "restricted": false }), OPEN)
}

/// Shows what is in force on this node, once all nodes know it if that is asked for.
fn done(dir: &Path, args: Change, result: &serde_json::Value, text: &str) -> Result<(), Failure> {
    let known = effect::known(effect::everywhere(dir, args.waiting)?);
    if args.json { output::json(result) } else { output::line(&format!("{text}{known}")) }
}

fn list(dir: &Path, json: bool) -> Result<(), Failure> {
    let (access, problems) = (clients::access(dir)?, clients::problems(dir)?);
    if json {
        let clients = access.clients().map(|(name, key)| (name.to_string(), key.to_base32())).collect();
        return output::json(&List { restricted: access.is_restricted(), clients, problems });
    }
    problems.iter().for_each(|problem| output::note(problem));
    let mut rows = vec![heading(["NAME", "PUBLIC KEY"])];
    rows.extend(access.clients().map(|(name, key)| vec![plain(name), plain(key.to_base32())]));
    match access {
        Access::Open => output::line(OPEN),
        Access::Restricted(clients) if clients.is_empty() => {
            output::line("nobody may connect; add a client, or let everybody in with `rustbalance clients open`")
        }
        Access::Restricted(_) => output::line(columns(&rows, false).trim_end()),
    }
}

fn parse_name(name: &str) -> Result<ClientName, Failure> {
    name.parse().map_err(|error| Failure::usage(format!("{name:?}: {error}; choose another name")))
}

fn parse_key(key: &str) -> Result<HsClientDescEncKey, Failure> {
    key.parse().map_err(|error| Failure::usage(format!("--public-key: {error}")))
}
