//! Multiples of the base point by secret scalars: in the same time, and with the same accesses to memory, for all of them.

use core::hint::black_box;
use std::sync::LazyLock;

use curve25519_dalek::Scalar;
use zeroize::Zeroizing;

use super::comb::{Comb, digits};
use super::edwards::{Affine, Point};

/// Bits of the table's windows. With more of them, reading all entries takes longer than the additions they save.
const WINDOW: usize = 5;

/// The base point's multiples, 98 KiB.
static TABLE: LazyLock<Comb<Affine, WINDOW, 1>> = LazyLock::new(|| Comb::new(Point::base()));

/// `scalar B`.
pub fn multiple(scalar: &Scalar) -> Point {
    let digits = Zeroizing::new(digits::<WINDOW>(scalar.as_bytes()));
    TABLE.rows().zip(digits.iter()).fold(Point::IDENTITY, |sum, (row, digit)| sum + &select(row, *digit))
}

/// The multiple by `digit` of the point whose multiples are in `row`: every entry is read.
fn select(row: &[Affine], digit: i16) -> Affine {
    let magnitude = digit.unsigned_abs();
    let mut multiple = masked(&Affine::IDENTITY, all_ones_if_zero(magnitude));
    for (entry, number) in row.iter().zip(1..) {
        add_masked(&mut multiple, entry, all_ones_if_zero(magnitude ^ number));
    }
    let is_positive = all_ones_if_zero((digit >> 15).cast_unsigned());
    let mut signed = masked(&multiple, is_positive);
    add_masked(&mut signed, &multiple.negated(), !is_positive);
    signed
}

/// All zeros where the mask is zero.
#[inline]
fn masked(entry: &Affine, mask: u64) -> Affine {
    Affine { limbs: entry.limbs.map(|part| part.map(|limb| limb & mask)) }
}

/// `sum` stays what it is where the mask is zero, and where it is all ones it becomes `entry` if it was zero.
#[inline]
fn add_masked(sum: &mut Affine, entry: &Affine, mask: u64) {
    let limbs = sum.limbs.as_flattened_mut().iter_mut().zip(entry.limbs.as_flattened());
    limbs.for_each(|(limb, other)| *limb |= other & mask);
}

/// The compiler must not learn that there are but two masks: it might branch on them.
#[inline]
fn all_ones_if_zero(number: u16) -> u64 {
    black_box(u64::from(number).wrapping_sub(1).cast_signed() >> 63).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::EdwardsPoint;
    use sha2::{Digest as _, Sha512};

    #[test]
    fn multiples_are_those_of_dalek_at_the_edges_of_scalars_and_at_random() {
        let powers = (0..=252).map(|power| {
            Scalar::from_bytes_mod_order(core::array::from_fn(|byte| u8::from(byte == power / 8) << (power % 8)))
        });
        let random = (0..200_u8).map(|seed| Scalar::from_bytes_mod_order_wide(&Sha512::digest([seed]).into()));
        let scalars: Vec<_> = powers.flat_map(|power| [power, power - Scalar::ONE, -power]).chain(random).collect();
        let multiples: Vec<_> = scalars.iter().map(multiple).collect();
        for (scalar, multiple) in scalars.iter().zip(Point::compress_all(&multiples)) {
            assert_eq!(multiple, EdwardsPoint::mul_base(scalar).compress().0, "{scalar:?}");
        }
    }
}
