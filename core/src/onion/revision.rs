//! Tor's own revision counters: order-preserving encryption of seconds (rend-spec appendix F.2; DESIGN 2.9).

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use zeroize::Zeroizing;

use super::key::HsBlindIdKeypair;

/// The largest `n` tor accepts.
pub const REVISION_N_MAX: u32 = 1 << 18;

/// A revision counter as it stands in a descriptor. No arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct RevisionCounter(pub u64);

/// Turns seconds into counters for one blinded key. The key is zeroized on drop.
pub struct RevisionCipher {
    key: Zeroizing<[u8; 32]>,
}

impl RevisionCipher {
    /// The cipher of one blinded key.
    pub fn new(key: &HsBlindIdKeypair) -> Self {
        Self { key: key.revision_key() }
    }

    /// The counter of `n`; `None` outside 1..=[`REVISION_N_MAX`].
    ///
    /// The sum over the first `n` little-endian u16 of the AES-256-CTR keystream (zero IV), each plus one.
    pub fn counter(&self, n: u32) -> Option<RevisionCounter> {
        if !(1..=REVISION_N_MAX).contains(&n) {
            return None;
        }
        let (_, sum) = self.walk(|count, _| count <= n);
        Some(RevisionCounter(sum))
    }

    /// The largest `n` whose counter is at most `counter` (0 if none): seconds behind a stored counter.
    pub fn n_at_most(&self, counter: RevisionCounter) -> u32 {
        let (n, _) = self.walk(|_, sum| sum <= counter.0);
        n
    }

    /// Walks n = 1, 2, .. with their counters as long as `keep_going` approves of the next step, and returns the last
    /// approved one (0, 0 if none). At most [`REVISION_N_MAX`] steps, half a MiB of keystream.
    fn walk(&self, mut keep_going: impl FnMut(u32, u64) -> bool) -> (u32, u64) {
        let mut keystream = Ctr128BE::<Aes256>::new((&*self.key).into(), &[0; 16].into());
        let (mut n, mut sum) = (0, 0_u64);
        let mut block = Zeroizing::new([0; 1024]);
        while n < REVISION_N_MAX {
            block.fill(0);
            keystream.apply_keystream(block.as_mut());
            for pair in block.as_chunks::<2>().0 {
                let next = sum + u64::from(u16::from_le_bytes(*pair)) + 1;
                if !keep_going(n + 1, next) {
                    return (n, sum);
                }
                (n, sum) = (n + 1, next);
            }
        }
        (n, sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher() -> RevisionCipher {
        RevisionCipher { key: Zeroizing::new([9; 32]) }
    }

    #[test]
    fn counters_grow_and_invert() {
        let cipher = cipher();
        let mut last = RevisionCounter(0);
        for n in [1, 2, 3, 511, 512, 513, 100_000, REVISION_N_MAX - 1, REVISION_N_MAX] {
            let counter = cipher.counter(n).expect("in range");
            assert!(counter > last);
            assert_eq!(cipher.n_at_most(counter), n);
            assert_eq!(cipher.n_at_most(RevisionCounter(counter.0 - 1)), n - 1);
            last = counter;
        }
    }

    #[test]
    fn the_range_is_bounded() {
        let cipher = cipher();
        assert_eq!(cipher.counter(0), None);
        assert_eq!(cipher.counter(REVISION_N_MAX + 1), None);
        assert_eq!(cipher.counter(u32::MAX), None);
        assert_eq!(cipher.n_at_most(RevisionCounter(0)), 0);
        assert_eq!(cipher.n_at_most(RevisionCounter(u64::MAX)), REVISION_N_MAX);
    }
}
