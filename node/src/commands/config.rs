//! `rustbalance config check`.

use std::collections::BTreeMap;

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
    if !json {
        return output::line(&format!("{}: ok", common.config_file().display()));
    }
    let in_effect: BTreeMap<_, _> = KEYS.iter().map(|key| (key.name, (key.get)(&settings))).collect();
    output::json(&in_effect)
}
