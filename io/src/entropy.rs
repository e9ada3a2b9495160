//! The only reader of the operating system's randomness.

use rustbalance_core::rng::{Rng, Seed};
use zeroize::Zeroizing;

use crate::fault::Fault;

/// The operating system has no randomness to give.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no randomness ({0}): check that getrandom(2) is available")]
pub struct EntropyError(getrandom::Error);

impl EntropyError {
    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        Fault::Runtime
    }
}

/// 32 secret random bytes.
///
/// # Errors
/// The operating system refused.
pub fn secret() -> Result<Zeroizing<[u8; 32]>, EntropyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut()).map_err(EntropyError)?;
    Ok(bytes)
}

/// The seed of one run of the core.
///
/// # Errors
/// The operating system refused.
pub fn seed() -> Result<Seed, EntropyError> {
    Ok(Seed::new(*secret()?))
}

/// A fresh generator, for keys.
///
/// # Errors
/// The operating system refused.
pub fn rng() -> Result<Rng, EntropyError> {
    Ok(seed()?.fork("keys"))
}
