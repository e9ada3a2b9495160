//! Randomness enters once, as a [`Seed`]; every part forks its own generator from it, so that one
//! more draw in one part does not change what another part draws.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sha3::{Digest, Sha3_256};
use zeroize::ZeroizeOnDrop;

/// 32 bytes of entropy from the shell (operating system) or the simulator (run seed).
#[derive(ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

/// The generator handed to the parts and to the descriptor encoder.
pub type Rng = ChaCha20Rng;

impl Seed {
    /// Wraps 32 bytes that nobody else can guess.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A generator of its own for the part called `label`.
    pub fn fork(&self, label: &str) -> Rng {
        let mut hash = Sha3_256::new();
        hash.update(b"rustbalance rng fork");
        hash.update(self.0);
        hash.update(label.as_bytes());
        Rng::from_seed(hash.finalize().into())
    }
}
