//! `rustbalance config check`.

use std::collections::BTreeMap;

use rustbalance_io::store::Store;

use super::encrypted;
use crate::args::{Common, Config};
use crate::config_file::KEYS;
use crate::failure::Failure;
use crate::output;

/// Checks the file.
///
/// # Errors
/// Every mistake in it.
pub fn config(common: &Common, args: &Config) -> Result<(), Failure> {
    let Config::Check { json } = args;
    let settings = super::settings(common)?;
    if let Some(words) = encrypted::uncovered(&settings, &Store::new(&common.dir)) {
        output::note(&words);
    }
    if !json {
        return output::line(&format!("{}: ok", common.config_file().display()));
    }
    let in_effect: BTreeMap<_, _> = KEYS.iter().map(|key| (key.name, (key.get)(&settings))).collect();
    output::json(&in_effect)
}
