//! `rustbalance clients`.

use std::collections::BTreeMap;
use std::path::Path;

use rustbalance_core::cluster::{Access, AccessChange};
use rustbalance_core::onion::client::{ClientName, HsClientDescEncKey};
use rustbalance_io::clients;
use serde::Serialize;

use super::served;
use super::status::table::{columns, heading, plain};
use crate::args::{Clients, Common};
use crate::failure::Failure;
use crate::output;

/// `clients list --json`.
#[derive(Serialize)]
struct List {
    /// Whether authorised clients alone may connect.
    restricted: bool,
    /// Public keys by name, in base32.
    clients: BTreeMap<String, String>,
}

/// Shows or changes who may connect to the address.
///
/// # Errors
/// A bad name or key; no node runs there; it refuses, and says why.
pub fn clients(common: &Common, args: &Clients) -> Result<(), Failure> {
    match args {
        Clients::Add { name, public_key: Some(key) } => add(&common.dir, &parse_name(name)?, parse_key(key)?),
        Clients::Add { name, public_key: None } => add_with_new_key(&common.dir, &parse_name(name)?),
        Clients::Remove { name } => Ok(clients::change(&common.dir, &AccessChange::Remove(parse_name(name)?))?),
        Clients::List { json } => list(&clients::access(&common.dir)?, *json),
        Clients::Open => Ok(clients::change(&common.dir, &AccessChange::Open)?),
    }
}

fn add(dir: &Path, name: &ClientName, key: HsClientDescEncKey) -> Result<(), Failure> {
    Ok(clients::change(dir, &AccessChange::Add(name.clone(), key))?)
}

/// The secret is printed when the change is in force, and not before: what is printed works.
fn add_with_new_key(dir: &Path, name: &ClientName) -> Result<(), Failure> {
    let address = served(&rustbalance_io::status::status(dir)?)?;
    let pair = clients::generate()?;
    add(dir, name, pair.public())?;
    output::line(&pair.expose_auth_private_line(address))
}

fn list(access: &Access, json: bool) -> Result<(), Failure> {
    if json {
        let clients = access.clients().map(|(name, key)| (name.to_string(), key.to_base32()));
        return output::json(&List { restricted: access.is_restricted(), clients: clients.collect() });
    }
    let mut rows = vec![heading(["NAME", "PUBLIC KEY"])];
    rows.extend(access.clients().map(|(name, key)| vec![plain(name), plain(key.to_base32())]));
    match access {
        Access::Open => output::line("everybody may connect who knows the address"),
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
