//! `rustbalance run`.

use crate::args::Common;
use crate::failure::Failure;

/// Serves until told to stop.
///
/// # Errors
/// What kept the node from starting, or ended it.
pub fn run(common: &Common) -> Result<(), Failure> {
    let settings = super::settings(common)?;
    Ok(rustbalance_io::run::run(settings)?)
}
