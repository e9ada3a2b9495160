//! Tor's own revision counters: order-preserving encryption of seconds (rend-spec appendix F.2).

use core::cell::Cell;

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _};
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
    /// An `n` and its counter, near where the last walk ended: the next one mostly ends there, too, and from the start
    /// it is long.
    mark: Cell<(u32, u64)>,
}

/// Numbers between two places where a walk may be taken up again.
const STRIDE: u32 = 512;

impl RevisionCipher {
    /// The cipher of one blinded key.
    pub fn new(key: &HsBlindIdKeypair) -> Self {
        Self { key: key.revision_key(), mark: Cell::default() }
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
        let (n, sum) = self.mark.get();
        let (mut n, mut sum) = if n > 0 && keep_going(n, sum) { (n, sum) } else { (0, 0) };
        keystream.seek(u64::from(n) * 2);
        let mut block = Zeroizing::new([0; 2 * STRIDE as usize]);
        while n < REVISION_N_MAX {
            self.mark.set((n, sum));
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
        RevisionCipher { key: Zeroizing::new([9; 32]), mark: Cell::default() }
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
    fn where_the_last_walk_ended_makes_no_difference() {
        let walked = cipher();
        for n in [100_000, 99_840, 99_839, 100_352, 1, 511, 512, 513, REVISION_N_MAX, 70_000, REVISION_N_MAX] {
            let counter = cipher().counter(n).expect("in range");
            assert_eq!(walked.counter(n), Some(counter), "{n}");
            assert_eq!(walked.n_at_most(counter), n);
            assert_eq!(walked.n_at_most(RevisionCounter(counter.0 - 1)), n - 1);
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
