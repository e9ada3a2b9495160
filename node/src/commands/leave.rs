//! `rustbalance leave`.

use crate::args::Common;
use crate::failure::Failure;

/// Tells the running node to leave for good, and waits until it has stopped.
///
/// # Errors
/// No node runs there, or it does not stop.
pub fn leave(common: &Common) -> Result<(), Failure> {
    Ok(rustbalance_io::status::leave(&common.dir)?)
}
